//! Do rows, directories, index and, if asked, every file's bytes still agree? Beside a running daemon, too: what
//! comes or goes while it looks is looked at again before it is called wrong.

//!
//! `rows` compares rows, directories and the index; `layer` reads the files of one layer; `repair` says what becomes of
//! those that are wrong.

mod layer;
mod repair;
mod rows;

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::StoreError;
use crate::layer::{LayerId, LayerPin};
use crate::mend::Repairer;
use crate::origins::LOCAL;
use crate::store::{Inner, Store};

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

    fn is_local(&self, id: u64) -> bool {
        self.inner.layers.read().get(&id).is_some_and(|of| of.iter().any(|origin| origin == LOCAL))
    }

    fn name(&self, id: u64) -> Result<String, StoreError> {
        let row = self.inner.database.read(|db| crate::rows::layer(db, id))?;
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

#[cfg(test)]
mod tests;
