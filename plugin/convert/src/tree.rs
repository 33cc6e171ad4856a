//! A source's documents as a tree, and the choice of platforms from it.

use chunked_core::Digest;
use chunked_registry::Platform;
use serde::Deserialize;
use serde_json::Value;

use crate::attach;
use crate::document::{self, Descriptor, Document, Manifest, Parsed};
use crate::error::ConvertError;
use crate::layer::Layer;
use crate::media;
use crate::report::Attachment;
use crate::source::Source;

/// Indexes in indexes followed.
const MAX_DEPTH: usize = 3;
/// Most documents of one conversion.
const MAX_DOCUMENTS: usize = 1000;

/// A document and what is below it.
#[derive(Debug)]
pub(crate) enum Node {
    Image(Box<Image>),
    /// A manifest that is not an image's: copied as it is.
    Artifact(Document),
    Index {
        document: Document,
        children: Vec<Child>,
        /// Entries were left out, so that it must be written anew.
        filtered: bool,
    },
}

/// An entry of an index.
#[derive(Debug)]
pub(crate) struct Child {
    pub descriptor: Descriptor,
    pub node: Node,
}

/// An image.
#[derive(Debug)]
pub(crate) struct Image {
    pub document: Document,
    pub manifest: Manifest,
    pub config: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    pub platform: Option<String>,
}

/// What is to be converted.
#[derive(Debug)]
pub(crate) struct Selected {
    pub node: Node,
    /// What went with images that were not chosen.
    pub left_out: Vec<Attachment>,
}

impl Node {
    /// Shows every image below.
    pub(crate) fn images(&self, show: &mut impl FnMut(&Image)) {
        match self {
            Self::Image(image) => show(image),
            Self::Artifact(_) => {}
            Self::Index { children, .. } => children.iter().for_each(|child| child.node.images(show)),
        }
    }
}

/// Reads the documents below `root` for `platforms`; all of them if that is empty. One platform of an index gives
/// its image, several an index of theirs.
pub(crate) async fn select(
    source: &Source,
    root: Document,
    platforms: &[Platform],
) -> Result<Selected, ConvertError> {
    let mut reader = Reader { source, documents: 0 };
    let Parsed::Index(index) = &root.parsed else {
        let node = reader.node(root, None, 0).await?;
        if let (Node::Image(image), [_, ..]) = (&node, platforms) {
            fits(image, platforms)?;
        }
        return Ok(Selected { node, left_out: Vec::new() });
    };
    if platforms.is_empty() {
        return Ok(Selected { node: reader.node(root, None, 0).await?, left_out: Vec::new() });
    }
    let mut entries = Vec::new();
    reader.flatten(&index.manifests, &mut entries, 0).await?;
    let mut chosen: Vec<&Descriptor> = Vec::new();
    for wanted in platforms {
        let best = best(&entries, wanted).ok_or_else(|| ConvertError::Platform {
            wanted: wanted.to_string(),
            offered: offered(&entries),
        })?;
        if !chosen.iter().any(|other| other.digest == best.digest) {
            chosen.push(best);
        }
    }
    let about = |entry: &Descriptor| attach::subject(entry).map(str::to_owned);
    if let [only] = chosen[..] {
        let document = source.document(&only.digest).await?;
        let node = reader.node(document, platform_of(only).map(|p| p.to_string()), 0).await?;
        let subject = only.digest.to_string();
        let left_out =
            entries.iter().filter(|entry| about(entry).as_deref() == Some(&subject)).map(attach::left_out);
        return Ok(Selected { node, left_out: left_out.collect() });
    }
    let subjects: Vec<String> = chosen.iter().map(|entry| entry.digest.to_string()).collect();
    let mut index = index.clone();
    index.manifests = entries
        .iter()
        .filter(|entry| match about(entry) {
            Some(subject) => subjects.contains(&subject),
            None => chosen.iter().any(|chosen| chosen.digest == entry.digest),
        })
        .cloned()
        .collect();
    let filtered = Document { parsed: Parsed::Index(index), ..root };
    let mut node = reader.node(filtered, None, 0).await?;
    if let Node::Index { filtered, .. } = &mut node {
        *filtered = true;
    }
    Ok(Selected { node, left_out: Vec::new() })
}

/// The image that `platform` gets, as in a pull: an only entry may lack a platform.
pub(crate) async fn one(source: &Source, root: Document, platform: &Platform) -> Result<Image, ConvertError> {
    let digest = root.digest;
    let only = match &root.parsed {
        Parsed::Index(index) => match &index.manifests[..] {
            [only] if platform_of(only).is_none() => Some(only.digest),
            _ => None,
        },
        Parsed::Manifest(_) => Some(root.digest),
    };
    let node = match only {
        Some(only) if only == digest => Reader { source, documents: 0 }.node(root, None, 0).await?,
        Some(only) => {
            let document = source.document(&only).await?;
            Reader { source, documents: 0 }.node(document, None, 0).await?
        }
        None => select(source, root, std::slice::from_ref(platform)).await?.node,
    };
    match node {
        Node::Image(image) => Ok(*image),
        Node::Artifact(_) | Node::Index { .. } => {
            let reason = "it is not the manifest of a container image".to_owned();
            Err(ConvertError::Document { what: "manifest", digest, reason })
        }
    }
}

