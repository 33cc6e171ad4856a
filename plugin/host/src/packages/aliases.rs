//! Merged `/usr`: packages list `/lib/x` where the file is `/usr/lib/x`.

#![allow(clippy::disallowed_methods, reason = "package databases of the host, which only root can write")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Names in the root directory that are links into `/usr`, with the directory they lead to.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<Vec<u8>, Vec<u8>>);

impl Aliases {
    pub(super) fn read(system: &Path) -> Self {
        let mut aliases = HashMap::new();
        let Ok(entries) = std::fs::read_dir(system) else { return Self::default() };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            if let Ok(target) = std::fs::read_link(entry.path()) {
                let target = target.into_os_string().into_vec();
                if let Some(target) = below_usr(&target) {
                    aliases.insert(entry.file_name().as_bytes().to_vec(), target);
                }
            }
        }
        Self(aliases)
    }

    /// The path on the running system of a listed one.
    pub(super) fn apply<'a>(&self, listed: &'a [u8]) -> Cow<'a, [u8]> {
        let bare = listed.strip_prefix(b"/").unwrap_or(listed);
        let top = bare.split(|b| *b == b'/').next().unwrap_or_default();
        if let Some(target) = self.0.get(top) {
            return Cow::Owned([target.as_slice(), &bare[top.len()..]].concat());
        }
        if bare.len() == listed.len() { Cow::Owned([b"/", bare].concat()) } else { Cow::Borrowed(listed) }
    }
}

/// `/usr/…` for a link target `usr/…` or `/usr/…` in the root directory.
fn below_usr(target: &[u8]) -> Option<Vec<u8>> {
    let bare = target.strip_prefix(b"/").unwrap_or(target);
    let bare = bare.strip_suffix(b"/").unwrap_or(bare);
    let plain = bare.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    (bare.starts_with(b"usr/") && plain).then(|| [b"/", bare].concat())
}
