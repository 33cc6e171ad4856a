//! A second directory of a layer, for another context: directories are made again, everything else is a
//! hard link.
//!
//! Hard links are safe here: both trees are only ever lower directories, so nobody writes through either
//! name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use chunked_core::Digest;
use chunked_linux::{Dir, FileType, Step, Walk};

use crate::error::{StoreError, at};
use crate::layer::LayerPin;
use crate::rows::LayerRow;
use crate::staging::Staging;
use crate::store::{Inner, now};
use crate::usage::Usage;
use crate::{list, marker, publish};

/// Clones the layer of `row`, lets `settle` set the implied directories, and publishes the clone with this
/// context.
pub(crate) fn create(
    inner: &Arc<Inner>,
    row: &LayerRow,
    settle: impl FnOnce(&Path) -> Result<(), StoreError>,
    context: &Digest,
) -> Result<LayerPin, StoreError> {
    let staging = Staging::new(inner)?;
    let from = inner.layout.fs(row.id);
    let directories = clone_tree(&from, staging.fs())?;
    settle(staging.fs())?;
    let shared = Usage { bytes: row.bytes, inodes: row.inodes }.without(directories);
    let twin = LayerRow {
        id: staging.id(),
        context: Some(context.as_bytes().to_vec()),
        created: now(),
        shared,
        ..row.clone()
    };
    marker::write(staging.dir(), &twin, false)?;
    let (list, copy) = (inner.layout.snapshot(row.id).join(list::NAME), staging.dir().join(list::NAME));
    #[allow(
        clippy::disallowed_methods,
        reason = "a file of our own, in a directory that only root can enter"
    )]
    std::fs::copy(&list, &copy).map_err(at("copy", &list))?;
    tracing::info!(layer = row.id, twin = twin.id, diff_id = %row.diff_id, "layer cloned for other parents");
    let pin = publish::commit_twin(inner, staging, &twin)?;
    inner.index.take_in(&inner.layout, twin.id);
    Ok(pin)
}

/// Clones what is below `from` into the empty directory `to`, and `from`'s own metadata onto it. Gives what the
/// clone does not share: its directories.
fn clone_tree(from: &Path, to: &Path) -> Result<Usage, StoreError> {
    let source = Dir::open(from).map_err(at("open", from))?;
    let target = Dir::open(to).map_err(at("open", to))?;
    let mut own = Usage::default();
    clone_below(&source, &target, &mut own).map_err(at("clone", from))?;
    // Last, because filling a directory changes its times.
    target.copy_metadata(&source).map_err(at("set attributes of", to))?;
    own.count(&source.status().map_err(at("measure", from))?);
    Ok(own)
}

fn clone_below(source: &Dir, target: &Dir, own: &mut Usage) -> io::Result<()> {
    let mut walk = Walk::new(source)?;
    let mut here = target.open_dir(b"")?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Entry(FileType::Directory) => {
                own.count(&walk.stat()?);
                here.create_dir(walk.name())?;
                walk.enter()?;
                here = target.open_dir(walk.path())?;
            }
            Step::Entry(_) => here.link_from(walk.dir()?, walk.name(), walk.name())?,
            Step::Leave => {
                here.copy_metadata(&source.open_dir(walk.path())?)?;
                here = target.open_dir(walk.above())?;
            }
        }
    }
    Ok(())
}
