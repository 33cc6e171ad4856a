//! An engine over a store of its own, and a look at the trees it makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chunked_engine::{Engine, EngineError, EngineOptions, LayerReport, Places};
use chunked_fetch::{FetchOptions, Retry};
use chunked_plan::Costs;
use chunked_registry::{Client, ClientOptions, Platform, Reference, RegistryError};
use chunked_store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::image::TestImage;
use crate::layer::TestLayer;

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Longest silence of a registry. What is right may be late on a busy machine: only a test that plays silence makes it short.
    pub stall: Duration,
    /// How layers are fetched.
    pub fetch: FetchOptions,
    /// Largest gap filled, in bytes.
    pub max_gap: u64,
    /// Time an image has.
    pub deadline: Option<Duration>,
    /// How long jobs go on that nobody waits for.
    pub keep_running: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(20),
            fetch: FetchOptions {
                segment: 256 << 10,
                ranges_per_request: 1,
                retry: Retry { pause: Duration::from_millis(10), ..Retry::default() },
                ..FetchOptions::default()
            },
            max_gap: 4096,
            deadline: None,
            keep_running: Duration::from_secs(600),
        }
    }
}

/// A node. Its state is deleted when dropped.
#[derive(Debug)]
pub struct Node {
    /// Pulls layers.
    pub engine: Engine,
    client: Client,
    root: TempDir,
}

/// Why a pull failed.
#[derive(Debug)]
pub enum PullError {
    /// Before any layer.
    Image(RegistryError),
    /// A layer.
    Layer(Arc<EngineError>),
}

impl std::fmt::Display for PullError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(error) => write!(f, "image: {}", chunked_core::Causes(error)),
            Self::Layer(error) => write!(f, "{}", chunked_core::Causes(&**error)),
        }
    }
}

impl Node {
    /// A node with an empty store.
    pub fn new(options: &NodeOptions) -> Self {
        Self::at(tempfile::tempdir().unwrap(), options)
    }

    fn at(root: TempDir, options: &NodeOptions) -> Self {
        let client = Client::new(ClientOptions {
            docker_config: Some("/nonexistent".into()),
            read_timeout: options.stall,
            ..ClientOptions::default()
        });
        let client = client.unwrap();
        let store = StoreOptions { sync: false, ..StoreOptions::default() };
        let open = || Store::open_with(&root.path().join("root"), store.clone());
        let mut opened = open();
        // Threads of the node before may still hold it for a moment.
        for _ in 0..100 {
            if opened.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            opened = open();
        }
        let store = Arc::new(opened.unwrap());
        let engine = EngineOptions {
            workers: 2,
            flush: false,
            deadline: options.deadline,
            keep_running_after_cancel: options.keep_running,
            fetch: options.fetch.clone(),
            costs: Costs { max_gap: options.max_gap, ..Costs::default() },
            ..EngineOptions::default()
        };
        Self { engine: Engine::new(store, client.clone(), engine).unwrap(), client, root }
    }

    /// The same node after its daemon has ended and started again.
    #[must_use]
    pub fn restarted(self, options: &NodeOptions) -> Self {
        let Self { engine, client, root } = self;
        drop(engine);
        drop(client);
        Self::at(root, options)
    }

    /// Where its state is.
    pub fn root(&self) -> std::path::PathBuf {
        self.root.path().join("root")
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// What the user would see.
    pub async fn pull(&self, reference: &Reference) -> Result<Vec<Arc<LayerReport>>, PullError> {
        let platform: Platform = "linux/amd64".parse().unwrap();
        let image = self.client.pull_image(reference, &platform).await.map_err(PullError::Image)?;
        self.engine.image(&Arc::new(image), &Places::default()).await.map_err(PullError::Layer)
    }

    /// Whether the registry of `reference` answers several ranges in one request, as far as the node has found out by asking
    /// for some of the config of `image`.
    pub fn several(&self, reference: &Reference, image: &TestImage) -> Option<bool> {
        let size = image.config.len() as u64;
        self.client.blob(reference, image.config_digest(), size).has_multi_range()
    }

    /// What differs between a layer and the tree it should be; nothing, if all is well.
    pub fn difference(report: &LayerReport, layer: &TestLayer) -> Option<String> {
        let mut found = BTreeMap::new();
        read(&report.pin.fs(), "", &mut found);
        if report.diff_id != layer.diff_id {
            return Some(format!("DiffID {}", report.diff_id));
        }
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        if names(&found) != names(&layer.files) {
            return Some(format!("files {:?} instead of {:?}", names(&found), names(&layer.files)));
        }
        let bad = found.iter().find(|(name, content)| layer.files[*name] != **content);
        bad.map(|(name, _)| format!("content of {name}"))
    }

    /// Directories left over where layers are built.
    pub fn staging(&self) -> usize {
        std::fs::read_dir(self.root().join("staging")).unwrap().count()
    }
}

fn read(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
