//! `[store] keep_blobs`: blobs that are read whole go into containerd's content store as they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chunked_client::{ClientError, Session};
use chunked_core::{Causes, labels};
use chunked_discover::Containerd;
use chunked_engine::{Keeper, Keeping};
use chunked_registry::Image;
use tokio::sync::{mpsc, oneshot};

/// Pieces that wait for containerd: each is one read from a connection, and counts as memory of its layer.
const WAITING: usize = 4;
/// How long a blob stays that no manifest names: containerd pulls the image after us by then.
const LEASE: Duration = Duration::from_secs(60 * 60);

/// The content store of a namespace, as a place for blobs.
#[derive(Debug)]
pub(crate) struct Blobs(Session);

impl Blobs {
    /// That of `namespace`; `None` when that cannot be a namespace's name.
    pub(crate) fn keeper(containerd: &Containerd, namespace: &str) -> Option<Arc<dyn Keeper>> {
        Some(Arc::new(Self(Session::new(containerd.channel(), namespace).ok()?)))
    }
}

impl Keeper for Blobs {
    fn begin(&self, image: &Arc<Image>, index: usize) -> Option<Keeping> {
        let (bytes, incoming) = mpsc::channel(WAITING);
        let (ended, done) = oneshot::channel();
        let (session, image) = (self.0.clone(), Arc::clone(image));
        tokio::spawn(async move {
            let blob = image.layers.get(index).map(|layer| layer.blob);
            match keep(&session, &image, index, incoming).await {
                Ok(true) => tracing::debug!(?blob, "containerd keeps the blob"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(?blob, image = %image.reference, error = %Causes(&error), "containerd does not keep the blob");
                }
            }
            drop(ended);
        });
        Some(Keeping { bytes, done })
    }
}

/// Writes what comes. False when the transfer did not bring all of it: then nothing stays.
async fn keep(
    session: &Session,
    image: &Image,
    index: usize,
    incoming: mpsc::Receiver<Bytes>,
) -> Result<bool, ClientError> {
    let session = session.with_lease(LEASE).await?;
    let kept = write(&session, image, index, incoming).await;
    // A manifest that is not there yet comes with its labels when containerd pulls the image after us: until then the lease
    // holds the blob, and ends by itself.
    if !matches!(kept, Ok(Kept::WithoutManifest)) {
        session.end_lease().await?;
    }
    Ok(!matches!(kept?, Kept::Not))
}

enum Kept {
    Not,
    WithManifest,
    WithoutManifest,
}

async fn write(
    session: &Session,
    image: &Image,
    index: usize,
    mut incoming: mpsc::Receiver<Bytes>,
) -> Result<Kept, ClientError> {
    let Some(layer) = image.layers.get(index) else { return Ok(Kept::Not) };
    let Some(mut ingest) = session.ingest(layer.blob, layer.size).await? else { return Ok(Kept::Not) };
    // Another namespace has it: nothing is to be written, and the reader finds nobody who takes its bytes.
    if ingest.is_complete() {
        incoming.close();
    }
    while let Some(bytes) = incoming.recv().await {
        if !ingest.is_complete() {
            ingest.write(bytes).await?;
        }
    }
    if !ingest.is_complete() {
        return Ok(Kept::Not);
    }
    ingest
        .commit(labels::of_layer(&image.reference.host, &image.reference.repository, &layer.diff_id))
        .await?;
    // Whoever pulls holds the manifest, and this label the blob with it, also where containerd labels no layers because it is
    // told to discard them.
    let label = format!("{}{index}", labels::GC_REF_LAYER_PREFIX);
    match session.label(&image.manifest_digest, &label, Some(&layer.blob.to_string())).await {
        Ok(()) => Ok(Kept::WithManifest),
        Err(error) if error.is_absent() => Ok(Kept::WithoutManifest),
        Err(error) => Err(error),
    }
}
