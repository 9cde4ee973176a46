//! The header of the library: read, laid out in the order in which people read it, and what other languages
//! have of it.

pub mod arrange;
pub mod c_enum;
pub mod go;
pub mod header;
pub mod markup;
pub mod names;
pub mod python;
pub mod words;
mod wrappers;
