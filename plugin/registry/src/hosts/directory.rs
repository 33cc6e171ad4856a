//! Which directory of `certs.d` is for a host: containerd's rules.

use std::io;
use std::path::{Path, PathBuf};

/// The directory for `host` (with its port, if it has one) in the first of `roots` that has one: `HOST_PORT_`,
/// `HOST:PORT`, then `_default`. `None` when nothing is configured. Blocks on the disk.
///
/// # Errors
///
/// When it cannot be told whether a directory is there, with the path.
pub(crate) fn find(roots: &[PathBuf], host: &str) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    for path in roots.iter().flat_map(|root| candidates(root, host)) {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => return Ok(Some(path)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(None)
}

fn candidates(root: &Path, host: &str) -> Vec<PathBuf> {
    let mut names = Vec::new();
    // A reference's host has no slash; one made by hand must not lead out of the directory.
    if !host.is_empty() && !host.contains('/') && host != "." && host != ".." {
        if let Some((name, port)) = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()) {
            names.push(format!("{name}_{port}_"));
        }
        names.push(host.to_owned());
    }
    names.push("_default".to_owned());
    names.into_iter().map(|name| root.join(name)).collect()
}

/// Hosts with a port that have a directory of their own: what containerd's labels lose.
pub(crate) fn hosts_with_port(roots: &[PathBuf]) -> Vec<String> {
    let mut hosts: Vec<String> = roots
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| host_with_port(entry.ok()?.file_name().to_str()?))
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn host_with_port(name: &str) -> Option<String> {
    let (host, port) = match name.strip_suffix('_') {
        Some(rest) => rest.rsplit_once('_')?,
        None => name.rsplit_once(':')?,
    };
    let right = !host.is_empty() && port.parse::<u16>().is_ok();
    right.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_directory_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let roots = vec![root.path().join("missing"), root.path().to_path_buf()];
        let found = |host: &str| {
            find(&roots, host).unwrap().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(found("r.example"), None);
        std::fs::create_dir(root.path().join("_default")).unwrap();
        assert_eq!(found("r.example:5000").as_deref(), Some("_default"));
        std::fs::create_dir(root.path().join("r.example")).unwrap();
        assert_eq!(found("r.example").as_deref(), Some("r.example"));
        assert_eq!(found("r.example:5000").as_deref(), Some("_default"), "the port belongs to the host");
        std::fs::create_dir(root.path().join("r.example:5000")).unwrap();
        assert_eq!(found("r.example:5000").as_deref(), Some("r.example:5000"));
        std::fs::create_dir(root.path().join("r.example_5000_")).unwrap();
        assert_eq!(found("r.example:5000").as_deref(), Some("r.example_5000_"));
        std::fs::create_dir(root.path().join("[::1]_5000_")).unwrap();
        assert_eq!(found("[::1]:5000").as_deref(), Some("[::1]_5000_"));
        std::fs::write(root.path().join("file.example"), "").unwrap();
        for odd in ["..", ".", "", "a/../r.example", "file.example"] {
            assert_eq!(found(odd).as_deref(), Some("_default"), "{odd:?}");
        }
        assert_eq!(hosts_with_port(&roots), ["[::1]:5000", "r.example:5000"]);
    }
}
