//! A run directory: the resolved config, the model, metrics, the report and a log.

use crate::config::RunConfig;
use crate::fit::MODEL;
use crate::model::Model;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const CONFIG: &str = "config.toml";
const ORIGIN: &str = "run.json";
const LOG: &str = "log.jsonl";
const FORMAT: u32 = 1;

/// Where a run's data came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The format number of the run directory.
    format: u32,
    /// The prepared data set.
    pub dataset: PathBuf,
    /// The folder or file it was prepared from, where this run prepared it.
    pub raw: Option<PathBuf>,
    /// The run whose model it started from, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
}

/// A run directory.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
}

impl Run {
    /// Makes a run directory: the one given, or `runs/` and the time in UTC. One that is given may exist if it is empty or holds a run.
    ///
    /// # Errors
    /// What the file system says; a directory of other things.
    pub fn create(directory: Option<&Path>) -> Result<Self> {
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => fresh(Path::new("runs"))?,
        };
        let fail = |error| Error::io(error, "could not make the run directory", &directory);
        std::fs::create_dir_all(&directory).map_err(fail)?;
        let foreign = std::fs::read_dir(&directory).map_err(fail)?.next().is_some()
            && !directory.join(CONFIG).exists()
            && !directory.join(ORIGIN).exists();
        if foreign {
            return Err(Error::config("the directory holds other things than a run")
                .in_file(directory.display().to_string())
                .mend("give --out an empty or a new directory"));
        }
        Ok(Self { directory })
    }

    /// Opens a run directory.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.join(CONFIG).is_file() {
            return Err(Error::config("this is no run directory: it has no config.toml")
                .in_file(directory.display().to_string())
                .mend("give the directory that `kitestring train` printed"));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Notes the resolved config, where the data came from, and the run whose model it starts from, if any.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(&self, config: &RunConfig, dataset: &Path, raw: Option<&Path>, from: Option<&Path>) -> Result<()> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (raw, from) = (raw.map(absolute), from.map(absolute));
        let origin = Origin { format: FORMAT, dataset: absolute(dataset), raw, from };
        let text = serde_json::to_string_pretty(&origin);
        let text = text.map_err(|error| Error::internal("the run's origin").caused_by(error))?;
        self.write(ORIGIN, text.as_bytes())?;
        self.write(CONFIG, config.to_toml()?.as_bytes())
    }

    /// The resolved config.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn config(&self) -> Result<RunConfig> {
        RunConfig::read(&self.directory.join(CONFIG), &[])
    }

    /// Where the data came from.
    ///
    /// # Errors
    /// If it is missing, damaged or of another format.
    pub fn origin(&self) -> Result<Origin> {
        let path = self.directory.join(ORIGIN);
        let text = std::fs::read(&path).map_err(|error| Error::io(error, "could not read the run", &path))?;
        let origin: Origin = serde_json::from_slice(&text)
            .map_err(|error| Error::format("a damaged run").caused_by(error).in_file(path.display().to_string()))?;
        if origin.format != FORMAT {
            return Err(Error::format(format!("run format {}, expected {FORMAT}", origin.format))
                .in_file(path.display().to_string())
                .mend("open it with the version of Kitestring that wrote it"));
        }
        Ok(origin)
    }

    /// The trained model.
    ///
    /// # Errors
    /// If training has not finished, or a file is damaged.
    pub fn model(&self) -> Result<Model> {
        let place = self.directory.join(MODEL);
        let kept = beside(&place);
        Model::read(if !place.exists() && kept.exists() { &kept } else { &place })
    }

    /// Writes a file of the run, beside its place and then renamed.
    ///
    /// # Errors
    /// What the file system says; what stood there before is then untouched.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        let fail = |error| Error::io(error, "could not write the file", &path);
        let mut file = temporary_file(&self.directory).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        file.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// Appends a line to the log.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self, entry: &serde_json::Value) -> Result<()> {
        let path = self.directory.join(LOG);
        let fail = |error| Error::io(error, "could not write the log", &path);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.write_all(format!("{entry}\n").as_bytes()).map_err(fail)
    }
}

/// A new directory below `parent` named by the time in UTC.
fn fresh(parent: &Path) -> Result<PathBuf> {
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

fn beside(place: &Path) -> PathBuf {
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

    #[test]
    fn foreign_directories_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(Run::create(Some(parent.path())).unwrap_err().exit_code(), 2);
        assert_eq!(Run::open(parent.path()).unwrap_err().exit_code(), 2);
    }
}
