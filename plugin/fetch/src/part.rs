//! One part of a range: requested, resumed where its body broke, handed on as it arrives.

use std::time::Duration;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_registry::{Blob, ErrorKind, RegistryError};
use tokio::sync::mpsc;

use crate::FetchError;

/// Tries after the first, for what is worth trying again.
const RETRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the first byte in the blob.
    pub offset: u64,
    /// The bytes; never empty.
    pub data: Bytes,
}

/// How a part ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it was sent, or nobody listens any more.
    Done,
    /// The registry ignores ranges: this body is the whole blob, from which nothing was taken yet.
    Whole(chunked_registry::Body),
}

/// Sends the bytes of `range` to `to`. Asks again for the missing rest after a failure that may pass.
pub(crate) async fn fetch(
    blob: &Blob,
    mut range: ByteRange,
    to: &mpsc::Sender<Result<Segment, FetchError>>,
) -> Result<Ended, FetchError> {
    let mut tries = 0;
    while !range.is_empty() {
        let before = range.start;
        let error = match attempt(blob, &mut range, to).await {
            Ok(ended) => return Ok(ended),
            Err(error) => error,
        };
        if range.start > before {
            tries = 0;
        }
        if error.kind() != ErrorKind::Transient || tries == RETRIES {
            return Err(FetchError { range, source: error });
        }
        tracing::debug!(blob = %blob.digest(), %range, %error, "asking again for what is missing");
        tokio::time::sleep(pause(tries, range.start)).await;
        tries += 1;
    }
    Ok(Ended::Done)
}

/// Doubling pauses, spread by the range's place so that parts that broke together do not return together.
fn pause(tries: u32, salt: u64) -> Duration {
    let spread = f64::from(u32::try_from((salt >> 10) % 64).unwrap_or(0)) / 128.0;
    FIRST_PAUSE.mul_f64(f64::from(1 << tries.min(8)) * (0.75 + spread))
}

async fn attempt(
    blob: &Blob,
    range: &mut ByteRange,
    to: &mpsc::Sender<Result<Segment, FetchError>>,
) -> Result<Ended, RegistryError> {
    let whole = ByteRange { start: 0, end: blob.size() };
    let mut body = if *range == whole { blob.get_all().await? } else { blob.get(*range).await? };
    if body.range() != *range {
        return Ok(Ended::Whole(body));
    }
    while let Some(data) = body.chunk().await.transpose()? {
        let offset = range.start;
        range.start += data.len() as u64;
        if !data.is_empty() && to.send(Ok(Segment { offset, data })).await.is_err() {
            return Ok(Ended::Done);
        }
    }
    Ok(Ended::Done)
}
