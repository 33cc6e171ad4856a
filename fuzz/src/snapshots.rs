//! Random sequences of the ten snapshot RPCs, against a model of names, parents, kinds, labels and errors.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_proto::containerd::types::Mount;
use chunked_snapshot::{NoRemoteLayers, ServiceOptions, service};
use chunked_store::{Store, StoreOptions};
use tonic::{Code, Status};
use wire::Kind;
use wire::snapshots_client::SnapshotsClient;
use wire::snapshots_server::{Snapshots, SnapshotsServer};

const NAMES: [&str; 8] = ["", "a", "b", "c", "ns/1/d", "ns/2/extract-1-x y", "sha256:0", "ü"];
const LABELS: [&[(&str, &str)]; 6] = [
    &[],
    &[("x", "1")],
    &[("x", "2"), ("y", "3")],
    &[("x", ""), ("z", "4")],
    &[("containerd.io/snapshot.ref", "r")],
    &[("containerd.io/gc.root", "now"), ("y", "")],
];
const MASKS: [Option<&[&str]>; 7] = [
    None,
    Some(&[]),
    Some(&["labels"]),
    Some(&["labels.x"]),
    Some(&["labels.x", "labels.gone"]),
    Some(&["labels", "parent"]),
    Some(&["kind"]),
];

/// Longest sequence of one input.
const MAX_CALLS: usize = 60;

type Labels = BTreeMap<String, String>;

/// Calls are read from the input, some bytes each.
pub fn snapshots(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    runtime.block_on(async {
        let mut dice = Dice(data);
        let mut model = Model::default();
        let mut client = SnapshotsClient::new(open(dir.path()));
        for _ in 0..MAX_CALLS {
            let Some(call) = dice.next() else { break };
            if call % 16 == 15 {
                drop(client);
                client = SnapshotsClient::new(open(dir.path()));
            } else {
                model.call(&mut client, call % 10, &mut dice).await;
            }
            model.equals(&mut client).await;
        }
    });
}

fn open(root: &Path) -> SnapshotsServer<impl Snapshots> {
    let options = StoreOptions { sync: false, ..StoreOptions::default() };
    let store = Store::open_with(root, options).expect("a store");
    service(Arc::new(store), Arc::new(NoRemoteLayers), ServiceOptions::default())
}

/// The input, taken byte by byte.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.next().unwrap_or(0)) % from.len()]
    }

    fn name(&mut self) -> String {
        self.pick(&NAMES).to_owned()
    }

    fn labels(&mut self) -> HashMap<String, String> {
        self.pick(&LABELS).iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    parent: String,
    labels: Labels,
}

/// What must be there, and what mounts it.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    mounts: BTreeMap<String, Vec<Mount>>,
}

/// What is wrong with a call; none if it must succeed. An answer may name any of them.
type Faults = Vec<Code>;

