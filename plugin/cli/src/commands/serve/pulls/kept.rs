//! Images that were pulled lately: their layers stay in the store, and are found by chainID, until containerd asks for them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use chunked_core::Digest;
use chunked_registry::Image;
use chunked_store::LayerPin;
use parking_lot::Mutex;

/// How long after a pull none of its layers is dropped, whatever the store's limits say.
const KEPT: Duration = Duration::from_secs(3600);
/// The same after containerd asked for the highest layer: from then on its snapshots keep the layers.
const TAKEN: Duration = Duration::from_secs(60);
/// Images kept so, the latest.
const MOST: usize = 64;
/// How often it is looked whether a time is over.
const LOOK: Duration = Duration::from_secs(30);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    until: Instant,
    /// Keeps the layers from being dropped.
    _layers: Vec<LayerPin>,
}

impl Kept {
    /// None yet; a task lets go of what is kept when its time is over. Must be called inside a tokio runtime.
    pub(super) fn start() -> Arc<Self> {
        let kept = Arc::new(Self::default());
        tokio::spawn(tidy(Arc::downgrade(&kept)));
        kept
    }

    /// Keeps the layers of `image`, which are in the store.
    pub(super) fn keep(&self, image: &Arc<Image>, layers: Vec<LayerPin>) {
        let until = Instant::now() + KEPT;
        let mut entries = self.0.lock();
        entries.retain(|entry| {
            entry.image.reference != image.reference || entry.image.manifest_digest != image.manifest_digest
        });
        if entries.len() >= MOST {
            entries.pop_front();
        }
        entries.push_back(Entry { image: Arc::clone(image), until, _layers: layers });
    }

    /// An image with this chainID, and the place of its layer: containerd asks for it. That the layer is in order is for the
    /// store to say.
    pub(crate) fn find(&self, chain: &Digest) -> Option<(Arc<Image>, usize)> {
        self.0.lock().iter_mut().rev().find_map(|entry| {
            let index = entry.image.layers.iter().position(|layer| layer.chain_id == *chain)?;
            if index + 1 == entry.image.layers.len() {
                entry.until = entry.until.min(Instant::now() + TAKEN);
            }
            Some((Arc::clone(&entry.image), index))
        })
    }

    /// The images, and until when each is kept.
    pub(crate) fn images(&self) -> Vec<(Arc<Image>, SystemTime)> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let until = |entry: &Entry| wall + entry.until.saturating_duration_since(now);
        self.0.lock().iter().map(|entry| (Arc::clone(&entry.image), until(entry))).collect()
    }

    /// Drops what is not kept any more at `now`.
    fn let_go(&self, now: Instant) {
        self.0.lock().retain(|entry| entry.until > now);
    }
}

async fn tidy(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match kept.upgrade() {
            Some(kept) => kept.let_go(Instant::now()),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use chunked_core::ObjectDigest;
    use chunked_registry::Layer;

    use super::*;

    fn image(name: &str, chain: &[u8]) -> Arc<Image> {
        let layer = Layer {
            blob: ObjectDigest::of(b"blob"),
            size: 1,
            media_type: String::new(),
            annotations: std::collections::BTreeMap::new(),
            diff_id: Digest::of(chain),
            chain_id: Digest::of(chain),
        };
        Arc::new(Image {
            reference: format!("r.example/{name}").parse().unwrap(),
            manifest_digest: ObjectDigest::of(chain),
            config_digest: ObjectDigest::of(b"config"),
            manifest: Vec::new(),
            config: Vec::new(),
            layers: vec![layer],
        })
    }

    #[test]
    fn the_latest_images_are_found_until_their_time_is_over() {
        let kept = Kept::default();
        for n in 0..=MOST {
            kept.keep(&image("app", format!("{n}").as_bytes()), Vec::new());
        }
        assert_eq!(kept.images().len(), MOST);
        assert!(kept.find(&Digest::of(b"0")).is_none(), "the oldest one had to go");
        assert!(kept.find(&Digest::of(b"1")).is_some_and(|(_, index)| index == 0));
        // Its only layer was asked for just now, so that it is containerd's soon.
        kept.let_go(Instant::now() + TAKEN);
        assert!(kept.find(&Digest::of(b"1")).is_none());
        kept.keep(&image("app", b"2"), Vec::new());
        assert_eq!(kept.images().len(), MOST - 1, "the same once more is kept once");
        kept.let_go(Instant::now() + KEPT);
        assert!(kept.images().is_empty());
    }
}
