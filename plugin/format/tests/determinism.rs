//! One tar, one blob: with any number of threads, in any time zone, however the input arrives.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{self, Read};

use chunked_format::{Digest, WriteOptions, write};
use common::oddities::{Tar, expressible, inexpressible};
use common::{noise, options, written};

/// Files of all sizes: jobs of many frames, files of many chunks, chunks of many frames.
fn layer() -> Vec<u8> {
    let mut tar = Tar::default();
    for number in 0..400u64 {
        let text: String = (0..number * 7).map(|line| format!("line {line} of file {number}\n")).collect();
        tar.file(format!("text/{number}").as_bytes(), text.as_bytes());
        if number.is_multiple_of(50) {
            tar.file(format!("noise/{number}").as_bytes(), &noise(number, 1 << 20));
            tar.file(format!("repeated/{number}").as_bytes(), &text.repeat(200).into_bytes());
        }
    }
    tar.end()
}

#[test]
fn any_number_of_threads_gives_the_same_blob() {
    let tar = layer();
    for level in [1, 3, 6, 9, 12] {
        let expected = written(&tar, &options(level, 1)).1.blob_digest;
        for threads in [2, 3, 8] {
            assert_eq!(
                written(&tar, &options(level, threads)).1.blob_digest,
                expected,
                "level {level}, {threads}"
            );
        }
    }
    for (what, tar, _) in expressible().into_iter().chain(inexpressible()) {
        let (one, many) = (written(&tar, &options(6, 1)).0, written(&tar, &options(6, 4)).0);
        assert!(one == many, "{what}");
    }
}

/// Gives a byte, then two, then three, and so on.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 5000 + 1;
        let len = self.1.min(buffer.len());
        self.0.read(&mut buffer[..len])
    }
}

#[test]
fn the_pieces_in_which_the_tar_arrives_do_not_matter() {
    let tar = layer();
    let expected = written(&tar, &WriteOptions::default()).1;
    let dripped = write(Dripping(&tar, 0), io::sink(), &WriteOptions::default()).unwrap();
    assert_eq!(dripped, expected);
}

/// In a process of its own, as a zone cannot be changed safely within one.
#[test]
fn the_time_zone_does_not_matter() {
    if std::env::var_os("PRINT_DIGEST").is_some() {
        println!("blob={}", written(&layer(), &WriteOptions::default()).1.blob_digest);
        return;
    }
    let digest = |zone: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_time_zone_does_not_matter", "--nocapture"])
            .envs([("TZ", zone), ("PRINT_DIGEST", "1")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("blob=").unwrap() + 5;
        text[at..].split_whitespace().next().unwrap().parse::<Digest>().unwrap()
    };
    assert_eq!(digest("Asia/Tokyo"), digest("America/St_Johns"));
}

/// The promise "on any machine" as far as one machine can show it: a change of this digest means that images converted
/// again get new layers. It changes with libzstd's version, and only with a line in the changelog otherwise.
#[test]
fn the_blob_of_a_known_tar_is_known() {
    let (_, written) = written(&common::data("tiny.tar"), &options(6, 2));
    assert_eq!(zstd::zstd_safe::version_string(), "1.5.7");
    assert_eq!(
        written.blob_digest.to_string(),
        "sha256:62d9c3f7cd4946dad81f9e67c698b926b87fe59c933b53aa2c1ee86d927d4356"
    );
}
