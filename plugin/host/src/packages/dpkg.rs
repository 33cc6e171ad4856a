//! dpkg: `info/PACKAGE[:ARCH].list` has one path on each line (dpkg-query(1), "--listfiles"); `diversions` says
//! which of them lie elsewhere (dpkg-divert(1)).

#![allow(clippy::disallowed_methods, reason = "package databases of the host, which only root can write")]

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Collector, lines, read_file};

/// Where a path went, and the package that has it in its place; `None`: the administrator.
type Diversions = HashMap<Vec<u8>, (Vec<u8>, Option<Vec<u8>>)>;

pub(super) fn read(system: &Path, collector: &mut Collector<'_>) -> io::Result<bool> {
    let admin = system.join("var/lib/dpkg");
    let entries = match std::fs::read_dir(admin.join("info")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    let diversions = parse_diversions(&read_file(&admin.join("diversions"))?.unwrap_or_default());
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(package) = name.as_bytes().strip_suffix(b".list") else { continue };
        // A package that is being removed now may be gone.
        if let Some(list) = read_file(&entry.path())? {
            parse_list(&list, package, &diversions, |path| collector.add(path));
        }
    }
    Ok(true)
}

/// Three lines for each diversion: from, to, package or `:`.
fn parse_diversions(bytes: &[u8]) -> Diversions {
    let mut all = lines(bytes);
    let mut diversions = HashMap::new();
    while let (Some(from), Some(to), Some(package)) = (all.next(), all.next(), all.next()) {
        let package = (package != b":").then(|| package.to_vec());
        diversions.insert(from.to_vec(), (to.to_vec(), package));
    }
    diversions
}

/// Calls `add` for every path of a package's list that may be a file.
fn parse_list(list: &[u8], package: &[u8], diversions: &Diversions, mut add: impl FnMut(&[u8])) {
    let name = package.split(|b| *b == b':').next().unwrap_or_default();
    let mut all = lines(list).filter(|line| line.first() == Some(&b'/')).peekable();
    while let Some(path) = all.next() {
        // A directory comes right before what is in it: no need to keep it.
        let is_directory = all
            .peek()
            .is_some_and(|next| next.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/')));
        if is_directory {
            continue;
        }
        match diversions.get(path) {
            Some((to, by)) if by.as_deref() != Some(name) => add(to),
            _ => add(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(list: &str, package: &str, diversions: &str) -> Vec<String> {
        let mut found = Vec::new();
        let diversions = parse_diversions(diversions.as_bytes());
        parse_list(list.as_bytes(), package.as_bytes(), &diversions, |path| {
            found.push(String::from_utf8_lossy(path).into_owned());
        });
        found
    }

    #[test]
    fn lists_without_their_directories() {
        let list = "/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/bin/ab\n/usr/empty\n\nnot absolute\n/bin/sh";
        assert_eq!(listed(list, "x", ""), ["/.", "/usr/bin/a", "/usr/bin/ab", "/usr/empty", "/bin/sh"]);
    }

    #[test]
    fn diverted_files_lie_elsewhere() {
        let diversions = "/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/x\n/usr/bin/x.real\n:\n/half\n";
        assert_eq!(listed("/bin/sh\n", "bash", diversions), ["/bin/sh.distrib"]);
        assert_eq!(listed("/bin/sh\n", "dash", diversions), ["/bin/sh"]);
        assert_eq!(listed("/bin/sh\n", "dash:amd64", diversions), ["/bin/sh"]);
        assert_eq!(listed("/usr/bin/x\n", "y", diversions), ["/usr/bin/x.real"], "a local diversion");
    }
}
