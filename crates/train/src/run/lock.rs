//! Two locks of a run directory: one process changes it at a time, and nobody opens it while its parts are exchanged.
//!
//! `.lock` is held by whoever changes the run, from the first byte to the last. `.reading` is shared by those who open parts of a run, for
//! as long as that takes, and held alone for the moment in which parts are exchanged. The system lets go of both when a process ends,
//! however it ends. The files stay: a lock on a file that was removed is a lock on nothing.

use kitestring_core::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The lock of the one process that changes a run.
pub(super) const WRITING: &str = ".lock";
/// The lock of those who open a run's parts.
pub(super) const READING: &str = ".reading";

/// How often a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(20);

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn no_lock(error: std::io::Error, path: &Path) -> Error {
    Error::io(error, "could not lock the run", path).mend("put the run on a file system that has locks")
}

/// Takes the lock of the process that changes a run, waiting so long for another to let go of it.
///
/// # Errors
/// A config error that names the process which has it.
pub(super) fn write(directory: &Path, patience: Duration) -> Result<File> {
    let path = directory.join(WRITING);
    let mut file = open(&path).map_err(|error| Error::io(error, "could not lock the run", &path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(no_lock(error, &path)),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => std::thread::sleep(AGAIN),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let who = if known { format!("process {}", holder.trim()) } else { "another process".to_owned() };
                return Err(Error::config(format!("the run is being changed by {who}"))
                    .in_file(directory.display().to_string())
                    .mend("wait until it is done, or name another run"));
            }
        }
    }
    // For the message of those who come second; the lock holds without it, on a full disk too.
    let command = std::env::args().nth(1).unwrap_or_default();
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = write!(file, "{} ({command})", std::process::id());
    Ok(file)
}

/// Shares the lock of those who open a run's parts. None where a run lies where nothing can be written: nobody exchanges parts there.
pub(super) fn share(directory: &Path) -> Result<Option<File>> {
    let path = directory.join(READING);
    let found = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => open(&path),
        other => other,
    };
    let file = match found {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io(error, "could not lock the run", &path)),
    };
    file.lock_shared().map_err(|error| no_lock(error, &path))?;
    Ok(Some(file))
}

/// Takes the lock of those who open a run's parts alone, as soon as they are done.
pub(super) fn exchange(directory: &Path) -> Result<File> {
    let path = directory.join(READING);
    let file = open(&path).map_err(|error| Error::io(error, "could not lock the run", &path))?;
    file.lock().map_err(|error| no_lock(error, &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_process_is_told_whom_to_wait_for() {
        let run = tempfile::tempdir().unwrap();
        let first = write(run.path(), Duration::ZERO).unwrap();
        let error = write(run.path(), Duration::ZERO).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let told = error.to_string();
        let place = run.path().display().to_string();
        assert!(told.starts_with(&place) && told.contains(&format!("process {} (", std::process::id())), "{told}");
        drop(first);
        write(run.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn one_who_waits_gets_it() {
        let run = tempfile::tempdir().unwrap();
        let first = write(run.path(), Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| write(run.path(), Duration::from_secs(60)));
            std::thread::sleep(AGAIN);
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
    }
}
