//! Do rows, directories, index and, if asked, every file's bytes still agree? Beside a running daemon, too: what
//! comes or goes while it looks is looked at again before it is called wrong.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chunked_linux::{Dir, Mounts};

use crate::damage;
use crate::error::{StoreError, at};
use crate::evict::Unused;
use crate::indexer::Pace;
use crate::layer::{LayerId, LayerPin, NewChunk, NewFile};
use crate::list::List;
use crate::looks;
use crate::mend::Repairer;
use crate::origins::LOCAL;
use crate::proof::{self, Finding};
use crate::rows;
use crate::store::{Inner, Store};
use crate::tree;

/// A directory without a row may be one that a Prepare is just making; its row comes within this time.
const MAKING: Duration = Duration::from_secs(10);

/// What becomes of a damaged layer that is in use.
const OUTLAW: &str = "no pull reuses it, but containerd itself gives the snapshots on it to other images of the same namespace: \
                      remove the images and containers that use it, and pull again";

/// What to verify.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Read every listed file and compare its digest. Otherwise only its being there is checked.
    pub contents: bool,
    /// Put right what can be: rows of the index, rows of layers nobody uses, damaged layers nobody uses. Damaged ones in
    /// use are never reused or adopted again.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The layer's or snapshot's directory number.
    pub id: u64,
    /// The layer's DiffID, or the snapshot's name.
    pub what: String,
    /// What is wrong with it, and what to do if it was not repaired.
    pub text: String,
    /// It is right now.
    pub repaired: bool,
}

/// How far a verification is, or was at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Layers looked at, snapshots that containerd committed itself included.
    pub layers: u64,
    /// Files looked at.
    pub files: u64,
    /// Bytes read and compared.
    pub bytes: u64,
    /// Problems found.
    pub problems: u64,
    /// Problems that were repaired.
    pub repaired: u64,
}

/// Told of what a verification finds. Ends it by returning false.
pub trait Watch {
    /// Called after each layer, and now and then within one.
    fn progress(&mut self, so_far: &Verified) -> bool;
    /// Called for each problem.
    fn problem(&mut self, problem: &Problem) -> bool;
    /// Called whenever so many bytes were read. May rest.
    fn read(&mut self, bytes: u64) {
        let _ = bytes;
    }
}

impl Store {
    /// Looks at everything. Takes no lock that others wait for.
    ///
    /// # Errors
    /// When the database or the disk cannot be read at all; what is merely wrong is told to `watch`.
    pub fn verify(&self, options: VerifyOptions, watch: &mut dyn Watch) -> Result<Verified, StoreError> {
        self.verify_with(options, watch, None)
    }

