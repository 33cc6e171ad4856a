//! A containerd with nothing but content, images and namespaces, on a unix socket.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use chunked_core::{Digest, ObjectDigest, labels};
use chunked_proto::containerd::services::content::v1::content_server::{Content, ContentServer};
use chunked_proto::containerd::services::content::v1::{
    AbortRequest, Info, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse,
    ReadContentRequest, ReadContentResponse, UpdateRequest, UpdateResponse, WriteContentRequest,
    WriteContentResponse,
};
use chunked_proto::containerd::services::images::v1::images_server::{Images, ImagesServer};
use chunked_proto::containerd::services::images::v1::{
    GetImageRequest, GetImageResponse, Image, ListImagesRequest, ListImagesResponse,
};
use chunked_proto::containerd::services::namespaces::v1::namespaces_server::{Namespaces, NamespacesServer};
use chunked_proto::containerd::services::namespaces::v1::{
    ListNamespacesRequest, ListNamespacesResponse, Namespace,
};
use chunked_proto::containerd::types::Descriptor;
use parking_lot::Mutex;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

type Paged<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug, Clone)]
pub struct StoredBlob {
    pub bytes: Vec<u8>,
    pub labels: HashMap<String, String>,
    pub changed: SystemTime,
}

#[derive(Debug, Default)]
pub struct Stored {
    pub blobs: BTreeMap<(String, ObjectDigest), StoredBlob>,
    /// Namespace, name, target.
    pub images: Vec<(String, String, ObjectDigest)>,
    /// Answer nothing at all.
    pub stuck: bool,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub lists: AtomicUsize,
    pub reads: AtomicUsize,
    pub image_lists: AtomicUsize,
}

/// The fake; its server ends when it is dropped.
#[derive(Debug)]
pub struct Fake {
    pub stored: Arc<Mutex<Stored>>,
    pub counts: Arc<Counts>,
    pub socket: PathBuf,
    _dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug, Clone)]
struct Service {
    stored: Arc<Mutex<Stored>>,
    counts: Arc<Counts>,
}

impl Fake {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("containerd.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (stored, counts) = (Arc::default(), Arc::default());
        let service = Service { stored: Arc::clone(&stored), counts: Arc::clone(&counts) };
        let server = tonic::transport::Server::builder()
            .add_service(ContentServer::new(service.clone()))
            .add_service(ImagesServer::new(service.clone()))
            .add_service(NamespacesServer::new(service))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self { stored, counts, socket, _dir: dir, server }
    }

    pub fn put(
        &self,
        namespace: &str,
        bytes: &[u8],
        labels: &[(String, String)],
        changed: SystemTime,
    ) -> ObjectDigest {
        let digest = ObjectDigest::of(bytes);
        let labels = labels.iter().cloned().collect();
        let blob = StoredBlob { bytes: bytes.to_vec(), labels, changed };
        self.stored.lock().blobs.insert((namespace.to_owned(), digest), blob);
        digest
    }

    pub fn name(&self, namespace: &str, name: &str, target: ObjectDigest) {
        self.stored.lock().images.push((namespace.to_owned(), name.to_owned(), target));
    }

    pub fn remove(&self, digest: &ObjectDigest) {
        self.stored.lock().blobs.retain(|(_, stored), _| stored != digest);
    }

    /// Stores manifest and config as a pull does, seconds `ago`.
    pub fn pulled(&self, namespace: &str, image: &Documents, origins: &[(&str, &str)], ago: u64) {
        let changed = SystemTime::now() - Duration::from_secs(ago);
        let mut labels: Vec<(String, String)> = origins
            .iter()
            .map(|(host, repository)| {
                (format!("{}{host}", labels::DISTRIBUTION_SOURCE_PREFIX), (*repository).to_owned())
            })
            .collect();
        self.put(namespace, &image.config, &labels, changed);
        labels.push((labels::GC_REF_CONFIG.to_owned(), ObjectDigest::of(&image.config).to_string()));
        self.put(namespace, &image.manifest, &labels, changed);
    }
}

/// An image that was never built: only its documents exist.
#[derive(Debug, Clone)]
pub struct Documents {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub chains: Vec<Digest>,
}

impl Documents {
    pub fn manifest_digest(&self) -> ObjectDigest {
        ObjectDigest::of(&self.manifest)
    }

