use chunked_core::Digest;

use crate::testing::{Temporary, layer, problems};
use crate::{Flavour, NewLayer, StoreError, Usage};

/// A layer whose row cannot be written, as on a full disk, leaves nothing that only a restart would find.
#[test]
fn a_layer_without_a_row_leaves_no_directory() {
    let temp = Temporary::new();
    let store = temp.open();
    let kept = layer(&store, "kept", &[]);
    let beside = rusqlite::Connection::open(temp.dir.path().join("state.db")).unwrap();
    beside
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON layers BEGIN SELECT RAISE(FAIL, 'no room'); END")
        .unwrap();
    let new = |name: &str| NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files: Vec::new(),
        chunks: Some(Vec::new()),
        origin: None,
    };
    let failed = store.commit_layer(store.stage().unwrap(), new("lost")).unwrap_err();
    assert!(matches!(failed, StoreError::Database { .. }), "{failed}");
    let snapshots = || std::fs::read_dir(temp.dir.path().join("snapshots")).unwrap().count();
    assert_eq!(snapshots(), 1, "the kept one");
    assert_eq!(problems(&store), 0);
    beside.execute_batch("DROP TRIGGER full").unwrap();
    store.commit_layer(store.stage().unwrap(), new("lost")).unwrap();
    assert_eq!(snapshots(), 2);
    drop(kept);
}
