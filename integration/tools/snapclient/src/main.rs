//! Speaks to a snapshotter's socket through the published crate `containerd-snapshots`: a client whose messages
//! somebody else generated, from the contract of an older containerd. Calls all ten RPCs.
//!
//!     snapclient SOCKET        0: every answer was right; 1: says which was not

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;

use containerd_snapshots::api::snapshots::v1::snapshots_client::SnapshotsClient;
use containerd_snapshots::api::snapshots::v1::*;
use containerd_snapshots::api::types::Mount;
use prost_types::FieldMask;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

type Checked<T = ()> = Result<T, Box<dyn Error>>;
type Client = SnapshotsClient<Channel>;

/// What the snapshotter is called in the requests.
const NAME: &str = "chunked";

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn holds(what: &str, right: bool) -> Checked {
    if right { Ok(()) } else { Err(format!("{what} does not hold").into()) }
}

fn refused<T>(what: &str, answer: Result<T, tonic::Status>, code: Code) -> Checked {
    match answer {
        Err(status) if status.code() == code => Ok(()),
        Err(status) => Err(format!("{what}: {status}, expected {code:?}").into()),
        Ok(_) => Err(format!("{what} was allowed, expected {code:?}").into()),
    }
}

async fn connect(socket: PathBuf) -> Checked<Client> {
    // The address is never used; the connector goes to the socket.
    let channel = Endpoint::from_static("http://snapshotter")
        .connect_with_connector(tower::service_fn(move |_| UnixStream::connect(socket.clone())))
        .await?;
    Ok(SnapshotsClient::new(channel))
}

async fn prepare(client: &mut Client, key: &str, parent: &str) -> Result<Vec<Mount>, tonic::Status> {
    let request = PrepareSnapshotRequest {
        snapshotter: NAME.into(),
        key: key.into(),
        parent: parent.into(),
        labels: labels(&[("containerd.io/snapshot/a", "1")]),
    };
    Ok(client.prepare(request).await?.into_inner().mounts)
}

async fn commit(client: &mut Client, name: &str, key: &str) -> Result<(), tonic::Status> {
    let request = CommitSnapshotRequest {
        snapshotter: NAME.into(),
        name: name.into(),
        key: key.into(),
        labels: labels(&[("containerd.io/snapshot/b", "2")]),
    };
    client.commit(request).await.map(drop)
}

async fn stat(client: &mut Client, key: &str) -> Result<Info, tonic::Status> {
    let request = StatSnapshotRequest { snapshotter: NAME.into(), key: key.into() };
    let answer = client.stat(request).await?.into_inner();
    answer.info.ok_or_else(|| tonic::Status::internal("Stat without info"))
}

async fn remove(client: &mut Client, key: &str) -> Result<(), tonic::Status> {
    client.remove(RemoveSnapshotRequest { snapshotter: NAME.into(), key: key.into() }).await.map(drop)
}

async fn list(client: &mut Client, filters: &[&str]) -> Result<Vec<Info>, tonic::Status> {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let request = ListSnapshotsRequest { snapshotter: NAME.into(), filters };
    let mut pages = client.list(request).await?.into_inner();
    let mut found = Vec::new();
    while let Some(page) = pages.message().await? {
        found.extend(page.info);
    }
    Ok(found)
}

