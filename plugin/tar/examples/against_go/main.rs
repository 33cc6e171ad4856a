//! Compares our reading of tars with that of Go's archive/tar and containerd's unpack.
//!
//!     cargo run --release -p chunked-tar --example against_go -- TARREAD [--seed N] [--count N]
//!     cargo run --release -p chunked-tar --example against_go -- --write DIR [--seed N] [--count N]
//!
//! TARREAD is the program built from `integration/go/tarread`. It gets all tars of the table in `tests/common/table.rs` and
//! COUNT random ones (120000; the same for the same SEED), and each answer must be ours. A difference is printed with the
//! tar's number, and the exit status is 1. `--write` writes the tars as files instead, and our readings, a line each, as the
//! file `readings`: for `integration/go/tarread/others`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test program")]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use common::print::reading;
use common::random::{Random, tar};
use common::table::table;

/// Differences that are printed.
const SHOWN: usize = 20;

/// Ways in which a reading ends.
const ENDS: [&str; 8] = ["end", "huge", "!header", "!cut", "!toolong", "!sparselong", "!sparsedata", "!type"];

struct Options {
    program: Option<String>,
    directory: Option<String>,
    seed: u64,
    count: usize,
}

fn options() -> Options {
    let mut options = Options { program: None, directory: None, seed: 1, count: 120_000 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("an option has no value");
        match argument.as_str() {
            "--seed" => options.seed = value().parse().expect("a number"),
            "--count" => options.count = value().parse().expect("a number"),
            "--write" => options.directory = Some(value()),
            _ => options.program = Some(argument),
        }
    }
    options
}

fn cases(options: &Options) -> impl Iterator<Item = (String, Vec<u8>)> + Send + 'static {
    let (seed, count) = (options.seed, options.count);
    let mut random = Random(seed);
    let rest = (0..count).map(move |number| (format!("random {number} of seed {seed}"), tar(&mut random)));
    table().into_iter().chain(rest)
}

fn main() -> ExitCode {
    let options = options();
    if let Some(directory) = &options.directory {
        let mut lines = String::new();
        for (number, (name, tar)) in cases(&options).enumerate() {
            lines += &format!("{}\t{}\n", reading(&tar), name.escape_debug());
            std::fs::write(format!("{directory}/{number:06}.tar"), tar).expect("writing a tar");
        }
        std::fs::write(format!("{directory}/readings"), lines).expect("writing the readings");
        return ExitCode::SUCCESS;
    }
    let program = options.program.as_deref().expect("the program to compare with");
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starting it");
    let mut to = BufWriter::new(child.stdin.take().unwrap());
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let sent = cases(&options);
    let sender = thread::spawn(move || {
        for (_, tar) in sent {
            let len = u32::try_from(tar.len()).unwrap();
            to.write_all(&len.to_le_bytes()).and_then(|()| to.write_all(&tar)).expect("the program reads");
        }
    });
    let (mut total, mut different) = (0, 0);
    let mut ends = BTreeMap::<String, usize>::new();
    for (name, tar) in cases(&options) {
        let theirs = from.next().expect("an answer to each tar").expect("text");
        let ours = reading(&tar);
        total += 1;
        *ends.entry(end(&theirs).to_owned()).or_default() += 1;
        if same(&ours, &theirs) {
            continue;
        }
        different += 1;
        if different <= SHOWN {
            println!("{name}:\n  Go:   {theirs}\n  ours: {ours}");
        }
    }
    sender.join().expect("the sender");
    assert!(child.wait().expect("its end").success(), "the program failed");
    println!("{total} tars, {different} of them read in another way; how Go's reading ended: {ends:?}");
    // Without one of these the tars would not show what they are for.
    let missing = ENDS.iter().find(|end| !ends.contains_key(**end));
    if let Some(missing) = missing {
        println!("no tar ended with {missing}");
    }
    if different == 0 && missing.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How an answer ends: `end`, or the reason for which the reading stopped.
fn end(answer: &str) -> &str {
    answer.rsplit([';', '|']).next().unwrap_or_default()
}

/// Whether both parts of the answers are the same, but for the deliberate differences.
fn same(ours: &str, theirs: &str) -> bool {
    let (Some(ours), Some(theirs)) = (ours.split_once('|'), theirs.split_once('|')) else { return false };
    part(ours.0, theirs.0) && part(ours.1, theirs.1)
}

fn part(ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    // Go picks one of the readings at random.
    if let Some(before) = ours.strip_suffix("!random") {
        return theirs.starts_with(before);
    }
    // We refuse at the header what Go refuses, or leaves, while it reads what follows.
    if let Some(before) = ours.strip_suffix("!toolong") {
        return theirs.strip_suffix("!cut") == Some(before);
    }
    if let Some(before) = ours.strip_suffix("!sparsedata") {
        return ["huge", "!sparsedata", "!cut"].iter().any(|end| theirs.strip_suffix(end) == Some(before));
    }
    false
}
