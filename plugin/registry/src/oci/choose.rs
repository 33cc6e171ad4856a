//! The choice of an image from an index, as containerd chooses (github.com/containerd/platforms).

use std::future::Future;

use super::{Config, Descriptor, Document, DocumentError, Index, Other, Parsed, media};
use crate::platform::Platform;

/// Indexes in indexes followed.
const MAX_DEPTH: usize = 3;
/// Most entries of an index and those below it.
const MAX_ENTRIES: usize = 1000;
/// Set by writers that put a zstd variant of an image beside the gzip one, with the same platform.
const ZSTD_VARIANT: &str = "io.github.containers.compression.zstd";
/// BuildKit's annotation of an entry that is about another one: an attestation, not an image.
const SUBJECT: &str = "vnd.docker.reference.digest";

/// Where the documents below an index are read.
pub trait Library: Sync {
    /// Why one cannot be read.
    type Error: Send;

    /// The document that `entry` names, proven by its digest.
    fn document(&self, entry: &Descriptor) -> impl Future<Output = Result<Document, Self::Error>> + Send;

    /// The config that `config` names, proven by its digest.
    fn config(&self, config: &Descriptor) -> impl Future<Output = Result<Config, Self::Error>> + Send;
}

/// The image that was chosen.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Its entry.
    pub entry: Descriptor,
    /// The platform that decided, if any did.
    pub platform: Option<Platform>,
}

/// Why none was chosen.
#[derive(Debug, thiserror::Error)]
pub enum NoChoice<E> {
    /// A document below the index cannot be read.
    #[error(transparent)]
    Library(E),
    /// There is none for the platform.
    #[error("there is no image for {wanted}; there is: {offered}")]
    Platform {
        /// Platform asked for.
        wanted: String,
        /// Platforms there are.
        offered: String,
    },
    /// The one for the platform cannot be used, or there is too much to choose from.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Chooses the image for `wanted` below `index`.
///
/// Of those that name a platform, the one that comes closest; among equals one with zstd layers, then the first. If
/// none fits, those that name no platform are looked at: their configs decide. An only entry without a platform is
/// taken as it is. At last, an image for a later level of amd64 than was asked for, if this processor has it.
///
/// # Errors
///
/// [`NoChoice`].
pub async fn choose<L: Library>(
    library: &L,
    index: &Index,
    wanted: &Platform,
) -> Result<Choice, NoChoice<L::Error>> {
    let mut all = Entries::default();
    gather(library, index, wanted, &mut all, 0).await?;
    if let Some(choice) = best(&all.named, |platform| wanted.fit(platform)) {
        return Ok(choice);
    }
    if let ([], [], [only]) = (&all.named[..], &all.others[..], &all.nameless[..]) {
        return Ok(Choice { entry: only.clone(), platform: None });
    }
    let mut read = Vec::new();
    for entry in &all.nameless {
        let Parsed::Manifest(manifest) = library.document(entry).await.map_err(NoChoice::Library)?.parsed
        else {
            continue;
        };
        if manifest.of_image().is_ok() {
            let config = library.config(&manifest.config).await.map_err(NoChoice::Library)?;
            read.extend(config.platform.map(|platform| (entry.clone(), platform)));
        }
    }
    let found = best(&read, |platform| wanted.fit(platform));
    all.named.append(&mut read);
    if let Some(choice) = found.or_else(|| best(&all.named, |platform| wanted.fit_by_processor(platform))) {
        return Ok(choice);
    }
    let fits =
        |other: &&Other| other.platform.as_ref().is_some_and(|platform| wanted.fit(platform).is_some());
    match all.others.iter().find(fits) {
        Some(other) => Err(DocumentError::Algorithm(other.digest.clone()).into()),
        None => Err(NoChoice::Platform { wanted: wanted.to_string(), offered: offered(&all.named) }),
    }
}

/// What there is to choose from.
#[derive(Default)]
struct Entries {
    /// Images with their platforms.
    named: Vec<(Descriptor, Platform)>,
    /// Images, or what may be some, that name none.
    nameless: Vec<Descriptor>,
    others: Vec<Other>,
}

/// Sorts the entries of `index`, and of indexes in it. Attestations, signatures and other things stand beside images.
async fn gather<L: Library>(
    library: &L,
    index: &Index,
    wanted: &Platform,
    into: &mut Entries,
    depth: usize,
) -> Result<(), NoChoice<L::Error>> {
    if depth >= MAX_DEPTH {
        return Err(DocumentError::NotAnImage("too many indexes in indexes".to_owned()).into());
    }
    into.others.extend(index.others.iter().cloned());
    for entry in index.manifests.iter().filter(|entry| !entry.annotations.contains_key(SUBJECT)) {
        if into.named.len() + into.nameless.len() >= MAX_ENTRIES {
            return Err(
                DocumentError::NotAnImage(format!("more than {MAX_ENTRIES} images to choose from")).into()
            );
        }
        match entry.platform() {
            Some(platform) if media::is_index(&entry.media_type) && wanted.fit(&platform).is_none() => {}
            _ if media::is_index(&entry.media_type) => {
                let document = library.document(entry).await.map_err(NoChoice::Library)?;
                if let Parsed::Index(inner) = &document.parsed {
                    Box::pin(gather(library, inner, wanted, into, depth + 1)).await?;
                }
            }
            _ if !media::is_document(&entry.media_type) => {}
            Some(platform) => into.named.push((entry.clone(), platform)),
            None => into.nameless.push(entry.clone()),
        }
    }
    Ok(())
}

/// The entry that fits best; among equals one with zstd layers, then the first.
fn best(entries: &[(Descriptor, Platform)], fit: impl Fn(&Platform) -> Option<u32>) -> Option<Choice> {
    let rank = |(entry, platform): &(Descriptor, Platform)| {
        let zstd = entry.annotations.get(ZSTD_VARIANT).is_some_and(|value| value == "true");
        Some((fit(platform)?, zstd))
    };
    // Of equals the last one is the greatest.
    let best =
        entries.iter().rev().filter_map(|named| Some((rank(named)?, named))).max_by_key(|(rank, _)| *rank);
    best.map(|(_, (entry, platform))| Choice { entry: entry.clone(), platform: Some(platform.clone()) })
}

/// What there is, for the error's text.
fn offered(entries: &[(Descriptor, Platform)]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .filter(|(_, platform)| platform.os != "unknown")
        .map(|(_, platform)| platform.to_string().chars().filter(|c| !c.is_control()).take(40).collect())
        .collect();
    names.dedup();
    names.truncate(20);
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