async fn update(client: &mut Client, info: Info, paths: Option<&[&str]>) -> Result<Info, tonic::Status> {
    let update_mask = paths.map(|paths| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    let request = UpdateSnapshotRequest { snapshotter: NAME.into(), info: Some(info), update_mask };
    let answer = client.update(request).await?.into_inner();
    answer.info.ok_or_else(|| tonic::Status::internal("Update without info"))
}

/// Active, mounts, commit.
async fn writable(client: &mut Client) -> Checked {
    let mounts = prepare(client, "client/active one", "").await?;
    holds("a bind mount for a snapshot without parent", mounts.len() == 1 && mounts[0].r#type == "bind")?;
    let again = client.mounts(MountsRequest { snapshotter: NAME.into(), key: "client/active one".into() }).await?;
    holds("Mounts says what Prepare said", again.into_inner().mounts == mounts)?;
    std::fs::write(PathBuf::from(&mounts[0].source).join("file"), b"from a client")?;
    refused("the same key", prepare(client, "client/active one", "").await, Code::AlreadyExists)?;
    refused("an unknown parent", prepare(client, "client/other", "nobody").await, Code::NotFound)?;
    let info = stat(client, "client/active one").await?;
    holds("Stat of an active snapshot", info.kind() == Kind::Active && info.parent.is_empty())?;
    holds("both time stamps, equal at first", info.created_at.is_some() && info.created_at == info.updated_at)?;
    commit(client, "client/base", "client/active one").await?;
    refused("Stat of a key that was committed", stat(client, "client/active one").await, Code::NotFound)?;
    let info = stat(client, "client/base").await?;
    holds("Stat of a committed snapshot", info.kind() == Kind::Committed)?;
    holds("labels of the commit only", info.labels == labels(&[("containerd.io/snapshot/b", "2")]))
}

/// View, usage, labels.
async fn readable(client: &mut Client) -> Checked {
    let request = ViewSnapshotRequest {
        snapshotter: NAME.into(),
        key: "client/view".into(),
        parent: "client/base".into(),
        labels: HashMap::new(),
    };
    let view = client.view(request).await?.into_inner().mounts;
    holds("a view is read-only", view.len() == 1 && view[0].options.iter().any(|option| option == "ro"))?;
    holds("a view shows the file", PathBuf::from(&view[0].source).join("file").exists())?;
    let usage = client.usage(UsageRequest { snapshotter: NAME.into(), key: "client/base".into() }).await?.into_inner();
    holds("Usage counts the directory and the file", usage.inodes == 2 && usage.size > 0)?;
    let upper = prepare(client, "client/upper", "client/base").await?;
    holds("an overlay above a parent", upper.len() == 1 && upper[0].r#type == "overlay")?;

    let base = stat(client, "client/base").await?;
    let wanted = Info { name: base.name.clone(), labels: labels(&[("l1", "x"), ("l2", "y")]), ..Info::default() };
    let one = update(client, wanted.clone(), Some(&["labels.l1"])).await?;
    holds("Update of one label keeps the others", one.labels.len() == 2 && one.labels.get("l1").is_some_and(|v| v == "x"))?;
    let all = update(client, wanted.clone(), None).await?;
    holds("Update without a mask replaces all", all.labels == wanted.labels && all.created_at == base.created_at)?;
    refused("Update of the parent", update(client, wanted, Some(&["parent"])).await, Code::InvalidArgument)
}

/// List, remove, clean up.
async fn gone(client: &mut Client) -> Checked {
    let all = list(client, &[]).await?;
    holds("List knows all three", all.len() == 3)?;
    let kinds = list(client, &["kind==view", "labels.l1==x"]).await?;
    let mut names: Vec<&str> = kinds.iter().map(|info| info.name.as_str()).collect();
    names.sort_unstable();
    holds("filters are alternatives", names == ["client/base", "client/view"])?;
    refused("removing a parent", remove(client, "client/base").await, Code::FailedPrecondition)?;
    for key in ["client/view", "client/upper", "client/base"] {
        remove(client, key).await?;
    }
    refused("removing twice", remove(client, "client/base").await, Code::NotFound)?;
    client.cleanup(CleanupRequest { snapshotter: NAME.into() }).await?;
    holds("nothing is left", list(client, &[]).await?.is_empty())
}

async fn all(socket: PathBuf) -> Checked {
    let mut client = connect(socket).await?;
    writable(&mut client).await?;
    readable(&mut client).await?;
    gone(&mut client).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(socket) = std::env::args_os().nth(1) else {
        eprintln!("usage: snapclient SOCKET");
        std::process::exit(2);
    };
    if let Err(error) = all(socket.into()).await {
        eprintln!("snapclient: {error}");
        std::process::exit(1);
    }
    println!("all ten calls answered right");
}
