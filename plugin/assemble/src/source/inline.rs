//! A small file whose payload stood in the tar stream.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use chunked_core::{Digest, Hasher, Sparse};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::donor::Donor;
use crate::source::file::{NewFile, Source};
use crate::source::rights::Rights;
use crate::source::share::{Claim, share};
use crate::work::job::Ran;

/// See the module. Its bytes were hashed as they came.
#[derive(Debug)]
pub(crate) struct Inline {
    pub(crate) data: Vec<Bytes>,
    /// Where they lie in the file, if that is sparse.
    pub(crate) sparse: Option<Sparse>,
    /// A local file that may have the same content.
    pub(crate) twin: Option<Donor>,
}

impl Inline {
    pub(crate) fn new(data: Vec<Bytes>, sparse: Option<Sparse>) -> Self {
        Self { data, sparse, twin: None }
    }

    /// Digest and length of its content; `None` if it is empty or sparse.
    pub(crate) fn content(&self) -> Option<(Digest, u64)> {
        if self.data.is_empty() || self.sparse.is_some() {
            return None;
        }
        let (mut hasher, mut len) = (Hasher::new(), 0);
        for part in &self.data {
            hasher.update(part);
            len += part.len() as u64;
        }
        Some((hasher.finish(), len))
    }

    fn write(&self, file: &File) -> std::io::Result<()> {
        match &self.sparse {
            None => self.data.iter().try_for_each(|bytes| (&*file).write_all(bytes)),
            Some(sparse) => write_sparse(file, &self.data, sparse),
        }
    }
}

impl Source for Inline {
    fn rights(&self) -> &Rights {
        self.twin.as_ref().map_or(&Rights::Read, |twin| &twin.rights)
    }

    fn make(self: Box<Self>, mut file: NewFile, _: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        if file.digest.is_none() {
            file.digest = self.content().map(|(digest, _)| digest);
        }
        let adopted = match &self.twin {
            Some(twin) => adopt(&file, twin, &self.data, self.rights())?,
            None => false,
        };
        if !adopted {
            let made = file.target.create()?;
            self.write(&made).map_err(file.target.io("writing the file"))?;
            file.target.finish(&made)?;
        }
        file.complete(file.digest);
        Ok(Ran::Done)
    }
}

/// Makes `file` out of `twin` if that has exactly the bytes of `data`, by sharing its blocks or its inode. `false`: it
/// could not, and nothing was made.
fn adopt(file: &NewFile, twin: &Donor, data: &[Bytes], rights: &Rights) -> Result<bool, AssembleError> {
    let Ok(looked) = twin.root.look(&twin.path) else { return Ok(false) };
    let Ok(donor) = looked.open() else { return Ok(false) };
    let meta = looked.into_metadata();
    let claim = Claim::of(rights, &file.target.meta, &meta);
    match equals(&donor, data) {
        Ok(true) if meta.len() == file.size => {}
        Ok(_) => {
            twin.refute("it has other bytes");
            return Ok(false);
        }
        Err(_) => return Ok(false),
    }
    share(file, rights, claim, &donor, file.size, twin.fresh)
}

fn equals(file: &File, data: &[Bytes]) -> std::io::Result<bool> {
    let (mut buffer, mut at) = (Vec::new(), 0);
    for part in data {
        buffer.resize(part.len(), 0);
        file.read_exact_at(&mut buffer, at)?;
        if buffer != *part {
            return Ok(false);
        }
        at += part.len() as u64;
    }
    Ok(true)
}

fn write_sparse(file: &File, data: &[Bytes], sparse: &Sparse) -> std::io::Result<()> {
    let mut data = data.iter().cloned();
    let mut have = Bytes::new();
    for &(mut offset, mut len) in &sparse.parts {
        while len > 0 {
            if have.is_empty() {
                have = data.next().ok_or(std::io::ErrorKind::UnexpectedEof)?;
                continue;
            }
            let n = usize::try_from(len).map_or(have.len(), |l| l.min(have.len()));
            file.write_all_at(&have.split_to(n), offset)?;
            offset += n as u64;
            len -= n as u64;
        }
    }
    file.set_len(sparse.real_size)
}
