//! The part of the page that is read and not counted.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;

use crate::readings::{Named, Process, Readings, StoreReadings};

/// Begins the name of every metric but those of the process.
pub(crate) const PREFIX: &str = "chunked_snapshotter";
/// Media type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the next page shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Readings>>);

impl Page {
    pub(crate) fn show(&self, now: Readings) {
        *self.0.lock() = now;
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.lock().clone();
        let mut to = Writer(encoder);
        to.daemon(&now)?;
        to.registries(&now)?;
        if let Some(store) = &now.store {
            to.store(store)?;
        }
        to.process(&now.process)
    }
}

/// Writes metrics one by one.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn daemon(&mut self, now: &Readings) -> fmt::Result {
        let version = Info::new([("version", now.version)]);
        let metric = self.0.encode_descriptor(
            "chunked_snapshotter_build",
            "The daemon's version",
            None,
            version.metric_type(),
        )?;
        version.encode(metric)?;
        self.gauges(
            "jobs",
            "Layers being made, by what they are doing; \"waiting\" is the queue",
            "phase",
            &now.jobs,
        )?;
        let (limit, free) = now.memory;
        let memory = vec![("limit", limit), ("free", free)];
        self.gauges(
            "memory_bytes",
            "Memory that layers may hold together, as [pull] memory says, and what nobody holds",
            "kind",
            &memory,
        )?;
        self.counters(
            "handed_over_layers",
            "Layers that containerd downloaded in our place, by reason",
            "reason",
            &now.handed_over,
        )?;
        self.gauge("history_pulls", "Pulls that `history` shows", &now.history)?;
        let (layers, bytes) = now.evicted;
        self.counter("evicted_layers", "Layers dropped because no snapshot needed them", &layers)?;
        self.counter("evicted_bytes", "Bytes that came to the disk with those", &bytes)?;
        if let Some(free) = now.free {
            self.gauge("store_free_bytes", "Free bytes of the store's filesystem", &free)?;
        }
        if let Some((at, problems)) = now.scrub {
            self.gauge(
                "scrub_finished_timestamp_seconds",
                "When the whole store was read the last time, or of a new store when it was made",
                &seconds(at),
            )?;
            self.gauge("scrub_problems", "Problems that it found and could not repair", &problems)?;
        }
        Ok(())
    }

    fn registries(&mut self, now: &Readings) -> fmt::Result {
        self.counters(
            "registry_requests",
            "Requests to registries, by how they were answered",
            "answer",
            &now.answers,
        )?;
        self.counter(
            "registry_retries",
            "Requests to registries that were made once more after a failure",
            &now.retries,
        )?;
        self.counter(
            "registry_received_bytes",
            "Bytes of bodies that registries sent, also for pulls that failed, documents and tokens",
            &now.received,
        )?;
        self.gauges(
            "registry_requests_now",
            "Requests to registries that are under way, and that wait for their turn",
            "state",
            &now.requests,
        )
    }

    fn store(&mut self, store: &StoreReadings) -> fmt::Result {
        let StoreReadings { counted, bytes, inodes, layers, snapshots, indexed, lost } = store;
        self.gauge(
            "store_counted_timestamp_seconds",
            "When the numbers of the store were counted",
            &seconds(*counted),
        )?;
        self.gauges(
            "store_bytes",
            "Bytes on the disk, by state; what layers share counts once",
            "state",
            bytes,
        )?;
        self.gauges("store_inodes", "Inodes, by state; what layers share counts once", "state", inodes)?;
        self.gauges("store_layers", "Layers that snapshots need, and others", "state", layers)?;
        self.gauge("store_snapshots", "Snapshots of every kind", snapshots)?;
        self.gauges("indexed", "Contents that a pull can find on the node", "kind", indexed)?;
        self.gauge(
            "lost_snapshots",
            "Snapshots that could not be rebuilt after the state database was lost",
            lost,
        )
    }

    /// What every program that Prometheus knows has, under the usual names.
    fn process(&mut self, process: &Process) -> fmt::Result {
        let Process { cpu, resident, files, started } = process;
        self.plain("process_cpu_seconds", "Processor time", MetricType::Counter, |to| {
            to.encode_counter::<NoLabelSet, _, u64>(cpu, None)
        })?;
        self.plain("process_resident_memory_bytes", "Memory", MetricType::Gauge, |to| {
            to.encode_gauge(resident)
        })?;
        self.plain("process_open_fds", "Open files", MetricType::Gauge, |to| to.encode_gauge(files))?;
        self.plain("process_start_time_seconds", "When it started", MetricType::Gauge, |to| {
            to.encode_gauge(started)
        })
    }

    fn plain(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        write(&mut metric)
    }

    fn gauge(&mut self, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
        self.plain(&full(name), help, MetricType::Gauge, |to| to.encode_gauge(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: &impl EncodeCounterValue) -> fmt::Result {
        self.plain(&full(name), help, MetricType::Counter, |to| {
            to.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn gauges(&mut self, name: &str, help: &str, label: &'static str, values: &Named) -> fmt::Result {
        self.plain(&full(name), help, MetricType::Gauge, |to| {
            values.iter().try_for_each(|(key, value)| to.encode_family(&[(label, *key)])?.encode_gauge(value))
        })
    }

    fn counters(&mut self, name: &str, help: &str, label: &'static str, values: &Named) -> fmt::Result {
        self.plain(&full(name), help, MetricType::Counter, |to| {
            values.iter().try_for_each(|(key, value)| {
                to.encode_family(&[(label, *key)])?.encode_counter::<NoLabelSet, _, u64>(value, None)
            })
        })
    }
}

fn full(name: &str) -> String {
    format!("{PREFIX}_{name}")
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
