//! A whole conversion: what the source is, its layers at the destination, then the documents from the bottom up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use chunked_core::{Digest, ObjectDigest};
use chunked_registry::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::attach;
use crate::destination::Destination;
use crate::document::{Document, Parsed};
use crate::error::ConvertError;
use crate::layer::{Context, Delivered, Layer};
use crate::location::Location;
use crate::media;
use crate::options::Options;
use crate::progress::{Progress, StopOnDrop};
use crate::report::{Attachment, Delivery, ImageReport, Report};
use crate::source::Source;
use crate::temp::Temp;
use crate::tree::{self, Child, Node};

/// Annotation of every converted manifest and index: the digest its source goes by.
pub const SOURCE_DIGEST: &str = "io.github.chunked-snapshotter.source-digest";
/// Annotation of every converted manifest and index: the version of this tool.
pub const VERSION: &str = "io.github.chunked-snapshotter.version";

/// A blob and its content: what makes a layer the same.
type Key = (ObjectDigest, Digest);

/// Converts the image `source` to `destination`.
///
/// Everything that is read is proven: manifests and configs by their digests, layers by the digests of their blobs
/// and by their DiffIDs. What is written for the same source, options and version is the same, byte for byte.
/// Dropping the future stops the work soon.
///
/// # Errors
///
/// [`ConvertError`]. The destination's name still means what it meant before.
pub async fn convert(
    client: &Client,
    source: &Location,
    destination: &Location,
    options: &Options,
    progress: &Progress,
) -> Result<Report, ConvertError> {
    let _stop = StopOnDrop(progress.clone());
    let started = Instant::now();
    let temp = Temp::new(options.temp.as_deref());
    // Fails early, not after an hour of work.
    drop(temp.file()?);
    let to = Destination::open(destination, client).await?;
    let from = Source::open(source, client, &temp).await?;
    let root = from.root().await?;
    let identity = from.identity(&root);
    let selected = tree::select(&from, root, &options.platforms).await?;
    let context = Arc::new(Context {
        source: from,
        destination: to,
        temp,
        options: options.clone(),
        progress: progress.clone(),
    });
    let layers = layers(&context, &selected.node).await?;
    let mut work = Work {
        context: &context,
        layers: &layers,
        images: Vec::new(),
        attachments: selected.left_out,
        notes: Vec::new(),
    };
    let new = work.node(&selected.node).await?;
    work.referrers(&selected.node, &new).await?;
    context.destination.finish(&new).await?;
    let Work { images, attachments, notes, .. } = work;
    let (mut source_bytes, mut bytes) = (0, 0);
    for delivered in layers.values() {
        source_bytes += delivered.report.source_size;
        bytes += delivered.report.size;
    }
    Ok(Report {
        source: source.to_string(),
        destination: destination.to_string(),
        source_digest: identity,
        digest: new.digest,
        images,
        attachments,
        notes,
        source_bytes,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Brings every different layer below `node` to the destination, several at a time.
async fn layers(context: &Arc<Context>, node: &Node) -> Result<HashMap<Key, Delivered>, ConvertError> {
    let mut wanted: Vec<Layer> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    node.images(&mut |image| {
        for layer in &image.layers {
            if seen.insert((layer.descriptor.digest, layer.diff_id)) {
                wanted.push(layer.clone());
            }
        }
    });
    let places = Arc::new(Semaphore::new(context.options.layers.max(1)));
    let mut running = JoinSet::new();
    for layer in wanted {
        let (context, places) = (Arc::clone(context), Arc::clone(&places));
        running.spawn(async move {
            let stopped = |_| ConvertError::Stopped(String::new());
            let _place = places.acquire().await.map_err(stopped)?;
            let key = (layer.descriptor.digest, layer.diff_id);
            context.layer(layer).await.map(|delivered| (key, delivered))
        });
    }
    let mut done = HashMap::new();
    while let Some(result) = running.join_next().await {
        let result = result.map_err(|error| ConvertError::Stopped(format!(": {error}")));
        match result.and_then(|result| result) {
            Ok((key, delivered)) => {
                done.insert(key, delivered);
            }
            Err(error) => {
                // The others' threads end soon; their errors would only say that they were stopped.
                context.progress.stop();
                running.shutdown().await;
                return Err(error);
            }
        }
    }
    Ok(done)
}

/// The documents, written from the bottom up.
struct Work<'a> {
    context: &'a Context,
    layers: &'a HashMap<Key, Delivered>,
    images: Vec<ImageReport>,
    attachments: Vec<Attachment>,
    notes: Vec<String>,
}

impl Work<'_> {
    /// Writes what `node` becomes. A document in which nothing changes stays as it is.
    async fn node(&mut self, node: &Node) -> Result<Document, ConvertError> {
        match node {
            Node::Image(image) => self.image(image).await,
            Node::Artifact(artifact) => {
                self.artifact(artifact).await?;
                Ok(artifact.clone())
            }
            Node::Index { document, children, filtered } => {
                Box::pin(self.index(document, children, *filtered)).await
            }
        }
    }

    async fn image(&mut self, image: &tree::Image) -> Result<Document, ConvertError> {
        let context = self.context;
        let config = &image.manifest.config.digest;
        context.destination.put_bytes(context.source.reference(), config, &image.config).await?;
        let mut manifest = image.manifest.clone();
        let mut reports = Vec::new();
        for (descriptor, layer) in manifest.layers.iter_mut().zip(&image.layers) {
            let key = (layer.descriptor.digest, layer.diff_id);
            let delivered = self
                .layers
                .get(&key)
                .ok_or_else(|| ConvertError::Stopped(format!(": layer {} was not delivered", key.0)))?;
            // The same blob may stand in another manifest with other annotations: these are this one's.
            let mut new = delivered.descriptor.clone();
            if new.digest == descriptor.digest {
                new = descriptor.clone();
            }
            reports.push(delivered.report.clone());
            *descriptor = new;
        }
        let changed = manifest.layers != image.manifest.layers;
        let from_docker = changed && manifest.media_type == media::DOCKER_MANIFEST;
        let document = if changed {
            manifest.media_type = media::MANIFEST.to_owned();
            for descriptor in manifest.layers.iter_mut().chain([&mut manifest.config]) {
                descriptor.media_type = media::oci(&descriptor.media_type).to_owned();
            }
            provenance(&mut manifest.annotations, &context.source.identity(&image.document));
            Document::write(Parsed::Manifest(manifest))?
        } else {
            image.document.clone()
        };
        context.destination.put_document(&document).await?;
        if from_docker {
            self.notes.push(format!(
                "manifest {} was docker schema 2, which has no annotations; it became an OCI manifest",
                image.document.digest
            ));
        }
        self.images.push(ImageReport {
            platform: image.platform.clone(),
            source_manifest: image.document.digest,
            manifest: document.digest,
            from_docker,
            layers: reports,
        });
        Ok(document)
    }

    async fn index(
        &mut self,
        source: &Document,
        children: &[Child],
        filtered: bool,
    ) -> Result<Document, ConvertError> {
        let Parsed::Index(mut index) = source.parsed.clone() else { return Ok(source.clone()) };
        let mut renamed: BTreeMap<ObjectDigest, ObjectDigest> = BTreeMap::new();
        let mut entries = Vec::new();
        // Images first: what is about them needs their new digests.
        let mut new: Vec<Option<Document>> = Vec::new();
        for child in children {
            new.push(match attach::subject(&child.descriptor) {
                Some(_) => None,
                None => {
                    let document = self.node(&child.node).await?;
                    renamed.insert(child.descriptor.digest, document.digest);
                    Some(document)
                }
            });
        }
        for (child, new) in children.iter().zip(new) {
            let mut descriptor = child.descriptor.clone();
            match new {
                Some(document) if document.digest == descriptor.digest => {}
                Some(document) => {
                    descriptor.media_type = document.media_type().to_owned();
                    descriptor.digest = document.digest;
                    descriptor.size = document.bytes.len() as u64;
                    descriptor.rest.remove("data");
                }
                None => {
                    let (carried, report) =
                        attach::carry(&child.descriptor, &renamed, self.context.options.drop_attestations);
                    self.attachments.push(report);
                    let Some(carried) = carried else { continue };
                    if let Node::Artifact(artifact) = &child.node {
                        self.artifact_blobs(artifact).await?;
                    }
                    descriptor = carried;
                }
            }
            entries.push(descriptor);
        }
        if entries == index.manifests && !filtered {
            self.context.destination.put_document(source).await?;
            return Ok(source.clone());
        }
        index.manifests = entries;
        if index.media_type == media::DOCKER_INDEX {
            self.notes.push(format!("manifest list {} became an OCI index", source.digest));
        }
        index.media_type = media::INDEX.to_owned();
        provenance(&mut index.annotations, &source.digest);
        let document = Document::write(Parsed::Index(index))?;
        self.context.destination.put_document(&document).await?;
        Ok(document)
    }

    /// Copies a document that is no image, as it is.
    async fn artifact(&mut self, artifact: &Document) -> Result<(), ConvertError> {
        self.artifact_blobs(artifact).await?;
        self.attachments.push(Attachment {
            digest: artifact.digest,
            kind: attach::kind(artifact),
            subject: None,
            new_subject: None,
            carried: true,
            note: "it is no image and was copied as it is".to_owned(),
        });
        Ok(())
    }

    async fn artifact_blobs(&self, artifact: &Document) -> Result<(), ConvertError> {
        if let Parsed::Manifest(manifest) = &artifact.parsed {
            for descriptor in manifest.layers.iter().chain([&manifest.config]) {
                if media::layer_kind(&descriptor.media_type) != media::LayerKind::Foreign {
                    let _: Delivery = self.context.blob(descriptor).await?;
                }
            }
        }
        self.context.destination.put_document(artifact).await
    }

    /// What refers to the source's documents from outside: carried over where their digest stayed, else named.
    async fn referrers(&mut self, node: &Node, root: &Document) -> Result<(), ConvertError> {
        let mut subjects: Vec<(ObjectDigest, ObjectDigest)> =
            self.images.iter().map(|image| (image.source_manifest, image.manifest)).collect();
        if let Node::Index { document, .. } = node {
            subjects.push((document.digest, root.digest));
        }
        if let (Some(from), Destination::Registry(to)) =
            (self.context.source.reference(), &self.context.destination)
            && (&from.host, &from.repository) == (&to.reference.host, &to.reference.repository)
        {
            // Those of what stayed are there.
            subjects.retain(|(old, new)| old != new);
        }
        for (old, new) in subjects {
            for referrer in self.context.source.referrers(&old).await? {
                if old == new {
                    self.carry_referrer(&old, &referrer).await?;
                }
                self.attachments.push(attach::referrer(&referrer, old, old == new));
            }
        }
        Ok(())
    }

    async fn carry_referrer(
        &self,
        subject: &ObjectDigest,
        referrer: &crate::referrers::Referrer,
    ) -> Result<(), ConvertError> {
        let document = self.context.source.document(&referrer.descriptor.digest).await?;
        self.artifact_blobs(&document).await?;
        let tag = referrer.tag.as_deref();
        self.context.destination.list_referrer(subject, &referrer.descriptor, tag, &document).await
    }
}

/// Says where a document comes from. Nothing in it depends on when or where it was made.
fn provenance(annotations: &mut BTreeMap<String, String>, source: &ObjectDigest) {
    annotations.insert(SOURCE_DIGEST.to_owned(), source.to_string());
    annotations.insert(VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
}
