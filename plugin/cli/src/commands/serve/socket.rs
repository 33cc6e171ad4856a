//! The daemon's unix socket: for root only, and one daemon on it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};

/// Removes the socket's file when the daemon ends.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds `address`, taking the place of a socket that nobody answers on.
pub(crate) fn bind(
    address: &Path,
) -> Result<(impl Stream<Item = io::Result<UnixStream>> + use<>, SocketFile)> {
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
    // The mode keeps others out; who is connected is checked all the same.
    let incoming = UnixListenerStream::new(listener).filter(|stream| match stream {
        Ok(stream) => stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own_uid()),
        Err(_) => true,
    });
    Ok((incoming, SocketFile(address.to_path_buf())))
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
        let (incoming, file) = bind(&address).unwrap();
        let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
        assert_eq!(mode(&address), 0o600);
        assert_eq!(mode(address.parent().unwrap()), 0o700);
        assert!(bind(&address).is_err(), "somebody answers there");
        drop((incoming, file));
        assert!(!address.exists());
        // What a killed daemon left is no daemon.
        drop(std::os::unix::net::UnixListener::bind(&address).unwrap());
        drop(bind(&address).unwrap());
    }
}
