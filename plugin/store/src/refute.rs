//! What becomes of the index when a donor turns out not to hold what it said.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use chunked_linux::{Dir, Mounts};

use crate::layer::{LayerId, NewChunk, NewFile};
use crate::list::{Entries, List};
use crate::proof::{self, Finding};
use crate::store::{Inner, Store};
use crate::tree;

impl Store {
    /// Forgets what was said of the file at `path` of a layer, because it does not hold that. If it was what a TOC said,
    /// all that nobody proved of the layer is forgotten with it: who lied once is not believed in the rest. Blocks on the
    /// disk. What is really there is found out in the background.
    pub fn refute(&self, layer: LayerId, path: &[u8]) {
        if let Err(error) = self.inner.refute(layer.get(), path) {
            tracing::debug!(%layer, %error, "a refuted donor cannot be looked at");
        }
    }
}

impl Inner {
    fn refute(self: &Arc<Self>, id: u64, path: &[u8]) -> io::Result<()> {
        let dir = self.layout.snapshot(id);
        let list = List::read(&dir)?;
        let (files, chunks) = list.contents();
        let Some(file) = files.iter().find(|file| file.path == path) else { return Ok(()) };
        let chunks: Vec<&NewChunk> = chunks.iter().filter(|chunk| chunk.path == path).collect();
        if !file.proven || chunks.iter().any(|chunk| !chunk.proven) {
            let mut entries = list.entries();
            entries.files.retain(|entry| entry.unproven);
            entries.chunks.retain(|entry| entry.unproven);
            self.index.forget(id, entries);
            self.indexing.work();
            return Ok(());
        }
        // Proven, so that either it is damaged, or was found out and listed anew since the donor was planned with.
        if !is_right(&Dir::open(&self.layout.fs(id))?, file, &chunks) {
            tracing::warn!(
                layer = id, path = %String::from_utf8_lossy(path),
                "a file of this layer is damaged; run `chunked-snapshotter store verify --contents --repair`"
            );
            self.index.forget(id, of_file(&list, path));
        }
        Ok(())
    }
}

fn is_right(tree: &Dir, listed: &NewFile, chunks: &[&NewChunk]) -> bool {
    let compared = tree.open_file_beneath(&listed.path, Mounts::One).and_then(|mut file| {
        let found = tree::digest(&mut file, |_| Ok(()))?;
        let mut right = proof::compare(&file, listed, found, [], true)? == Finding::Right;
        for chunk in chunks {
            right &= proof::holds(&file, chunk)?;
        }
        Ok(right)
    });
    compared.unwrap_or_default()
}

/// Entries of the file at `path` and of its chunks.
fn of_file(list: &List, path: &[u8]) -> Entries {
    let files: HashSet<u64> = list.files().filter(|(_, file)| file.path == path).map(|(at, _)| at).collect();
    let chunks: HashSet<u64> =
        list.chunks().filter(|(_, chunk)| files.contains(&chunk.file)).map(|(at, _)| at).collect();
    let mut entries = list.entries();
    entries.files.retain(|entry| files.contains(&entry.at));
    entries.chunks.retain(|entry| chunks.contains(&entry.at));
    entries
}
