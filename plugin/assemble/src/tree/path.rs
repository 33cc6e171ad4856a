//! Tar names to components, as Go's `filepath.Clean` reads them.

/// The components of `name` after cleaning: empty and `.` parts dropped, `..` applied lexically and never above
/// the root. An empty list is the root itself.
pub(crate) fn clean(name: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// The parts of `name` that say something: all but empty ones and `.`.
pub(crate) fn parts(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// `components` joined with slashes.
pub(crate) fn join<'a>(components: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    for component in components {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    path
}

/// The directory and the name of `path`, which has no leading slash; a single name is in the directory "".
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Can a file have this name?
pub(crate) fn is_component(name: &[u8]) -> bool {
    name.len() <= 255 && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (name, expected) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/a", "a"),
            ("", ""),
            (".", ""),
            ("..", ""),
            ("../../a", "a"),
            ("a/../b", "b"),
            ("a/../../../b/.", "b"),
        ] {
            assert_eq!(join(clean(name.as_bytes())), expected.as_bytes(), "{name}");
        }
    }
}
