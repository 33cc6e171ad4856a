//! The answer to a request for several ranges, part by part.

use std::fmt;

use bytes::Bytes;

use crate::body::Body;
use crate::error::{Failure, RegistryError};
use crate::multipart::{Malformed, Parser};

/// Data of several ranges as it arrives: in any order, fewer or more ranges than were asked for.
pub struct Parts {
    body: Body,
    parser: Parser,
    over: bool,
}

impl Parts {
    pub(crate) fn new(body: Body, parser: Parser) -> Self {
        Self { body, parser, over: false }
    }

    /// The next bytes and their offset in the blob. `None` at the end of a complete answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks or stalls, or the answer is not what it says it is. It is over then.
    pub async fn chunk(&mut self) -> Option<Result<(u64, Bytes), RegistryError>> {
        loop {
            if self.over {
                return None;
            }
            match self.parser.next() {
                Ok(Some(data)) => return Some(Ok(data)),
                Ok(None) => {}
                Err(Malformed(reason)) => return Some(Err(self.fail(Failure::Multipart(reason)))),
            }
            match self.body.chunk().await {
                Some(Ok(bytes)) => self.parser.push(&bytes),
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                None if self.parser.is_complete() => self.over = true,
                None => return Some(Err(self.fail(Failure::Transport("the body was cut off".to_owned())))),
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> RegistryError {
        self.over = true;
        self.body.subject().error(failure)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("body", &self.body).finish_non_exhaustive()
    }
}
