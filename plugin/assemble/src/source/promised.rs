//! A file whose content others are making, in this layer or in another one: it is waited for, by no thread.

use std::any::Any;
use std::sync::Arc;

use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::donor::{Donor, FromDonor};
use crate::source::file::{MakeFile, NewFile, Source};
use crate::source::promise::{Made, Promised};
use crate::source::refetch::{Spare, fill};
use crate::source::rights::Rights;
use crate::work::job::Ran;

/// See the module.
#[derive(Debug)]
pub(crate) struct FromPromise {
    pub(crate) promised: Promised,
    pub(crate) spare: Spare,
}

impl Source for FromPromise {
    fn make(self: Box<Self>, file: NewFile, _: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let Self { promised, spare } = *self;
        Ok(Ran::Later(Box::new(move |resume| {
            promised.then(move |made| {
                let source: Box<dyn Source> = match made {
                    Some(made) => Box::new(FromMade {
                        lease: made.lease.clone(),
                        from: FromDonor { donor: donor(made), spare },
                    }),
                    None => Box::new(Broken(spare)),
                };
                resume(Box::new(MakeFile { file, source }));
            });
        })))
    }
}

fn donor(made: Made) -> Donor {
    Donor {
        root: made.root,
        path: made.path.to_vec(),
        // Not linked: a layer that is being made is not immutable yet.
        rights: Rights::Share,
        fresh: true,
        goes: false,
        // Who promised it has its digest from a TOC, perhaps another's.
        check: true,
        lender: None,
    }
}

/// The content was made. Its tree stays until it is taken.
#[derive(Debug)]
struct FromMade {
    lease: Option<Arc<dyn Any + Send + Sync>>,
    from: FromDonor,
}

impl Source for FromMade {
    fn make(self: Box<Self>, file: NewFile, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let Self { lease, from } = *self;
        let ran = Box::new(from).make(file, parts);
        drop(lease);
        ran
    }
}

/// Nobody made the content.
#[derive(Debug)]
struct Broken(Spare);

impl Source for Broken {
    fn make(self: Box<Self>, file: NewFile, _: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        file.target.layer.count_broken(file.target.entry())?;
        fill(file, &self.0)
    }
}
