//! Disks: their settings, opening their images with the agent's rights, and the arguments QEMU gets for them.
//!
//! ```text
//! DiskSpec ──look::Look──▶ chain, rule ──image::open──▶ Image (one open file per layer)
//!     ──fdset per layer──▶ node::block_node, node::device_args
//! ```

pub mod align;
mod backing;
mod by_model;
pub mod chain;
mod described;
pub mod description;
mod filesystem;
pub mod format;
pub mod identity;
pub mod image;
pub mod layer;
pub mod limits;
pub mod locks;
pub mod look;
pub mod models;
pub mod node;
pub mod objects;
pub mod overlay;
mod path;
pub mod qcow2;
pub mod rule;
pub mod secrets;
mod signature;
pub mod source;
pub mod spec;

pub use chain::{Chain, ChainLayer};
pub use description::Description;
pub use format::{Format, FormatRequest};
pub use identity::{Identity, Kind};
pub use layer::{Image, Layer};
pub use limits::Limits;
pub use node::LayerRef;
pub use objects::SourceObjects;
pub use overlay::Overlay;
pub use rule::BackingRule;
pub use secrets::{Secret, Secrets};
pub use spec::{Aio, Cache, DetectZeroes, Discard, DiskSpec, NVME, SCSI_CD, is_scsi};
