//! `[store]`: how long layers are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value;

/// Keeping layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// How long a layer is kept after its last use when no snapshot points at it: up to 365 days. Until then it
    /// serves as a source of files, and is there at once when its image is pulled again.
    #[serde(
        deserialize_with = "value::duration::<0, 31_536_000_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub unused_grace: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self { unused_grace: Duration::from_secs(600) }
    }
}
