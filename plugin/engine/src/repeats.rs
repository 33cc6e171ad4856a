//! Files and pieces that repeat earlier ones of the same layer: made once, and promised to those that follow.

use std::collections::HashMap;
use std::hash::Hash;

use chunked_assemble::{Promise, Promised, promise};
use chunked_plan::{FileSource, PieceSource, Plan};

/// The promises of one layer.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    files: Promises<usize>,
    pieces: Promises<u32>,
}

#[derive(Debug)]
struct Promises<K>(HashMap<K, (Option<Promise>, Promised)>);

impl<K> Default for Promises<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Copy> Promises<K> {
    fn add(&mut self, first: K) {
        self.0.entry(first).or_insert_with(|| {
            let (promise, promised) = promise();
            (Some(promise), promised)
        });
    }

    /// The promise to keep; once.
    fn promise(&mut self, at: K) -> Option<Promise> {
        self.0.get_mut(&at)?.0.take()
    }

    /// What to wait for. `None` while nobody is on it yet: whoever waited now would hold up the one to make it.
    fn promised(&self, first: K) -> Option<Promised> {
        let (promise, promised) = self.0.get(&first)?;
        promise.is_none().then(|| promised.clone())
    }
}

impl Repeats {
    /// Those that `plan` relies on.
    pub(crate) fn of<D>(plan: &Plan<D>) -> Self {
        let mut repeats = Self::default();
        for source in &plan.sources {
            match source {
                FileSource::Repeat(first) => repeats.files.add(*first),
                FileSource::Pieces(pieces) => {
                    for piece in pieces {
                        if let PieceSource::Repeat(first) = piece {
                            repeats.pieces.add(*first);
                        }
                    }
                }
                FileSource::Fetch | FileSource::Donor(_) => {}
            }
        }
        repeats
    }

    /// The promise to keep when the file number `at` is complete.
    pub(crate) fn promise_file(&mut self, at: usize) -> Option<Promise> {
        self.files.promise(at)
    }

    /// The file number `first`, which must have been begun.
    pub(crate) fn file(&self, first: usize) -> Option<Promised> {
        self.files.promised(first)
    }

    /// The promise to keep when the piece number `at` is written.
    pub(crate) fn promise_piece(&mut self, at: u32) -> Option<Promise> {
        self.pieces.promise(at)
    }

    /// The piece number `first`, which must have been begun.
    pub(crate) fn piece(&self, first: u32) -> Option<Promised> {
        self.pieces.promised(first)
    }
}
