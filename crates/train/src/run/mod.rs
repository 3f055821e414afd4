//! A run directory: the resolved config, the model, metrics, the report and a log.
//!
//! A [`Run`] is read. What changes one holds its [`RunLock`] and goes through a [`RunWriter`], which exchanges all parts at once.

mod files;
mod lock;
mod origin;
mod swap;
mod writer;

pub use files::{remove_directory, replace_directory, temporary_file};
pub use origin::Origin;
pub use writer::{Existing, RunLock, RunParts, RunWriter};

use crate::config::RunConfig;
use crate::fit::MODEL;
use crate::model::Model;
use files::beside;
use kitestring_core::{Error, Result, VocabularyHash};
use kitestring_data::dataset::manifest::MANIFEST;
use kitestring_data::dataset::{Dataset, Manifest, Vocabularies};
use origin::StoredPath;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";
const ORIGIN: &str = "run.json";
const LOG: &str = "log.jsonl";
/// Where a run keeps what turns raw rows into its ids.
pub const VOCABULARIES: &str = "vocabularies";
/// The format number of `run.json` that is written; 1 is read, too.
const FORMAT: u32 = 2;

/// A run directory, or the parts of one that are staged.
#[derive(Debug)]
pub struct Run {
    directory: PathBuf,
    /// Where the run is, or will be.
    place: PathBuf,
    /// While it is held nobody exchanges the run's parts.
    reading: Option<File>,
}

impl Run {
    /// Opens a run directory for reading. Until [`Self::release`] its parts stay what they are.
    ///
    /// # Errors
    /// If it is none, or none that has finished.
    pub fn open(directory: &Path) -> Result<Self> {
        // A process that was killed while it exchanged parts left the rest to whoever comes next.
        for _ in 0..8 {
            if !is_run(directory) {
                break;
            }
            swap::recover(directory)?;
            let reading = lock::share(directory)?;
            if !directory.join(swap::SWAP).exists() {
                return Ok(Self { reading, ..Self::at(directory, directory) });
            }
        }
        let error = |what: &str| Error::config(what).in_file(directory.display().to_string());
        Err(match directory.join(writer::UNFINISHED).is_dir() {
            true => error("the run has not finished its training").mend("go on with it with --resume"),
            false => error("this is no run directory: it has no config.toml")
                .mend("give the directory that `kitestring train` printed"),
        })
    }

    fn at(directory: &Path, place: &Path) -> Self {
        Self { directory: directory.to_owned(), place: place.to_owned(), reading: None }
    }

    /// Says that all parts that are needed are open. From now on the run may become another one.
    pub fn release(&mut self) {
        self.reading = None;
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
        let store = |path: &Path| StoredPath::new(path, &self.directory, &self.place);
        // What was released before from here was released, whatever becomes of the run.
        let released = self.origin().or_else(|_| Self::at(&self.place, &self.place).origin());
        let released = released.map_or(0, |origin| origin.released);
        let (raw, from) = (raw.map(store), from.map(store));
        self.write_origin(&Origin { format: FORMAT, dataset: store(dataset), raw, from, released })?;
        self.write(CONFIG, config.to_toml()?.as_bytes())
    }

