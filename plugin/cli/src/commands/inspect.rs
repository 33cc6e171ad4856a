//! `inspect`: what an image's layers, or one blob, are made of.

mod text;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use chunked_convert::{ImageInspection, Inspection, Location, TocEntry};
use chunked_registry::{Client, Platform};
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::settings;

pub(crate) async fn run(command: Inspect) -> Result<()> {
    let settings = settings::for_images(&command.registries)?;
    let path = Path::new(&command.what);
    if path.is_file() && is_zstd(path)? {
        let (path, verify) = (path.to_path_buf(), command.verify);
        let seen =
            tokio::task::spawn_blocking(move || chunked_convert::inspect_blob(&path, verify)).await??;
        return blob(&command, &seen);
    }
    let location = Location::guess(&command.what)?;
    let platform: Platform = command.platform.clone().unwrap_or_default();
    let client = Client::new(settings::client(&settings))?;
    let temp = command.tmp.as_deref();
    let seen = tokio::select! {
        seen = chunked_convert::inspect_image(&client, &location, &platform, command.verify, temp) => seen?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    image(&command, &seen)
}

/// A blob of a layer, not an archive: those are tars.
fn is_zstd(path: &Path) -> Result<bool> {
    let mut start = [0; 4];
    let mut file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let n = file.read(&mut start).with_context(|| format!("{}", path.display()))?;
    Ok(start
        .get(..n)
        .is_some_and(|start| matches!(start, [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18])))
}

fn blob(command: &Inspect, seen: &Inspection) -> Result<()> {
    if command.json {
        let mut value = serde_json::to_value(seen)?;
        add_files(command, &mut value, &seen.entries)?;
        println!("{value}");
    } else {
        println!("{}", command.what);
        text::inspection(seen);
        if command.files {
            text::files(&seen.entries);
        }
    }
    sound(seen.problems.len())
}

fn image(command: &Inspect, seen: &ImageInspection) -> Result<()> {
    if command.json {
        let mut value = serde_json::to_value(seen)?;
        for (index, layer) in seen.layers.iter().enumerate() {
            if let Some(value) = value.pointer_mut(&format!("/layers/{index}")) {
                add_files(command, value, layer.entries())?;
            }
        }
        println!("{value}");
    } else {
        text::image(seen, command.files);
    }
    sound(seen.layers.iter().map(|layer| layer.problems().len()).sum())
}

fn add_files(command: &Inspect, value: &mut Value, entries: &[TocEntry]) -> Result<()> {
    if let (true, Some(object)) = (command.files, value.as_object_mut()) {
        object.insert("files".to_owned(), json!(serde_json::to_value(entries)?));
    }
    Ok(())
}

fn sound(problems: usize) -> Result<()> {
    match problems {
        0 => Ok(()),
        1 => bail!("something is wrong with it"),
        more => bail!("{more} things are wrong with it"),
    }
}
