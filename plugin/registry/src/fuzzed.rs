//! What must hold for any input of the readers of what others wrote. Each function takes a fuzzer's bytes and panics if it does
//! not; the fuzz targets call them, and the test below with the committed corpus.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "only fuzzers and tests call this"
)]

use std::path::Path;

use crate::auth::docker_config;
use crate::hosts::file;
use crate::multipart::{Malformed, Parser, boundary};

/// Length of the blob that multipart answers are about, in bytes.
const SIZE: u64 = 1 << 20;

/// A multipart answer: its content type, a newline, its body.
pub fn multipart(data: &[u8]) {
    let newline = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Some(boundary) = std::str::from_utf8(&data[..newline]).ok().and_then(boundary) else { return };
    let body = data.get(newline + 1..).unwrap_or_default();
    let whole = read(&boundary, body, body.len().max(1));
    let bytewise = read(&boundary, body, 1);
    assert!(whole == bytewise, "how the bytes come makes a difference");
    assert!(whole.0.len() <= body.len(), "there is more data than there was");
    assert!(whole.0.iter().all(|(offset, _)| *offset < SIZE), "data beyond the blob's end");
}

/// Each byte with its offset, and how the answer ended: complete, cut, or malformed.
type Read = (Vec<(u64, u8)>, Result<bool, Malformed>);

fn read(boundary: &str, body: &[u8], at_once: usize) -> Read {
    let (mut parser, mut found) = (Parser::new(boundary, SIZE), Vec::new());
    for part in body.chunks(at_once) {
        parser.push(part);
        loop {
            match parser.next() {
                Ok(Some((offset, bytes))) => found.extend((offset..).zip(bytes)),
                Ok(None) => break,
                Err(malformed) => return (found, Err(malformed)),
            }
        }
    }
    let complete = parser.is_complete();
    (found, Ok(complete))
}

/// A `hosts.toml`.
pub fn hosts_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match file::parse(text, Path::new("/certs.d/r.example")) {
        Ok(found) => {
            assert!(!found.hosts.is_empty(), "the server itself is missing");
            for host in &found.hosts {
                let usable = host
                    .root
                    .as_ref()
                    .is_none_or(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
                assert!(usable, "{:?}", host.root);
                assert!(host.tls.ca.iter().all(|path| path.is_absolute()), "{:?}", host.tls.ca);
            }
        }
        Err(mistake) => {
            assert!(
                mistake.line >= 1 && mistake.line <= text.split('\n').count() && mistake.column >= 1,
                "{mistake:?}"
            );
        }
    }
}

/// A docker `config.json`. What stands in its secrets is in no error, and in nothing that is printed of credentials.
pub fn docker_config(data: &[u8]) {
    let told = docker_answers(data);
    for secret in secrets(data) {
        let (secret, hidden) = (secret.as_str(), "x".repeat(secret.len()));
        if !told.iter().any(|text| text.contains(secret)) {
            continue;
        }
        // Words of ours that somebody chose as a secret are there without it, too.
        let without = docker_answers(String::from_utf8_lossy(data).replace(secret, &hidden).as_bytes());
        let own =
            |text: &String| !text.contains(secret) || without.iter().any(|other| other.contains(secret));
        assert!(told.iter().all(own), "{secret:?} is shown in {told:?}");
    }
}

/// What is printed of the answers for some hosts, but for the name of a helper, which is no secret.
fn docker_answers(data: &[u8]) -> Vec<String> {
    let name = format!("fuzzed-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, data).expect("a file");
    let hosts = [("docker.io", "library/app"), ("r.example", "team/app"), ("127.0.0.1:5000", "app")];
    let answers = hosts.map(|(host, repository)| docker_config::find(&path, host, repository));
    let _ = std::fs::remove_file(&path);
    let printed = answers.into_iter().filter_map(|answer| match answer {
        Ok(docker_config::Entry::Helper { .. }) => None,
        Ok(entry) => Some(format!("{entry:?}")),
        Err(failure) => Some(format!("{failure} {failure:?}")),
    });
    printed.collect()
}

/// Values of the keys that hold secrets, as far as they are long enough to be told from other text.
fn secrets(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data);
    let mut found = Vec::new();
    for key in ["\"auth\"", "\"password\"", "\"identitytoken\""] {
        for rest in text.split(key).skip(1) {
            let value = rest
                .trim_start_matches([' ', ':', '\n'])
                .strip_prefix('"')
                .and_then(|value| value.split('"').next());
            found.extend(value.filter(|value| value.len() >= 12).map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay;

    #[test]
    fn multipart_answers() {
        replay::replay("multipart", super::multipart);
    }

    #[test]
    fn hosts_files() {
        replay::replay("hosts_toml", super::hosts_toml);
    }

    #[test]
    fn docker_configurations() {
        replay::replay("docker_config", super::docker_config);
    }
}
