//! The page as a whole, and what is made of it elsewhere: the dashboard, the alerts, the table of the documentation.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::*;

const DASHBOARD: &str = include_str!("../../../config/dist/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../../config/dist/prometheus-alerts.yml");
const TABLE: &str = include_str!("../../../docs/operating.md");
/// Not ours: Prometheus makes it for whatever it scrapes.
const PROMETHEUS_OWN: &str = "up";

/// The page of a daemon that has done something.
fn page() -> String {
    let metrics = Metrics::default();
    let reused = [1, 2, 3, 4, 5, 6];
    let seconds = vec![("plan", 0.01), ("transfer", 2.5)];
    metrics.layer_ready(&Layer {
        mode: "chunked",
        blob: 100,
        fetched: 79,
        reused,
        seconds,
        ..Layer::default()
    });
    metrics.layer_ready(&Layer { mode: "present", ..Layer::default() });
    metrics.layer_not_ready("failed");
    metrics.pull("complete", 3.0);
    metrics.call("Snapshots/Stat", "OK", 0.0002);
    let store = StoreReadings {
        counted: SystemTime::now(),
        bytes: vec![("used", 10), ("unused", 20), ("partial", 0), ("trash", 0)],
        inodes: vec![("used", 1)],
        layers: vec![("used", 1)],
        snapshots: 3,
        indexed: vec![("files", 5)],
        lost: 0,
    };
    let now = Readings {
        version: "1.2.3",
        answers: vec![("ok", 3), ("partial", 4)],
        requests: vec![("running", 0), ("waiting", 0)],
        handed_over: vec![("denied", 1)],
        jobs: vec![("waiting", 0)],
        store: Some(store),
        free: Some(1 << 30),
        scrub: Some((SystemTime::now(), 0)),
        ..Readings::default()
    };
    metrics.text(now).unwrap()
}

/// Names of the samples on a page.
fn samples(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// Names of metrics in text: ours, and those of the process.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| word.starts_with("chunked_snapshotter_") || word.starts_with("process_");
    words.filter(ours).map(ToString::to_string).collect()
}

#[test]
fn the_page_says_what_was_counted() {
    let page = page();
    for line in [
        "chunked_snapshotter_layers_total{mode=\"chunked\",outcome=\"ready\"} 1",
        "chunked_snapshotter_layers_total{mode=\"present\",outcome=\"ready\"} 1",
        "chunked_snapshotter_layers_total{mode=\"whole\",outcome=\"ready\"} 0",
        "chunked_snapshotter_layers_total{mode=\"none\",outcome=\"failed\"} 1",
        "chunked_snapshotter_layer_fetched_bytes_total{mode=\"chunked\"} 79",
        "chunked_snapshotter_layer_reused_bytes_total{source=\"in-flight\"} 3",
        "chunked_snapshotter_stage_seconds_count{stage=\"transfer\"} 1",
        "chunked_snapshotter_pulls_total{outcome=\"complete\"} 1",
        "chunked_snapshotter_grpc_calls_total{method=\"Snapshots/Stat\",code=\"OK\"} 1",
        "chunked_snapshotter_store_bytes{state=\"unused\"} 20",
        "chunked_snapshotter_registry_requests_total{answer=\"partial\"} 4",
        "chunked_snapshotter_build_info{version=\"1.2.3\"} 1",
        "chunked_snapshotter_evicted_layers_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    let first = samples(&Metrics::default().text(Readings::default()).unwrap());
    assert!(first.contains("chunked_snapshotter_pulls_total"), "shown before anything happened");
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let there = samples(&page());
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            expressions.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(expressions.len() > 30);
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        expressions.extend(variable["query"]["query"].as_str().map(ToString::to_string));
    }
    expressions.push(ALERTS.to_owned());
    for expression in &expressions {
        let asked = names(expression);
        assert!(!asked.is_empty(), "{expression} asks for nothing of ours");
        for name in asked {
            assert!(there.contains(&name), "{name} in {expression} is not on the page");
        }
    }
    assert!(ALERTS.contains(&format!("expr: {PROMETHEUS_OWN}{{")));
}

#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let there: BTreeSet<String> = page()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let rows = TABLE.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<String> =
        rows.flat_map(|row| names(row.split('|').nth(1).unwrap_or_default())).collect();
    assert_eq!(listed, there);
}
