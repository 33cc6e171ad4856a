//! What a look-up gives: images, and which of their layers has the chainID.

use std::sync::Arc;

use chunked_core::Digest;
use chunked_registry::Image;

/// Sources offered besides the likeliest.
const MAX_ALTERNATIVES: usize = 8;

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Source {
    /// The image; its reference has the host and repository to pull from and the manifest's digest.
    pub image: Arc<Image>,
    /// The layer's index in [`Image::layers`], 0 being the lowest.
    pub index: usize,
    /// True when only containerd's label says where the image is, which lacks the port: the reference has the
    /// default port or one that was configured. Should it not answer, the image may be on another.
    pub port_assumed: bool,
    /// Why no registry can be asked: the layers can only be read from containerd's content store then, and the
    /// reference is a mere name.
    pub no_registry: Option<NoRegistry>,
}

/// Why an image has no registry that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRegistry {
    /// It was imported or built here: containerd never fetched it from a registry.
    #[error("it has no distribution.source label, so it did not come from a registry")]
    Imported,
    /// containerd recorded where it came from without the port, and nothing names the port.
    #[error("it came from {host}, on a port that containerd did not record and nothing here names")]
    UnknownPort {
        /// The registry's host.
        host: String,
    },
}

/// Where a layer can be pulled from.
#[derive(Debug, Clone)]
pub struct Found {
    /// The likeliest image.
    pub image: Arc<Image>,
    /// The layer's index in [`Image::layers`], 0 being the lowest.
    pub index: usize,
    /// As in [`Source`].
    pub port_assumed: bool,
    /// As in [`Source`].
    pub no_registry: Option<NoRegistry>,
    /// Further images or repositories that have a layer with this chainID, likeliest first, to be tried when
    /// the first cannot be reached or no longer has the blob.
    pub alternatives: Vec<Source>,
}

/// The first source with the others as alternatives; `None` without any.
pub(crate) fn found(sources: Vec<Source>) -> Option<Found> {
    let mut sources = sources.into_iter();
    let Source { image, index, port_assumed, no_registry } = sources.next()?;
    Some(Found {
        image,
        index,
        port_assumed,
        no_registry,
        alternatives: sources.take(MAX_ALTERNATIVES).collect(),
    })
}

impl Source {
    /// The layer of `image` with the chainID `target`.
    pub(crate) fn new(image: Arc<Image>, port_assumed: bool, target: &Digest) -> Option<Self> {
        let index = image.layers.iter().position(|layer| layer.chain_id == *target)?;
        Some(Self { image, index, port_assumed, no_registry: None })
    }

    /// The same image's layer with another chainID.
    pub(crate) fn of(&self, target: &Digest) -> Option<Self> {
        let Self { image, port_assumed, no_registry, .. } = self;
        Some(Self { no_registry: no_registry.clone(), ..Self::new(image.clone(), *port_assumed, target)? })
    }
}
