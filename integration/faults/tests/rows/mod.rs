//! The rows.
//!
//! | column | meaning |
//! |---|---|
//! | image | an update of which half is here, a first pull, or a layer that can only be pulled whole |
//! | plays | for a kind of request the answers to the first ones, and whether the last one is for ever |
//! | end | the right tree, or an error whose text has all of these words |
//! | cost | bytes of the layer that the registry may serve |

mod network;
mod ranges;
mod redirects;
mod several;
mod whole;

use chunked_faults::{Answer, Kind, Way};

/// Requests that go well before something else comes.
pub const RIGHT: usize = 4;

/// What is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Every other file is on the node already.
    Update,
    /// Nothing is.
    First,
    /// A layer without a TOC.
    Plain,
}

/// What the pull ends in.
#[derive(Debug, Clone)]
pub enum End {
    Tree,
    Error(Vec<&'static str>),
}

/// What the registry may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// 1.15 × what is missing, TOC and tar-split included.
    Needed,
    /// The blob, and TOC and tar-split: for a registry that has no ranges.
    Blob,
    /// What is missing, and the blob: for a registry whose ranges end in the middle of the pull.
    Both,
    /// Twice what is missing: every piece comes wrong, and is asked for once more.
    Twice,
    /// The same, and the blob.
    TwiceAndBlob,
    /// What is missing, and the blob for each request that is out when ranges end after [`RIGHT`] that went well: every one of
    /// them is answered with it, and all but one given up at once. What is served then is what sockets hold, and that may be
    /// all of a blob as small as these.
    Burst,
    /// Not a byte of the layer.
    Nothing,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub image: Image,
    pub plays: Vec<(Kind, Vec<Answer>, Way)>,
    pub end: End,
    pub cost: Cost,
    /// The registry wants tokens.
    pub locked: bool,
    /// Several ranges may be asked for in one request. Probes are played before the first pull.
    pub several: bool,
}

pub fn all() -> Vec<Row> {
    [network::rows(), ranges::rows(), redirects::rows(), several::rows(), whole::rows()].concat()
}
