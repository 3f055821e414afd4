//! One file a command.

pub mod compare;
pub mod compress;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod key;
pub mod predict;
pub mod prepare;
pub mod recommend;
pub mod report;
pub mod retrieve;
pub mod run;
pub mod schema;
pub mod simulate;
pub mod sweep;
pub mod train;

use kitestring_core::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Writes a file beside its place and renames it: what stood there before is untouched by a failure.
///
/// # Errors
/// What the system says.
pub fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::io(error, "could not write the file", path);
    let mut file = create_beside(path)?;
    file.write_all(bytes).map_err(fail)?;
    put(file, path)
}

/// A temporary file beside a place.
///
/// # Errors
/// What the system says; a place that is no ordinary file, for renaming onto a device or a pipe would take it away.
pub fn create_beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    if path.exists() && !path.is_file() {
        return Err(Error::config("this is not an ordinary file")
            .in_file(path.display().to_string())
            .mend("name a file to be written"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    kitestring_train::run::temporary_file(parent).map_err(|error| Error::io(error, "could not write the file", path))
}

/// Puts a temporary file in its place.
///
/// # Errors
/// What the system says.
pub fn put(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).map_err(|error| Error::io(error.error, "could not write the file", path))?;
    Ok(())
}
