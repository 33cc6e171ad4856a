//! `store ls`: the layers, one by one.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use chunked_proto::chunked::control::v1 as api;
use indicatif::{HumanBytes, HumanDuration};
use serde_json::json;

use crate::args::StoreLs;
use crate::store_access::{self, Access};
use crate::wire;

pub(crate) async fn run(command: StoreLs) -> Result<()> {
    let answer = match store_access::open(&command.access).await? {
        Access::Daemon(mut client) => client.store_layers(api::StoreLayersRequest {}).await?.into_inner(),
        Access::Direct(store) => tokio::task::spawn_blocking(move || wire::layers(&store)).await??,
    };
    let (layers, store) = (answer.layers, answer.store.unwrap_or_default());
    if command.access.json {
        let layers: Vec<_> = layers.iter().map(as_json).collect();
        let [partial, trash, orphans] = [store.partial, store.trash, store.orphans].map(wire::held_as_json);
        let answer = json!({
            "layers": layers, "partial": partial, "trash": trash, "orphans": orphans,
            "reclaimable_bytes": answer.reclaimable_bytes, "reclaimable_inodes": answer.reclaimable_inodes,
        });
        println!("{answer}");
        return Ok(());
    }
    println!(
        "{:>6}  {:<19}  {:>11}  {:>11}  {:>7}  {:>9}  {:<10}  ORIGINS",
        "ID", "DIFF-ID", "OWN", "SIZE", "INODES", "SNAPSHOTS", "USED"
    );
    for layer in &layers {
        let pinned = if layer.pinned { "*" } else { "" };
        println!(
            "{:>6}  {:<19}  {:>11}  {:>11}  {:>7}  {:>9}  {:<10}  {}",
            layer.id,
            layer.diff_id.get(..19).unwrap_or_default(),
            HumanBytes(layer.own_bytes).to_string(),
            HumanBytes(layer.bytes).to_string(),
            layer.inodes,
            format!("{}{pinned}", layer.snapshots),
            if layer.damaged { "damaged".to_owned() } else { ago(layer) },
            layer.origins.join(" ")
        );
    }
    println!(
        "{} layers, {}, {} inodes; {} and {} inodes of it in unused layers",
        store.layers,
        HumanBytes(store.layer_bytes),
        store.layer_inodes,
        HumanBytes(store.unused_bytes),
        store.unused_inodes
    );
    wire::besides(&store).iter().for_each(|line| println!("{line}"));
    let (bytes, inodes) = (HumanBytes(answer.reclaimable_bytes), answer.reclaimable_inodes);
    println!("`prune --all` would free {bytes} and {inodes} inodes");
    Ok(())
}

fn ago(layer: &api::StoreLayer) -> String {
    let used = layer.used_at.as_ref().map_or(0, |time| u64::try_from(time.seconds).unwrap_or(0));
    let used = SystemTime::UNIX_EPOCH + Duration::from_secs(used);
    format!("{:#}", HumanDuration(used.elapsed().unwrap_or_default()))
}

fn as_json(layer: &api::StoreLayer) -> serde_json::Value {
    json!({
        "id": layer.id, "diff_id": layer.diff_id, "bytes": layer.bytes, "inodes": layer.inodes,
        "own_bytes": layer.own_bytes, "own_inodes": layer.own_inodes, "created": layer.created_at.as_ref().map(|time| time.seconds),
        "used": layer.used_at.as_ref().map(|time| time.seconds), "snapshots": layer.snapshots, "pinned": layer.pinned,
        "damaged": layer.damaged, "origins": layer.origins,
    })
}
