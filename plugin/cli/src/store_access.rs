//! The store behind a running daemon, or opened by this process when there is none: its lock decides.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chunked_proto::MAX_MESSAGE_BYTES;
use chunked_proto::chunked::control::v1::StatusRequest;
use chunked_proto::chunked::control::v1::control_client::ControlClient;
use chunked_store::Store;
use tonic::transport::{Channel, Endpoint};

use crate::args::StoreAccess;
use crate::settings;

/// Who has the store.
pub(crate) enum Access {
    Daemon(ControlClient<Channel>),
    Direct(Arc<Store>),
}

/// Asks the daemon on the configured socket, unless `--root` names another store than its.
pub(crate) async fn open(access: &StoreAccess) -> Result<Access> {
    let settings = settings::for_person(&access.common)?;
    let address = access.address.as_ref().unwrap_or(&settings.address);
    match connect(address).await {
        Ok(mut client) => {
            let status = client.status(StatusRequest {}).await?.into_inner();
            let root = settings.root.canonicalize().unwrap_or_else(|_| settings.root.clone());
            if access.common.root.is_none() || Path::new(&status.root) == root {
                return Ok(Access::Daemon(client));
            }
        }
        Err(error) if access.address.is_some() => return Err(error),
        Err(_) => {}
    }
    let root = settings.root.clone();
    if !root.join("state.db").exists() {
        bail!(
            "no daemon answers on {}, and there is no layer store in {}: name it with --root",
            address.display(),
            root.display()
        );
    }
    let options = settings::store(&settings);
    let store = tokio::task::spawn_blocking(move || Store::open_with(&root, options)).await??;
    Ok(Access::Direct(Arc::new(store)))
}

/// A client of the daemon on this socket.
pub(crate) async fn connect(address: &Path) -> Result<ControlClient<Channel>> {
    let path = address.to_str().with_context(|| format!("socket {} is not UTF-8", address.display()))?;
    let channel = Endpoint::from_shared(format!("unix://{path}"))?.connect().await;
    let channel = channel
        .with_context(|| format!("no daemon answers on {path}; start it with `chunked-snapshotter serve`"))?;
    Ok(ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}
