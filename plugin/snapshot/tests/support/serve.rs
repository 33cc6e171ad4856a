//! A minimal listener and client for tests and benches; the product's is in the binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use chunked_snapshot::{RemoteLayers, ServiceOptions, service};
use chunked_store::Store;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

/// Serves until the runtime ends.
#[allow(dead_code, reason = "not every user of this module is content with the defaults")]
pub async fn serve(store: Arc<Store>, remote: Arc<dyn RemoteLayers>, socket: PathBuf) -> std::io::Result<()> {
    serve_with(store, remote, socket, ServiceOptions::default()).await
}

/// The same with other options.
pub async fn serve_with(
    store: Arc<Store>,
    remote: Arc<dyn RemoteLayers>,
    socket: PathBuf,
    options: ServiceOptions,
) -> std::io::Result<()> {
    let listener = UnixListener::bind(&socket)?;
    Server::builder()
        .add_service(service(store, remote, options))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .map_err(std::io::Error::other)
}

/// A client of the service at `socket`, which has a name before anyone listens on it.
#[allow(dead_code, reason = "not every user of this module calls the service")]
pub async fn connect(socket: &Path) -> Result<SnapshotsClient<Channel>, tonic::transport::Error> {
    let started = Instant::now();
    loop {
        match try_connect(socket).await {
            Err(_) if started.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            done => return done,
        }
    }
}

#[allow(dead_code, reason = "see above")]
async fn try_connect(socket: &Path) -> Result<SnapshotsClient<Channel>, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
    Ok(SnapshotsClient::new(channel))
}
