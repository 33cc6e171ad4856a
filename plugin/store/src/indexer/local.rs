//! The files of snapshots that containerd committed itself, which only reading tells.

use std::io;
use std::sync::Arc;

use chunked_linux::{Dir, FileType, Step, Walk};
use rustix::fs::Advice;

use super::cuts::Chunks;
use super::pace::Pace;
use crate::layer::{NewChunk, NewFile};
use crate::list;
use crate::origins::LOCAL;
use crate::snapshot;
use crate::store::Inner;
use crate::tree;

/// Files of one snapshot that are indexed, at most: their list is held in memory.
const MAX_FILES: usize = 2_000_000;

impl Inner {
    /// Hashes the files of a snapshot that containerd committed, and indexes them.
    pub(super) fn read_snapshot(self: &Arc<Self>, id: u64, pace: &mut Pace<'_>) -> io::Result<()> {
        let dir = self.layout.snapshot(id);
        let entries = match list::List::read(&dir) {
            Ok(list) => list.entries(),
            Err(_) => {
                let (files, chunks) = hash_all(&Dir::open(&self.layout.fs(id))?, pace)?;
                list::replace(&dir, &files, &chunks, self.options.sync)?
            }
        };
        self.index.insert(id, entries);
        Arc::make_mut(&mut self.layers.write()).insert(id, vec![LOCAL.to_owned()]);
        // Removed in between? Then its removal found nothing to forget.
        let here = self.database.read(|db| snapshot::is_committed_directory(db, id));
        if !here.is_ok_and(|here| here) {
            self.forget(id);
        }
        Ok(())
    }

    /// Takes a directory out of all look-ups.
    pub(crate) fn forget(&self, id: u64) {
        let known = self.layers.read().contains_key(&id);
        if known {
            Arc::make_mut(&mut self.layers.write()).remove(&id);
        }
    }
}

/// Every file with its digest, and the chunks of the large ones.
fn hash_all(tree: &Dir, pace: &mut Pace<'_>) -> io::Result<(Vec<NewFile>, Vec<NewChunk>)> {
    let mut files = Vec::new();
    let mut chunks = Chunks::default();
    let mut walk = Walk::new(tree)?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Entry(FileType::Directory) => drop(walk.enter()?),
            Step::Entry(FileType::RegularFile) if files.len() < MAX_FILES => {
                let mut file = walk.file()?;
                let mut cutting = (file.metadata()?.len() > list::LARGE).then(|| chunks.begin());
                let (digest, size) = tree::digest(&mut file, |bytes| {
                    cutting.iter_mut().for_each(|cutting| cutting.feed(bytes));
                    pace.rest()
                })?;
                if let Some(cutting) = cutting {
                    chunks.end(cutting, walk.path());
                }
                // What nobody else asked for need not stay in memory.
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
                if size > 0 {
                    files.push(NewFile { path: walk.path().to_vec(), digest, size, proven: true });
                }
            }
            _ => {}
        }
        pace.rest()?;
    }
    Ok((files, chunks.into_list()))
}
