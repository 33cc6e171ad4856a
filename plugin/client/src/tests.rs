//! Writes to a fake containerd.

mod fake;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chunked_core::{Digest, ObjectDigest, chain_id, labels};
use chunked_registry::{Image, Layer};

use self::fake::{Answer, Fake};
use crate::{ClientError, Got, Session, unpack};

const LIFETIME: Duration = Duration::from_secs(60);

/// An image with these layers, none of which exists anywhere.
fn image(layers: &[&str]) -> Image {
    let mut chain: Option<Digest> = None;
    let mut layer = |name: &&str| {
        let diff_id = Digest::of(name.as_bytes());
        let chain_id = chain_id(chain.as_ref(), &diff_id);
        chain = Some(chain_id);
        let blob = ObjectDigest::of(format!("blob of {name}").as_bytes());
        Layer {
            blob,
            size: 10,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            annotations: std::collections::BTreeMap::new(),
            diff_id,
            chain_id,
        }
    };
    Image {
        reference: "r.example/app".parse().unwrap(),
        manifest_digest: ObjectDigest::of(b"manifest"),
        config_digest: ObjectDigest::of(b"config"),
        manifest: Vec::new(),
        config: Vec::new(),
        layers: layers.iter().map(&mut layer).collect(),
    }
}

async fn move_to(fake: &Fake, image: &Image) -> Result<Vec<Got>, ClientError> {
    let session = fake.session().with_lease(LIFETIME).await.unwrap();
    let moved = unpack(&session, "chunked", image, "r.example/app:v1").await;
    session.end_lease().await.unwrap();
    moved
}

#[tokio::test]
async fn a_blob_is_written_in_pieces_and_committed_with_labels() {
    let fake = Fake::start();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3 << 20).collect();
    let digest = ObjectDigest::of(&bytes);
    let session = fake.session();
    let mut ingest = session.ingest(digest, bytes.len() as u64).await.unwrap().unwrap();
    for piece in bytes.chunks(1_500_000) {
        ingest.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    ingest.commit(HashMap::from([("a".to_owned(), "b".to_owned())])).await.unwrap();
    assert_eq!(session.labels(&digest).await.unwrap().unwrap()["a"], "b");
    assert!(fake.state.lock().largest <= 1 << 20, "messages are bounded");
    assert!(session.ingest(digest, 1).await.unwrap().is_none(), "it is there");
    session.label(&digest, "a", None).await.unwrap();
    session.label(&digest, "c.d/e", Some("f")).await.unwrap();
    let labels = session.labels(&digest).await.unwrap().unwrap();
    assert_eq!(labels, HashMap::from([("c.d/e".to_owned(), "f".to_owned())]));
    assert!(session.labels(&ObjectDigest::of(b"absent")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_blob_that_is_not_complete_or_not_right_leaves_nothing() {
    let fake = Fake::start();
    let session = fake.session();
    let digest = ObjectDigest::of(b"0123456789");
    let begin = async || session.ingest(digest, 10).await.unwrap().unwrap();

    let mut short = begin().await;
    short.write(Bytes::from_static(b"01234")).await.unwrap();
    assert!(matches!(short.commit(HashMap::new()).await, Err(ClientError::Size { given: 5, .. })));
    let mut long = begin().await;
    assert!(matches!(
        long.write(Bytes::from_static(b"0123456789a")).await,
        Err(ClientError::Size { given: 11, .. })
    ));
    drop(long);
    let mut wrong = begin().await;
    wrong.write(Bytes::from_static(b"012345678X")).await.unwrap();
    assert!(matches!(wrong.commit(HashMap::new()).await, Err(ClientError::Call { .. })));

    assert!(session.labels(&digest).await.unwrap().is_none());
    // In the background.
    for _ in 0..200 {
        if fake.state.lock().writing.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("writes are left: {:?}", fake.state.lock().writing.keys());
}

#[tokio::test]
async fn a_write_that_is_never_answered_ends() {
    let fake = Fake::start();
    fake.state.lock().silent = true;
    let begun = fake.session().ingest(ObjectDigest::of(b"0123456789"), 10).await;
    assert!(begun.unwrap_err().to_string().contains("no answer within"), "nothing waits for ever");
}

#[tokio::test]
async fn layers_come_from_the_snapshotter_or_from_containerd() {
    let fake = Fake::start();
    let image = image(&["a", "b", "c"]);
    fake.put(&image.config_digest);
    fake.put(&image.layers[2].blob);
    fake.state.lock().answers = vec![Answer::Provided, Answer::Provided, Answer::Mounts];
    fake.state.lock().unpacks_to = image.layers[2].diff_id.to_string();
    assert_eq!(move_to(&fake, &image).await.unwrap(), [Got::Provided, Got::Provided, Got::Unpacked]);
    assert_eq!(move_to(&fake, &image).await.unwrap(), [Got::Here; 3], "once more changes nothing");
    let state = fake.state.lock();
    let label = format!("{}chunked", labels::GC_REF_SNAPSHOT_PREFIX);
    let top = image.layers[2].chain_id.to_string();
    assert_eq!(state.blobs[&image.config_digest.to_string()][&label], top);
    assert!(state.prepared.is_empty() && state.leases.is_empty(), "{:?} {:?}", state.prepared, state.leases);
    assert_eq!(state.held, 5, "what was there, or was provided, is held by the lease meanwhile");
    assert_eq!(state.hints[labels::CRI_IMAGE_REF], "r.example/app:v1");
}

#[tokio::test]
async fn what_cannot_be_had_is_named_and_nothing_stays_prepared() {
    let fake = Fake::start();
    let image = image(&["a"]);
    fake.put(&image.config_digest);
    fake.state.lock().answers = vec![Answer::Mounts];
    let absent = move_to(&fake, &image).await.unwrap_err();
    assert!(
        matches!(&absent, ClientError::Missing { layer, .. } if *layer == image.layers[0].blob),
        "{absent}"
    );

    fake.put(&image.layers[0].blob);
    fake.state.lock().answers = vec![Answer::Mounts];
    fake.state.lock().unpacks_to = Digest::of(b"something else").to_string();
    assert!(matches!(move_to(&fake, &image).await, Err(ClientError::DiffId { .. })));

    fake.state.lock().answers = vec![Answer::Lies];
    assert!(matches!(move_to(&fake, &image).await, Err(ClientError::NotShown { .. })));

    let state = fake.state.lock();
    assert!(state.prepared.is_empty() && state.snapshots.is_empty() && state.leases.is_empty());
    assert!(state.blobs[&image.config_digest.to_string()].is_empty(), "no label without all layers");
}

#[tokio::test]
async fn namespaces_that_cannot_stand_in_a_header_are_refused() {
    let fake = Fake::start();
    assert!(matches!(Session::new(fake.channel(), "a\nb"), Err(ClientError::Namespace(_))));
}
