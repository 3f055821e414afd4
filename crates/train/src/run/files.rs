//! Files and directories that appear whole or not at all.

use kitestring_core::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A new directory below `parent` named by the time in UTC.
pub(super) fn fresh(parent: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(parent).map_err(|error| Error::io(error, "could not make the directory", parent))?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let name = utc(seconds);
    for number in 1.. {
        let path = parent.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(error, "could not make the run directory", &path)),
        }
    }
    Err(Error::internal("no name is left for a run"))
}

/// `2026-03-01T12-30-05Z` of seconds since 1970: sortable, and a file name everywhere. Days to a date as in Howard Hinnant's
/// `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, second) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}-{:02}-{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Where a directory stands aside while [`replace_directory`] puts another in its place.
pub(super) fn beside(place: &Path) -> PathBuf {
    place.with_extension("old")
}

/// Fills a new directory and puts it in the place of another. A kill at any moment leaves the old one or the new one, the old one
/// perhaps under the name with `.old`.
///
/// # Errors
/// What filling says, or the file system.
pub fn replace_directory(place: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let fail = |error| Error::io(error, "could not write the directory", place);
    let parent = place.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(fail)?;
    fill(new.path())?;
    let old = beside(place);
    if place.exists() {
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(fail)?;
        }
        std::fs::rename(place, &old).map_err(fail)?;
    }
    std::fs::rename(new.keep(), place).map_err(fail)?;
    if old.exists() {
        std::fs::remove_dir_all(&old).map_err(fail)?;
    }
    Ok(())
}

/// Removes a directory, if it is there.
///
/// # Errors
/// What the file system says.
pub fn remove_directory(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(error, "could not remove the directory", directory))
        }
        _ => Ok(()),
    }
}

/// A file to be written and then renamed. Temporary files are closed to others; this one is an ordinary file once it is in its place.
///
/// # Errors
/// What the file system says.
pub fn temporary_file(directory: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

/// Makes a directory with the files of another: links to them where the file system has such, else copies. It is for files that are never
/// written again in their place, as those of models and checkpoints.
pub(super) fn link_directory(from: &Path, to: &Path) -> Result<()> {
    let fail = |error| Error::io(error, "could not copy the directory", to);
    std::fs::create_dir_all(to).map_err(fail)?;
    for entry in std::fs::read_dir(from).map_err(|error| Error::io(error, "could not read the directory", from))? {
        let entry = entry.map_err(fail)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(fail)?.is_dir() {
            link_directory(&source, &target)?;
        } else if std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target).map_err(fail)?;
        }
    }
    Ok(())
}

/// Removes a file or a directory, if it is there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00-00-00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00-00-00Z");
        assert_eq!(utc(1_772_367_005), "2026-03-01T12-10-05Z");
    }

    #[test]
    fn a_directory_is_replaced_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("model");
        let put =
            |text: &'static str| replace_directory(&place, |new| crate::model::write(&new.join("a"), text.as_bytes()));
        put("one").unwrap();
        put("two").unwrap();
        assert_eq!(std::fs::read_to_string(place.join("a")).unwrap(), "two");
        assert!(replace_directory(&place, |_| Err(Error::data("no"))).is_err());
        assert_eq!(std::fs::read_to_string(place.join("a")).unwrap(), "two");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
