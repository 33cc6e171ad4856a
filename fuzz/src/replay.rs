//! A target's corpus, and changes of it, without a fuzzer: what `fuzz/run` does at length.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Seconds for which changes of a target's corpus are tried, unless `REPLAY_SECONDS` says how many.
const LONG: u64 = 2;

/// Longest changed input, in bytes.
const MAX_INPUT: usize = 16 << 10;

/// The committed inputs of a target.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no corpus");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs the inputs of `target`, then changed ones: a few bytes overwritten, a part left out or doubled, two inputs joined.
pub fn replay(target: &str, check: fn(&[u8])) {
    let inputs = corpus(target);
    for input in &inputs {
        check(input);
    }
    let seconds = std::env::var("REPLAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(LONG);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = 1u64;
    while Instant::now() < until {
        seed += 1;
        let input = changed(&inputs, &dice(seed));
        // The input, should it fail.
        let shown = input.clone();
        if std::panic::catch_unwind(move || check(&input)).is_err() {
            panic!("{target} fails with {shown:?}");
        }
    }
}

/// Eight numbers that follow from the seed (splitmix64).
fn dice(seed: u64) -> [usize; 8] {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize
    })
}

fn changed(inputs: &[Vec<u8>], dice: &[usize; 8]) -> Vec<u8> {
    let mut input = inputs[dice[0] % inputs.len()].clone();
    let at = dice[1] % (input.len() + 1);
    match dice[2] % 5 {
        0 => input.truncate(at),
        1 => input.extend_from_slice(&inputs[dice[3] % inputs.len()]),
        2 => input.extend_from_within(at..),
        3 => drop(input.drain(at..(at + dice[3] % 64).min(input.len()))),
        _ => {}
    }
    for change in 0..dice[4] % 4 {
        if !input.is_empty() {
            let at = dice[5].wrapping_mul(change + 1) % input.len();
            input[at] = [0, 0xff, b'0', b'"', dice[6] as u8][(dice[7] >> change) % 5];
        }
    }
    input.truncate(MAX_INPUT);
    input
}