    /// The same; with `options.repair`, damaged layers in use are pulled again by `repairer` and mended in place.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub fn verify_with<'a>(
        &'a self,
        options: VerifyOptions,
        watch: &'a mut dyn Watch,
        repairer: Option<&'a mut (dyn Repairer + 'a)>,
    ) -> Result<Verified, StoreError> {
        let (so_far, told) = (Verified::default(), HashSet::new());
        let mut run = Run { inner: &self.inner, options, watch, repairer, so_far, told };
        match run.all() {
            Ok(()) | Err(Stop::Asked) => Ok(run.so_far),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

enum Stop {
    Asked,
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

struct Run<'a> {
    inner: &'a Arc<Inner>,
    options: VerifyOptions,
    watch: &'a mut dyn Watch,
    repairer: Option<&'a mut (dyn Repairer + 'a)>,
    so_far: Verified,
    /// Layers that were reported as damaged.
    told: HashSet<u64>,
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Stop> {
        self.snapshots()?;
        self.directories()?;
        self.index_rows()?;
        let mut ids: Vec<u64> = self.inner.layers.read().keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            // Nobody deletes it while we look. Gone already: nothing to say.
            let pin = {
                let mut pins = self.inner.pins.lock();
                let here = self.inner.layers.read().contains_key(&id);
                here.then(|| LayerPin::new(self.inner, &mut pins, LayerId(id)))
            };
            if let Some(pin) = pin {
                let damaged = self.layer(id)?;
                drop(pin);
                if let Some(damage) = damaged {
                    self.damaged(id, &damage)?;
                }
                self.so_far.layers += 1;
                self.tell_progress()?;
            }
        }
        self.outlawed()
    }

    /// What was found damaged earlier and is still there.
    fn outlawed(&mut self) -> Result<(), Stop> {
        let found: Vec<u64> = self.inner.database.read(damage::all)?;
        for id in found.into_iter().filter(|id| !self.told.contains(id)).collect::<Vec<_>>() {
            let what = self.name(id)?;
            if self.options.repair && self.inner.drop_layer(id)? {
                self.problem(
                    id,
                    what,
                    "it was found damaged; nobody used it any more, it is gone now".into(),
                    true,
                )?;
            } else if self.options.repair
                && let Some(Ok(files)) = self.mend(id)?
            {
                let text = format!("it was found damaged; pulled again, {files} files were put in place");
                self.problem(id, what, text, true)?;
            } else {
                if self.options.repair {
                    self.inner.outlaw(id)?;
                }
                self.problem(id, what, format!("it was found damaged; {OUTLAW}"), false)?;
            }
        }
        Ok(())
    }

    /// Every row's parent, layer and directory is there.
    fn snapshots(&mut self) -> Result<(), Stop> {
        let lost: Vec<(u64, String, String)> = self.inner.database.read(|db| {
            let mut statement = db.prepare(
                "SELECT id, name, 'its parent ' || parent || ' is not there' FROM snapshots s \
                 WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots p WHERE p.name = s.parent AND p.kind = 3) \
                 UNION ALL \
                 SELECT id, name, 'its layer ' || layer || ' is not there' FROM snapshots s \
                 WHERE layer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM layers l WHERE l.id = s.layer)",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        for (id, name, text) in lost {
            self.problem(id, name, format!("{text}; remove it and pull its image again"), false)?;
        }
        let dirs: Vec<(u64, String)> = self.inner.database.read(|db| {
            let mut statement = db.prepare("SELECT dir, name FROM snapshots")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        for (dir, name) in dirs {
            let gone = !self.inner.layout.fs(dir).is_dir();
            if gone && self.inner.database.read(|db| Ok(crate::snapshot::find(db, &name)?.is_some()))? {
                let text =
                    "its directory is missing: remove the images and containers that use it, and pull again";
                self.problem(dir, name, text.into(), false)?;
            }
        }
        Ok(())
    }

    /// Every layer's row has a directory, every directory a row.
    fn directories(&mut self) -> Result<(), Stop> {
        let path = self.inner.layout.snapshots();
        let mut there = HashSet::new();
        for entry in std::fs::read_dir(&path).map_err(at("list", &path))? {
            let name = entry.map_err(at("list", &path))?.file_name();
            match name.to_str().and_then(|name| name.parse::<u64>().ok()) {
                Some(id) => drop(there.insert(id)),
                None => {
                    self.problem(0, name.to_string_lossy().into(), "does not belong here".into(), false)?;
                }
            }
        }
        let rows = self.inner.database.read(|db| {
            let mut statement = db.prepare("SELECT id FROM layers UNION SELECT dir FROM snapshots")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<HashSet<u64>, _>>()?)
        })?;
        for id in there.difference(&rows) {
            let dir = self.inner.layout.snapshot(*id);
            let young = dir
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|time| time.elapsed().unwrap_or_default() < MAKING);
            if matches!(young, Ok(false)) {
                let text = "a directory without a row: the daemon's next start takes care of it";
                self.problem(*id, dir.display().to_string(), text.into(), false)?;
            }
        }
        let layers = self.inner.database.read(rows::all_origins)?;
        for (id, _) in layers.iter().filter(|(id, _)| !there.contains(id)) {
            self.lost_layer(*id)?;
        }
        Ok(())
    }

    fn lost_layer(&mut self, id: u64) -> Result<(), Stop> {
        // Dropped or just made meanwhile?
        let Some(row) = self.inner.database.read(|db| rows::layer(db, id))? else { return Ok(()) };
        if self.inner.layout.snapshot(id).exists() {
            return Ok(());
        }
        let what = row.diff_id.to_string();
        if self.options.repair && self.inner.drop_layer(id)? {
            return self.problem(id, what, "its directory was missing; its row is gone now".into(), true);
        }
        self.problem(id, what, "the layer's directory is missing; pull its image again".into(), false)
    }

    /// The index has no rows of layers that are gone, and lacks no layer.
    fn index_rows(&mut self) -> Result<(), Stop> {
        let known = Arc::clone(&self.inner.layers.read());
        for (id, rows) in self.inner.index.strays() {
            // On its way out, or in.
            if known.contains_key(&id) || self.inner.layout.trash().join(id.to_string()).exists() {
                continue;
            }
            if self.options.repair {
                self.inner.index.remove(id, &self.inner.layout.trash());
            }
            let text = format!("{rows} rows of the index are of a layer that is gone");
            self.problem(id, "index".into(), text, self.options.repair)?;
        }
        Ok(())
    }

    /// One layer's list, files and index rows. Gives what is wrong with its files.
    fn layer(&mut self, id: u64) -> Result<Option<String>, Stop> {
        let local = self.is_local(id);
        let dir = self.inner.layout.snapshot(id);
        let list = match List::read(&dir) {
            Ok(list) => list,
            // Not hashed yet: the indexer comes to it.
            Err(error) if local && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Reported with the rows.
            Err(_) if !dir.exists() => return Ok(None),
            Err(error) => return Ok(Some(format!("its list of files: {error}"))),
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
            Err(error) => return Ok(Some(format!("its tree: {error}"))),
        };
        if let Some(damage) = self.files(id, &list, &tree)? {
            return Ok(Some(damage));
        }
        self.looks(id)
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

    /// Compares a layer's files with its list. Gives what is wrong with them.
    fn files(&mut self, id: u64, list: &List, tree: &Dir) -> Result<Option<String>, Stop> {
        let (files, chunks) = list.contents();
        let mut of_file: HashMap<&[u8], Vec<&NewChunk>> = HashMap::new();
        for chunk in &chunks {
            of_file.entry(&chunk.path).or_default().push(chunk);
        }
        let mut misnamed = false;
        for file in &files {
            self.so_far.files += 1;
            if self.so_far.files.is_multiple_of(1024) {
                self.tell_progress()?;
            }
            let chunks = of_file.get(file.path.as_slice()).into_iter().flatten().copied();
            let damage = match self.file(tree, file, chunks, list.is_marked()) {
                Ok(Finding::Right) => continue,
                Ok(Finding::Misnamed(_)) => {
                    misnamed = true;
                    continue;
                }
                Ok(Finding::Damaged(reason)) => reason,
                Err(error) => error.to_string(),
            };
            return Ok(Some(format!("{:?}: {damage}", String::from_utf8_lossy(&file.path))));
        }
        if misnamed && self.options.repair {
            // The layer is what its DiffID says; what a TOC said of it was not true.
            if let Err(error) = self.inner.examine(id, &mut Pace::full()) {
                tracing::warn!(layer = id, %error, "digests that its TOC named wrongly stay in its list");
            }
        }
        Ok(None)
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

    /// A layer with wrong files is no donor any more, and goes if nobody uses it.
    fn damaged(&mut self, id: u64, damage: &str) -> Result<(), Stop> {
        let what = self.name(id)?;
        self.told.insert(id);
        if self.options.repair {
            if self.is_local(id) {
                // Its list is what is wrong: nobody promised what is in such a snapshot.
                let _ = std::fs::remove_file(self.inner.layout.snapshot(id).join(crate::list::NAME));
                self.inner.index.remove(id, &self.inner.layout.trash());
                self.inner.indexing.work();
                return self.problem(id, what, format!("{damage}; it will be listed anew"), true);
            }
            if self.inner.drop_layer(id)? {
                return self.problem(
                    id,
                    what,
                    format!("{damage}; nobody used the layer, it is gone now"),
                    true,
                );
            }
            let mended = self.mend(id)?;
            if let Some(Ok(files)) = mended {
                let text = format!("{damage}; pulled again, {files} files were put in place");
                return self.problem(id, what, text, true);
            }
            self.inner.outlaw(id)?;
            let why =
                mended.and_then(Result::err).map(|reason| format!("; it cannot be pulled again ({reason})"));
            let text = format!("{damage}{}; {OUTLAW}", why.unwrap_or_default());
            return self.problem(id, what, text, false);
        }
        let text = format!(
            "{damage}; run this with --repair, so that no pull reuses it, remove the images and containers that use it, and \
             pull again"
        );
        self.problem(id, what, text, false)
    }

    /// Mends a layer in use, if somebody can pull it again, and looks at it once more.
    fn mend(&mut self, id: u64) -> Result<Option<Result<u64, String>>, Stop> {
        let Some(repairer) = self.repairer.as_deref_mut() else { return Ok(None) };
        let files = match self.inner.mend(id, repairer)? {
            Ok(files) => files,
            Err(reason) => return Ok(Some(Err(reason))),
        };
        // What is not in its files is not mended.
        Ok(Some(match self.layer(id)? {
            None => Ok(files),
            Some(damage) => Err(format!("its files are right now, but {damage}")),
        }))
    }

    fn is_local(&self, id: u64) -> bool {
        self.inner.layers.read().get(&id).is_some_and(|of| of.iter().any(|origin| origin == LOCAL))
    }

    fn name(&self, id: u64) -> Result<String, StoreError> {
        let row = self.inner.database.read(|db| rows::layer(db, id))?;
        Ok(row.map_or_else(|| format!("snapshot {id}"), |row| row.diff_id.to_string()))
    }

    fn problem(&mut self, id: u64, what: String, text: String, repaired: bool) -> Result<(), Stop> {
        self.so_far.problems += 1;
        self.so_far.repaired += u64::from(repaired);
        let problem = Problem { id, what, text, repaired };
        if self.watch.problem(&problem) { Ok(()) } else { Err(Stop::Asked) }
    }

    fn tell_progress(&mut self) -> Result<(), Stop> {
        if self.watch.progress(&self.so_far) { Ok(()) } else { Err(Stop::Asked) }
    }
}

impl Inner {
    /// Drops a layer's row and directory if no snapshot uses it and nobody has it pinned.
    pub(crate) fn drop_layer(&self, id: u64) -> Result<bool, StoreError> {
        let unused = self.unused()?.into_iter().find(|layer: &Unused| layer.id == id);
        let Some(unused) = unused else { return Ok(false) };
        let dropped = self.drop_rows(&[unused])?.contains(&id);
        if dropped {
            self.index.remove_known(id, &self.layout.snapshot(id));
            self.bury(id);
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests;
