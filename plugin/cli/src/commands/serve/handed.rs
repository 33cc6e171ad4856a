//! Which images were handed over to containerd a moment ago, and from which layer on.
//!
//! containerd downloads a layer that it is handed, and every layer above. So none of these is asked for again, whatever
//! the reason was: that would fetch twice, or wait once more for the same refusal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chunked_core::ObjectDigest;
use chunked_registry::Image;
use chunked_snapshot::Cause;
use parking_lot::Mutex;

/// Time from one layer's Prepare to the next of the same image, at most: containerd downloads and unpacks one in
/// between. After that we ask again.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Images remembered at once.
const MOST: usize = 1024;

/// Why a layer was handed over.
type Why = (Cause, String);

#[derive(Debug)]
struct Entry {
    /// The lowest layer that was handed over.
    from: usize,
    why: Why,
    last: Instant,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Handed(Mutex<HashMap<ObjectDigest, Entry>>);

impl Handed {
    /// Remembers that the layer `index` of `image` was handed over.
    pub(crate) fn note(&self, image: &Image, index: usize, why: Why, now: Instant) {
        let mut all = self.0.lock();
        all.retain(|_, entry| now.duration_since(entry.last) < REMEMBERED);
        if all.len() < MOST {
            all.insert(image.manifest_digest, Entry { from: index, why, last: now });
        }
    }

    /// Why a layer below `index` was handed over a moment ago. A pull that begins anew, with that layer or a lower
    /// one, is a new try.
    pub(crate) fn above(&self, image: &Image, index: usize, now: Instant) -> Option<Why> {
        let mut all = self.0.lock();
        let entry = all.get_mut(&image.manifest_digest)?;
        if index <= entry.from || now.duration_since(entry.last) >= REMEMBERED {
            all.remove(&image.manifest_digest);
            return None;
        }
        entry.last = now;
        Some(entry.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(n: u8) -> Image {
        Image {
            reference: "r.example/app".parse().unwrap(),
            manifest_digest: ObjectDigest::of(&[n]),
            config_digest: ObjectDigest::of(b"config"),
            manifest: Vec::new(),
            config: Vec::new(),
            layers: Vec::new(),
        }
    }

    #[test]
    fn layers_above_follow_and_a_new_pull_asks_again() {
        let (handed, now, why) = (Handed::default(), Instant::now(), (Cause::Denied, "no".to_owned()));
        handed.note(&image(1), 2, why.clone(), now);
        let later = now + REMEMBERED / 2;
        assert_eq!(handed.above(&image(1), 3, later), Some(why.clone()));
        assert_eq!(handed.above(&image(2), 3, later), None, "another image");
        assert_eq!(
            handed.above(&image(1), 4, later + REMEMBERED / 2),
            Some(why.clone()),
            "each one extends it"
        );
        assert_eq!(handed.above(&image(1), 4, later + REMEMBERED * 2), None, "long ago");
        handed.note(&image(1), 2, why, now);
        assert_eq!(handed.above(&image(1), 2, now), None, "the same layer once more is a new pull");
        assert_eq!(handed.above(&image(1), 3, now), None, "which is forgotten for the layers above, too");
    }
}
