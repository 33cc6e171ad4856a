//! A plain overlay snapshotter on a socket, for containerd's conformance suite: `serve ROOT SOCKET`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_snapshot::NoRemoteLayers;
use chunked_store::Store;

#[path = "../tests/support/serve.rs"]
mod serve;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(root), Some(socket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve ROOT SOCKET".into());
    };
    let store = Arc::new(Store::open(Path::new(&root))?);
    Ok(serve::serve(store, Arc::new(NoRemoteLayers), PathBuf::from(socket)).await?)
}
