//! One image being pulled: who waits for it, how long it may take, and what its layers have in common.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chunked_core::ObjectDigest;
use chunked_registry::Image;
use chunked_store::LayerPin;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::EngineError;
use crate::links::Linked;

/// How long an image's layers are worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the moment its first layer was wanted. `None`: as long as it takes.
    pub(crate) deadline: Option<Duration>,
    /// While nobody waits for any of them.
    pub(crate) alone: Duration,
}

/// One image being pulled. What it waits for, its deadline and its waiters are its own, also where it shares a
/// transfer with another image.
#[derive(Debug)]
pub(crate) struct Pull {
    limits: Limits,
    /// When the first of its layers was wanted.
    began: Instant,
    waiters: Mutex<Waiters>,
    /// Layers of it that were made, and wait for those below them: nobody deletes them to make room.
    made: Mutex<Vec<LayerPin>>,
    /// What its layers were linked to.
    pub(crate) linked: Arc<Linked>,
    /// Why none of its layers can be had.
    failed: watch::Sender<Option<Arc<EngineError>>>,
}

#[derive(Debug)]
struct Waiters {
    count: usize,
    /// When the last one left, or the pull began.
    alone_since: Instant,
}

/// An image as somebody asked for it: digest of its config, registry, repository, and the number of the client if it is not
/// the engine's.
type Asked = (ObjectDigest, String, String, Option<u64>);

/// The images being pulled.
#[derive(Debug, Default)]
pub(crate) struct Pulls(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    pulls: HashMap<Asked, Weak<Pull>>,
    /// By digest of the config: images that are equal mount the same tree, wherever they came from.
    linked: HashMap<ObjectDigest, Weak<Linked>>,
}

impl Pulls {
    /// The pull of `image` that is running, or a new one, which lives as long as anybody holds it. One that has
    /// failed or used up its time is not gone on with.
    pub(crate) fn of(&self, image: &Image, client: Option<u64>, limits: Limits) -> Arc<Pull> {
        let (host, repository) = (image.reference.host.clone(), image.reference.repository.clone());
        let asked = (image.config_digest, host, repository, client);
        let mut running = self.0.lock();
        let running = &mut *running;
        running.pulls.retain(|_, pull| pull.strong_count() > 0);
        running.linked.retain(|_, linked| linked.strong_count() > 0);
        if let Some(pull) = running.pulls.get(&asked).and_then(Weak::upgrade)
            && pull.left().is_none_or(|left| !left.is_zero())
            && pull.failed.borrow().is_none()
        {
            return pull;
        }
        let linked = running.linked.get(&image.config_digest).and_then(Weak::upgrade).unwrap_or_default();
        running.linked.insert(image.config_digest, Arc::downgrade(&linked));
        let waiters = Mutex::new(Waiters { count: 0, alone_since: Instant::now() });
        let failed = watch::Sender::default();
        let pull =
            Arc::new(Pull { limits, began: Instant::now(), waiters, made: Mutex::default(), linked, failed });
        running.pulls.insert(asked, Arc::downgrade(&pull));
        pull
    }
}

impl Pull {
    /// Counts a call that waits for a layer of the image, for as long as the result lives.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiters.lock().count += 1;
        Waiting(Arc::clone(self))
    }

    /// True while a call waits for one of its layers.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiters.lock().count > 0
    }

    /// Tells the jobs of its other layers that its repository cannot serve them either.
    pub(crate) fn fail(&self, error: Arc<EngineError>) {
        self.failed.send_replace(Some(error));
    }

    /// Ends when another layer's job found that the repository cannot serve the image.
    pub(crate) async fn failure(&self) -> Arc<EngineError> {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|failed| failed.clone()) {
            Ok(Some(error)) => error,
            // The sender lives as long as this.
            _ => std::future::pending().await,
        }
    }

    /// Keeps a layer that was made from being deleted as long as others of the image are.
    pub(crate) fn keep(&self, layer: LayerPin) {
        self.made.lock().push(layer);
    }

    /// What is left of its time; `None` without a deadline.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.limits.deadline.map(|limit| limit.saturating_sub(self.began.elapsed()))
    }

    /// Why nobody wants its layers any more, if so.
    fn over(&self) -> Option<String> {
        if self.left().is_some_and(|left| left.is_zero()) {
            return Some(self.late());
        }
        let waiters = self.waiters.lock();
        let alone = waiters.count == 0 && waiters.alone_since.elapsed() >= self.limits.alone;
        alone.then(|| "nobody waited for it any more".to_owned())
    }

    fn late(&self) -> String {
        let seconds = self.limits.deadline.unwrap_or_default().as_secs();
        format!("its image was not complete after {seconds} s, the limit that pull.deadline sets")
    }

    /// `work` for `layer`, or an error when the image's time is over first.
    pub(crate) async fn within<T>(
        &self,
        layer: ObjectDigest,
        work: impl Future<Output = T>,
    ) -> Result<T, EngineError> {
        let Some(left) = self.left() else { return Ok(work.await) };
        let stopped = |_| EngineError::Stopped { layer, reason: self.late() };
        tokio::time::timeout(left, work).await.map_err(stopped)
    }
}

