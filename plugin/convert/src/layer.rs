//! One layer: left alone, or read, proven and written anew; then brought to the destination.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chunked_compression::Compression;
use chunked_core::{Digest, Hasher, labels};
use chunked_toc::Format;

use crate::checked::Checked;
use crate::destination::Destination;
use crate::document::Descriptor;
use crate::error::{ConvertError, blocking};
use crate::media::{self, LayerKind};
use crate::options::Options;
use crate::progress::{LayerProgress, Phase, Progress};
use crate::report::{ALREADY, Action, Content, Delivery, LayerReport};
use crate::source::Source;
use crate::temp::Temp;
use crate::writer::{self, Outcome};

/// Bytes read or written at a time.
const BUFFER: usize = 256 * 1024;

/// Everything a layer needs.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub source: Source,
    pub destination: Destination,
    pub temp: Temp,
    pub options: Options,
    pub progress: Progress,
}

/// A layer of an image, and what its config says about it; no DiffID for what is no tar.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub descriptor: Descriptor,
    pub diff_id: Digest,
}

/// A layer that is at the destination.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// What the manifest says about it from now on.
    pub descriptor: Descriptor,
    pub report: LayerReport,
}

/// Why a layer is to be left alone; `None` when it is to be converted.
fn left_alone(descriptor: &Descriptor, force: bool) -> Option<String> {
    match media::layer_kind(&descriptor.media_type) {
        LayerKind::Foreign => Some("it is foreign: registries do not hold it".to_owned()),
        LayerKind::Other => {
            let kind: String = descriptor.media_type.chars().filter(|c| !c.is_control()).take(100).collect();
            Some(format!("its media type {kind:?} is unknown"))
        }
        LayerKind::Tar => match chunked_toc::classify_layer(
            &descriptor.media_type,
            &descriptor.annotations,
            descriptor.size,
        ) {
            Format::ZstdChunked(_) if !force => Some(ALREADY.to_owned()),
            _ => None,
        },
    }
}

