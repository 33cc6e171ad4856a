//! An image's layers in a snapshotter, as containerd's own clients put them there.

use std::collections::HashMap;

use chunked_core::{Digest, labels};
use chunked_proto::containerd::types::Descriptor;
use chunked_registry::{Image, Layer};

use crate::error::ClientError;
use crate::lease::unique;
use crate::session::Session;

/// How a snapshotter came to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// It had it.
    Here,
    /// It made it by itself, as remote snapshotters do.
    Provided,
    /// containerd unpacked the layer's blob into it.
    Unpacked,
}

/// Puts the layers of `image` into `snapshotter`, lowest first, and labels the image's config so that they stay as long as the image
/// does. `name` is what the image is called, for a snapshotter that pulls by itself. `session` should have a lease: without one
/// containerd may collect a layer before the label is there.
///
/// # Errors
/// [`ClientError`] of the first layer that cannot be had; those below it are containerd's to collect when the lease ends.
pub async fn unpack(
    session: &Session,
    snapshotter: &str,
    image: &Image,
    name: &str,
) -> Result<Vec<Got>, ClientError> {
    let to = Target { session, snapshotter, image, name };
    let mut got = Vec::with_capacity(image.layers.len());
    let mut parent = None;
    for layer in &image.layers {
        got.push(to.layer(layer, parent).await?);
        parent = Some(&layer.chain_id);
    }
    if let Some(top) = parent {
        let label = format!("{}{snapshotter}", labels::GC_REF_SNAPSHOT_PREFIX);
        session.label(&image.config_digest, &label, Some(&top.to_string())).await?;
    }
    Ok(got)
}

struct Target<'a> {
    session: &'a Session,
    snapshotter: &'a str,
    image: &'a Image,
    name: &'a str,
}

impl Target<'_> {
    async fn layer(&self, layer: &Layer, parent: Option<&Digest>) -> Result<Got, ClientError> {
        let Self { session, snapshotter, .. } = *self;
        let name = layer.chain_id.to_string();
        if self.holds(&name).await? {
            return Ok(Got::Here);
        }
        let key = format!("extract-{} {name}", unique());
        let parent = parent.map(Digest::to_string).unwrap_or_default();
        let mounts = match session.prepare(snapshotter, (&key, &parent), self.hints(layer)).await {
            Ok(mounts) => mounts,
            Err(error) if error.is_present() => {
                // So a remote snapshotter says that it has the layer, or another client was faster.
                return match self.holds(&name).await? {
                    true => Ok(Got::Provided),
                    false => Err(ClientError::NotShown {
                        snapshotter: snapshotter.to_owned(),
                        chain: layer.chain_id,
                    }),
                };
            }
            Err(error) => return Err(error),
        };
        let done = self.fill(layer, (&name, &key), mounts).await;
        if !matches!(done, Ok(true))
            && let Err(error) = session.remove(snapshotter, &key).await
        {
            tracing::debug!(%error, key, "a snapshot that is not needed stays until the lease ends");
        }
        done.map(|_| Got::Unpacked)
    }

    /// Looks for a snapshot and keeps it under the lease.
    async fn holds(&self, name: &str) -> Result<bool, ClientError> {
        if !self.session.has_snapshot(self.snapshotter, name).await? {
            return Ok(false);
        }
        match self.session.hold_snapshot(self.snapshotter, name).await {
            Ok(()) => Ok(true),
            // Collected in between.
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Unpacks and commits; false when somebody else committed the same meanwhile.
    async fn fill(
        &self,
        layer: &Layer,
        (name, key): (&str, &str),
        mounts: Vec<chunked_proto::containerd::types::Mount>,
    ) -> Result<bool, ClientError> {
        let Self { session, snapshotter, .. } = *self;
        if session.labels(&layer.blob).await?.is_none() {
            return Err(ClientError::Missing { layer: layer.blob, snapshotter: snapshotter.to_owned() });
        }
        let found = session.apply(descriptor(layer), mounts).await?;
        if found != layer.diff_id.to_string() {
            return Err(ClientError::DiffId { layer: layer.blob, expected: layer.diff_id, found });
        }
        let labels = HashMap::from([(labels::SNAPSHOT_REF.to_owned(), name.to_owned())]);
        match session.commit(snapshotter, (name, key), labels).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_present() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What tells a remote snapshotter which layer it is.
    fn hints(&self, layer: &Layer) -> HashMap<String, String> {
        HashMap::from(
            [
                (labels::SNAPSHOT_REF, layer.chain_id.to_string()),
                (labels::CRI_IMAGE_REF, self.name.to_owned()),
                (labels::CRI_MANIFEST_DIGEST, self.image.manifest_digest.to_string()),
                (labels::CRI_LAYER_DIGEST, layer.blob.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        )
    }
}

fn descriptor(layer: &Layer) -> Descriptor {
    Descriptor {
        media_type: layer.media_type.clone(),
        digest: layer.blob.to_string(),
        size: i64::try_from(layer.size).unwrap_or(i64::MAX),
        annotations: layer.annotations.clone().into_iter().collect(),
    }
}
