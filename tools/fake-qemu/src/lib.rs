//! A QMP monitor without a QEMU behind it.
//!
//! ```text
//! FakeQemu (handle for the test)  ──  server (thread: sockets, timers)  ──  script (faults)
//!     ──  model (what QEMU has)
//! ```
//!
//! [`model`] is what a QEMU has and does: commands in, replies and events out, a value without files, threads
//! and clock. [`FakeQemu`] serves it on a socket, and a [script](Act) makes any command go wrong in any way.
//! It knows nothing of the library under test and can be taken into any other project's tests.

pub mod clock;
pub mod command;
mod fake;
mod host;
pub mod hostile;
pub mod model;
mod reaction;
mod script;
mod server;
mod state;
mod wire;

pub use command::{Answer, Command, Descriptor, Effect, Event, File, Outcome, QmpError, deleted};
pub use fake::FakeQemu;
pub use model::{
    BelowNode, Dev, FdSet, Leaving, Machine, Model, Monitor, Netdev, Node, SetFd, Tray, UnplugBehaviour,
    Version,
};
pub use reaction::{Reaction, Said};
pub use script::{ANY, Act, Greeting};
pub use state::{Happened, Later, Seen, Setup, Watcher};
