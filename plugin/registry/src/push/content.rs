//! The bytes of a blob that is sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;

/// Bytes read from a file at a time.
const BUFFER: u64 = 512 << 10;

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file, from its start. Read by position, never sought in.
    File(Arc<File>),
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Arc<File>> for Content {
    fn from(file: Arc<File>) -> Self {
        Self::File(file)
    }
}

impl Content {
    /// `len` bytes from `start` as a body; counts in `progress` what is taken of it.
    pub(crate) fn body(&self, start: u64, len: u64, progress: Arc<AtomicU64>) -> reqwest::Body {
        let content = self.clone();
        let pieces = stream::try_unfold((start, len), move |(offset, left)| {
            let (content, progress) = (content.clone(), Arc::clone(&progress));
            async move {
                let n = left.min(BUFFER);
                if n == 0 {
                    return Ok::<_, io::Error>(None);
                }
                let bytes = content.read(offset, n).await?;
                progress.fetch_add(n, Ordering::Relaxed);
                Ok(Some((bytes, (offset + n, left - n))))
            }
        });
        reqwest::Body::wrap_stream(pieces)
    }

    async fn read(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let end = start.checked_add(len).filter(|end| *end <= bytes.len());
                Ok(bytes.slice(start..end.ok_or(io::ErrorKind::UnexpectedEof)?))
            }
            Self::File(file) => {
                let file = Arc::clone(file);
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; len];
                    file.read_exact_at(&mut buffer, offset)?;
                    Ok(Bytes::from(buffer))
                });
                read.await.map_err(io::Error::other)?
            }
        }
    }
}
