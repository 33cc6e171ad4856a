//! Paths that other programs see.

use std::path::{Component, Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Longest path of a unix socket: `sockaddr_un` has 108 bytes with a closing zero.
pub(super) const MAX_SOCKET: usize = 107;
/// Longest root: an overlay mount's options must fit one page with up to 128 layers.
const MAX_ROOT: usize = 128;

/// `text`, if it is an absolute path without `.` and `..`, with single slashes and none at its end; else what is
/// wrong with it.
pub(super) fn checked(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') {
        return Err(format!("{text:?} is not an absolute path without \"..\""));
    }
    Ok(path.components().collect())
}

/// An absolute path without `.` and `..`.
fn absolute<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    checked(&text).map_err(D::Error::custom)?;
    Ok(text)
}

pub(super) fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    checked_socket(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// As [`checked`], and no longer than a socket's path may be.
pub(super) fn checked_socket(text: &str) -> Result<PathBuf, String> {
    checked(text)?;
    if text.len() > MAX_SOCKET {
        return Err(format!("{text:?} is longer than a socket's path may be, {MAX_SOCKET} bytes"));
    }
    Ok(text.into())
}

pub(super) fn root<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let text = absolute(from)?;
    if text.trim_matches('/').is_empty() {
        return Err(D::Error::custom("the root directory of the host cannot be ours"));
    }
    if text.len() > MAX_ROOT {
        return Err(D::Error::custom(format!(
            "{text:?} is longer than {MAX_ROOT} bytes, too long for mount options"
        )));
    }
    if text.contains([':', ',', '\\', '"']) || text.contains(char::is_whitespace) {
        let text =
            format!("{text:?} has a character that mount options cannot hold (: , \\ \" or white space)");
        return Err(D::Error::custom(text));
    }
    Ok(text.into())
}
