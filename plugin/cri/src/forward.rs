//! Requests on their way to containerd, as they came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::ServiceExt as _;

/// Time to connect to a socket of this machine.
const CONNECT: Duration = Duration::from_secs(10);

/// containerd's socket. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    socket: PathBuf,
    channel: Channel,
}

impl Forward {
    /// Dials when the first request comes, and again when a connection is lost. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf(), channel: dial(socket) }
    }

    /// The same over a connection of its own: what passes it does not stay in buffers when it ends.
    pub(crate) fn apart(&self) -> Self {
        Self::new(&self.socket)
    }

    /// Sends `request`; gives containerd's answer, or that there is none as a status.
    pub(crate) async fn send(self, request: http::Request<Body>) -> http::Response<Body> {
        match self.channel.oneshot(request).await {
            Ok(response) => response,
            Err(error) => {
                let socket = self.socket.display();
                let text =
                    format!("containerd does not answer on {socket}: {}", chunked_core::Causes(&error));
                tonic::Status::unavailable(text).into_http()
            }
        }
    }
}

fn dial(socket: &Path) -> Channel {
    let path = socket.to_path_buf();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address only fills the `:authority` header; the connector knows where to go.
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT).connect_with_connector_lazy(connector)
}
