//! `config`: checks a file, or prints the default one.

use anyhow::Result;
use chunked_config::Settings;

use crate::args::Config;

pub(crate) fn run(command: &Config) -> Result<()> {
    match &command.file {
        Some(file) => {
            Settings::load(file)?;
            println!("{}: no mistakes found", file.display());
        }
        None => print!("{}", chunked_config::DEFAULT_FILE),
    }
    Ok(())
}
