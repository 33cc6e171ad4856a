//! `[pull]`: how layers are made.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::value;

/// Making layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pull {
    /// Threads that decode, hash and write for the layers of one registry: up to 1024; 0 means four for each processor. A
    /// quarter more are there for other registries.
    #[serde(deserialize_with = "value::count::<0, 1024, _>")]
    pub workers: usize,
    /// Layers of one registry made at the same time, over all its images: 1 to 64.
    #[serde(deserialize_with = "value::count::<1, 64, _>")]
    pub layers_at_once: usize,
    /// Connections one layer uses at the same time: 1 to 32.
    #[serde(deserialize_with = "value::count::<1, 32, _>")]
    pub connections_per_layer: usize,
    /// The same while its requests are for single ranges of at most 256 KiB: 1 to 128. Fewer than
    /// `connections_per_layer` count as that many.
    #[serde(deserialize_with = "value::count::<1, 128, _>")]
    pub small_requests_per_layer: usize,
    /// Bytes that all layers being made hold in memory together: 32 MiB to 64 GiB.
    #[serde(
        deserialize_with = "value::size::<0x200_0000, 0x10_0000_0000, _>",
        serialize_with = "value::show_size"
    )]
    pub memory: u64,
    /// An earlier version's bound for one layer. Named in a file, it is a mistake that says what took its place.
    #[serde(deserialize_with = "replaced_by_memory", skip_serializing)]
    pub memory_per_layer: (),
    /// Most bytes asked for in one request: 64 KiB to 64 MiB. On a slow network fewer are.
    #[serde(
        deserialize_with = "value::size::<0x1_0000, 0x400_0000, _>",
        serialize_with = "value::show_size"
    )]
    pub segment: u64,
    /// Ranges asked for in one request, where a probe showed that the registry can: 1 (never more) to 256.
    #[serde(deserialize_with = "value::count::<1, 256, _>")]
    pub ranges_per_request: usize,
    /// Bytes per second that a request must bring on average while `registry.stall_timeout` passes, or it counts as
    /// stalled: up to 1 GiB; 0 means any.
    #[serde(deserialize_with = "value::size::<0, 0x4000_0000, _>", serialize_with = "value::show_size")]
    pub minimum_rate: u64,
    /// Failures in a row that a request is forgiven: up to 100.
    #[serde(deserialize_with = "value::count::<0, 100, _>")]
    pub retries: usize,
    /// Pause after the first of them, which doubles with each up to 10 s: 1 ms to 10 s.
    #[serde(deserialize_with = "value::duration::<1, 10_000, _>", serialize_with = "value::show_duration")]
    pub retry_pause: Duration,
    /// What is saved first when only some of a layer is missing.
    pub prefer: Prefer,
    /// Bytes per second that a network is taken to bring until it was measured: 1 KiB to 1 TiB.
    #[serde(
        deserialize_with = "value::size::<0x400, 0x100_0000_0000, _>",
        serialize_with = "value::show_size"
    )]
    pub assumed_bandwidth: u64,
    /// Time from a request to its answer until that was measured: 0 to 10 s.
    #[serde(deserialize_with = "value::duration::<0, 10_000, _>", serialize_with = "value::show_duration")]
    pub assumed_round_trip: Duration,
    /// How long layers nobody waits for any more go on: up to 24 h. A client that tries again then finds them.
    #[serde(
        deserialize_with = "value::duration::<0, 86_400_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub keep_running_after_cancel: Duration,
    /// Time an image has, from the moment its first layer is wanted: up to 7 days; 0 means as long as it takes.
    #[serde(
        deserialize_with = "value::duration::<0, 604_800_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub deadline: Duration,
    /// When a layer counts as stored.
    pub durability: Durability,
    /// What becomes of a layer that we cannot make although containerd may.
    pub fallback: Fallback,
}

/// What is saved first when only some of a layer is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// Bytes: on any network at most 1.05 times what is missing is fetched.
    #[default]
    Bytes,
    /// Time: one stream of more bytes is taken where it is expected to be faster than the ranges.
    Time,
}

/// What becomes of a layer that we cannot make: its registry denies us, cannot be reached or is not trusted, breaks a rule
/// of ours, or our reader does not understand its tar. What was received and is not what its digests promise fails
/// the pull in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// containerd downloads it, and those above it.
    #[default]
    Containerd,
    /// The pull fails.
    Fail,
}

fn replaced_by_memory<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom(
        "memory_per_layer is no longer a setting: memory bounds all layers together; remove this line, or set memory",
    ))
}

/// When a layer counts as stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When its data is on disk: a power cut loses no layer that was reported as complete.
    #[default]
    Sync,
    /// When the kernel has its data: faster, and for nodes that are thrown away after a crash.
    None,
}

impl Default for Pull {
    fn default() -> Self {
        Self {
            workers: 0,
            layers_at_once: 6,
            connections_per_layer: 4,
            small_requests_per_layer: 16,
            memory: 192 << 20,
            memory_per_layer: (),
            segment: 4 << 20,
            ranges_per_request: 64,
            minimum_rate: 1 << 10,
            retries: 5,
            retry_pause: Duration::from_millis(200),
            prefer: Prefer::default(),
            assumed_bandwidth: 12 << 20,
            assumed_round_trip: Duration::from_millis(20),
            keep_running_after_cancel: Duration::from_secs(600),
            deadline: Duration::from_secs(6 * 3600),
            durability: Durability::default(),
            fallback: Fallback::default(),
        }
    }
}
