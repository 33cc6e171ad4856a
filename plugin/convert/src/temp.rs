//! Temporary files, which have no names: whatever ends the process ends them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ConvertError;

/// The directory that layers wait in between being written and being sent.
#[derive(Debug, Clone)]
pub(crate) struct Temp {
    directory: PathBuf,
}

impl Temp {
    /// In `directory`, which must exist; `None` means `$TMPDIR`, else `/var/tmp`, which is on a disk.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        let given = directory.map(Path::to_path_buf);
        let environment = || std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self { directory: given.or_else(environment).unwrap_or_else(|| PathBuf::from("/var/tmp")) }
    }

    /// An empty file, readable and writable.
    pub(crate) fn file(&self) -> Result<File, ConvertError> {
        tempfile::tempfile_in(&self.directory).map_err(|source| self.failed(source))
    }

    /// A failure to write to one of the files.
    pub(crate) fn failed(&self, source: io::Error) -> ConvertError {
        ConvertError::Temp { directory: self.directory.clone(), source }
    }
}
