//! One job: what is made for one entry, or a part of that.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chunked_verify::Part;

use crate::error::{AssembleError, lossy};
use crate::work::budget::OVERHEAD;

/// Work for one entry, done by any worker.
pub(crate) trait Job: Any + fmt::Debug + Send {
    /// The entry's path, for errors.
    fn path(&self) -> &[u8];

    /// Bytes of memory that it holds, its content aside.
    fn held(&self) -> u64 {
        OVERHEAD + self.path().len() as u64
    }

    /// Does it, as far as it goes without waiting; adds the payload's bytes to `parts`.
    fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError>;
}

/// How far a job came.
pub(crate) enum Ran {
    /// It is done.
    Done,
    /// It goes on with this, on a worker.
    Next(Box<dyn Job>),
    /// It goes on with this, which waits for the network: on a thread that may be held up.
    Fetch(Box<dyn Job>),
    /// It goes on when something has happened. No thread waits for that.
    Later(Later),
}

/// Called with what is to be called with the rest of the job, when the time has come.
pub(crate) type Later = Box<dyn FnOnce(Resume) + Send>;
pub(crate) type Resume = Box<dyn FnOnce(Box<dyn Job>) + Send>;

/// Runs `work` for the entry at `path`; a panic, which is a fault of this program, becomes an error that names it.
pub(crate) fn caught<T>(
    path: &[u8],
    work: impl FnOnce() -> Result<T, AssembleError>,
) -> Result<T, AssembleError> {
    // Nothing that a panic could leave half done is looked at again: the layer is given up.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(|message| (*message).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(AssembleError::Panicked { path: lossy(path), message: message.unwrap_or_default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_its_entry() {
        let failed = caught::<()>(b"srv/f", || panic!("boom {}", 5)).unwrap_err();
        assert!(
            matches!(&failed, AssembleError::Panicked { path, message } if path == "srv/f" && message == "boom 5")
        );
        assert!(matches!(caught(b"f", || Ok(7)), Ok(7)));
    }
}
