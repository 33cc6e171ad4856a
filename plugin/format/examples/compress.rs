//! Turns a tar into a zstd:chunked layer blob and prints the annotations that its descriptor needs.
//!
//!     compress [--level N] [--threads N] [--min-chunk BYTES] TAR BLOB

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use chunked_format::{Cuts, Outcome, WriteOptions, write};

const USAGE: &str = "usage: compress [--level N] [--threads N] [--min-chunk BYTES] TAR BLOB";

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = WriteOptions::default();
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--level" => options.level = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--min-chunk" => options.cuts = Cuts::AtLeast(value()?.parse()?),
            _ => files.push(argument),
        }
    }
    let [tar, blob] = files.as_slice() else { return Err(USAGE.into()) };
    let written = write(File::open(tar)?, BufWriter::new(File::create(blob)?), &options)?;
    println!("DiffID  {} ({} bytes)", written.diff_id, written.tar_size);
    println!("blob    {} ({} bytes)", written.blob_digest, written.blob_size);
    let stats = serde_json::to_string(&written.stats)?;
    println!("stats   {stats}");
    match written.toc {
        Outcome::Chunked { annotations } => println!("{}", serde_json::to_string_pretty(&annotations)?),
        Outcome::Plain { reasons } => {
            for reason in reasons {
                println!("plain   {reason}");
            }
        }
    }
    Ok(())
}
