//! The service over a socket: what containerd's own conformance suite does not cover (containerd.md §12).

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::sync::Arc;
use std::time::Duration;

use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_snapshot::NoRemoteLayers;
use chunked_store::Store;
use prost_types::{FieldMask, Timestamp};
use requests::{Setup, code, commit, diff, extract, labels, list, prepare, setup};
use tonic::Code;

#[path = "support/requests.rs"]
mod requests;
#[path = "support/serve.rs"]
mod serve;

#[tokio::test(flavor = "multi_thread")]
async fn update_takes_masks_and_zero_times_of_go() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    client.prepare(prepare("k", "", &[("a", "1"), ("b/c.d", "2")])).await.unwrap();
    let zero = Some(Timestamp { seconds: -62_135_596_800, nanos: 0 });
    let update = |given: &[(&str, &str)], mask: Option<&[&str]>| wire::UpdateSnapshotRequest {
        snapshotter: String::new(),
        info: Some(wire::Info {
            name: "k".to_owned(),
            parent: "bogus".to_owned(),
            kind: wire::Kind::Committed.into(),
            created_at: zero,
            updated_at: zero,
            labels: labels(given),
        }),
        update_mask: mask.map(|paths| FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() }),
    };
    let one = client.update(update(&[("a", "3")], Some(&["labels.a", "labels.b/c.d"]))).await.unwrap();
    let info = one.into_inner().info.unwrap();
    assert_eq!((info.labels.clone(), info.parent.as_str()), (labels(&[("a", "3")]), ""));
    assert_eq!(info.kind(), wire::Kind::Active);
    let all = client.update(update(&[("x", "y"), ("empty", "")], Some(&[]))).await.unwrap();
    assert_eq!(all.into_inner().info.unwrap().labels, labels(&[("x", "y")]));
    let all = client.update(update(&[], None)).await.unwrap();
    assert!(all.into_inner().info.unwrap().labels.is_empty());
    assert_eq!(code(client.update(update(&[], Some(&["parent"]))).await), Code::InvalidArgument);
    assert_eq!(code(client.update(wire::UpdateSnapshotRequest::default()).await), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_comes_in_pages_and_refuses_bad_filters() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    assert!(list(&mut client, &[]).await.unwrap().is_empty());
    for n in 0..250 {
        client.prepare(prepare(&format!("key {n}"), "", &[])).await.unwrap();
    }
    let sizes: Vec<usize> = list(&mut client, &[]).await.unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let one = list(&mut client, &["name==\"key 7\"".to_owned()]).await.unwrap().concat();
    let stat = client.stat(wire::StatSnapshotRequest { key: "key 7".to_owned(), ..Default::default() }).await;
    assert_eq!(one, [stat.unwrap().into_inner().info.unwrap()]);
    assert_eq!(code(list(&mut client, &["name=".to_owned()]).await), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_namespaces_own_their_upper_directory() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    let mapped = [
        ("containerd.io/snapshot/uidmapping", "0:70000:65536"),
        ("containerd.io/snapshot/gidmapping", "0:80000:65536"),
    ];
    let mounts = client.prepare(prepare("ns/1/pod", "", &mapped)).await.unwrap().into_inner().mounts;
    assert_eq!(mounts[0].options, ["uidmap=0:70000:65536", "gidmap=0:80000:65536", "rw", "rbind"]);
    let meta = std::fs::metadata(&mounts[0].source).unwrap();
    assert_eq!(
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta)),
        (70000, 80000)
    );
    let broken = [("containerd.io/snapshot/uidmapping", "x"), ("containerd.io/snapshot/gidmapping", "0:0:1")];
    assert_eq!(code(client.prepare(prepare("ns/2/pod", "", &broken)).await), Code::InvalidArgument);
}

/// Without the capability `remap-ids` containerd gives a copy of the image to the mapped owners, and labels what it prepares on
/// that all the same. Mapped twice, nothing would belong to the container's root.
#[tokio::test(flavor = "multi_thread")]
async fn copies_with_mapped_owners_are_not_mapped_again() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    let mapped = [
        ("containerd.io/snapshot/uidmapping", "0:70000:65536"),
        ("containerd.io/snapshot/gidmapping", "0:80000:65536"),
    ];
    client.prepare(prepare("ns/1/image", "", &[])).await.unwrap();
    client.commit(commit("ns/1/image", "ns/2/sha256:a")).await.unwrap();
    // 1.x names the copy by its parent and owners, 2.x by a digest.
    for (n, copy) in [(3, "sha256:a-70000-80000"), (6, "sha256:0123")] {
        let (making, made) = (format!("ns/{n}/{copy}-remap"), format!("ns/{}/{copy}", n + 1));
        client.prepare(prepare(&making, "ns/2/sha256:a", &[])).await.unwrap();
        client.commit(commit(&making, &made)).await.unwrap();
        let key = format!("ns/{}/pod", n + 2);
        let mounts = client.prepare(prepare(&key, &made, &mapped)).await.unwrap().into_inner().mounts;
        assert!(!mounts[0].options.iter().any(|option| option.contains("map=")), "{mounts:?}");
        let again =
            client.mounts(wire::MountsRequest { key, ..Default::default() }).await.unwrap().into_inner();
        assert_eq!(again.mounts, mounts);
        let request = wire::ViewSnapshotRequest {
            key: format!("ns/{}/view", n + 2),
            parent: made,
            labels: labels(&mapped),
            ..Default::default()
        };
        let view = client.view(request).await.unwrap().into_inner().mounts;
        assert!(!view[0].options.iter().any(|option| option.contains("map=")), "{view:?}");
    }
    // The image itself is mapped, also where somebody else's key ends in the same word.
    client.prepare(prepare("ns/20/x-remap", "ns/2/sha256:a", &[])).await.unwrap();
    client.commit(commit("ns/20/x-remap", "ns/21/y")).await.unwrap();
    for (key, parent) in [("ns/22/pod", "ns/2/sha256:a"), ("ns/23/pod", "ns/21/y")] {
        let mounts = client.prepare(prepare(key, parent, &mapped)).await.unwrap().into_inner().mounts;
        assert_eq!(mounts[0].options[..2], ["uidmap=0:70000:65536", "gidmap=0:80000:65536"], "{parent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_remote_layers_every_prepare_gets_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let socket = dir.path().join("socket");
    tokio::spawn(serve::serve(store, Arc::new(NoRemoteLayers), socket.clone()));
    let mut client = serve::connect(&socket).await.unwrap();
    client.prepare(extract("k8s.io", 1, &diff("base"), "")).await.unwrap();
    let key = format!("k8s.io/1/extract-1-Xy {}", diff("base"));
    client.commit(commit(&key, "k8s.io/2/base")).await.unwrap();
    let status = client.mounts(wire::MountsRequest { key: "k8s.io/2/base".to_owned(), ..Default::default() });
    assert_eq!(code(status.await), Code::FailedPrecondition);
}
