//! One layer: its list, its files and what its tree looks like.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::collections::HashMap;
use std::fmt;
use std::io;

use chunked_linux::{Dir, Mounts};

use super::{Run, Stop};
use crate::indexer::Pace;
use crate::layer::{NewChunk, NewFile};
use crate::list::List;
use crate::proof::{self, Finding};
use crate::{looks, rows, tree};

/// Most files that a text about a layer names.
const NAMED: usize = 100;

/// What is wrong with a layer.
#[derive(Debug)]
pub(super) enum Damage {
    /// Its list, its directory or the attributes in its tree.
    Layer(String),
    /// Files that are not what was committed: the first, with what is wrong with it, and all others.
    Files { first: (Vec<u8>, String), others: Vec<Vec<u8>> },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |path: &[u8]| format!("{:?}", String::from_utf8_lossy(path));
        let ((path, reason), others) = match self {
            Self::Layer(what) => return f.write_str(what),
            Self::Files { first, others } => (first, others),
        };
        write!(f, "{}: {reason}", quoted(path))?;
        if others.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = others.iter().take(NAMED).map(|path| quoted(path)).collect();
        write!(f, "; {} other files are not what was committed: {}", others.len(), named.join(", "))?;
        match others.len() - named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Run<'_> {
    /// One layer's list, files and index rows. Gives what is wrong with its files.
    pub(super) fn layer(&mut self, id: u64) -> Result<Option<Damage>, Stop> {
        let local = self.is_local(id);
        let dir = self.inner.layout.snapshot(id);
        let list = match List::read(&dir) {
            Ok(list) => list,
            // Not hashed yet: the indexer comes to it.
            Err(error) if local && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Reported with the rows.
            Err(_) if !dir.exists() => return Ok(None),
            Err(error) => return Ok(Some(Damage::Layer(format!("its list of files: {error}")))),
        };
        let lacking = self.inner.index.lacking(id, list.entries());
        if lacking > 0 {
            if self.options.repair {
                self.inner.index.remove(id, &dir);
                self.inner.index.insert(id, list.entries());
            }
            let text = format!("{lacking} of its files and chunks are not in the index");
            let what = self.name(id)?;
            self.problem(id, what, text, self.options.repair)?;
        }
        let tree = match Dir::open(&self.inner.layout.fs(id)) {
            Ok(tree) => tree,
            Err(error) => return Ok(Some(Damage::Layer(format!("its tree: {error}")))),
        };
        if let Some(damage) = self.files(id, &list, &tree)? {
            return Ok(Some(damage));
        }
        Ok(self.looks(id)?.map(Damage::Layer))
    }

    /// Compares what a layer's tree looks like with what it looked like when it was committed.
    fn looks(&mut self, id: u64) -> Result<Option<String>, Stop> {
        let row = self.inner.database.read(|db| rows::layer(db, id))?;
        let Some((row, metadata)) = row.and_then(|row| row.metadata.map(|metadata| (row, metadata))) else {
            return Ok(None);
        };
        Ok(match looks::look(&self.inner.layout.fs(id), &row.implied) {
            Ok(found) if found.metadata == metadata => None,
            Ok(_) => Some(
                "names, modes, owners, times or attributes in its tree are not those that it was committed with".into(),
            ),
            Err(error) => Some(format!("its tree: {error}")),
        })
    }

    /// Compares all of a layer's files with its list. Gives what is wrong with them.
    fn files(&mut self, id: u64, list: &List, tree: &Dir) -> Result<Option<Damage>, Stop> {
        let (files, chunks) = list.contents();
        let mut of_file: HashMap<&[u8], Vec<&NewChunk>> = HashMap::new();
        for chunk in &chunks {
            of_file.entry(&chunk.path).or_default().push(chunk);
        }
        let (mut misnamed, mut damaged) = (false, None);
        for file in &files {
            self.so_far.files += 1;
            if self.so_far.files.is_multiple_of(1024) {
                self.tell_progress()?;
            }
            let chunks = of_file.get(file.path.as_slice()).into_iter().flatten().copied();
            let reason = match self.file(tree, file, chunks, list.is_marked()) {
                Ok(Finding::Right) => continue,
                Ok(Finding::Misnamed(_)) => {
                    misnamed = true;
                    continue;
                }
                Ok(Finding::Damaged(reason)) => reason,
                Err(error) => error.to_string(),
            };
            match &mut damaged {
                None => {
                    damaged = Some(Damage::Files { first: (file.path.clone(), reason), others: Vec::new() });
                }
                Some(Damage::Files { others, .. }) => others.push(file.path.clone()),
                Some(Damage::Layer(_)) => {}
            }
        }
        if damaged.is_none() && misnamed && self.options.repair {
            // The layer is what its DiffID says; what a TOC said of it was not true.
            if let Err(error) = self.inner.examine(id, &mut Pace::full()) {
                tracing::warn!(layer = id, %error, "digests that its TOC named wrongly stay in its list");
            }
        }
        Ok(damaged)
    }

    fn file<'a>(
        &mut self,
        tree: &Dir,
        listed: &NewFile,
        chunks: impl IntoIterator<Item = &'a NewChunk>,
        marked: bool,
    ) -> io::Result<Finding> {
        let mut file = tree.open_file_beneath(&listed.path, Mounts::One)?;
        let len = file.metadata()?.len();
        if !self.options.contents || len != listed.size {
            return proof::compare(&file, listed, (listed.digest, len), [], marked);
        }
        let (found, read) = tree::digest(&mut file, |bytes| {
            self.watch.read(bytes.len() as u64);
            Ok(())
        })?;
        self.so_far.bytes += read;
        proof::compare(&file, listed, (found, read), chunks, marked)
    }
}
