//! A blob on its way into containerd's content store.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chunked_core::ObjectDigest;
use chunked_proto::containerd::services::content::v1::{
    AbortRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::error::ClientError;
use crate::lease::unique;
use crate::session::{LIMIT, Session, late};

/// Bytes sent at a time: containerd takes 16 MiB in a message.
const PIECE: usize = 1 << 20;
/// Time for a commit: containerd writes the blob to the disk meanwhile.
const COMMIT: Duration = Duration::from_secs(300);

/// A blob that is being written. Dropping it before [`Ingest::commit`] drops what was written.
#[derive(Debug)]
pub struct Ingest {
    session: Session,
    digest: ObjectDigest,
    size: u64,
    reference: String,
    offset: u64,
    requests: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    done: bool,
}

impl Session {
    /// Begins to write the blob `digest` of `size` bytes; `None` when the namespace has it. When another namespace has it, the write
    /// is [complete](Ingest::is_complete) at once. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When containerd refuses.
    pub async fn ingest(&self, digest: ObjectDigest, size: u64) -> Result<Option<Ingest>, ClientError> {
        const CALL: &str = "Content.Write";
        let reference = format!("chunked-{digest}-{}", unique());
        let (requests, receiver) = mpsc::channel(1);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: reference.clone(),
            total: signed(size),
            expected: digest.to_string(),
            ..WriteContentRequest::default()
        };
        // Before the call, which is answered when containerd has read it.
        if requests.try_send(first).is_err() {
            return Err(ClientError::WriteEnded { digest, offset: 0 });
        }
        let mut client = self.content();
        let answers = Self::call(CALL, client.write(self.request(ReceiverStream::new(receiver)))).await;
        let first = match answers {
            Ok(mut answers) => Self::next(&mut answers).await.map(|first| (first, answers)),
            Err(ClientError::Call { source, .. }) => Err(*source),
            Err(error) => return Err(error),
        };
        let (first, answers) = match first {
            Ok((Some(first), answers)) => (first, answers),
            Ok((None, _)) => return Err(ClientError::WriteEnded { digest, offset: 0 }),
            Err(status) => {
                let error = ClientError::of(CALL)(status);
                return if error.is_present() { Ok(None) } else { Err(error) };
            }
        };
        let offset = u64::try_from(first.offset).unwrap_or(0);
        let session = self.clone();
        Ok(Some(Ingest { session, digest, size, reference, offset, requests, answers, done: false }))
    }
}

impl Ingest {
    /// Whether containerd has all bytes. It shares the blobs of its namespaces: of one that another namespace has, it wants no
    /// bytes, only the commit.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset == self.size
    }

    /// Writes the next bytes of the blob.
    ///
    /// # Errors
    /// When containerd ends the write, or more comes than the blob has.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
        let given = self.offset + bytes.len() as u64;
        if given > self.size {
            return Err(ClientError::Size { digest: self.digest, size: self.size, given });
        }
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(PIECE));
            let len = data.len() as u64;
            self.exchange(WriteAction::Write, data, HashMap::new()).await?;
            self.offset += len;
        }
        Ok(())
    }

    /// Commits the blob with these labels. containerd compares its digest.
    ///
    /// # Errors
    /// When bytes are missing, or when they are others than the digest says.
    pub async fn commit(mut self, labels: HashMap<String, String>) -> Result<(), ClientError> {
        if !self.is_complete() {
            return Err(ClientError::Size { digest: self.digest, size: self.size, given: self.offset });
        }
        match self.exchange(WriteAction::Commit, Bytes::new(), labels).await {
            // Somebody else brought it meanwhile.
            Err(error) if !error.is_present() => Err(error),
            _ => {
                self.done = true;
                Ok(())
            }
        }
    }

    async fn exchange(
        &mut self,
        action: WriteAction,
        data: Bytes,
        labels: HashMap<String, String>,
    ) -> Result<(), ClientError> {
        let request = WriteContentRequest {
            action: action.into(),
            r#ref: self.reference.clone(),
            total: signed(self.size),
            expected: self.digest.to_string(),
            offset: signed(self.offset),
            data,
            labels,
        };
        let limit = if action == WriteAction::Commit { COMMIT } else { LIMIT };
        let answer = async {
            // When containerd has ended the stream, its answer says why.
            let _ = self.requests.send(request).await;
            self.answers.message().await
        };
        let answer = tokio::time::timeout(limit, answer).await;
        match answer.unwrap_or_else(|_| Err(late(limit))) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ClientError::WriteEnded { digest: self.digest, offset: self.offset }),
            Err(status) => Err(ClientError::of("Content.Write")(status)),
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.done {
            return;
        }
        let (session, r#ref) = (self.session.clone(), self.reference.clone());
        runtime.spawn(async move {
            let mut client = session.content();
            let request = session.request(AbortRequest { r#ref });
            if let Err(error) = Session::call("Content.Abort", client.abort(request)).await {
                tracing::debug!(%error, "what was written of a blob stays until containerd collects it");
            }
        });
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
