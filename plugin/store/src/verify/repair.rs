//! What becomes of layers that are not what was committed.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use super::layer::Damage;
use super::{Run, Stop};
use crate::error::StoreError;
use crate::evict::Unused;
use crate::store::Inner;
use crate::{damage, list};

/// What becomes of a damaged layer that is in use.
const OUTLAW: &str = "no pull reuses it, but containerd itself gives the snapshots on it to other images of the same namespace: \
                      remove the images and containers that use it, and pull again";

impl Run<'_> {
    /// A layer with wrong files is no donor any more, and goes if nobody uses it.
    pub(super) fn damaged(&mut self, id: u64, damage: &Damage) -> Result<(), Stop> {
        let what = self.name(id)?;
        self.told.insert(id);
        if self.options.repair {
            if self.is_local(id) {
                // Its list is what is wrong: nobody promised what is in such a snapshot.
                let _ = std::fs::remove_file(self.inner.layout.snapshot(id).join(list::NAME));
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

    /// What was found damaged earlier and is still there.
    pub(super) fn outlawed(&mut self) -> Result<(), Stop> {
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