/// See [`Pull::wait`].
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Pull>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = self.0.waiters.lock();
        waiters.count -= 1;
        waiters.alone_since = Instant::now();
    }
}

/// The images that want a layer which is being made.
#[derive(Debug, Default)]
pub(crate) struct Interest(Mutex<Vec<Arc<Pull>>>);

impl Interest {
    pub(crate) fn add(&self, pull: &Arc<Pull>) {
        let mut pulls = self.0.lock();
        if !pulls.iter().any(|known| Arc::ptr_eq(known, pull)) {
            pulls.push(Arc::clone(pull));
        }
    }

    /// Lets go of `pull`. True when no image wants the layer any more.
    pub(crate) fn remove(&self, pull: &Arc<Pull>) -> bool {
        let mut pulls = self.0.lock();
        pulls.retain(|known| !Arc::ptr_eq(known, pull));
        pulls.is_empty()
    }

    /// Lets go of images that do not want the layer any more; when none is left, why the last one does not.
    pub(crate) fn over(&self) -> Option<String> {
        let mut pulls = self.0.lock();
        let mut reason = None;
        pulls.retain(|pull| {
            let over = pull.over();
            let wanted = over.is_none();
            reason = over.or(reason.take());
            wanted
        });
        pulls.is_empty().then(|| reason.unwrap_or_else(|| "nobody wants it".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(host: &str, config: &[u8]) -> Image {
        Image {
            reference: format!("{host}/app").parse().unwrap(),
            manifest_digest: ObjectDigest::of(b""),
            config_digest: ObjectDigest::of(config),
            manifest: Vec::new(),
            config: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn limits(deadline: u64, alone: u64) -> Limits {
        Limits { deadline: Some(Duration::from_millis(deadline)), alone: Duration::from_millis(alone) }
    }

    #[tokio::test]
    async fn layers_of_an_image_share_its_time() {
        let (pulls, image, layer) = (Pulls::default(), image("a.example", b"1"), ObjectDigest::of(b"layer"));
        let limits = limits(400, 10_000);
        let first = pulls.of(&image, None, limits);
        assert!(first.within(layer, async {}).await.is_ok());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let second = pulls.of(&image, None, limits);
        assert!(Arc::ptr_eq(&first, &second));
        let error = second.within(layer, std::future::pending::<()>()).await.unwrap_err();
        assert!(error.to_string().contains("pull.deadline"), "{error}");
        assert!(second.began.elapsed() < Duration::from_secs(5), "only what was left was waited for");
        assert!(second.over().is_some_and(|reason| reason.contains("pull.deadline")));
        let again = pulls.of(&image, None, limits);
        assert!(again.began > first.began, "who tries again has time of its own");
    }

    #[test]
    fn images_of_two_registries_are_two_pulls_of_one_tree() {
        let (pulls, limits) = (Pulls::default(), limits(10_000, 0));
        let (here, there) = (image("a.example", b"1"), image("b.example", b"1"));
        let (one, two) = (pulls.of(&here, None, limits), pulls.of(&there, None, limits));
        assert!(!Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&one.linked, &two.linked));
        let other = pulls.of(&image("a.example", b"2"), None, limits);
        assert!(!Arc::ptr_eq(&one.linked, &other.linked));
        let apart = pulls.of(&here, Some(1), limits);
        assert!(!Arc::ptr_eq(&apart, &one), "a refusal of others says nothing to who has other credentials");
        assert!(Arc::ptr_eq(&apart, &pulls.of(&here, Some(1), limits)));
        // A waiter of one is none of the other.
        let interest = Interest::default();
        let waiting = one.wait();
        interest.add(&one);
        interest.add(&two);
        assert!(interest.over().is_none());
        drop(waiting);
        assert!(interest.over().is_some_and(|reason| reason.contains("nobody waited")));
    }
}
