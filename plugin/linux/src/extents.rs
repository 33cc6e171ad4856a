//! Where on the disk a file's bytes are, and whether other files share them.

use std::fs::File;
use std::ops::Range;

use fiemap::{Fiemap, FiemapExtentFlags};

use crate::Result;

/// A part of a file that lies together on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the filesystem's address space.
    pub place: Range<u64>,
    /// Other files have it, too, or other parts of this one.
    pub shared: bool,
}

/// The parts of `file` that occupy room of their own: not what lies in its inode, and not what has no place yet.
///
/// # Errors
/// Whatever the ioctl gives, `EOPNOTSUPP` where the filesystem cannot tell.
pub fn extents(file: &File) -> Result<Vec<Extent>> {
    let nowhere = FiemapExtentFlags::UNKNOWN | FiemapExtentFlags::DELALLOC | FiemapExtentFlags::DATA_INLINE;
    let mut extents = Vec::new();
    for extent in Fiemap::new(file) {
        let extent = extent?;
        if !extent.fe_flags.intersects(nowhere) {
            let place = extent.fe_physical..extent.fe_physical.saturating_add(extent.fe_length);
            extents.push(Extent { place, shared: extent.fe_flags.contains(FiemapExtentFlags::SHARED) });
        }
    }
    Ok(extents)
}
