//! `history`: the pulls that a daemon remembers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use chunked_history::{History, LayerRecord, Outcome, PullRecord, Way};
use chunked_proto::chunked::control::v1::HistoryRequest;
use indicatif::{HumanBytes, HumanDuration};

use crate::args::StoreAccess;
use crate::{settings, store_access};

pub(crate) async fn run(command: StoreAccess) -> Result<()> {
    let pulls = read(&command).await?;
    if command.json {
        println!("{}", serde_json::to_string(&pulls)?);
        return Ok(());
    }
    if pulls.is_empty() {
        println!("no pull is remembered");
    }
    pulls.iter().for_each(|pull| println!("{}", line(pull)));
    Ok(())
}

/// The records, oldest first: of the running daemon, or of its file when none runs.
pub(crate) async fn read(command: &StoreAccess) -> Result<Vec<PullRecord>> {
    let settings = settings::for_person(&command.common)?;
    let address = command.address.as_ref().unwrap_or(&settings.address);
    let mut client = match store_access::connect(address).await {
        Ok(client) if command.common.root.is_none() || command.address.is_some() => client,
        Err(error) if command.address.is_some() => return Err(error),
        _ => {
            let file = settings.root.join(History::FILE);
            if !file.exists() {
                bail!("no daemon answers on {}, and there is no {}", address.display(), file.display());
            }
            let pulls = settings.history.pulls;
            return Ok(tokio::task::spawn_blocking(move || History::open(&file, pulls).all()).await?);
        }
    };
    let mut stream = client.history(HistoryRequest {}).await?.into_inner();
    let mut pulls = Vec::new();
    while let Some(record) = stream.message().await? {
        pulls.push(serde_json::from_str(&record.json)?);
    }
    Ok(pulls)
}

/// A pull on one line.
fn line(pull: &PullRecord) -> String {
    let sum = |of: fn(&LayerRecord) -> u64| HumanBytes(pull.layers.iter().map(of).sum());
    let counted = |way| pull.layers.iter().filter(|layer| layer.way == way).count();
    let ways =
        [Way::Chunked, Way::Whole, Way::Present, Way::Shared, Way::HandedOver, Way::Failed, Way::Unknown];
    let ways = ways.into_iter().filter(|way| counted(*way) > 0);
    let ways: Vec<String> = ways.map(|way| format!("{} {}", counted(way), way.name())).collect();
    format!(
        "{:>16}  {:<11}  {:>7.1} s  {:>11} of {:>11} fetched  {}  ({})",
        ago(pull),
        pull.outcome.name(),
        pull.seconds(),
        sum(|layer| layer.fetched).to_string(),
        sum(|layer| layer.size).to_string(),
        pull.image,
        ways.join(", ")
    )
}

/// When it ended.
pub(crate) fn ago(pull: &PullRecord) -> String {
    if pull.outcome == Outcome::Running {
        return "now".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", HumanDuration(now.saturating_sub(Duration::from_millis(pull.ended))))
}
