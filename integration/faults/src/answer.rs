//! The ways to answer a request.

/// How one request is answered. Numbers are bytes, unless they are statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    Right,
    /// An error status with a short body.
    Status(u16),
    /// An error status that asks to be left alone for so many seconds.
    RetryAfter(u16, u64),
    /// An error status that announces the whole blob's length and sends 33 bytes, then nothing: what
    /// docker-registry 2.8 does with a 416.
    Lying(u16),
    /// The connection is reset before anything is said.
    Reset,
    /// As it should be, after so long.
    Late(std::time::Duration),
    /// The headers never come.
    Silent,
    /// The body breaks off after so many bytes, the connection reset.
    ResetAfter(usize),
    /// The body goes silent after so many bytes.
    StallAfter(usize),
    /// The body comes at one byte a second.
    Trickle,
    /// The body is sent without its length, and ends after so many bytes as if that were all.
    EndAfter(usize),
    /// So many bytes more than there should be, without a length.
    Longer(usize),
    /// `Content-Length` says so many bytes less than the range has, and so many are sent.
    ShortLength(usize),
    /// 200 with the whole blob, whatever was asked for.
    Whole,
    /// The same, broken off after so many bytes.
    WholeThenReset(usize),
    /// 206 for a range that begins so many bytes later.
    Shifted(u64),
    /// 206 for a range so many bytes larger at both ends.
    Wider(u64),
    /// 206 for only the first so many bytes of the range.
    Narrower(u64),
    /// 206 that says the blob is longer than it is.
    WrongTotal,
    /// 206 without `Content-Range`.
    NoContentRange,
    /// The byte at this offset of the body has one bit changed.
    Flipped(usize),
    /// As `Flipped`, and every time another bit.
    Garbled(usize),
    /// `Content-Encoding: gzip`.
    Encoded,
    /// A redirect to the second host, with a signature that it knows once.
    Redirect,
    /// A redirect to the second host, with a signature that has expired.
    Expired,
    /// A redirect to itself.
    Loop,
    /// A redirect to something that is not HTTP.
    BadRedirect,
    /// Not JSON, where JSON is expected; not the content, elsewhere.
    Garbage,
    /// How a request for several ranges is answered.
    Multi(Multipart),
}

/// Answers to a request for several ranges; each is right for a request for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multipart {
    /// One part for each range.
    Right,
    /// In the opposite order.
    Reversed,
    /// One part that spans all ranges.
    Merged,
    /// All parts but the last.
    Fewer,
    /// Only the first range, as a plain 206.
    FirstOnly,
    /// A boundary that is not the one announced.
    WrongBoundary,
    /// A part's `Content-Range` is wrong.
    WrongRange,
    /// Broken off in the middle.
    CutOff,
}

/// What a list of answers is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Right answers.
    ThenRight,
    /// The last one for ever.
    ForEver,
}
