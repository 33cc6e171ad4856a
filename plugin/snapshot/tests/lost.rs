//! Snapshots that containerd knows and whose rows are lost: they are rebuilt when containerd asks, or named.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use chunked_proto::containerd::services::snapshots::v1 as wire;
use requests::{Client, Setup, code, diff, extract, find, prepare, setup, top};
use tonic::Code;

#[path = "support/requests.rs"]
mod requests;
#[path = "support/serve.rs"]
mod serve;

async fn stat(client: &mut Client, name: &str) -> Result<wire::Info, Code> {
    let request = wire::StatSnapshotRequest { key: name.to_owned(), ..Default::default() };
    client.stat(request).await.map(|answer| answer.into_inner().info.unwrap()).map_err(|status| status.code())
}

/// Both layers in the store, and no snapshot of them.
async fn rows_lost(setup: &mut Setup) {
    let client = &mut setup.client;
    code(client.prepare(extract("k8s.io", 1, &diff("base"), "")).await);
    code(client.prepare(extract("k8s.io", 2, &top(), &diff("base").to_string())).await);
    for name in [top().to_string(), diff("base").to_string()] {
        let request = wire::RemoveSnapshotRequest { key: name, ..Default::default() };
        client.remove(request).await.unwrap();
    }
    assert!(setup.store.snapshots().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_containerd_asks_for_is_rebuilt() {
    let (base, top) = (diff("base").to_string(), top().to_string());
    // Stat, Usage, View, Prepare of a container, and Prepare of a layer above: each alone brings it back.
    for way in 0..5 {
        let mut setup = setup(Duration::ZERO).await;
        rows_lost(&mut setup).await;
        let Setup { client, store, lost, .. } = &mut setup;
        match way {
            0 => drop(stat(client, &top).await.unwrap()),
            1 => {
                let request = wire::UsageRequest { key: top.clone(), ..Default::default() };
                drop(client.usage(request).await.unwrap());
            }
            2 => {
                let (key, parent) = ("k8s.io/9/view".to_owned(), top.clone());
                let request = wire::ViewSnapshotRequest { key, parent, ..Default::default() };
                drop(client.view(request).await.unwrap());
            }
            3 => drop(client.prepare(prepare("k8s.io/9/pod", &top, &[])).await.unwrap()),
            _ => {
                let above = client.prepare(extract("k8s.io", 3, &requests::top(), &base)).await;
                assert_eq!(code(above), Code::AlreadyExists);
            }
        }
        assert_eq!(find(client, &requests::top(), &base).await.unwrap().name, top, "way {way}");
        assert_eq!(stat(client, &top).await.unwrap().parent, base);
        assert_eq!(lost.all(store).unwrap(), []);
    }
    // A name of containerd's own.
    let mut setup = setup(Duration::ZERO).await;
    rows_lost(&mut setup).await;
    let name = format!("k8s.io/3/{top}");
    assert_eq!(stat(&mut setup.client, &name).await.unwrap().name, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rebuilt_is_named_by_image_and_not_looked_for_again_and_again() {
    let mut setup = setup(Duration::ZERO).await;
    let Setup { client, store, lost, remote, .. } = &mut setup;
    let name = top().to_string();
    for _ in 0..3 {
        assert_eq!(stat(client, &name).await.unwrap_err(), Code::NotFound);
    }
    assert_eq!(remote.calls.load(Ordering::SeqCst), 1);
    let [named] = lost.all(store).unwrap().try_into().unwrap();
    assert_eq!((&named.name, named.image.as_deref()), (&name, Some("r.example/app")));
    assert!(
        named.text.contains("pull it again") && named.text.contains(&diff("base").to_string()),
        "{named:?}"
    );
    // Nobody's layer, and a containerd that cannot be asked: the second is tried again.
    let unknown = diff("unknown").to_string();
    assert_eq!(stat(client, &unknown).await.unwrap_err(), Code::NotFound);
    assert_eq!(lost.all(store).unwrap().iter().filter(|lost| lost.image.is_none()).count(), 1);
    for n in 1..3 {
        let calls = remote.calls.load(Ordering::SeqCst);
        assert_eq!(stat(client, &format!("away/{n}/{name}")).await.unwrap_err(), Code::NotFound);
        assert_eq!(remote.calls.load(Ordering::SeqCst), calls + 1);
    }
    assert_eq!(stat(client, "k8s.io/3/web").await.unwrap_err(), Code::NotFound);
    assert_eq!(lost.all(store).unwrap().len(), 2);
    // Pulled again.
    code(client.prepare(extract("k8s.io", 1, &diff("base"), "")).await);
    code(client.prepare(extract("k8s.io", 2, &top(), &diff("base").to_string())).await);
    assert_eq!(lost.all(store).unwrap().len(), 1);
}