struct Reader<'a> {
    source: &'a Source,
    documents: usize,
}

impl Reader<'_> {
    fn count(&mut self, digest: &Digest) -> Result<(), ConvertError> {
        self.documents += 1;
        if self.documents <= MAX_DOCUMENTS {
            return Ok(());
        }
        let reason = format!("more than {MAX_DOCUMENTS} manifests are below one index");
        Err(ConvertError::Document { what: "manifest", digest: *digest, reason })
    }

    async fn node(
        &mut self,
        document: Document,
        platform: Option<String>,
        depth: usize,
    ) -> Result<Node, ConvertError> {
        self.count(&document.digest)?;
        match &document.parsed {
            Parsed::Manifest(manifest) => {
                let manifest = manifest.clone();
                self.manifest(document, manifest, platform).await
            }
            Parsed::Index(index) => {
                deep(depth, &document.digest)?;
                let mut children = Vec::new();
                for descriptor in index.manifests.clone() {
                    let child = self.source.document(&descriptor.digest).await?;
                    let platform = platform_of(&descriptor).map(|platform| platform.to_string());
                    let node = match attach::subject(&descriptor) {
                        Some(_) => Node::Artifact(child),
                        None => Box::pin(self.node(child, platform, depth + 1)).await?,
                    };
                    children.push(Child { descriptor, node });
                }
                Ok(Node::Index { document, children, filtered: false })
            }
        }
    }

    async fn manifest(
        &mut self,
        document: Document,
        manifest: Manifest,
        platform: Option<String>,
    ) -> Result<Node, ConvertError> {
        if !media::is_manifest(&manifest.media_type) || !media::is_image_config(&manifest.config.media_type) {
            return Ok(Node::Artifact(document));
        }
        let config = self.source.bytes("config", &manifest.config).await?;
        let bad = |reason: String| ConvertError::Document {
            what: "config",
            digest: manifest.config.digest,
            reason,
        };
        let diff_ids = document::diff_ids(&config).map_err(bad)?;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, ids) = (manifest.layers.len(), diff_ids.len());
            return Err(bad(format!(
                "it has {ids} DiffIDs, manifest {} has {layers} layers",
                document.digest
            )));
        }
        let layers = manifest.layers.iter().cloned().zip(diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
        let platform = platform.or_else(|| config_platform(&config).map(|platform| platform.to_string()));
        Ok(Node::Image(Box::new(Image { document, manifest, config, layers, platform })))
    }

    /// The entries of indexes in indexes, in one list.
    async fn flatten(
        &mut self,
        entries: &[Descriptor],
        into: &mut Vec<Descriptor>,
        depth: usize,
    ) -> Result<(), ConvertError> {
        for entry in entries {
            if !media::is_index(&entry.media_type) {
                into.push(entry.clone());
                continue;
            }
            deep(depth, &entry.digest)?;
            self.count(&entry.digest)?;
            if let Parsed::Index(index) = self.source.document(&entry.digest).await?.parsed {
                Box::pin(self.flatten(&index.manifests, into, depth + 1)).await?;
            }
        }
        Ok(())
    }
}

fn deep(depth: usize, digest: &Digest) -> Result<(), ConvertError> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    let reason = "too many indexes in indexes".to_owned();
    Err(ConvertError::Document { what: "index", digest: *digest, reason })
}

/// The platform that an index gives an entry; attestations have an unknown one.
fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform: Named =
        serde_json::from_value(entry.rest.get("platform").cloned().unwrap_or(Value::Null)).ok()?;
    platform.known()
}

fn config_platform(config: &[u8]) -> Option<Platform> {
    serde_json::from_slice::<Named>(config).ok()?.known()
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Named {
    fn known(&self) -> Option<Platform> {
        let known = |word: &str| !word.is_empty() && word != "unknown";
        (known(&self.os) && known(&self.architecture))
            .then(|| Platform::new(&self.os, &self.architecture, self.variant.as_deref()))
    }
}

/// The entry that fits best, the first of equals.
fn best<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in entries.iter().filter(|entry| attach::subject(entry).is_none()) {
        let Some(fit) = platform_of(entry).and_then(|platform| wanted.fit(&platform)) else { continue };
        if best.is_none_or(|(other, _)| fit > other) {
            best = Some((fit, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

fn offered(entries: &[Descriptor]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .filter_map(platform_of)
        .map(|platform| platform.to_string().chars().filter(|c| !c.is_control()).take(40).collect())
        .collect();
    names.dedup();
    names.truncate(20);
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// An image without an index is for one platform: its config says which.
fn fits(image: &Image, platforms: &[Platform]) -> Result<(), ConvertError> {
    let own = config_platform(&image.config);
    match own.as_ref() {
        Some(own) if !platforms.iter().any(|wanted| wanted.fit(own).is_some()) => {
            let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            Err(ConvertError::Platform { wanted: wanted.join(", "), offered: own.to_string() })
        }
        _ => Ok(()),
    }
}