fn kept(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// The answer, if it is one that the faults allow.
fn right<T>(call: &str, answer: Result<tonic::Response<T>, Status>, faults: &Faults) -> Option<T> {
    match answer {
        Ok(answer) => {
            assert!(faults.is_empty(), "{call} succeeds in spite of {faults:?}");
            Some(answer.into_inner())
        }
        Err(status) => {
            assert!(faults.contains(&status.code()), "{call}: {status:?}, and not one of {faults:?}");
            None
        }
    }
}

impl Model {
    async fn call<S>(
        &mut self,
        client: &mut SnapshotsClient<SnapshotsServer<S>>,
        number: u8,
        dice: &mut Dice<'_>,
    ) where
        S: Snapshots,
    {
        match number {
            0 | 1 => self.create(client, dice, number == 0).await,
            2 => self.commit(client, dice).await,
            3 => self.remove(client, dice.name()).await,
            4 => self.update(client, dice).await,
            5 => self.mounts(client, dice.name()).await,
            6 => self.stat(client, dice.name()).await,
            7 => self.usage(client, dice.name()).await,
            8 => self.list(client, dice).await,
            _ => {
                let _ =
                    right("cleanup", client.cleanup(wire::CleanupRequest::default()).await, &Faults::new());
            }
        }
    }

    async fn create<S: Snapshots>(
        &mut self,
        client: &mut SnapshotsClient<SnapshotsServer<S>>,
        dice: &mut Dice<'_>,
        active: bool,
    ) {
        let (key, parent, labels) = (dice.name(), dice.name(), dice.labels());
        let mut faults = Faults::new();
        faults.extend(key.is_empty().then_some(Code::InvalidArgument));
        faults.extend(self.entries.contains_key(&key).then_some(Code::AlreadyExists));
        if !parent.is_empty() {
            faults.extend(self.committed(&parent, Code::InvalidArgument));
        }
        let snapshotter = "chunked".to_owned();
        let (name, below, given) = (key.clone(), parent.clone(), labels.clone());
        let mounts = if active {
            let request =
                wire::PrepareSnapshotRequest { snapshotter, key: name, parent: below, labels: given };
            right("prepare", client.prepare(request).await, &faults).map(|answer| answer.mounts)
        } else {
            let request = wire::ViewSnapshotRequest { snapshotter, key: name, parent: below, labels: given };
            right("view", client.view(request).await, &faults).map(|answer| answer.mounts)
        };
        if let Some(mounts) = mounts {
            assert_eq!(mounts.len(), 1, "{mounts:?}");
            let kind = if active { Kind::Active } else { Kind::View };
            self.mounts.insert(key.clone(), mounts);
            self.entries.insert(key, Entry { kind, parent, labels: kept(labels) });
        }
    }

    /// What is wrong with a parent: unknown, or not committed, for which calls have different codes.
    fn committed(&self, name: &str, other: Code) -> Option<Code> {
        match self.entries.get(name) {
            None => Some(Code::NotFound),
            Some(entry) => (entry.kind != Kind::Committed).then_some(other),
        }
    }

    async fn commit<S: Snapshots>(
        &mut self,
        client: &mut SnapshotsClient<SnapshotsServer<S>>,
        dice: &mut Dice<'_>,
    ) {
        let (name, key, labels) = (dice.name(), dice.name(), dice.labels());
        // A parent comes seldom with a commit.
        let parent = if dice.next().unwrap_or(0) < 64 { dice.name() } else { String::new() };
        let mut faults = Faults::new();
        faults.extend(name.is_empty().then_some(Code::InvalidArgument));
        faults.extend(self.entries.contains_key(&name).then_some(Code::AlreadyExists));
        match self.entries.get(&key) {
            None => faults.push(Code::NotFound),
            Some(entry) if entry.kind != Kind::Active => faults.push(Code::FailedPrecondition),
            Some(entry) if parent.is_empty() || entry.parent == parent => {}
            Some(entry) if entry.parent.is_empty() => {
                faults.extend(self.committed(&parent, Code::FailedPrecondition));
            }
            Some(_) => faults.push(Code::InvalidArgument),
        }
        let request = wire::CommitSnapshotRequest {
            name: name.clone(),
            key: key.clone(),
            labels: labels.clone(),
            parent: parent.clone(),
            ..Default::default()
        };
        if right("commit", client.commit(request).await, &faults).is_some()
            && let Some(active) = self.entries.remove(&key)
        {
            self.mounts.remove(&key);
            let parent = if active.parent.is_empty() { parent } else { active.parent };
            self.entries.insert(name, Entry { kind: Kind::Committed, parent, labels: kept(labels) });
        }
    }

    async fn remove<S: Snapshots>(&mut self, client: &mut SnapshotsClient<SnapshotsServer<S>>, key: String) {
        let mut faults = Faults::new();
        faults.extend((!self.entries.contains_key(&key)).then_some(Code::NotFound));
        let child = !key.is_empty() && self.entries.values().any(|entry| entry.parent == key);
        faults.extend(child.then_some(Code::FailedPrecondition));
        let request = wire::RemoveSnapshotRequest { key: key.clone(), ..Default::default() };
        if right("remove", client.remove(request).await, &faults).is_some() {
            self.entries.remove(&key);
            self.mounts.remove(&key);
        }
    }

    async fn update<S: Snapshots>(
        &mut self,
        client: &mut SnapshotsClient<SnapshotsServer<S>>,
        dice: &mut Dice<'_>,
    ) {
        let (name, labels, mask) = (dice.name(), dice.labels(), dice.pick(&MASKS));
        let paths = mask.unwrap_or_default();
        let mut faults = self.unknown(&name);
        let immutable = paths.iter().any(|path| *path != "labels" && !path.starts_with("labels."));
        faults.extend(immutable.then_some(Code::InvalidArgument));
        let info = wire::Info { name: name.clone(), labels: labels.clone(), ..Default::default() };
        let update_mask = mask.map(|paths| prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let request = wire::UpdateSnapshotRequest { info: Some(info), update_mask, ..Default::default() };
        let Some(answer) = right("update", client.update(request).await, &faults) else { return };
        let entry = self.entries.get_mut(&name).expect("the call succeeded");
        if paths.is_empty() || paths.contains(&"labels") {
            entry.labels = kept(labels.clone());
        }
        for label in paths.iter().filter_map(|path| path.strip_prefix("labels.")) {
            match labels.get(label).filter(|value| !value.is_empty()) {
                Some(value) => entry.labels.insert(label.to_owned(), value.clone()),
                None => entry.labels.remove(label),
            };
        }
        let (_, seen) = seen(answer.info.expect("an answer has it"));
        assert_eq!(&seen, entry, "update of {name}");
    }

    async fn mounts<S: Snapshots>(&mut self, client: &mut SnapshotsClient<SnapshotsServer<S>>, key: String) {
        let mut faults = self.unknown(&key);
        let committed = self.entries.get(&key).is_some_and(|entry| entry.kind == Kind::Committed);
        faults.extend(committed.then_some(Code::FailedPrecondition));
        let request = wire::MountsRequest { key: key.clone(), ..Default::default() };
        if let Some(answer) = right("mounts", client.mounts(request).await, &faults) {
            assert_eq!(Some(&answer.mounts), self.mounts.get(&key), "mounts of {key}");
        }
    }

    async fn stat<S: Snapshots>(&self, client: &mut SnapshotsClient<SnapshotsServer<S>>, key: String) {
        let request = wire::StatSnapshotRequest { key: key.clone(), ..Default::default() };
        if let Some(answer) = right("stat", client.stat(request).await, &self.unknown(&key)) {
            let (name, entry) = seen(answer.info.expect("an answer has it"));
            assert_eq!((&name, Some(&entry)), (&key, self.entries.get(&key)));
        }
    }

    async fn usage<S: Snapshots>(&self, client: &mut SnapshotsClient<SnapshotsServer<S>>, key: String) {
        let request = wire::UsageRequest { key: key.clone(), ..Default::default() };
        if let Some(answer) = right("usage", client.usage(request).await, &self.unknown(&key)) {
            assert!(answer.size >= 0 && answer.inodes >= 0, "{answer:?}");
        }
    }

    fn unknown(&self, key: &str) -> Faults {
        if self.entries.contains_key(key) { Faults::new() } else { vec![Code::NotFound] }
    }

    async fn list<S: Snapshots>(
        &self,
        client: &mut SnapshotsClient<SnapshotsServer<S>>,
        dice: &mut Dice<'_>,
    ) {
        type Holds = fn(&str, &Entry) -> bool;
        let filters: [(&str, Holds); 6] = [
            ("name==a", |name, _| name == "a"),
            ("parent==a", |_, entry| entry.parent == "a"),
            ("kind==committed", |_, entry| entry.kind == Kind::Committed),
            ("labels.x==1", |_, entry| entry.labels.get("x").is_some_and(|value| value == "1")),
            ("labels.\"containerd.io/snapshot.ref\"==r,parent==\"\"", |_, entry| {
                entry.parent.is_empty() && entry.labels.contains_key("containerd.io/snapshot.ref")
            }),
            ("name~=^ns/", |name, _| name.starts_with("ns/")),
        ];
        let chosen = [dice.pick(&filters), dice.pick(&filters)];
        let texts: Vec<String> = chosen.iter().map(|(text, _)| (*text).to_owned()).collect();
        let mut expected = self.entries.clone();
        expected.retain(|name, entry| chosen.iter().any(|(_, holds)| holds(name, entry)));
        assert_eq!(listed(client, texts.clone()).await, expected, "{texts:?}");
    }

    /// Everything is there, and nothing else.
    async fn equals<S: Snapshots>(&self, client: &mut SnapshotsClient<SnapshotsServer<S>>) {
        assert_eq!(listed(client, Vec::new()).await, self.entries);
    }
}

async fn listed<S: Snapshots>(
    client: &mut SnapshotsClient<SnapshotsServer<S>>,
    filters: Vec<String>,
) -> BTreeMap<String, Entry> {
    let request = wire::ListSnapshotsRequest { filters, ..Default::default() };
    let mut stream = client.list(request).await.expect("a list").into_inner();
    let mut all = BTreeMap::new();
    while let Some(page) = stream.message().await.expect("a page") {
        for info in page.info {
            let (name, entry) = seen(info);
            assert!(all.insert(name, entry).is_none(), "a snapshot is listed twice");
        }
    }
    all
}

/// An answer in the model's terms.
fn seen(info: wire::Info) -> (String, Entry) {
    assert!(info.created_at.is_some() && info.updated_at.is_some());
    let entry = Entry { kind: info.kind(), parent: info.parent, labels: info.labels.into_iter().collect() };
    (info.name, entry)
}
