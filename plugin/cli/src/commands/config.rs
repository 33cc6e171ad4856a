//! `config`: checks a file, or prints the default one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use chunked_config::{DEFAULT_PATH, Settings};

use crate::args::Config;

pub(crate) fn run(command: &Config) -> Result<()> {
    match &command.file {
        Some(file) => check(file),
        None if command.check => match used() {
            Some(file) => check(&file),
            None => {
                println!("{DEFAULT_PATH} is not there: every setting has its default");
                Ok(())
            }
        },
        None => {
            print!("{}", chunked_config::DEFAULT_FILE);
            Ok(())
        }
    }
}

fn check(file: &Path) -> Result<()> {
    Settings::load(file)?;
    println!("{}: no mistakes found", file.display());
    Ok(())
}

/// The file that a command without `--config` reads.
fn used() -> Option<PathBuf> {
    let named = std::env::var_os("CHUNKED_SNAPSHOTTER_CONFIG").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists()))
}
