//! What the layers of one image have in common while any of them is being made.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chunked_core::Digest;
use parking_lot::Mutex;

use crate::error::EngineError;
use crate::reuse::Linked;

/// One image being pulled.
#[derive(Debug)]
pub(crate) struct Pull {
    /// When the first of its layers was wanted.
    began: Instant,
    /// What its layers were linked to.
    pub(crate) linked: Arc<Linked>,
}

/// The images being pulled, by digest of their config.
#[derive(Debug, Default)]
pub(crate) struct Pulls(Mutex<HashMap<Digest, Weak<Pull>>>);

impl Pulls {
    /// The pull of `image` that is running, or a new one, which lives as long as anybody holds it.
    pub(crate) fn of(&self, image: Digest) -> Arc<Pull> {
        let mut all = self.0.lock();
        all.retain(|_, pull| pull.strong_count() > 0);
        let running = all.get(&image).and_then(Weak::upgrade);
        running.unwrap_or_else(|| {
            let pull = Arc::new(Pull { began: Instant::now(), linked: Arc::default() });
            all.insert(image, Arc::downgrade(&pull));
            pull
        })
    }
}

impl Pull {
    /// `work` for `layer`, or an error when the pull takes longer than `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Option<Duration>,
        layer: Digest,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let Some(limit) = limit else { return work.await };
        let left = limit.saturating_sub(self.began.elapsed());
        tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
            let seconds = limit.as_secs();
            let reason =
                format!("its image was not complete after {seconds} s, the limit that pull.deadline sets");
            Err(EngineError::Stopped { layer, reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn layers_of_an_image_share_its_time() {
        let (pulls, image, layer) = (Pulls::default(), Digest::of(b"image"), Digest::of(b"layer"));
        let limit = Some(Duration::from_millis(200));
        let first = pulls.of(image);
        assert!(first.within(limit, layer, async { Ok(()) }).await.is_ok());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let second = pulls.of(image);
        let never = std::future::pending::<Result<(), EngineError>>();
        let error = second.within(limit, layer, never).await.unwrap_err();
        assert!(error.to_string().contains("pull.deadline"), "{error}");
        assert!(second.began.elapsed() < Duration::from_secs(5), "only what was left was waited for");
        let other = pulls.of(Digest::of(b"other"));
        assert!(other.began > first.began && Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert!(pulls.of(image).began > other.began, "a later pull has its own time");
    }
}
