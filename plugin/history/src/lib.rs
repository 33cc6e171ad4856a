//! The history of pulls: a record for each image that was pulled, how each of its layers came, and why.
//!
//! In the flow: beside it. The daemon tells [`History`] what it is asked for and what became of it; nothing reads the
//! history to decide anything. So it is kept in the simplest way: complete records, one JSON object on each line of a
//! file, appended without waiting for the disk. A file that is lost, torn or unwritable costs records and nothing else.

mod book;
mod file;
mod history;
mod record;

pub use book::Start;
pub use history::History;
pub use record::{LayerRecord, LayerSeconds, Outcome, PullRecord, ReusedBytes, Way};
