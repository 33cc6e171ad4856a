//! The store behind a running daemon, or opened by this process when there is none: its lock decides.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chunked_config::Settings;
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
    let named = (access.address.as_deref(), access.common.root.as_deref());
    if let Some(client) = daemon(&settings, named).await? {
        return Ok(Access::Daemon(client));
    }
    let (root, address) = (settings.root.clone(), access.address.as_ref().unwrap_or(&settings.address));
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

/// The daemon on the configured socket, or on the one that was named; `None` when none answers there, or when it has
/// another root than the one that was named.
pub(crate) async fn daemon(
    settings: &Settings,
    (address, root): (Option<&Path>, Option<&Path>),
) -> Result<Option<ControlClient<Channel>>> {
    let mut client = match connect(address.unwrap_or(&settings.address)).await {
        Ok(client) => client,
        Err(error) if address.is_some() => return Err(error),
        Err(_) => return Ok(None),
    };
    let status = client.status(StatusRequest {}).await?.into_inner();
    let wanted = settings.root.canonicalize().unwrap_or_else(|_| settings.root.clone());
    Ok((root.is_none() || Path::new(&status.root) == wanted).then_some(client))
}

/// A client of the daemon on this socket.
pub(crate) async fn connect(address: &Path) -> Result<ControlClient<Channel>> {
    let path = address.to_str().with_context(|| format!("socket {} is not UTF-8", address.display()))?;
    let channel = Endpoint::from_shared(format!("unix://{path}"))?.connect().await;
    let channel = channel
        .with_context(|| format!("no daemon answers on {path}; start it with `chunked-snapshotter serve`"))?;
    Ok(ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}
