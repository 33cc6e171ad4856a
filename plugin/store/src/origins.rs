//! From which registries a layer came, and which of them a look-up may use: a registry must not learn from what
//! is fetched which files of another one's images are here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chunked_core::Digest;

use crate::error::StoreError;
use crate::layer::LayerId;
use crate::rows;
use crate::store::Inner;

/// Registries noted for one layer, at most; more than a node has.
const MAX: usize = 64;
/// Longest name of one, in bytes (RFC 1035: 253, and a port).
const MAX_NAME: usize = 259;

/// The origin of layers that containerd committed itself; no registry can have this name.
pub const LOCAL: &str = "(local)";

/// Layers that are here, each with the registries it came from.
pub(crate) type Known = HashMap<u64, Vec<String>>;

/// Which layers a look-up may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All, also those that containerd committed itself or whose origin is not known.
    Any,
    /// Those that came from one of these registries (host or host:port).
    Only(BTreeSet<String>),
}

impl Origins {
    pub(crate) fn allow(&self, origins: &[String]) -> bool {
        match self {
            Self::Any => true,
            Self::Only(allowed) => origins.iter().any(|origin| allowed.contains(origin)),
        }
    }
}

/// The layers that were here at some moment, seen through a filter.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    pub(crate) known: Arc<Known>,
    pub(crate) origins: &'a Origins,
}

impl Allowed<'_> {
    pub(crate) fn contains(&self, layer: u64) -> bool {
        self.known.get(&layer).is_some_and(|of| self.origins.allow(of))
    }
}

impl Allowed<'_> {
    /// True for a snapshot that containerd committed itself.
    pub(crate) fn is_local(&self, layer: u64) -> bool {
        self.known.get(&layer).is_some_and(|of| of.iter().any(|origin| origin == LOCAL))
    }
}

impl Inner {
    /// The layers that may be used.
    pub(crate) fn layers_of<'a>(&self, origins: &'a Origins) -> Allowed<'a> {
        Allowed { known: Arc::clone(&self.layers.read()), origins }
    }

    /// Notes an origin for every directory of the layer's DiffID.
    pub(crate) fn add_origin(&self, layer: LayerId, origin: &str) -> Result<(), StoreError> {
        check(origin)?;
        let noted = |of: &[String]| of.iter().any(|known| known == origin);
        if self.layers.read().get(&layer.get()).is_none_or(|of| noted(of) || of.len() >= MAX) {
            return Ok(());
        }
        let changed = self.database.write(|db| {
            let Some(row) = rows::layer(db, layer.get())? else { return Ok(Vec::new()) };
            let diff_id: Digest = row.diff_id;
            let mut changed = rows::layers_with(db, &diff_id)?;
            changed.retain(|row| !noted(&row.origins) && row.origins.len() < MAX);
            for row in &mut changed {
                row.origins.push(origin.to_owned());
                rows::set_origins(db, row.id, &row.origins)?;
            }
            Ok(changed)
        })?;
        let mut known = self.layers.write();
        let known = Arc::make_mut(&mut known);
        for row in changed {
            if let Some(of) = known.get_mut(&row.id) {
                *of = row.origins;
            }
        }
        Ok(())
    }
}

/// Refuses what is not a registry's name. Names are stored side by side with spaces between.
pub(crate) fn check(origin: &str) -> Result<(), StoreError> {
    if origin.is_empty()
        || origin.len() > MAX_NAME
        || origin.contains(|c: char| c.is_ascii_whitespace() || c.is_control() || c == '(')
    {
        return Err(StoreError::Invalid(format!("{origin:?} is not the name of a registry")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
