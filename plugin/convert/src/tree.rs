//! A source's documents as a tree, and the choice of platforms from it.

use chunked_core::ObjectDigest;
use chunked_registry::Platform;

use crate::attach;
use crate::document::{Choice, Config, Descriptor, Document, Library, Manifest, NoChoice, Parsed, choose};
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
    let mut reader = Reader { source, documents: 0, left_out: Vec::new() };
    let Parsed::Index(index) = &root.parsed else {
        let node = reader.node(root, None, 0).await?;
        if let (Node::Image(image), [_, ..]) = (&node, platforms) {
            fits(image, platforms)?;
        }
        return Ok(Selected { node, left_out: Vec::new() });
    };
    if platforms.is_empty() {
        let node = reader.node(root, None, 0).await?;
        return Ok(Selected { node, left_out: reader.left_out });
    }
    let mut entries = Vec::new();
    reader.flatten(&index.manifests, &mut entries, 0).await?;
    let mut chosen: Vec<Choice> = Vec::new();
    for wanted in platforms {
        let best = choose(source, index, wanted).await.map_err(|error| refused(error, &root.digest))?;
        if !chosen.iter().any(|other| other.entry.digest == best.entry.digest) {
            chosen.push(best);
        }
    }
    let about = |entry: &Descriptor| attach::subject(entry).map(str::to_owned);
    if let [only] = &chosen[..] {
        let document = source.document(&only.entry.digest).await?;
        let platform = only.platform.as_ref().map(ToString::to_string);
        let node = reader.node(document, platform, 0).await?;
        let subject = only.entry.digest.to_string();
        let left_out =
            entries.iter().filter(|entry| about(entry).as_deref() == Some(&subject)).map(attach::left_out);
        return Ok(Selected { node, left_out: left_out.collect() });
    }
    let chosen: Vec<Descriptor> = chosen.into_iter().map(|choice| choice.entry).collect();
    let subjects: Vec<String> = chosen.iter().map(|entry| entry.digest.to_string()).collect();
    let mut index = index.clone();
    index.others.clear();
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
    Ok(Selected { node, left_out: reader.left_out })
}

/// The image that `platform` gets, as in a pull.
pub(crate) async fn one(source: &Source, root: Document, platform: &Platform) -> Result<Image, ConvertError> {
    let digest = root.digest;
    let document = match &root.parsed {
        Parsed::Manifest(_) => root,
        Parsed::Index(index) => {
            let choice = choose(source, index, platform).await.map_err(|error| refused(error, &digest))?;
            source.document(&choice.entry.digest).await?
        }
    };
    let digest = document.digest;
    let not_an_image = match &document.parsed {
        Parsed::Manifest(manifest) => manifest.of_image().err(),
        Parsed::Index(_) => None,
    };
    if let Some(error) = not_an_image {
        return Err(ConvertError::document("manifest", digest)(error));
    }
    match (Reader { source, documents: 0, left_out: Vec::new() }).node(document, None, 0).await? {
        Node::Image(image) => Ok(*image),
        Node::Artifact(_) | Node::Index { .. } => {
            let reason = "it is not the manifest of a container image".to_owned();
            Err(ConvertError::Document { what: "manifest", digest, reason })
        }
    }
}

impl Library for Source {
    type Error = ConvertError;

    async fn document(&self, entry: &Descriptor) -> Result<Document, ConvertError> {
        Self::document(self, &entry.digest).await
    }

    async fn config(&self, config: &Descriptor) -> Result<Config, ConvertError> {
        let bytes = self.bytes("config", config).await?;
        Config::parse(&bytes).map_err(ConvertError::document("config", config.digest))
    }
}

fn refused(error: NoChoice<ConvertError>, index: &ObjectDigest) -> ConvertError {
    match error {
        NoChoice::Library(error) => error,
        NoChoice::Platform { wanted, offered } => ConvertError::Platform { wanted, offered },
        NoChoice::Document(error) => ConvertError::document("index", *index)(error),
    }
}

struct Reader<'a> {
    source: &'a Source,
    documents: usize,
    /// Entries of indexes that are neither images nor artifacts in the shape of one.
    left_out: Vec<Attachment>,
}

impl Reader<'_> {
    fn count(&mut self, digest: &ObjectDigest) -> Result<(), ConvertError> {
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
                if let Some(other) = index.others.first() {
                    let reason = format!(
                        "its entry {} is named by an algorithm that is not supported; choose others with --platform",
                        other.digest
                    );
                    return Err(ConvertError::Document { what: "index", digest: document.digest, reason });
                }
                let mut children = Vec::new();
                for descriptor in index.manifests.clone() {
                    if !media::is_document(&descriptor.media_type) {
                        self.left_out.push(attach::no_document(&descriptor));
                        continue;
                    }
                    let child = self.source.document(&descriptor.digest).await?;
                    let platform = known(descriptor.platform()).map(|platform| platform.to_string());
                    let node = match attach::subject(&descriptor) {
                        Some(_) => Node::Artifact(child),
                        None => Box::pin(self.node(child, platform, depth + 1)).await?,
                    };
                    children.push(Child { descriptor, node });
                }
                let filtered = children.len() < index.manifests.len();
                Ok(Node::Index { document, children, filtered })
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
        let digest = manifest.config.digest;
        let Config { diff_ids, platform: own } =
            Config::parse(&config).map_err(ConvertError::document("config", digest))?;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, ids) = (manifest.layers.len(), diff_ids.len());
            let reason = format!("it has {ids} DiffIDs, manifest {} has {layers} layers", document.digest);
            return Err(ConvertError::Document { what: "config", digest, reason });
        }
        let layers = manifest.layers.iter().cloned().zip(diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
        let platform = platform.or_else(|| known(own).map(|platform| platform.to_string()));
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

fn deep(depth: usize, digest: &ObjectDigest) -> Result<(), ConvertError> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    let reason = "too many indexes in indexes".to_owned();
    Err(ConvertError::Document { what: "index", digest: *digest, reason })
}

/// A platform that says something; attestations have an unknown one.
fn known(platform: Option<Platform>) -> Option<Platform> {
    platform.filter(|platform| platform.os != "unknown" && platform.architecture != "unknown")
}

/// An image without an index is for one platform: its config says which.
fn fits(image: &Image, platforms: &[Platform]) -> Result<(), ConvertError> {
    let own = Config::parse(&image.config).ok().and_then(|config| known(config.platform));
    match own.as_ref() {
        Some(own) if !platforms.iter().any(|wanted| wanted.fit(own).is_some()) => {
            let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            Err(ConvertError::Platform { wanted: wanted.join(", "), offered: own.to_string() })
        }
        _ => Ok(()),
    }
}
