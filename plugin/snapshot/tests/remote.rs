//! Remote layers over the socket: what containerd hears, lists and gets (containerd.md §5 and §12).

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_snapshot::{Cause, Decision, Fallback, decide};
use chunked_store::Flavour;
use requests::{REF, Setup, code, commit, diff, extract, find, prepare, setup, setup_with, top};
use tonic::Code;

#[path = "support/requests.rs"]
mod requests;
#[path = "support/serve.rs"]
mod serve;

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_ready_are_adopted_with_the_right_parent() {
    let Setup { mut client, store, remote, _dir, .. } = setup(Duration::ZERO).await;
    assert_eq!(code(client.prepare(extract("k8s.io", 1, &diff("base"), "")).await), Code::AlreadyExists);
    let base = find(&mut client, &diff("base"), "").await.unwrap();
    assert_eq!(code(client.prepare(extract("k8s.io", 2, &top(), &base.name)).await), Code::AlreadyExists);
    let found = find(&mut client, &top(), &base.name).await.unwrap();
    assert_eq!(found.created_at, found.updated_at);
    assert_eq!(found.labels.get(REF), Some(&top().to_string()));
    // Another namespace: adopted again without asking the remote.
    let before = remote.calls.load(Ordering::SeqCst);
    assert_eq!(code(client.prepare(extract("default", 1, &diff("base"), "")).await), Code::AlreadyExists);
    assert_eq!(remote.calls.load(Ordering::SeqCst), before);
    // A container on top of it.
    let mounts = client.prepare(prepare("k8s.io/9/pod", &found.name, &[])).await.unwrap().into_inner().mounts;
    let lower = mounts[0].options.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap();
    assert_eq!(lower.split(':').count(), 2);
    let usage = client.usage(wire::UsageRequest { key: found.name.clone(), ..Default::default() }).await;
    let usage = usage.unwrap().into_inner();
    assert!(usage.inodes == 1 && usage.size <= 8192, "an empty tree: {usage:?}");
    // Removed by garbage collection, pulled again at once: the store still has it.
    for key in ["k8s.io/9/pod", &found.name, &base.name] {
        client
            .remove(wire::RemoveSnapshotRequest { key: key.to_owned(), ..Default::default() })
            .await
            .unwrap();
    }
    assert!(store.layer(&diff("top"), Flavour::Upper).unwrap().is_some());
    client.cleanup(wire::CleanupRequest::default()).await.unwrap();
    assert!(store.layer(&diff("top"), Flavour::Upper).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_or_unrelated_requests_get_mounts() {
    let Setup { mut client, remote, _dir, .. } = setup(Duration::ZERO).await;
    let base = diff("base").to_string();
    let other = diff("other").to_string();
    for (key, given) in [
        ("k8s.io/1/sandbox".to_owned(), base.as_str()),
        (format!("k8s.io/2/extract-1-a {other}"), &base),
        (format!("k8s.io/3/pod {base}"), &base),
        ("k8s.io/4/extract-1-a sha256:short".to_owned(), "sha256:short"),
    ] {
        let mounts = client.prepare(prepare(&key, "", &[(REF, given)])).await.unwrap().into_inner().mounts;
        assert_eq!(mounts[0].r#type, "bind", "{key}");
    }
    let unlabelled = format!("k8s.io/5/extract-1-a {base}");
    client.prepare(prepare(&unlabelled, "", &[])).await.unwrap();
    assert_eq!(remote.calls.load(Ordering::SeqCst), 0);
    // Without the prefix, as a direct client: fine.
    let direct = prepare(&format!("extract-1-a {base}"), "", &[(REF, &base)]);
    assert_eq!(code(client.prepare(direct).await), Code::AlreadyExists);
}

/// A Prepare of a layer that the remote does not make, for `cause`.
fn failing(n: usize, cause: Cause) -> wire::PrepareSnapshotRequest {
    let mut request = extract("k8s.io", n, &diff("elsewhere"), "");
    request.labels.insert("containerd.io/snapshot/test".to_owned(), cause.name().to_owned());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_remote_cannot_make_is_handed_over_or_fails() {
    for fallback in [Fallback::Containerd, Fallback::Fail] {
        let Setup { mut client, handed_over, _dir, .. } = setup_with(Duration::ZERO, fallback).await;
        let mut count = 0;
        for (n, cause) in Cause::ALL.into_iter().enumerate() {
            let answer = client.prepare(failing(n, cause)).await;
            match decide(cause, fallback) {
                Decision::HandOver => {
                    assert_eq!(answer.unwrap().into_inner().mounts[0].r#type, "bind", "{cause:?}");
                    assert!(handed_over.counts().contains(&(cause, 1)), "{cause:?}");
                    count += 1;
                }
                Decision::Fail(code) => {
                    let status = answer.unwrap_err();
                    assert_eq!(status.code(), code, "{cause:?}");
                    assert!(status.message().contains(cause.name()), "{status}");
                }
            }
        }
        assert_eq!(handed_over.counts().len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_handed_over_is_an_ordinary_snapshot() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    let target = diff("elsewhere");
    assert!(client.prepare(failing(3, Cause::Denied)).await.is_ok());
    assert_eq!(code(client.prepare(failing(3, Cause::Denied)).await), Code::AlreadyExists);
    assert_eq!(code(client.prepare(extract("k8s.io", 4, &top(), "nothing")).await), Code::NotFound);
    let active = format!("k8s.io/3/extract-3-Xy {target}");
    assert_eq!(code(client.prepare(extract("k8s.io", 5, &top(), &active)).await), Code::InvalidArgument);
    let name = format!("k8s.io/6/{target}");
    client.commit(commit(&active, &name)).await.unwrap();
    let stat = wire::StatSnapshotRequest { key: name, ..Default::default() };
    assert_eq!(client.stat(stat).await.unwrap().into_inner().info.unwrap().kind(), wire::Kind::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_prepares_for_one_target_all_hear_already_exists() {
    let Setup { client, store, _dir, .. } = setup(Duration::from_millis(30)).await;
    let mut jobs = tokio::task::JoinSet::new();
    for n in 0..16 {
        let mut client = client.clone();
        let namespace = if n % 2 == 0 { "k8s.io" } else { "default" };
        jobs.spawn(async move {
            let status = code(client.prepare(extract(namespace, n, &diff("base"), "")).await);
            (status, find(&mut client, &diff("base"), "").await.is_some())
        });
    }
    for (status, listed) in jobs.join_all().await {
        assert_eq!((status, listed), (Code::AlreadyExists, true));
    }
    assert_eq!(store.snapshots().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_target_on_two_parents_has_a_row_for_each() {
    let Setup { mut client, _dir, .. } = setup(Duration::ZERO).await;
    code(client.prepare(extract("k8s.io", 1, &diff("base"), "")).await);
    let adopted = find(&mut client, &diff("base"), "").await.unwrap().name;
    // The same chain, extracted by containerd in another namespace.
    let base = diff("base").to_string();
    client.prepare(prepare("default/1/plain", "", &[])).await.unwrap();
    let name = format!("default/2/{base}");
    client.commit(commit("default/1/plain", &name)).await.unwrap();
    assert_eq!(code(client.prepare(extract("k8s.io", 2, &top(), &adopted)).await), Code::AlreadyExists);
    // Its chain is known by its name, though it has no label.
    assert_eq!(code(client.prepare(extract("default", 3, &top(), &name)).await), Code::AlreadyExists);
    let first = find(&mut client, &top(), &adopted).await.unwrap();
    let second = find(&mut client, &top(), &name).await.unwrap();
    assert_ne!(first.name, second.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_prepare_still_ends_with_the_layer() {
    let Setup { mut client, _dir, .. } = setup(Duration::from_millis(300)).await;
    let call = client.prepare(extract("k8s.io", 1, &diff("base"), ""));
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    assert!(find(&mut client, &diff("base"), "").await.is_none());
    for _ in 0..100 {
        if find(&mut client, &diff("base"), "").await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the layer never came");
}
