//! What must not be done on the runtime's own threads, which also answer containerd: waiting for the disk, for locks
//! that others hold long, and ending what takes long to end.
//!
//! Both are kept off those threads by type: what is in a [`Blocking`] can only be used, and what is in a [`Heavy`]
//! can only end, on a thread that may block.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Something that blocks whoever uses it.
#[derive(Debug, Clone)]
pub(crate) struct Blocking<T>(T);

impl<T: Clone + Send + 'static> Blocking<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// Runs `work` with it on a thread that may block.
    ///
    /// # Errors
    /// When `work` panicked, or the runtime ends.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, JoinError> {
        let value = self.0.clone();
        tokio::task::spawn_blocking(move || work(&value)).await
    }

    /// It itself, for others to use as they must.
    pub(crate) fn inner(&self) -> &T {
        &self.0
    }
}

/// Tells work on a thread that may block, which nobody can end, whether its outcome is still waited for. Asked in every
/// loop over an image's entries or bytes.
#[derive(Debug, Clone)]
pub(crate) struct Wanted(Weak<()>);

/// Whoever has it waits for the outcome.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<()>);

impl Waiting {
    pub(crate) fn new() -> Self {
        Self(Arc::new(()))
    }

    /// For the work that is waited for.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted(Arc::downgrade(&self.0))
    }
}

impl Wanted {
    pub(crate) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Something that takes long to end: a large table, a list of claims that others have to be told of.
#[derive(Debug, Default)]
pub(crate) struct Heavy<T: Default + Send + 'static>(T);

impl<T: Default + Send + 'static> Heavy<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Default + Send + 'static> Deref for Heavy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default + Send + 'static> Drop for Heavy<T> {
    fn drop(&mut self) {
        let value = std::mem::take(&mut self.0);
        off_the_runtime(move || drop(value));
    }
}

/// Runs `work` on a thread that may block: another one, if this may be one of the runtime's.
pub(crate) fn off_the_runtime(work: impl FnOnce() + Send + 'static) {
    match Handle::try_current() {
        // If the runtime ends before, the closure is dropped with all that it holds, which comes to the same.
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;

    #[derive(Debug, Default)]
    struct Tells(Option<mpsc::Sender<ThreadId>>);

    impl Drop for Tells {
        fn drop(&mut self) {
            if let Some(told) = self.0.take() {
                let _ = told.send(std::thread::current().id());
            }
        }
    }

    #[tokio::test]
    async fn what_is_heavy_ends_elsewhere() {
        let (told, ended) = mpsc::channel();
        drop(Heavy::new(Tells(Some(told.clone()))));
        let there = tokio::task::spawn_blocking(move || ended.recv().map(|at| (at, ended))).await.unwrap();
        let (there, ended) = there.unwrap();
        assert_ne!(there, std::thread::current().id());
        // Without a runtime it ends where it is.
        let thread = std::thread::spawn(move || {
            drop(Heavy::new(Tells(Some(told))));
            std::thread::current().id()
        });
        assert_eq!(thread.join().unwrap(), ended.recv().unwrap());
    }
}
