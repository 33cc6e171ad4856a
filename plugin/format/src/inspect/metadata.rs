//! Compares a TOC entry with its tar header, as the reference reader does before it pulls.

use crate::entry::TocEntry;
use crate::time::Time;

/// The first field in which `toc` and `tar` differ.
pub(super) fn difference(toc: &TocEntry, tar: &TocEntry) -> Option<&'static str> {
    let fields = [
        ("type", toc.kind == tar.kind),
        ("name", toc.name == tar.name),
        ("link target", toc.link_name == tar.link_name),
        ("mode", toc.mode == tar.mode),
        ("size", toc.size == tar.size),
        ("uid", toc.uid == tar.uid),
        ("gid", toc.gid == tar.gid),
        ("modification time", same_time(toc.modtime.as_deref(), tar.modtime.as_deref())),
        ("access time", same_time(toc.accesstime.as_deref(), tar.accesstime.as_deref())),
        ("change time", same_time(toc.changetime.as_deref(), tar.changetime.as_deref())),
        ("device", (toc.dev_major, toc.dev_minor) == (tar.dev_major, tar.dev_minor)),
        ("extended attributes", toc.xattrs == tar.xattrs),
    ];
    fields.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

/// No time, Go's zero time and 1970 are the same. A time that does not parse equals nothing.
fn same_time(a: Option<&str>, b: Option<&str>) -> bool {
    let read = |text: Option<&str>| match text {
        None => Some(Time::seconds(0)),
        Some(text) => {
            Time::from_rfc3339(text).map(|time| if time.is_go_zero() { Time::seconds(0) } else { time })
        }
    };
    read(a).is_some_and(|time| read(b) == Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_as_instants() {
        assert!(same_time(Some("2023-11-15T07:13:20+09:00"), Some("2023-11-14T22:13:20Z")));
        assert!(same_time(None, Some("1970-01-01T00:00:00Z")));
        assert!(same_time(Some("0001-01-01T00:00:00Z"), None));
        assert!(!same_time(None, Some("1970-01-01T00:00:00.5Z")));
        assert!(!same_time(Some("yesterday"), Some("yesterday")));
    }

    #[test]
    fn a_changed_field_is_named() {
        let entry =
            TocEntry { kind: "dir".to_owned(), name: "a".to_owned(), mode: 0o755, ..TocEntry::default() };
        assert_eq!(difference(&entry, &entry), None);
        assert_eq!(difference(&TocEntry { mode: 0o777, ..entry.clone() }, &entry), Some("mode"));
        assert_eq!(difference(&TocEntry { gid: 1, ..entry.clone() }, &entry), Some("gid"));
    }
}
