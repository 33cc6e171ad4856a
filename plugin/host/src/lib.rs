//! The host's own files as a source for layers: an index from content to files that a package manager owns.
//!
//! In the flow: beside the layer store. Plan asks [`HostIndex::lookup`] by digest and length for what no layer
//! has; assemble copies from the descriptor that [`HostDonor::open`] gives and hashes its copy. A pass
//! ([`run_pass`]) fills the index in the background or on demand.
//!
//! It must not take a path from an image: there is no way to ask it for one. It follows no link, leaves no
//! allowed root, runs no program, and changes nothing on the host but its own two files.
//!
//! # What is indexed
//!
//! Regular files below the allowed roots that the whole world may read anyway, along the whole path from the
//! root; of an allowed owner; neither setuid nor setgid; not writable for everybody; on an allowed kind of
//! filesystem, and on the root's own mount; and, under the default policy, listed by dpkg, rpm or apk. See
//! [`HostOptions`].
//!
//! # On disk
//!
//! ```text
//! ROOT/host.db     digest → directory, name, inode, size, ctime, mtime; a cache that can be deleted at any time
//! ROOT/host.lock   flock: one pass at a time
//! ```
//!
//! A row is a hint. Whoever uses it opens the file beneath its root and compares what `fstat` says; a file that
//! is another one now is forgotten, and its content fetched. Rows say under which rules they were made: after a
//! change of the settings none is used before a pass has looked at its directory again.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

mod background;
mod database;
mod error;
mod filesystems;
mod index;
mod lock;
mod options;
mod packages;
mod pass;
mod reader;
mod root;
mod rules;
mod stamp;
mod status;

pub use chunked_linux::Mounts;

pub use background::{Background, Schedule};
pub use error::HostError;
pub use filesystems::Filesystem;
pub use index::{HostDonor, HostIndex};
pub use options::{HostOptions, Policy};
pub use pass::run as run_pass;
pub use reader::Control;
pub use status::{HostStatus, PassReport, Progress};
