//! The header of the library: read, and laid out in the order in which people read it.

pub mod arrange;
pub mod c_enum;
pub mod header;
pub mod markup;
mod wrappers;
