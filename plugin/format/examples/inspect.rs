//! Tells what a layer blob is, and verifies all of it.
//!
//!     inspect BLOB [ANNOTATIONS.json]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;

use chunked_format::{InspectOptions, inspect};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let blob = arguments.next().ok_or("usage: inspect BLOB [ANNOTATIONS.json]")?;
    let annotations: Option<BTreeMap<String, String>> = arguments
        .next()
        .map(|path| serde_json::from_reader(File::open(path)?).map_err(Box::<dyn Error>::from))
        .transpose()?;
    let found = inspect(File::open(blob)?, annotations.as_ref(), InspectOptions { verify: true })?;
    println!("{}", serde_json::to_string_pretty(&found)?);
    if found.problems.is_empty() { Ok(()) } else { Err("the blob is not sound".into()) }
}
