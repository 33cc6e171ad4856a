//! What a credential helper finds when it runs: a home directory, and itself.
//!
//! A service has neither a login's HOME nor its PATH. Helpers want both: `docker-credential-ecr-login` keeps a cache below
//! HOME and ends without it, and who installs one for root puts it where root finds it.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::command::{self, CommandError, Output};

/// Longest list of users read, in bytes.
const MAX_USERS: u64 = 1 << 20;
/// Entries of a home directory that a stand-in shows.
const MAX_ENTRIES: usize = 1000;
/// Where helpers are put that no PATH of a service has.
const USUAL: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/opt/bin", "/snap/bin", "/usr/lib/docker", "/usr/libexec/docker"];

/// Runs the command that `make` gives with a home directory. Should it fail, for another reason than `expected` says,
/// and should that directory be one that it cannot write to, it is run once more with one that it can, which shows what
/// is in the real one.
///
/// # Errors
///
/// [`CommandError`]; an exit status other than 0 is no error.
pub(crate) async fn run(
    make: impl Fn() -> Command,
    input: &[u8],
    limit: Duration,
    expected: impl Fn(&Output) -> bool,
) -> Result<Output, CommandError> {
    let home = home();
    let with = |home: &Path| {
        let mut command = make();
        let its_own = command.as_std().get_envs().any(|(name, _)| name == "HOME");
        if !its_own {
            command.env("HOME", home);
        }
        command
    };
    let output = command::run(with(&home), input, limit).await?;
    if output.success || expected(&output) {
        return Ok(output);
    }
    let stand_in = tokio::task::spawn_blocking(move || stand_in(&home)).await;
    match stand_in.ok().flatten() {
        Some(stand_in) => command::run(with(stand_in.path()), input, limit).await,
        None => Ok(output),
    }
}

/// What an administrator may have to change for a helper that failed: the surroundings a service has.
pub(crate) fn hints(output: &Output) -> String {
    let mut hints = Vec::new();
    if !is_set(std::env::var_os("HOME").as_deref()) {
        hints.push(format!("HOME was not set, {} was used", home().display()));
    }
    if !is_writable(&home()) {
        hints.push(format!("{} cannot be written to (ProtectHome= of the service)", home().display()));
    }
    // Programs that compile while they run end like this where that is forbidden.
    if output.signalled {
        hints.push("it was killed; if it needs memory that is writable and executable, MemoryDenyWriteExecute= of the service forbids that".to_owned());
    }
    if hints.is_empty() { String::new() } else { format!(" ({})", hints.join("; ")) }
}

/// The home directory: HOME, else that of our user.
fn home() -> PathBuf {
    let set = std::env::var_os("HOME").filter(|home| is_set(Some(home)));
    set.map(PathBuf::from).or_else(of_user).unwrap_or_else(|| PathBuf::from("/"))
}

fn is_set(home: Option<&OsStr>) -> bool {
    home.is_some_and(|home| Path::new(home).is_absolute())
}

fn of_user() -> Option<PathBuf> {
    let users = crate::files::read_bounded(Path::new("/etc/passwd"), MAX_USERS).ok()?;
    let users = String::from_utf8_lossy(&users);
    in_users(&users, rustix::process::geteuid().as_raw())
}

/// The home directory of `user` (passwd(5)).
fn in_users(users: &str, user: u32) -> Option<PathBuf> {
    let line = users.lines().find(|line| line.split(':').nth(2).is_some_and(|id| id.parse() == Ok(user)))?;
    line.split(':').nth(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
}

fn is_writable(directory: &Path) -> bool {
    tempfile::tempfile_in(directory).is_ok()
}

/// A directory that can be written to and shows what is in `home`, if that cannot be written to.
fn stand_in(home: &Path) -> Option<TempDir> {
    if is_writable(home) {
        return None;
    }
    let stand_in = tempfile::Builder::new().prefix("chunked-credentials-").tempdir().ok()?;
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten().take(MAX_ENTRIES) {
        // What is missing in it, the helper will miss in the real one, too.
        let _ = std::os::unix::fs::symlink(entry.path(), stand_in.path().join(entry.file_name()));
    }
    Some(stand_in)
}

/// The program `name`: by PATH, else where such programs are put, else beside the configuration that names it (`bin` in
/// its directory, or the directory `bin` next to that, as `~/bin` is to `~/.docker`). Only what nobody but root and our
/// own user can change is taken from there. Blocks on the disk.
pub(crate) fn program(name: &str, configuration: Option<&Path>) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return name.into();
    }
    let beside = configuration.and_then(Path::parent);
    let next = beside.and_then(Path::parent);
    let own = [beside, next].into_iter().flatten().map(|directory| directory.join("bin"));
    let local = home().join(".local/bin");
    let places = USUAL.iter().map(PathBuf::from).chain(own).chain([local]);
    let found = places.map(|directory| directory.join(name)).find(|file| is_ours(file));
    found.unwrap_or_else(|| name.into())
}

/// True for an executable that, like the directory it is in, belongs to root or to us and is for nobody else to write.
fn is_ours(file: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let safe = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        let safe = (meta.uid() == 0 || meta.uid() == us) && meta.permissions().mode() & 0o022 == 0;
        safe.then_some(meta)
    };
    let executable = safe(file).is_some_and(|meta| meta.is_file() && meta.permissions().mode() & 0o100 != 0);
    executable && file.parent().is_some_and(|directory| safe(directory).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_users() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\nx:x:7:7::relative:\nd:x:1:1:d:/usr/sbin:/bin/sh\n";
        assert_eq!(in_users(users, 0), Some("/root".into()));
        assert_eq!(in_users(users, 1), Some("/usr/sbin".into()));
        assert_eq!(in_users(users, 7), None);
        assert_eq!(in_users(users, 9), None);
    }

    #[test]
    fn programs_are_found_where_they_are_put() {
        let directory = tempfile::tempdir().unwrap();
        let (configuration, bin) =
            (directory.path().join(".docker/config.json"), directory.path().join("bin"));
        std::fs::create_dir(&bin).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let file = bin.join("docker-credential-none-such");
        std::fs::write(&file, "").unwrap();
        for (directory_mode, file_mode, found) in
            [(0o755, 0o755, true), (0o777, 0o755, false), (0o755, 0o775, false), (0o755, 0o644, false)]
        {
            mode(&bin, directory_mode);
            mode(&file, file_mode);
            let program = program("docker-credential-none-such", Some(&configuration));
            assert_eq!(program == file, found, "{directory_mode:o} {file_mode:o}");
        }
        assert_eq!(program("sh", Some(&configuration)), Path::new("sh"));
    }

    #[tokio::test]
    async fn a_helper_that_cannot_write_at_home_gets_a_home_that_it_can_write_to() {
        let home = home();
        let script =
            "test -d \"$HOME\" && mkdir \"$HOME/.helper-$$\" && rmdir \"$HOME/.helper-$$\" && echo \"$HOME\"";
        let make = || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let output = run(make, b"", Duration::from_secs(5), |_| false).await.unwrap();
        assert!(output.success, "{output:?} {}", hints(&output));
        assert_eq!(stand_in(&home).is_some(), !is_writable(&home));
        // A directory that nobody can write to.
        let shown = stand_in(Path::new("/proc/self")).unwrap();
        assert!(is_writable(shown.path()) && shown.path().join("status").is_file());
    }
}
