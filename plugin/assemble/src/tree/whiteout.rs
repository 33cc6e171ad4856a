//! What the name of an entry means: OCI whiteouts (image-spec, layer.md). Pure: no I/O.

use crate::tree::model::TreeError;

/// What a name means to the unpack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// The entry's directory hides everything that lower layers have there.
    Opaque,
    /// The file or directory of this name is hidden.
    Whiteout(&'a [u8]),
    /// The name itself.
    Plain,
    /// AUFS keeps its own files under such names (`.wh..wh.plnk`, `.wh..wh.aufs`); they are no part of an image.
    Nothing,
}

/// What `name`, a single component, means.
///
/// # Errors
/// [`TreeError::Whiteout`] for a whiteout of "", "." or "..", which could hide nothing.
pub(crate) fn meaning(name: &[u8]) -> Result<Meaning<'_>, TreeError> {
    if name == b".wh..wh..opq" {
        return Ok(Meaning::Opaque);
    }
    match name.strip_prefix(b".wh.") {
        Some(own) if own.starts_with(b".wh.") => Ok(Meaning::Nothing),
        Some(b"" | b"." | b"..") => Err(TreeError::Whiteout),
        Some(hidden) => Ok(Meaning::Whiteout(hidden)),
        None => Ok(Meaning::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            (&b"a"[..], Ok(Meaning::Plain)),
            (b".wh", Ok(Meaning::Plain)),
            (b"a.wh.b", Ok(Meaning::Plain)),
            (b".wh.a", Ok(Meaning::Whiteout(b"a"))),
            (b".wh..a", Ok(Meaning::Whiteout(b".a"))),
            (b".wh..wh..opq", Ok(Meaning::Opaque)),
            (b".wh..wh.opq", Ok(Meaning::Nothing)),
            (b".wh..wh.plnk", Ok(Meaning::Nothing)),
            (b".wh.", Err(TreeError::Whiteout)),
            (b".wh..", Err(TreeError::Whiteout)),
            (b".wh...", Err(TreeError::Whiteout)),
        ] {
            assert_eq!(meaning(name), expected, "{}", String::from_utf8_lossy(name));
        }
    }
}
