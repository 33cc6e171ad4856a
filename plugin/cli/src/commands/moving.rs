//! What `adopt` and `release` have in common: which images of containerd are meant, and how it is told what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chunked_client::{Got, Session};
use chunked_core::{Causes, chain_id, labels};
use chunked_discover::{Containerd, Found, Held};
use chunked_registry::{Image, Reference};
use serde::Serialize;

use crate::args::Moving;
use crate::exit::Exit;
use crate::settings;

/// How long a lease lives if we die: longer than any image takes.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// An image of containerd that is to move.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) held: Held,
    /// What it is called.
    pub(crate) name: String,
}

/// What became of an image.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    namespace: String,
    image: String,
    manifest: String,
    layers: usize,
    outcome: Outcome,
    /// Layers that the snapshotter had.
    here: usize,
    /// Layers that our snapshotter made.
    provided: usize,
    /// Layers that containerd unpacked.
    unpacked: usize,
    /// Bytes of blobs that were fetched into containerd's content store.
    bytes_fetched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// With --dry-run.
    Planned,
    Moved,
    Failed,
}

/// The containerd of a command, and the images in it that are meant.
pub(crate) struct Node {
    pub(crate) containerd: Containerd,
    pub(crate) chosen: Vec<Chosen>,
    command: Moving,
}

impl Node {
    /// Asks containerd for its images. `wanted` says which of those that the options name are meant.
    pub(crate) async fn of(
        command: Moving,
        settings: &chunked_config::Settings,
        wanted: impl Fn(&Held) -> bool,
    ) -> Result<Self> {
        let address = command.containerd_address.as_deref().unwrap_or(&settings.containerd_address);
        let containerd =
            Containerd::with_options(&settings::absolute(address)?, settings::discover(settings));
        let parse = |name: &String| name.parse::<Reference>().with_context(|| format!("image {name:?}"));
        let names: Vec<Reference> = command.images.iter().map(parse).collect::<Result<_>>()?;
        let images = containerd.images().await.context("listing the images of containerd")?;
        let is_meant = |held: &Held| {
            let in_namespace = command.namespaces.is_empty() || command.namespaces.contains(&held.namespace);
            in_namespace && !held.diff_ids.is_empty() && wanted(held)
        };
        let mut chosen: Vec<Chosen> =
            images.into_iter().filter(is_meant).filter_map(|held| choose(held, &names)).collect();
        chosen.sort_by(|a, b| (&a.held.namespace, &a.name).cmp(&(&b.held.namespace, &b.name)));
        Ok(Self { containerd, chosen, command })
    }

    /// Moves each image by `work`, one after the other, and tells what became of it.
    pub(crate) async fn each(
        &self,
        verb: &str,
        mut work: impl AsyncFnMut(&Chosen) -> Result<(Vec<Got>, u64)>,
    ) -> Vec<Moved> {
        let mut moved = Vec::with_capacity(self.chosen.len());
        for chosen in &self.chosen {
            let done = if self.command.dry_run {
                Moved::new(chosen, Outcome::Planned)
            } else {
                match work(chosen).await {
                    Ok((got, bytes)) => Moved::new(chosen, Outcome::Moved).with(&got, bytes),
                    Err(error) => Moved {
                        error: Some(Causes(error.as_ref()).to_string()),
                        ..Moved::new(chosen, Outcome::Failed)
                    },
                }
            };
            if !self.command.json {
                println!("{}", done.line(verb));
            }
            moved.push(done);
        }
        moved
    }

    /// Ends the command: prints JSON, or a line for people; fails when an image did.
    pub(crate) fn end(&self, moved: &[Moved], last: &str) -> Result<()> {
        let failed = moved.iter().filter(|moved| moved.outcome == Outcome::Failed).count();
        if self.command.json {
            println!("{}", serde_json::json!({ "images": moved, "failed": failed }));
        } else {
            println!("{} images, {failed} failed{last}", moved.len());
        }
        if failed > 0 {
            return Err(Exit { code: 1, reason: "not every image could be moved" }.into());
        }
        Ok(())
    }

    pub(crate) fn is_dry(&self) -> bool {
        self.command.dry_run
    }

    /// The image with its layers, and where they can be pulled from.
    pub(crate) async fn find(&self, chosen: &Chosen) -> Result<Found> {
        let mut chain = None;
        for diff_id in &chosen.held.diff_ids {
            chain = Some(chain_id(chain.as_ref(), diff_id));
        }
        let top = chain.context("the image has no layers")?;
        let hints = HashMap::from([
            (labels::CRI_IMAGE_REF.to_owned(), chosen.name.clone()),
            (labels::CRI_MANIFEST_DIGEST.to_owned(), chosen.held.manifest.to_string()),
        ]);
        let mut found = self.containerd.find(Some(&chosen.held.namespace), &top, &hints).await?;
        // Another image may have the same layers, compressed otherwise.
        let is_it = |image: &Arc<Image>| image.manifest_digest == chosen.held.manifest;
        found.alternatives.retain(|source| is_it(&source.image));
        anyhow::ensure!(is_it(&found.image), "its manifest is gone from containerd's content store");
        Ok(found)
    }

    /// The image's namespace, with a lease.
    pub(crate) async fn session(&self, chosen: &Chosen) -> Result<Session> {
        let session = Session::new(self.containerd.channel(), &chosen.held.namespace)?;
        Ok(session.with_lease(LEASE).await?)
    }

    /// Ends the lease. That it cannot be ended now is no failure: it ends by itself.
    pub(crate) async fn close(session: Session) {
        if let Err(error) = session.end_lease().await {
            tracing::warn!(error = %Causes(&error), "a lease stays for a day");
        }
    }
}

/// The image under the name that it is to move by; nothing when it has none, or none that was asked for.
fn choose(held: Held, names: &[Reference]) -> Option<Chosen> {
    let name = match names {
        // The tag tells people more than the digest that CRI names the image by as well.
        [] => held.names.iter().find(|name| !name.contains('@')).or_else(|| held.names.first())?.clone(),
        names => {
            held.names.iter().find(|name| names.iter().any(|wanted| wanted.to_string() == **name))?.clone()
        }
    };
    Some(Chosen { held, name })
}

impl Moved {
    fn new(chosen: &Chosen, outcome: Outcome) -> Self {
        Self {
            namespace: chosen.held.namespace.clone(),
            image: chosen.name.clone(),
            manifest: chosen.held.manifest.to_string(),
            layers: chosen.held.diff_ids.len(),
            outcome,
            here: 0,
            provided: 0,
            unpacked: 0,
            bytes_fetched: 0,
            error: None,
        }
    }

    fn with(self, got: &[Got], bytes_fetched: u64) -> Self {
        let count = |which| got.iter().filter(|got| **got == which).count();
        Self {
            here: count(Got::Here),
            provided: count(Got::Provided),
            unpacked: count(Got::Unpacked),
            bytes_fetched,
            ..self
        }
    }

    fn line(&self, verb: &str) -> String {
        let Self { namespace, image, layers, .. } = self;
        match (self.outcome, &self.error) {
            (Outcome::Planned, _) => format!("{namespace}  {image}: {layers} layers would be {verb}"),
            (_, Some(error)) => format!("{namespace}  {image}: failed: {error}"),
            _ => {
                let Self { here, provided, unpacked, .. } = self;
                format!(
                    "{namespace}  {image}: {layers} layers {verb}: {here} were there, {provided} made by us, {unpacked} unpacked by containerd"
                )
            }
        }
    }
}
