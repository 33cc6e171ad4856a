//! Links, moves and removals that make the disk what the model says, done by workers, many at a time.

use std::sync::Arc;

use chunked_linux::Dir;

use crate::error::AssembleError;
use crate::work::dispatcher::Dispatcher;
use crate::work::progress::Progress;

/// Steps that a worker takes at once, and batches that are handed on before they are waited for: each step holds up to two
/// directories open.
const BATCH: usize = 64;
const BATCHES: usize = 4;
/// Directories that are open, one in the other, while something is removed in steps.
const DEEP: usize = 16;

/// A step on the disk. Its directories are open: they may be moved meanwhile.
#[derive(Debug)]
pub(crate) enum OnDisk {
    /// `new` in `to` becomes a hard link to `name` in `from`.
    Link { from: Arc<Dir>, name: Vec<u8>, to: Arc<Dir>, new: Vec<u8> },
    /// `name` in `from` becomes `new` in `to`. `clear`: what lies there is removed before; else it is no directory.
    Move { from: Arc<Dir>, name: Vec<u8>, to: Arc<Dir>, new: Vec<u8>, clear: bool },
    /// `name` in `dir` is removed, with all below it.
    Remove { dir: Arc<Dir>, name: Vec<u8> },
}

impl OnDisk {
    /// Takes the step, unless the layer was given up.
    pub(crate) fn take(&self, progress: &Progress) -> Result<(), AssembleError> {
        match self {
            Self::Link { from, name, to, new } => {
                to.link_from(from, name, new).map_err(AssembleError::io(new, "creating the hard link"))
            }
            Self::Move { from, name, to, new, clear } => {
                if *clear {
                    remove(to, new, DEEP, progress)?;
                }
                let moved = from.rename_into(name, to, new);
                moved.map_err(AssembleError::io(new, "moving it to its place"))
            }
            Self::Remove { dir, name } => remove(dir, name, DEEP, progress),
        }
    }
}

/// Removes `name` with all below it; looks on the way whether that is still worth it, so many directories deep.
fn remove(dir: &Dir, name: &[u8], deep: usize, progress: &Progress) -> Result<(), AssembleError> {
    if progress.has_failed() {
        return Err(AssembleError::Cancelled);
    }
    let io = || AssembleError::io(name, "removing what an entry replaced");
    // Else it is no directory, or nothing.
    if deep > 0
        && let Ok(below) = dir.open_dir(name)
    {
        for child in below.names().map_err(io())? {
            remove(&below, &child, deep - 1, progress)?;
        }
    }
    dir.remove_all(name).map_err(io())
}

/// Steps on their way to the workers.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    work: &'a mut Dispatcher,
    steps: Vec<OnDisk>,
    running: usize,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(work: &'a mut Dispatcher) -> Self {
        Self { work, steps: Vec::new(), running: 0 }
    }

    pub(crate) fn progress(&self) -> &Progress {
        self.work.progress()
    }

    pub(crate) fn add(&mut self, step: OnDisk) -> Result<(), AssembleError> {
        self.steps.push(step);
        if self.steps.len() < BATCH {
            return self.work.check();
        }
        self.hand_on()
    }

    fn hand_on(&mut self) -> Result<(), AssembleError> {
        let (steps, progress) = (std::mem::take(&mut self.steps), Arc::clone(self.work.progress()));
        self.work.run(Vec::new(), move || {
            let wanted = |_: &&OnDisk| !progress.has_failed();
            steps.iter().take_while(wanted).try_for_each(|step| step.take(&progress))
        });
        self.running += 1;
        if self.running == BATCHES {
            self.running = 0;
            return self.work.barrier();
        }
        self.work.check()
    }

    /// Waits until all steps are taken.
    pub(crate) fn finish(mut self) -> Result<(), AssembleError> {
        self.hand_on()?;
        self.work.barrier()
    }
}
