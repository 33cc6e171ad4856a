//! Snapshots that containerd knows by name, and that are gone here with the state database.
//!
//! Names of images' snapshots end in a chainID. Which layers lead there, an image config in containerd's content store says;
//! layers that are here by DiffID become the same snapshots again, without a download. What cannot be rebuilt is remembered, by
//! image, for `status` and the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_core::Digest;
use chunked_store::{Store, StoreError};
use parking_lot::Mutex;
use tonic::Status;

use crate::blocking::blocking;
use crate::key;
use crate::remote::{Chain, RemoteLayers};

/// containerd asks for all its snapshots every few seconds: what could not be rebuilt is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(60);
/// Most snapshots that are remembered.
const MOST: usize = 4096;

/// A snapshot that could not be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSnapshot {
    /// As containerd calls it.
    pub name: String,
    /// The image it is of; `None` if none is known that has it.
    pub image: Option<String>,
    /// Why, and what to do.
    pub text: String,
}

#[derive(Debug)]
struct Lost {
    tried: Instant,
    snapshot: LostSnapshot,
}

/// Rebuilds lost snapshots, one at a time, and remembers which could not be.
#[derive(Debug, Default)]
pub struct LostSnapshots {
    lost: Mutex<BTreeMap<String, Lost>>,
    turn: tokio::sync::Mutex<()>,
}

impl LostSnapshots {
    /// Makes the snapshot `name` again, if it is one of an image whose layers are here. True if it is there now.
    pub async fn bring_back(&self, store: &Arc<Store>, remote: &dyn RemoteLayers, name: &str) -> bool {
        let (namespace, Some(target)) = key::chain_in(name) else { return false };
        let _turn = self.turn.lock().await;
        if self.lost.lock().get(name).is_some_and(|lost| lost.tried.elapsed() < AGAIN) {
            return false;
        }
        match self.try_back(store, remote, name, (namespace, target)).await {
            Ok(None) => {
                self.lost.lock().remove(name);
                true
            }
            Ok(Some(lost)) => {
                self.remember(lost);
                false
            }
            Err(text) => {
                // Of containerd or of the disk: the next call tries again.
                tracing::warn!(snapshot = name, error = text, "a lost snapshot cannot be rebuilt now");
                false
            }
        }
    }

    /// The same for a snapshot that nobody asked for: one that cannot be rebuilt is not remembered, because containerd may
    /// not have it from here.
    pub async fn bring_back_unasked(
        &self,
        store: &Arc<Store>,
        remote: &dyn RemoteLayers,
        name: &str,
    ) -> bool {
        let (namespace, Some(target)) = key::chain_in(name) else { return false };
        let _turn = self.turn.lock().await;
        matches!(self.try_back(store, remote, name, (namespace, target)).await, Ok(None))
    }

    /// What could not be rebuilt and is not there yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all(&self, store: &Store) -> Result<Vec<LostSnapshot>, StoreError> {
        let lost: Vec<LostSnapshot> = self.lost.lock().values().map(|lost| lost.snapshot.clone()).collect();
        let mut still = Vec::new();
        for snapshot in lost {
            if store.exists(&snapshot.name)? {
                self.lost.lock().remove(&snapshot.name);
            } else {
                still.push(snapshot);
            }
        }
        Ok(still)
    }

    async fn try_back(
        &self,
        store: &Arc<Store>,
        remote: &dyn RemoteLayers,
        name: &str,
        (namespace, target): (Option<&str>, Digest),
    ) -> Result<Option<LostSnapshot>, String> {
        let lost = |image, text: String| Some(LostSnapshot { name: name.to_owned(), image, text });
        let Some(Chain { image, layers }) = remote.chain(namespace, &target).await? else {
            let text = "its row is lost, and no image here has it: if a container uses it, make that anew";
            return Ok(lost(None, text.to_owned()));
        };
        let (number, known_as) = (layers.len(), name.to_owned());
        let made = blocking(store, move |store| store.adopt_again(&known_as, &layers)).await;
        match made.map_err(|status: Status| status.message().to_owned())? {
            None => {
                tracing::info!(snapshot = name, image, layers = number, "a lost snapshot was rebuilt");
                Ok(None)
            }
            Some(diff_id) => {
                let text = format!(
                    "its row is lost, and the layer with DiffID {diff_id} is not here: remove image {image} and the containers \
                     that use it, and pull it again"
                );
                Ok(lost(Some(image), text))
            }
        }
    }

    fn remember(&self, snapshot: LostSnapshot) {
        let mut all = self.lost.lock();
        if all.len() >= MOST && !all.contains_key(&snapshot.name) {
            all.pop_first();
        }
        let name = snapshot.name.clone();
        let known = all.insert(name, Lost { tried: Instant::now(), snapshot: snapshot.clone() });
        if known.is_none_or(|known| known.snapshot != snapshot) {
            let LostSnapshot { name, image, text } = snapshot;
            tracing::error!(
                snapshot = name,
                image,
                text,
                "a snapshot that containerd knows cannot be rebuilt"
            );
        }
    }
}

/// Does `work` where blocking is fine. Where a snapshot that it needs is missing, that may be one whose row is lost: then it
/// is rebuilt, and `work` is done again.
pub(crate) async fn or_lost<T: Send + 'static>(
    store: &Arc<Store>,
    remote: &dyn RemoteLayers,
    lost: &LostSnapshots,
    work: impl Fn(&Store) -> Result<T, StoreError> + Clone + Send + 'static,
) -> Result<T, Status> {
    let first = work.clone();
    let found = blocking(store, move |store| match first(store) {
        Ok(found) => Ok(Ok(found)),
        Err(error) => error.missing().map(str::to_owned).map(Err).ok_or(error),
    });
    match found.await? {
        Ok(found) => return Ok(found),
        Err(name) => drop(lost.bring_back(store, remote, &name).await),
    }
    blocking(store, work).await
}