/// True for annotations that say how the bytes of a blob are arranged, and are wrong about other bytes.
fn about_the_blob(key: &str) -> bool {
    ["io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.", "containerd.io/snapshot/stargz/"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
        || key == labels::STARGZ_TOC_DIGEST
        || key == "io.containers.estargz.uncompressed-size"
}

impl Context {
    /// Brings a layer to the destination.
    pub(crate) async fn layer(&self, layer: Layer) -> Result<Delivered, ConvertError> {
        let progress = self.progress.layer(layer.descriptor.digest, layer.descriptor.size);
        let delivered = match left_alone(&layer.descriptor, self.options.force) {
            Some(reason) => self.keep(&layer, vec![reason], &progress).await,
            None => self.convert(&layer, &progress).await,
        }?;
        progress.enter(Phase::Done);
        tracing::info!(
            layer = %layer.descriptor.digest, diff_id = %layer.diff_id, blob = %delivered.descriptor.digest,
            action = ?delivered.report.action, delivery = ?delivered.report.delivery, "layer done"
        );
        Ok(delivered)
    }

    async fn convert(&self, layer: &Layer, progress: &Arc<LayerProgress>) -> Result<Delivered, ConvertError> {
        progress.enter(Phase::Converting);
        let started = Instant::now();
        let reader = self.source.blob(&layer.descriptor).await?;
        let (out, temp, options, input) =
            (self.temp.file()?, self.temp.clone(), self.options.clone(), layer.clone());
        let algorithm = layer.descriptor.digest.algorithm();
        let reader = Checked::new(reader, algorithm, Arc::clone(progress), self.progress.clone());
        let (file, outcome, compression) =
            blocking(move || convert(reader, out, &input, &options, &temp)).await?;
        let convert_seconds = started.elapsed().as_secs_f64();
        let (action, annotations, reasons) = match outcome.annotations {
            Ok(annotations) => (Action::Converted, annotations, Vec::new()),
            // Nothing is won by another ordinary zstd stream.
            Err(reasons) if compression == Compression::Zstd => {
                return self.keep(layer, reasons, progress).await;
            }
            Err(reasons) => (Action::Recompressed, std::collections::BTreeMap::new(), reasons),
        };
        let mut descriptor = Descriptor::of(media::LAYER_ZSTD, &[]);
        (descriptor.digest, descriptor.size) = (outcome.blob, outcome.size);
        descriptor.annotations = layer.descriptor.annotations.clone();
        descriptor.annotations.retain(|key, _| !about_the_blob(key));
        descriptor.annotations.extend(annotations);
        let (delivery, send_seconds) = self.send(&descriptor, None, file, progress).await?;
        let report = LayerReport {
            action,
            reasons,
            content: Some(Content { tar_size: outcome.tar_size }),
            convert_seconds,
            ..report(layer, &descriptor, delivery, send_seconds)
        };
        Ok(Delivered { descriptor, report })
    }

    /// Leaves a layer as it is. What has to be read for that is proven, too.
    async fn keep(
        &self,
        layer: &Layer,
        reasons: Vec<String>,
        progress: &Arc<LayerProgress>,
    ) -> Result<Delivered, ConvertError> {
        let descriptor = &layer.descriptor;
        let kind = media::layer_kind(&descriptor.media_type);
        let mut seconds = (0.0, 0.0);
        let delivery = if kind == LayerKind::Foreign {
            Delivery::None
        } else if let Some(delivery) = self.there(descriptor, self.source.reference()).await? {
            delivery
        } else {
            let diff_id = (kind == LayerKind::Tar).then_some(layer.diff_id);
            let started = Instant::now();
            let file = self.copied(descriptor, diff_id, progress).await?;
            seconds.0 = started.elapsed().as_secs_f64();
            let (delivery, sending) = self.send(descriptor, None, file, progress).await?;
            seconds.1 = sending;
            delivery
        };
        let report = LayerReport {
            reasons,
            convert_seconds: seconds.0,
            ..report(layer, descriptor, delivery, seconds.1)
        };
        Ok(Delivered { descriptor: descriptor.clone(), report })
    }

    /// Brings a blob that is no layer, or a layer of an artifact, to the destination as it is.
    pub(crate) async fn blob(&self, descriptor: &Descriptor) -> Result<Delivery, ConvertError> {
        if let Some(delivery) = self.there(descriptor, self.source.reference()).await? {
            return Ok(delivery);
        }
        let progress = self.progress.layer(descriptor.digest, descriptor.size);
        let file = self.copied(descriptor, None, &progress).await?;
        let (delivery, _) = self.send(descriptor, None, file, &progress).await?;
        progress.enter(Phase::Done);
        Ok(delivery)
    }

    /// How the destination has a blob already, or can have it without being sent it.
    async fn there(
        &self,
        descriptor: &Descriptor,
        from: Option<&chunked_registry::Reference>,
    ) -> Result<Option<Delivery>, ConvertError> {
        if self.destination.has(&descriptor.digest, descriptor.size).await? {
            return Ok(Some(Delivery::Present));
        }
        let mounted = self.destination.mount(from, &descriptor.digest).await?;
        Ok(mounted.then_some(Delivery::Mounted))
    }

    async fn send(
        &self,
        descriptor: &Descriptor,
        from: Option<&chunked_registry::Reference>,
        file: File,
        progress: &LayerProgress,
    ) -> Result<(Delivery, f64), ConvertError> {
        progress.to_send.store(descriptor.size, Ordering::Relaxed);
        progress.enter(Phase::Sending);
        let started = Instant::now();
        if let Some(delivery) = self.there(descriptor, from).await? {
            return Ok((delivery, started.elapsed().as_secs_f64()));
        }
        self.destination.put_file(&descriptor.digest, descriptor.size, file, &progress.sent).await?;
        Ok((Delivery::Sent, started.elapsed().as_secs_f64()))
    }

    /// A blob in a temporary file, proven by its digest and, for a layer, its DiffID.
    async fn copied(
        &self,
        descriptor: &Descriptor,
        diff_id: Option<Digest>,
        progress: &Arc<LayerProgress>,
    ) -> Result<File, ConvertError> {
        progress.enter(Phase::Copying);
        let reader = self.source.blob(descriptor).await?;
        let algorithm = descriptor.digest.algorithm();
        let reader = Checked::new(reader, algorithm, Arc::clone(progress), self.progress.clone());
        let (temp, descriptor) = (self.temp.clone(), descriptor.clone());
        blocking(move || {
            let (file, start) = reader.into_file(&descriptor, &temp)?;
            if let Some(expected) = diff_id {
                let layer = descriptor.digest;
                let found = decompressed(&file, &start, &descriptor)?;
                if found != expected {
                    return Err(ConvertError::DiffId { layer, expected, found });
                }
            }
            Ok(file)
        })
        .await
    }
}

fn report(layer: &Layer, now: &Descriptor, delivery: Delivery, send_seconds: f64) -> LayerReport {
    LayerReport {
        diff_id: layer.diff_id,
        source_blob: layer.descriptor.digest,
        source_size: layer.descriptor.size,
        source_media_type: layer.descriptor.media_type.clone(),
        action: Action::Kept,
        reasons: Vec::new(),
        blob: now.digest,
        size: now.size,
        delivery,
        content: None,
        convert_seconds: 0.0,
        send_seconds,
    }
}

/// Digest of the decompressed bytes of a file, read from where it stands. Blocks.
pub(crate) fn decompressed(file: &File, start: &[u8], layer: &Descriptor) -> Result<Digest, ConvertError> {
    let format = Compression::of_layer(&layer.media_type, start);
    let failed = |source| ConvertError::Decompress { layer: layer.digest, format: format.name(), source };
    let mut decoder = format.decoder(file);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match decoder.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Reads a layer to its end, writes it anew into `out`, and proves what it read.
fn convert(
    mut reader: Checked,
    out: File,
    layer: &Layer,
    options: &Options,
    temp: &Temp,
) -> Result<(File, Outcome, Compression), ConvertError> {
    let blob = layer.descriptor.digest;
    let compression = match reader.peek() {
        Ok(start) => Compression::of_layer(&layer.descriptor.media_type, start),
        Err(error) => return Err(reader.failed(error, &blob)),
    };
    let failed = |source| ConvertError::Decompress { layer: blob, format: compression.name(), source };
    let mut tar = Tar { decoder: compression.decoder(&mut reader), failure: None };
    let mut out = Out { file: BufWriter::with_capacity(BUFFER, out), failure: None };
    let written = writer::write(&mut tar, &mut out, options);
    let read_failure = tar.failure.take();
    drop(tar);
    if let Some(error) = read_failure {
        // A registry's or the user's reason goes before the decoder's.
        if let Some(cause) = reader.cause(&blob) {
            return Err(cause);
        }
        // Damage is better told by the digest than by a decoder.
        let _ = io::copy(&mut reader, &mut io::sink());
        reader.prove(&layer.descriptor)?;
        return Err(failed(error));
    }
    if let Some(error) = out.failure.take() {
        return Err(temp.failed(error));
    }
    let outcome = written.map_err(|source| ConvertError::Write { layer: blob, source })?;
    // A decoder may stop before the blob does.
    if let Err(error) = io::copy(&mut reader, &mut io::sink()) {
        return Err(reader.failed(error, &blob));
    }
    reader.prove(&layer.descriptor)?;
    if outcome.diff_id != layer.diff_id {
        let (expected, found) = (layer.diff_id, outcome.diff_id);
        return Err(ConvertError::DiffId { layer: blob, expected, found });
    }
    let file = out.file.into_inner().map_err(|error| temp.failed(error.into_error()))?;
    Ok((file, outcome, compression))
}

/// Keeps the error of a reader, which the writer of the format would wrap.
struct Tar<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    failure: Option<io::Error>,
}

impl Read for Tar<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| keep(&mut self.failure, error))
    }
}

/// Keeps the error of the temporary file.
struct Out {
    file: BufWriter<File>,
    failure: Option<io::Error>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| keep(&mut self.failure, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| keep(&mut self.failure, error))
    }
}

fn keep(place: &mut Option<io::Error>, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    let copy = io::Error::new(error.kind(), error.to_string());
    *place = Some(error);
    copy
}
