//! Which files a package manager installed, from its own database, read as files: no program is run.

#![allow(clippy::disallowed_methods, reason = "package databases of the host, which only root can write")]

mod aliases;
mod apk;
mod dpkg;
mod rpm;

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aliases::Aliases;

/// Longest file of a package database that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// The paths that packages own below some roots, as on the running system (starting with `/`).
#[derive(Debug, Default)]
pub(crate) struct Owned {
    paths: HashSet<Box<[u8]>>,
    /// Databases that were there and could be read.
    pub(crate) sources: Vec<String>,
}

/// Collects paths that lie below the roots.
struct Collector<'a> {
    aliases: Aliases,
    roots: Vec<&'a [u8]>,
    paths: HashSet<Box<[u8]>>,
}

impl Collector<'_> {
    /// Adds a path as the package lists it: absolute, or without the leading slash (apk).
    fn add(&mut self, listed: &[u8]) {
        let path = self.aliases.apply(listed);
        let below = |root: &[u8]| path.strip_prefix(root).is_some_and(|rest| rest.first() == Some(&b'/'));
        if self.roots.iter().any(|root| below(root)) {
            self.paths.insert(path.into_owned().into_boxed_slice());
        }
    }
}

impl Owned {
    /// Reads every package database found below `system`, keeping what lies below `roots`. A database that cannot
    /// be read owns nothing: its files are not indexed, which costs downloads only.
    pub(crate) fn read(system: &Path, roots: &[PathBuf]) -> Self {
        let roots = roots.iter().filter_map(|root| listed_name(system, root)).collect();
        let mut collector = Collector { aliases: Aliases::read(system), roots, paths: HashSet::new() };
        let mut sources = Vec::new();
        type Source = fn(&Path, &mut Collector<'_>) -> io::Result<bool>;
        let databases: [(&str, Source); 3] = [("dpkg", dpkg::read), ("rpm", rpm::read), ("apk", apk::read)];
        for (name, read) in databases {
            match read(system, &mut collector) {
                Ok(true) => sources.push(name.to_owned()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(database = name, %error, "package database is not used: files it would own are not indexed");
                }
            }
        }
        Self { paths: collector.paths, sources }
    }

    /// Is this file of the host, below `system`, listed by a package?
    pub(crate) fn contains(&self, system: &Path, path: &Path) -> bool {
        listed_name(system, path).is_some_and(|name| self.paths.contains(name))
    }

    /// How many paths below the roots packages own, some of them directories.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }
}

/// A path as packages list it: below `system`, with its leading slash.
fn listed_name<'a>(system: &Path, path: &'a Path) -> Option<&'a [u8]> {
    let prefix = system.as_os_str().as_bytes();
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    path.as_os_str().as_bytes().strip_prefix(prefix).filter(|rest| rest.first() == Some(&b'/'))
}

/// A file of a package database; `None` when there is none.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("{} is longer than {MAX_FILE} bytes", path.display())));
    }
    Ok(Some(bytes))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests;
