//! The stream that a fetch gives, and the task behind it.

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::error::FetchError;
use crate::fetch::Segment;

/// Segments that wait in the channel. Each is one read from a connection: some kB up to 400 kB.
pub(crate) const CHANNEL: usize = 16;

pub(crate) type Output = mpsc::Sender<Result<Segment, FetchError>>;

/// What [`fetch`](crate::fetch) gives. Dropping it ends all requests.
#[derive(Debug)]
pub struct Segments {
    receiver: mpsc::Receiver<Result<Segment, FetchError>>,
    task: AbortOnDropHandle<()>,
}

/// Ends the requests behind [`Segments`] when it is dropped, wherever those are: a thread that waits for the next
/// segment is told that there is none.
#[derive(Debug)]
pub struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Segments {
    /// Runs what `task` makes of the other end.
    pub(crate) fn from<F: Future<Output = ()> + Send + 'static>(task: impl FnOnce(Output) -> F) -> Self {
        Self::with_room(CHANNEL, task)
    }

    /// The same, with room for so many segments.
    pub(crate) fn with_room<F: Future<Output = ()> + Send + 'static>(
        room: usize,
        task: impl FnOnce(Output) -> F,
    ) -> Self {
        let (output, receiver) = mpsc::channel(room);
        Self { receiver, task: AbortOnDropHandle::new(tokio::spawn(task(output))) }
    }

    /// The next segment or error; `None` at the end.
    pub async fn recv(&mut self) -> Option<Result<Segment, FetchError>> {
        self.receiver.recv().await
    }

    /// The same, for threads outside the runtime.
    pub fn blocking_recv(&mut self) -> Option<Result<Segment, FetchError>> {
        self.receiver.blocking_recv()
    }

    /// For whoever waits for the thread that reads the segments.
    pub fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.task.abort_handle())
    }
}
