//! A pure model of the layer, and where an entry goes in it.

pub(crate) mod inode;
pub(crate) mod metadata;
pub(crate) mod model;
pub(crate) mod path;
pub(crate) mod placement;
pub(crate) mod whiteout;
