//! The file behind it: small, versioned, replaced as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Facts, MAX_NAME, MAX_ORIGINS};

/// Of this layout. A file of another version is ignored.
const VERSION: u32 = 1;
/// Longest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Serialize)]
struct Saved<'a> {
    version: u32,
    origins: &'a HashMap<String, Facts>,
}

#[derive(Deserialize)]
struct Loaded {
    version: u32,
    origins: HashMap<String, Facts>,
}

pub(super) fn read(path: &Path) -> HashMap<String, Facts> {
    match load(path) {
        Ok(origins) => origins,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was known about registries is lost, and learned again");
            HashMap::new()
        }
    }
}

fn load(path: &Path) -> io::Result<HashMap<String, Facts>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    let loaded: Loaded = serde_json::from_slice(&text)?;
    if loaded.version != VERSION {
        return Err(io::Error::other(format!("it has version {}", loaded.version)));
    }
    let sound = loaded.origins.into_iter().filter(|(name, _)| name.len() <= MAX_NAME);
    Ok(sound.take(MAX_ORIGINS).collect())
}

/// Writes, or says in the log why not.
pub(super) fn write(path: &Path, origins: &HashMap<String, Facts>) {
    let new = path.with_extension("new");
    let saved = serde_json::to_vec(&Saved { version: VERSION, origins });
    let done = saved.map_err(io::Error::other).and_then(|text| {
        std::fs::write(&new, text)?;
        std::fs::rename(&new, path)
    });
    if let Err(error) = done {
        tracing::debug!(path = %path.display(), %error, "what is known about registries was not written");
    }
}
