//! Writing an OCI image layout as a tar: a layout beside it, packed at the end.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::LayoutDestination;
use super::leftovers;
use crate::error::ConvertError;

/// A tar that is being prepared. Nothing is at its place before it is complete.
#[derive(Debug)]
pub(crate) struct ArchiveDestination {
    path: PathBuf,
    layout: Arc<LayoutDestination>,
    /// Removes the layout.
    _directory: tempfile::TempDir,
    /// Says that this process is alive, until the layout is removed: fields are dropped in their order.
    _lock: File,
}

impl ArchiveDestination {
    pub(crate) fn open(path: PathBuf, tag: Option<String>) -> Result<Self, ConvertError> {
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        leftovers::clear_directories(parent);
        let (directory, lock) = leftovers::directory_in(parent).map_err(ConvertError::file(parent))?;
        let layout = Arc::new(LayoutDestination::open(directory.path().to_path_buf(), tag)?);
        Ok(Self { path, layout, _directory: directory, _lock: lock })
    }

    /// Where everything is until then.
    pub(crate) fn layout(&self) -> Arc<LayoutDestination> {
        Arc::clone(&self.layout)
    }

    /// Packs the layout, the same bytes for the same image, and puts the tar at its place.
    pub(crate) fn write(&self) -> Result<(), ConvertError> {
        let directory = self.layout.directory();
        let part = directory.join("archive.tar");
        let packed = pack(directory, &part).and_then(|()| fs::rename(&part, &self.path));
        packed.map_err(ConvertError::file(&self.path))
    }
}

fn pack(directory: &Path, to: &Path) -> std::io::Result<()> {
    // Algorithms, then blobs.
    let mut directories = listed(directory, "blobs")?;
    let mut names = Vec::new();
    for algorithm in &directories {
        names.extend(listed(directory, algorithm)?);
    }
    directories.insert(0, "blobs".to_owned());
    let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(to)?));
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header
    };
    for name in directories {
        let name = format!("{name}/");
        builder.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), name, std::io::empty())?;
    }
    for name in names.iter().map(String::as_str).chain(["index.json", "oci-layout"]) {
        let file = File::open(directory.join(name))?;
        let size = file.metadata()?.len();
        // ustar ends at 8 GiB; beyond, the size needs GNU's binary form.
        let mut header =
            if size >> 33 == 0 { header(tar::EntryType::Regular, 0o644, size) } else { large(size) };
        builder.append_data(&mut header, name, file)?;
    }
    let writer = builder.into_inner()?;
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Paths of what is in the directory `name` of the layout `root`, in order.
fn listed(root: &Path, name: &str) -> std::io::Result<Vec<String>> {
    let paths = fs::read_dir(root.join(name))?
        .map(|entry| Ok(format!("{name}/{}", entry?.file_name().to_string_lossy())));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}

fn large(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header
}