    /// An image with one layer for each name; `salt` makes its blobs and its config differ from others'.
    pub fn of(layers: &[&str], salt: &str) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|name| Digest::of(name.as_bytes())).collect();
        let mut chains: Vec<Digest> = Vec::new();
        for diff_id in &diff_ids {
            chains.push(chunked_core::chain_id(chains.last(), diff_id));
        }
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "author": salt,
            "config": {}, "history": [],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let blobs: Vec<_> = layers
            .iter()
            .map(|name| {
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
                    "digest": ObjectDigest::of(format!("{name} {salt}").as_bytes()), "size": 1000,
                })
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": ObjectDigest::of(&config), "size": config.len(),
            },
            "layers": blobs,
        });
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), config, chains }
    }
}

fn namespace_of<T>(request: &Request<T>) -> Result<String, Status> {
    let header = request.metadata().get("containerd-namespace");
    let name = header.and_then(|value| value.to_str().ok());
    name.map(str::to_owned).ok_or_else(|| Status::failed_precondition("namespace is required"))
}

fn info(digest: &ObjectDigest, blob: &StoredBlob) -> Info {
    let at = Some(prost_types::Timestamp::from(blob.changed));
    let size = i64::try_from(blob.bytes.len()).unwrap();
    Info { digest: digest.to_string(), size, created_at: at, updated_at: at, labels: blob.labels.clone() }
}

impl Service {
    async fn answer(&self) {
        if self.stored.lock().stuck {
            std::future::pending::<()>().await;
        }
    }

    fn find(&self, namespace: String, digest: &str) -> Result<(ObjectDigest, StoredBlob), Status> {
        let digest: ObjectDigest = digest.parse().map_err(|_| Status::invalid_argument("digest"))?;
        let blob = self.stored.lock().blobs.get(&(namespace, digest)).cloned();
        blob.map(|blob| (digest, blob))
            .ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }
}

#[tonic::async_trait]
impl Content for Service {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        self.answer().await;
        let namespace = namespace_of(&request)?;
        let (digest, blob) = self.find(namespace, &request.into_inner().digest)?;
        Ok(Response::new(InfoResponse { info: Some(info(&digest, &blob)) }))
    }

    type ListStream = Paged<ListContentResponse>;

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        self.answer().await;
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        let namespace = namespace_of(&request)?;
        let infos: Vec<Info> = {
            let stored = self.stored.lock();
            let here = stored.blobs.iter().filter(|((of, _), _)| *of == namespace);
            here.map(|((_, digest), blob)| info(digest, blob)).collect()
        };
        let pages: Vec<_> = infos.chunks(100).map(|p| Ok(ListContentResponse { info: p.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    type ReadStream = Paged<ReadContentResponse>;

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.answer().await;
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let namespace = namespace_of(&request)?;
        let request = request.into_inner();
        let (_, blob) = self.find(namespace, &request.digest)?;
        let (mut offset, mut pieces) = (request.offset, Vec::new());
        let start = usize::try_from(offset).unwrap();
        // containerd takes a size of 0 for all the rest.
        let size = Some(usize::try_from(request.size).unwrap()).filter(|size| *size > 0);
        let end = size.map_or(blob.bytes.len(), |size| start + size);
        for piece in blob.bytes[start..end].chunks(100_000) {
            pieces.push(Ok(ReadContentResponse { offset, data: piece.to_vec().into() }));
            offset += i64::try_from(piece.len()).unwrap();
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    // Nothing that discovers writes.
    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        panic!("a label was written");
    }

    type WriteStream = Paged<WriteContentResponse>;

    async fn write(
        &self,
        _: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        panic!("a blob was written");
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        panic!("a blob was written");
    }
}

#[tonic::async_trait]
impl Images for Service {
    async fn get(&self, _: Request<GetImageRequest>) -> Result<Response<GetImageResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        self.counts.image_lists.fetch_add(1, Ordering::Relaxed);
        let namespace = namespace_of(&request)?;
        let stored = self.stored.lock();
        let images =
            stored.images.iter().filter(|(of, ..)| *of == namespace).map(|(_, name, target)| Image {
                name: name.clone(),
                target: Some(Descriptor { digest: target.to_string(), ..Descriptor::default() }),
                ..Image::default()
            });
        Ok(Response::new(ListImagesResponse { images: images.collect() }))
    }
}

#[tonic::async_trait]
impl Namespaces for Service {
    async fn list(
        &self,
        _: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let stored = self.stored.lock();
        let mut names: Vec<String> = stored.blobs.keys().map(|(namespace, _)| namespace.clone()).collect();
        names.dedup();
        let namespaces = names.into_iter().map(|name| Namespace { name, ..Namespace::default() }).collect();
        Ok(Response::new(ListNamespacesResponse { namespaces }))
    }
}
