//! The daemon's unix socket: for root only, and one daemon on it.
//!
//! The daemon binds it, or takes it over from a service manager that listens in its place (systemd's socket
//! activation). The latter's file stays when the daemon ends, so that calls wait in the socket's queue for the next one.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use rustix::net::{listen, sockopt::socket_acceptconn};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};

/// Connections that may wait to be accepted; the kernel takes its own limit (net.core.somaxconn) if that is less.
const BACKLOG: i32 = 4096;

/// Removes the socket's file when the daemon ends.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds `address`, taking the place of a socket that nobody answers on.
pub(crate) fn bind(address: &Path) -> Result<(UnixListener, SocketFile)> {
    let context = || format!("socket {}", address.display());
    if let Some(parent) = address.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).with_context(context)?;
    }
    if std::os::unix::net::UnixStream::connect(address).is_ok() {
        bail!("socket {} is in use: is another daemon running?", address.display());
    }
    match std::fs::remove_file(address) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    // Until the mode is set the umask decides who may connect; whoever does is asked who they are, below.
    let listener = UnixListener::bind(address).with_context(context)?;
    std::fs::set_permissions(address, std::fs::Permissions::from_mode(0o600)).with_context(context)?;
    Ok((listener, SocketFile(address.to_path_buf())))
}

/// The listening socket at `address` that the service manager passed to this process, if it passed any.
///
/// Refuses every other one: containerd would wait for ever on a socket that nobody serves.
pub(crate) fn inherit(mut sockets: ListenFd, address: &Path) -> Result<Option<UnixListener>> {
    let remedy = "the service manager must pass one unix socket, the configuration's `address`: \
                  see ListenStream= in chunked-snapshotter.socket";
    match sockets.len() {
        0 => return Ok(None),
        1 => {}
        number => bail!("{number} sockets were passed to the daemon: {remedy}"),
    }
    let listener =
        sockets.take_unix_listener(0).with_context(|| format!("the socket that was passed: {remedy}"))?;
    let listener = listener.with_context(|| format!("the socket that was passed is gone: {remedy}"))?;
    if !socket_acceptconn(&listener)? {
        bail!("the socket that was passed does not listen: {remedy}");
    }
    let bound = listener.local_addr()?;
    match bound.as_pathname() {
        Some(path) if same(path, address) => {}
        Some(path) => {
            bail!("the socket that was passed is {}, not {}: {remedy}", path.display(), address.display())
        }
        None => bail!("the socket that was passed has no path: {remedy}"),
    }
    // Once more by us: clients ask the kernel who listens, and are to be told this process.
    listen(&listener, BACKLOG).context("listening on the socket that was passed")?;
    listener.set_nonblocking(true)?;
    Ok(Some(UnixListener::from_std(listener)?))
}

/// Are these paths the same file? A directory on the way may be a symbolic link, as /var/run is.
fn same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Connections of root, or of the user we run as. The mode keeps others out; who is connected is checked all the same.
pub(crate) fn from_root(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).filter(|stream| match stream {
        Ok(stream) => stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own_uid()),
        Err(_) => true,
    })
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[tokio::test]
    async fn for_root_only_and_for_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("run/chunked.sock");
        let (listener, file) = bind(&address).unwrap();
        let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
        assert_eq!(mode(&address), 0o600);
        assert_eq!(mode(address.parent().unwrap()), 0o700);
        assert!(bind(&address).is_err(), "somebody answers there");
        drop((listener, file));
        assert!(!address.exists());
        // What a killed daemon left is no daemon.
        drop(std::os::unix::net::UnixListener::bind(&address).unwrap());
        drop(bind(&address).unwrap());
    }

    #[test]
    fn nothing_was_passed() {
        assert!(inherit(ListenFd::empty(), Path::new("/run/x.sock")).unwrap().is_none());
    }

    #[test]
    fn a_link_on_the_way_leads_to_the_same_socket() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(same(&dir.path().join("link/run.sock"), &socket));
        assert!(same(Path::new("/none/x"), Path::new("/none/x")));
        assert!(!same(Path::new("/none/x"), &socket) && !same(dir.path(), &socket));
    }
}