    /// Notes the release of the last artifact, where it is above the one noted.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note_release(&self, release: u64) -> Result<()> {
        let mut origin = self.origin().or_else(|_| Self::at(&self.place, &self.place).origin())?;
        if release <= origin.released {
            return Ok(());
        }
        origin.released = release;
        self.write_origin(&origin)
    }

    fn write_origin(&self, origin: &Origin) -> Result<()> {
        let text = serde_json::to_string_pretty(origin);
        let text = text.map_err(|error| Error::internal("the run's origin").caused_by(error))?;
        self.write(ORIGIN, text.as_bytes())
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
        let mut origin: Origin = serde_json::from_slice(&text)
            .map_err(|error| Error::format("a damaged run").caused_by(error).in_file(path.display().to_string()))?;
        if !(1..=FORMAT).contains(&origin.format) {
            return Err(Error::format(format!("run format {}, expected {FORMAT}", origin.format))
                .in_file(path.display().to_string())
                .mend("open it with the version of Kitestring that wrote it"));
        }
        origin.format = FORMAT;
        Ok(origin)
    }

    /// The folder or file that the data set was prepared from, where this run prepared it.
    ///
    /// # Errors
    /// As [`Self::origin`].
    pub fn raw(&self) -> Result<Option<PathBuf>> {
        Ok(self.origin()?.raw.map(|raw| raw.found(&self.directory, &self.place)))
    }

    /// The run whose model it started from, where it did.
    ///
    /// # Errors
    /// As [`Self::origin`].
    pub fn started_from(&self) -> Result<Option<PathBuf>> {
        Ok(self.origin()?.from.map(|from| from.found(&self.directory, &self.place)))
    }

    /// What turns raw rows into the run's ids.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn vocabularies(&self) -> Result<Vocabularies> {
        Vocabularies::open(self.directory.join(VOCABULARIES))
    }

    /// What tells the run's ids from those of others; none where the run keeps no vocabularies.
    ///
    /// # Errors
    /// A damaged file.
    pub fn vocabulary_hash(&self) -> Result<Option<VocabularyHash>> {
        let there = self.directory.join(VOCABULARIES).is_dir();
        there.then(|| self.vocabularies()?.vocabulary_hash()).transpose()
    }

    /// The run's data set: in `moved_to`, where it is given, else where it was, else as far from the run as it was.
    ///
    /// # Errors
    /// A data set that is gone, or has other ids than the run, as one that was prepared again in its place; the error names the place.
    pub fn dataset(&self, moved_to: Option<&Path>) -> Result<Dataset> {
        let candidates = match moved_to {
            Some(path) => vec![path.to_owned()],
            None => self.origin()?.dataset.candidates(&self.directory, &self.place),
        };
        let mut refused = None;
        for path in candidates.iter().filter(|path| moved_to.is_some() || path.join(MANIFEST).is_file()) {
            let checked = Dataset::open(path).and_then(|dataset| {
                self.check_dataset(&dataset)?;
                Ok(dataset)
            });
            match checked {
                Ok(dataset) => return Ok(dataset),
                Err(error) => _ = refused.get_or_insert(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let was = candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
            Error::config("the run's data set is gone from here")
                .in_file(was)
                .mend("say where it is now with --dataset, or put it back")
        }))
    }

    /// Checks that a data set is the one that the run learned from: of the same ids, splits and sizes.
    ///
    /// # Errors
    /// A config error that names the place of another one.
    pub fn check_dataset(&self, dataset: &Dataset) -> Result<()> {
        if !self.directory.join(VOCABULARIES).is_dir() {
            return Ok(());
        }
        let place = |error: Error| {
            let error = error.in_file(dataset.directory().display().to_string());
            error.mend("train again with it, or give the data set that the run was trained on with --dataset")
        };
        let vocabularies = self.vocabularies()?;
        let (found, hash) = (dataset.vocabulary_hash()?, vocabularies.vocabulary_hash()?);
        VocabularyHash::check(("the data set", Some(&found)), ("the run", Some(&hash))).map_err(place)?;
        if !same_rows(dataset.manifest(), vocabularies.manifest()) {
            return Err(place(Error::config("the data set has other rows than the run learned from")));
        }
        Ok(())
    }

    /// The trained model.
    ///
    /// # Errors
    /// If training has not finished, or a file is damaged, or model and vocabularies are of different ids.
    pub fn model(&self) -> Result<Model> {
        let place = self.directory.join(MODEL);
        let kept = beside(&place);
        let model = Model::read(if !place.exists() && kept.exists() { &kept } else { &place })?;
        let hash = self.vocabulary_hash()?;
        VocabularyHash::check(("the model", model.vocabulary_hash.as_ref()), ("the run's vocabularies", hash.as_ref()))
            .map_err(|error| error.in_file(self.directory.display().to_string()).mend("train the run again"))?;
        Ok(model)
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

/// Whether two data sets say the same of their rows: seed, splits, counts and sizes of files. Preparing the same data again makes such ones,
/// and so does a copy.
fn same_rows(one: &Manifest, other: &Manifest) -> bool {
    let Manifest { seed, splits, histories, negatives, time, files, .. } = one;
    (seed, splits, histories, negatives, time, files)
        == (&other.seed, &other.splits, &other.histories, &other.negatives, &other.time, &other.files)
}

/// Whether a directory holds a run, or one whose parts are being exchanged.
fn is_run(directory: &Path) -> bool {
    let has_config = || directory.join(CONFIG).is_file();
    // The config may be on its way when it is first looked for.
    has_config() || directory.join(swap::SWAP).is_dir() || has_config()
}
