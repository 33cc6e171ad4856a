//! `prune`: drops layers that no snapshot needs, and what broken pulls and lost databases left.

use anyhow::Result;
use chunked_proto::chunked::control::v1 as api;
use indicatif::HumanBytes;
use serde_json::json;

use crate::args::Prune;
use crate::store_access::{self, Access};
use crate::wire;

pub(crate) async fn run(command: Prune) -> Result<()> {
    let what = match command.to {
        Some(bytes) => Some(api::prune_request::What::ToBytes(bytes)),
        None => command.all.then_some(api::prune_request::What::All(true)),
    };
    let request = api::PruneRequest { what };
    let pruned = match store_access::open(&command.access).await? {
        Access::Daemon(mut client) => client.prune(request).await?.into_inner(),
        Access::Direct(store) => {
            tokio::task::spawn_blocking(move || wire::prune(&store, wire::what(request))).await??
        }
    };
    let left = pruned.left.unwrap_or_default();
    if command.access.json {
        let answer = json!({
            "layers": pruned.layers, "bytes": pruned.bytes, "inodes": pruned.inodes,
            "directories": pruned.directories, "partial": pruned.partial, "orphans": pruned.orphans, "freed_bytes": pruned.freed_bytes,
            "left_layers": left.layers, "left_bytes": left.layer_bytes,
            "left_unused_layers": left.unused_layers, "left_unused_bytes": left.unused_bytes,
        });
        println!("{answer}");
        return Ok(());
    }
    println!("dropped {} layers: {}, {} inodes", pruned.layers, HumanBytes(pruned.bytes), pruned.inodes);
    if pruned.partial > 0 {
        println!("dropped {} trees of broken pulls", pruned.partial);
    }
    if pruned.orphans > 0 {
        println!("dropped {} directories that a lost state database had left", pruned.orphans);
    }
    println!("{} more are free on the filesystem", HumanBytes(pruned.freed_bytes));
    println!(
        "{} layers stay ({}), {} of them unused ({})",
        left.layers,
        HumanBytes(left.layer_bytes),
        left.unused_layers,
        HumanBytes(left.unused_bytes)
    );
    wire::besides(&left).iter().for_each(|line| println!("{line}"));
    Ok(())
}
