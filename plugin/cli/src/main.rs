//! `chunked-snapshotter`: the daemon that containerd talks to, and the command line.
//!
//! Wiring only: arguments and configuration become one set of settings, stages are built from them, and results
//! are shown. Exit codes: 0 done, 1 failed, 2 wrong arguments; others in [`exit`].

mod args;
mod commands;
mod exit;
mod logging;
mod memory;
mod progress;
mod pulling;
mod rootfs;
mod screen;
mod settings;
mod store_access;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use chunked_core::Causes;
use clap::Parser as _;

use crate::args::{Arguments, Command, StoreCommand};

#[global_allocator]
static MEMORY: memory::Wiping = memory::Wiping;

/// How long threads that are writing may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chunked-snapshotter: {}", Causes(error.as_ref()));
            ExitCode::from(exit::code(&error))
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Command::Config(command) = arguments.command {
        return commands::config::run(&command);
    }
    // Before there are threads: taking them over changes the environment.
    let inherited = match &arguments.command {
        Command::Serve(_) => commands::serve::inherited_sockets(),
        _ => listenfd::ListenFd::empty(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = match arguments.command {
        Command::Serve(command) => runtime.block_on(commands::serve::run(command, inherited)),
        Command::Pull(command) => runtime.block_on(commands::pull::run(command)),
        Command::Pulls(command) => runtime.block_on(commands::pulls::run(command)),
        Command::Status(command) => runtime.block_on(commands::status::run(command)),
        Command::History(command) => runtime.block_on(commands::history::run(command)),
        Command::Explain(command) => runtime.block_on(commands::explain::run(command)),
        Command::Prune(command) => runtime.block_on(commands::prune::run(command)),
        Command::Store(StoreCommand::Ls(command)) => runtime.block_on(commands::store_ls::run(command)),
        Command::Store(StoreCommand::Verify(command)) => {
            runtime.block_on(commands::store_verify::run(command))
        }
        Command::Convert(command) => runtime.block_on(commands::convert::run(*command)),
        Command::Inspect(command) => runtime.block_on(commands::inspect::run(command)),
        Command::Diff(command) => runtime.block_on(commands::diff::run(command)),
        Command::Doctor(command) => runtime.block_on(commands::doctor::run(command)),
        Command::Adopt(command) => runtime.block_on(commands::adopt::run(command)),
        Command::Release(command) => runtime.block_on(commands::release::run(command)),
        Command::Host(command) => runtime.block_on(commands::host::run(command)),
        Command::Config(_) => Ok(()),
    };
    // Threads that write a layer end when their transfer does; a stuck disk must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}
