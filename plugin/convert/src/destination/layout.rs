//! Writing an OCI image layout into a directory (OCI image-spec, image-layout.md).

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use chunked_core::{Algorithm, ObjectDigest};
use parking::Lock;
use serde_json::json;

use super::leftovers;
use crate::document::{Descriptor, Document, Index, Parsed};
use crate::error::ConvertError;
use crate::source::layout::{REF_NAME, VERSION, blob_path};

/// An image of a layout that is being written. Other images of the layout stay.
#[derive(Debug)]
pub(crate) struct LayoutDestination {
    directory: PathBuf,
    tag: Option<String>,
}

impl LayoutDestination {
    /// Makes the directory a layout, unless it is one.
    pub(crate) fn open(directory: PathBuf, tag: Option<String>) -> Result<Self, ConvertError> {
        let marker = directory.join("oci-layout");
        if !marker.exists() {
            let mut inside = match fs::read_dir(&directory) {
                Ok(inside) => Some(inside),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(ConvertError::File { path: directory, source }),
            };
            if inside.as_mut().is_some_and(|inside| inside.next().is_some()) {
                let reason = "it is neither empty nor an OCI layout; name a new directory";
                return Err(ConvertError::place(directory.display(), reason));
            }
        }
        let layout = Self { directory, tag };
        let blobs = layout.path("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(ConvertError::file(&blobs))?;
        for algorithm in Algorithm::ALL {
            leftovers::clear_parts(&layout.path("blobs").join(algorithm.name()));
        }
        leftovers::clear_parts(&layout.directory);
        if !marker.exists() {
            layout.replace("oci-layout", json!({"imageLayoutVersion": VERSION}).to_string().as_bytes())?;
        }
        Ok(layout)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// True when a blob of this digest and length is there.
    pub(crate) fn has(&self, digest: &ObjectDigest, size: u64) -> bool {
        fs::metadata(self.path(&blob_path(digest))).is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    pub(crate) fn put_file(
        &self,
        digest: &ObjectDigest,
        size: u64,
        mut file: File,
    ) -> Result<(), ConvertError> {
        let name = blob_path(digest);
        let path = self.path(&name);
        file.rewind().map_err(ConvertError::file(&path))?;
        self.write(&name, |out| match io::copy(&mut io::Read::take(&mut file, size), out)? {
            copied if copied == size => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    pub(crate) fn put_bytes(&self, digest: &ObjectDigest, bytes: &[u8]) -> Result<(), ConvertError> {
        if self.has(digest, bytes.len() as u64) { Ok(()) } else { self.replace(&blob_path(digest), bytes) }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), ConvertError> {
        self.write(name, |out| out.write_all(bytes))
    }

    /// Writes a file under a name of its own and renames it, so that nobody sees half of it.
    fn write(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ConvertError> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.directory);
        let made = fs::create_dir_all(directory);
        let written = made.and_then(|()| leftovers::part_in(directory)).and_then(|mut part| {
            fill(part.as_file_mut())?;
            // Temporary files are for their owner alone; layouts are for everybody.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            part.as_file().set_permissions(mode)?;
            part.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(ConvertError::file(path))
    }

    /// Gives the image its name, in place of whatever had it.
    pub(crate) fn name(&self, mut descriptor: Descriptor) -> Result<(), ConvertError> {
        if let Some(tag) = &self.tag {
            descriptor.annotations.insert(REF_NAME.to_owned(), tag.clone());
        }
        self.change(|entries| {
            entries.retain(|entry| entry.annotations.get(REF_NAME) != self.tag.as_ref());
            entries.push(descriptor);
        })
    }

    /// Lists a document that has no name.
    pub(crate) fn list(&self, descriptor: Descriptor) -> Result<(), ConvertError> {
        self.change(|entries| {
            if !entries.iter().any(|entry| entry.digest == descriptor.digest) {
                entries.push(descriptor);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<(), ConvertError> {
        let _lock = Lock::of(&self.path("oci-layout"))?;
        let path = self.path("index.json");
        let mut index = match fs::read(&path) {
            Ok(bytes) => Index::parse(&bytes)
                .map_err(|error| ConvertError::place(path.display(), error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index::empty(),
            Err(source) => return Err(ConvertError::File { path, source }),
        };
        change(&mut index.manifests);
        self.replace("index.json", &Document::write(Parsed::Index(index))?.bytes)
    }
}

mod parking {
    //! One process at a time changes an index.

    use std::fs::File;
    use std::path::Path;

    use rustix::fs::{FlockOperation, flock};

    use crate::error::ConvertError;

    /// Held until dropped.
    pub(super) struct Lock(#[expect(dead_code, reason = "its descriptor holds the lock")] File);

    impl Lock {
        pub(super) fn of(path: &Path) -> Result<Self, ConvertError> {
            let file = File::open(path).map_err(ConvertError::file(path))?;
            let locked = flock(&file, FlockOperation::LockExclusive);
            locked.map_err(|error| ConvertError::file(path)(error.into()))?;
            Ok(Self(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media;

    #[test]
    fn names_replace_and_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let names = |path: &Path| -> Vec<(Option<String>, ObjectDigest)> {
            let index = Index::parse(&fs::read(path.join("index.json")).unwrap()).unwrap();
            index.manifests.iter().map(|d| (d.annotations.get(REF_NAME).cloned(), d.digest)).collect()
        };
        for (tag, content) in [(Some("a"), "1"), (None, "2"), (Some("b"), "3"), (Some("a"), "4"), (None, "5")]
        {
            let layout = LayoutDestination::open(path.clone(), tag.map(str::to_owned)).unwrap();
            layout.put_bytes(&ObjectDigest::of(content.as_bytes()), content.as_bytes()).unwrap();
            layout.name(Descriptor::of(media::MANIFEST, content.as_bytes())).unwrap();
        }
        let digest = |content: &str| ObjectDigest::of(content.as_bytes());
        assert_eq!(
            names(&path),
            [(Some("b".into()), digest("3")), (Some("a".into()), digest("4")), (None, digest("5"))]
        );
        let blobs = fs::read_dir(path.join("blobs/sha256")).unwrap().count();
        assert_eq!(blobs, 5, "and no part of another");
    }

    #[test]
    fn a_directory_with_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.txt"), "").unwrap();
        let error = LayoutDestination::open(directory.path().to_path_buf(), None).unwrap_err();
        assert!(error.to_string().contains("neither empty"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
