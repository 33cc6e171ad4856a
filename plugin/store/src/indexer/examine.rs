//! Reads what of a layer nobody read yet: digests that only a TOC names are computed, and large files are cut when no TOC
//! did it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use chunked_linux::{Dir, Mounts};
use rustix::fs::Advice;

use super::cuts::Chunks;
use super::pace::Pace;
use crate::layer::{NewChunk, NewFile};
use crate::list::{self, List};
use crate::proof::{self, Finding};
use crate::store::Inner;
use crate::tree;

impl Inner {
    /// Puts what reading tells into the layer's list, and from there into the index.
    ///
    /// # Errors
    /// Also when the layer is damaged: then what is right of it is in the index.
    pub(crate) fn examine(self: &Arc<Self>, id: u64, pace: &mut Pace<'_>) -> io::Result<()> {
        let dir = self.layout.snapshot(id);
        let list = List::read(&dir)?;
        let before = list.entries();
        if before.cut && before.unproven() == 0 {
            // A crash came between list and index.
            self.index.remove(id, &dir);
            self.index.insert(id, before);
            return Ok(());
        }
        let (files, chunks) = list.contents();
        let tree = Dir::open(&self.layout.fs(id))?;
        let mut reading =
            Reading { tree: &tree, marked: list.is_marked(), cut: list.is_cut(), pace, damage: None };
        let (files, chunks) = reading.all(files, chunks)?;
        let damage = reading.damage;
        // Positions change: none of the old rows may outlive the old list.
        self.index.remove(id, &dir);
        let replaced = list::replace(&dir, &files, &chunks, self.options.sync);
        match replaced {
            Ok(entries) => self.index.insert(id, entries),
            Err(error) => {
                self.index.insert(id, before);
                return Err(error);
            }
        }
        damage.map_or(Ok(()), |damage| Err(io::Error::new(io::ErrorKind::InvalidData, damage)))
    }
}

struct Reading<'a, 'p> {
    tree: &'a Dir,
    /// The list says what in it is proven.
    marked: bool,
    /// Large files are cut already.
    cut: bool,
    pace: &'a mut Pace<'p>,
    damage: Option<String>,
}

impl Reading<'_, '_> {
    fn all(
        &mut self,
        mut files: Vec<NewFile>,
        chunks: Vec<NewChunk>,
    ) -> io::Result<(Vec<NewFile>, Vec<NewChunk>)> {
        let mut of_file: HashMap<Vec<u8>, Vec<NewChunk>> = HashMap::new();
        for chunk in chunks {
            of_file.entry(chunk.path.clone()).or_default().push(chunk);
        }
        let (mut cuts, mut kept, mut seen) = (Chunks::default(), Vec::new(), HashSet::new());
        for file in &mut files {
            let mut chunks = of_file.remove(&file.path).unwrap_or_default();
            let to_cut = !self.cut && file.size > list::LARGE && seen.insert((file.digest, file.size));
            if to_cut || !file.proven || chunks.iter().any(|chunk| !chunk.proven) {
                match self.file(file, &mut chunks, to_cut.then_some(&mut cuts)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                    Err(error) => self.damaged(file, &error.to_string()),
                    Ok(()) => {}
                }
            }
            kept.append(&mut chunks);
            self.pace.rest()?;
        }
        kept.append(&mut cuts.into_list());
        Ok((files, kept))
    }

    fn damaged(&mut self, file: &NewFile, reason: &str) {
        let path = String::from_utf8_lossy(&file.path);
        self.damage.get_or_insert_with(|| format!("{path:?}: {reason}; see what `store verify` says"));
    }

    fn file(
        &mut self,
        listed: &mut NewFile,
        chunks: &mut Vec<NewChunk>,
        mut cuts: Option<&mut Chunks>,
    ) -> io::Result<()> {
        let mut file = self.tree.open_file_beneath(&listed.path, Mounts::One)?;
        // A container that is just starting wants the memory for what it reads itself.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::NoReuse);
        let mut cutting = cuts.as_mut().map(|cuts| cuts.begin());
        let pace = &mut *self.pace;
        let found = tree::digest(&mut file, |bytes| {
            cutting.iter_mut().for_each(|cutting| cutting.feed(bytes));
            pace.rest()
        })?;
        match proof::compare(&file, listed, found, &*chunks, self.marked)? {
            Finding::Damaged(reason) => {
                self.damaged(listed, &reason);
                return Ok(());
            }
            Finding::Misnamed(digest) => listed.digest = digest,
            Finding::Right => {}
        }
        listed.proven = true;
        if let (Some(cuts), Some(cutting)) = (cuts, cutting) {
            cuts.end(cutting, &listed.path);
        }
        prove(&file, chunks)
    }
}

/// Leaves the chunks that the file has.
fn prove(file: &File, chunks: &mut Vec<NewChunk>) -> io::Result<()> {
    let mut failed = Ok(());
    chunks.retain_mut(|chunk| {
        if !chunk.proven && failed.is_ok() {
            match proof::holds(file, chunk) {
                Ok(holds) => chunk.proven = holds,
                Err(error) => failed = Err(error),
            }
            return chunk.proven || failed.is_err();
        }
        true
    });
    failed
}

#[cfg(test)]
mod tests;
