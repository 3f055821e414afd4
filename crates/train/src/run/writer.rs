//! Changing a run: under its lock, beside what is there, and all at once.

use super::files::{fresh, link_directory, remove};
use super::swap::{self, Exchange, OLD, SWAP};
use super::{CONFIG, LOG, ORIGIN, Run, is_run, lock};
use crate::fit::MODEL;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a training that has not finished lies within its run.
pub(super) const UNFINISHED: &str = "unfinished";
/// Where a lesser change lies until it is whole.
const UPDATE: &str = ".update";
/// What an unfinished training will change.
const PLAN: &str = "plan.json";
const FORMAT: u32 = 1;

/// Where the retriever lies in a run, and the trained part of it.
const RETRIEVER: &str = "retriever";
const CHECKPOINT: &str = "checkpoint";
/// Where artifacts lie in a run, and the publisher's keys, which outlive every artifact: devices trust them.
const DEVICE: &str = "device";
const KEYS: [&str; 2] = ["publisher.key", "publisher.pub"];
/// What is there of an artifact that was made of an older model.
const ARTIFACT: [&str; 4] = ["ranker.kite", "ranker.pub", "ranker.html", "ranker.delta"];
/// The pages about an older model.
const REPORT: [&str; 2] = ["report.html", "report.json"];
/// The page and data of a sweep, which is no run.
const SWEEP: &str = "sweep.json";

/// All that a run directory holds by itself. What else lies there is the user's and stays.
const PARTS: [&str; 16] = [
    CONFIG,
    ORIGIN,
    LOG,
    MODEL,
    CHECKPOINT,
    RETRIEVER,
    DEVICE,
    "dataset",
    "simulated",
    "vocabularies",
    "history.json",
    "metrics.json",
    REPORT[0],
    REPORT[1],
    "retriever.json",
    "outcome.json",
];

/// What a training makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunParts {
    /// A ranker.
    pub ranker: bool,
    /// A retriever.
    pub retriever: bool,
}

impl RunParts {
    /// A ranker alone.
    pub const RANKER: Self = Self { ranker: true, retriever: false };
    /// A retriever alone.
    pub const RETRIEVER: Self = Self { ranker: false, retriever: true };

    /// The parts that a directory has, trained or in training.
    fn of(directory: &Path) -> Self {
        let has = |place: &Path| [MODEL, CHECKPOINT].iter().any(|name| place.join(name).is_dir());
        Self { ranker: has(directory), retriever: has(&directory.join(RETRIEVER)) }
    }

    fn words(self) -> &'static str {
        match (self.ranker, self.retriever) {
            (true, true) => "ranker and retriever",
            (false, true) => "retriever",
            _ => "ranker",
        }
    }
}

/// What becomes of a run that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// Training goes on with it.
    Resume,
    /// It goes, when the new one has finished.
    Overwrite,
}

/// What staged parts will change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// Everything: what is there now gives way.
    Whole,
    /// A finished run, with which training goes on.
    Continue,
    /// A run that has other parts, which stay.
    Add,
    /// Some files.
    Update,
}

#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    format: u32,
    change: Change,
    parts: RunParts,
}

/// A run directory that no other process changes for as long as this lives.
#[derive(Debug)]
pub struct RunLock {
    place: PathBuf,
    _file: File,
}

impl RunLock {
    /// Locks a directory for a new run or one that is there: the one given, which may hold nothing but a run, or `runs/` and the time in UTC.
    ///
    /// # Errors
    /// What the file system says; a directory of other things; a run that another process is changing.
    pub fn create(directory: Option<&Path>) -> Result<Self> {
        let place = match directory {
            Some(directory) => directory.to_owned(),
            None => fresh(Path::new("runs"))?,
        };
        let fail = |error| Error::io(error, "could not make the run directory", &place);
        std::fs::create_dir_all(&place).map_err(fail)?;
        let ours = [lock::WRITING, lock::READING, SWAP, OLD, UPDATE];
        let mut entries = std::fs::read_dir(&place).map_err(fail)?.filter_map(|entry| Some(entry.ok()?.file_name()));
        let known = is_run(&place) || place.join(ORIGIN).exists() || place.join(UNFINISHED).join(PLAN).exists();
        if !known && entries.any(|name| !ours.iter().any(|ours| name == *ours)) {
            return Err(Error::config("the directory holds other things than a run")
                .in_file(place.display().to_string())
                .mend("give --out an empty or a new directory"));
        }
        Self::take(place, Duration::ZERO)
    }

    /// Locks a run that is there, waiting so long for another process to be done with it.
    ///
    /// # Errors
    /// A directory that is no run; a run that another process is changing for longer.
    pub fn open(directory: &Path, patience: Duration) -> Result<Self> {
        drop(Run::open(directory)?);
        Self::take(directory.to_owned(), patience)
    }

    fn take(place: PathBuf, patience: Duration) -> Result<Self> {
        let file = lock::write(&place, patience)?;
        swap::recover(&place)?;
        for left in [OLD, UPDATE] {
            let left = place.join(left);
            remove(&left).map_err(|error| Error::io(error, "could not remove what a killed process left", &left))?;
        }
        Ok(Self { place, _file: file })
    }

    /// Where the run is.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The run as it is, where there is one.
    pub fn run(&self) -> Option<Run> {
        is_run(&self.place).then(|| Run::at(&self.place, &self.place))
    }

    /// The parts of a training that has not finished, where there are some.
    pub fn unfinished(&self) -> Option<Run> {
        let staged = self.place.join(UNFINISHED);
        staged.join(PLAN).is_file().then(|| Run::at(&staged, &self.place))
    }

    fn plan(&self) -> Result<Option<Plan>> {
        let path = self.place.join(UNFINISHED).join(PLAN);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::io(error, "could not read the run", &path))?,
        };
        let damaged = || {
            let error = Error::format("a damaged plan of a training").in_file(path.display().to_string());
            error.mend("begin again with --overwrite")
        };
        let plan: Plan = serde_json::from_slice(&text).map_err(|error| damaged().caused_by(error))?;
        if plan.format == FORMAT { Ok(Some(plan)) } else { Err(damaged()) }
    }
}

/// A change of a run. Its parts are staged in a directory of their own and become the run's by [`Self::commit`]; without, the run stays
/// what it is.
#[derive(Debug)]
pub struct RunWriter {
    lock: RunLock,
    staged: Run,
    change: Change,
    parts: RunParts,
    resumed: bool,
    committed: bool,
}

impl RunWriter {
    /// Begins a training, or goes on with one.
    ///
    /// # Errors
    /// A run that is there already, where that is to be refused; a training of other parts that did not finish; what the file system says.
    pub fn train(lock: RunLock, parts: RunParts, existing: Existing) -> Result<Self> {
        let error = |what: String| Error::config(what).in_file(lock.place.display().to_string());
        if lock.place.join(SWEEP).exists() {
            return Err(error("the folder holds a sweep".into()).mend("give another --out"));
        }
        let plan = if existing == Existing::Overwrite { None } else { lock.plan()? };
        const MEND: &str = "go on with it with --resume, begin again with --overwrite, or give another --out";
        if existing == Existing::Refuse && plan.is_some() {
            return Err(error("a training that did not finish is here".into()).mend(MEND));
        }
        if let Some(Plan { change, parts: begun, .. }) = plan {
            if begun != parts {
                let what = format!("the training that did not finish here is one of a {}", begun.words());
                return Err(error(what).mend("go on with the command that began it, or begin again with --overwrite"));
            }
            return Ok(Self::new(lock, UNFINISHED, (change, parts), true));
        }
        let there = lock.run().map(|run| RunParts::of(run.directory()));
        let change = match there {
            None => Change::Whole,
            Some(there) => {
                let overlap = (there.ranker && parts.ranker) || (there.retriever && parts.retriever);
                let other = there.ranker || there.retriever;
                match existing {
                    Existing::Refuse if overlap || !other => {
                        return Err(error("there is a run here already".into()).mend(MEND));
                    }
                    Existing::Resume if overlap || !other => Change::Continue,
                    // A retriever is trained again beside its ranker.
                    Existing::Overwrite if parts.ranker || !there.ranker => Change::Whole,
                    _ => Change::Add,
                }
            }
        };
        let writer = Self::new(lock, UNFINISHED, (change, parts), existing == Existing::Resume);
        writer.stage()?;
        Ok(writer)
    }

    /// Begins a sweep, or goes on with one: a folder of runs with the data that they share, which are made in their place.
    ///
    /// # Errors
    /// A folder that holds a run.
    pub fn sweep(lock: RunLock, resume: bool) -> Result<Self> {
        let there = RunParts::of(&lock.place);
        if there.ranker || there.retriever || lock.unfinished().is_some() {
            return Err(Error::config("the folder holds a run")
                .in_file(lock.place.display().to_string())
                .mend("give another --out"));
        }
        Ok(Self::new(lock, "", (Change::Whole, RunParts::RANKER), resume))
    }

    /// Begins a change of some files of a run.
    ///
    /// # Errors
    /// What the file system says.
    pub fn update(lock: RunLock) -> Result<Self> {
        let parts = RunParts { ranker: false, retriever: false };
        let writer = Self::new(lock, UPDATE, (Change::Update, parts), false);
        let staged = writer.staged.directory();
        std::fs::create_dir_all(staged).map_err(|error| Error::io(error, "could not make the directory", staged))?;
        Ok(writer)
    }

    fn new(lock: RunLock, staged: &str, (change, parts): (Change, RunParts), resumed: bool) -> Self {
        let staged = Run::at(&lock.place.join(staged), &lock.place);
        Self { lock, staged, change, parts, resumed, committed: false }
    }

    /// Makes the directory of staged parts, with what training goes on from. The plan comes last: where it is, the rest is.
    fn stage(&self) -> Result<()> {
        let parts = self.parts;
        let (staged, place) = (self.staged.directory(), self.place());
        let fail = |error| Error::io(error, "could not make the directory", staged);
        remove(staged).and_then(|()| std::fs::create_dir_all(staged)).map_err(fail)?;
        if self.change != Change::Whole {
            if place.join(LOG).exists() {
                std::fs::copy(place.join(LOG), staged.join(LOG)).map_err(fail)?;
            }
            if self.change == Change::Continue {
                let of_ranker = [MODEL, CHECKPOINT].map(PathBuf::from);
                let of_retriever = [MODEL, CHECKPOINT].map(|name| Path::new(RETRIEVER).join(name));
                let of_ranker = of_ranker.into_iter().filter(|_| parts.ranker);
                for part in of_ranker.chain(of_retriever.into_iter().filter(|_| parts.retriever)) {
                    if place.join(&part).is_dir() {
                        link_directory(&place.join(&part), &staged.join(&part))?;
                    }
                }
            }
        }
        for key in KEYS.map(|key| Path::new(DEVICE).join(key)) {
            if parts.ranker && place.join(&key).exists() {
                std::fs::create_dir_all(staged.join(DEVICE)).map_err(fail)?;
                std::fs::copy(place.join(&key), staged.join(&key)).map_err(fail)?;
            }
        }
        let plan = Plan { format: FORMAT, change: self.change, parts };
        let text = serde_json::to_vec(&plan).map_err(|error| Error::internal("a plan").caused_by(error))?;
        self.staged.write(PLAN, &text)
    }

    /// Where the run is.
    pub fn place(&self) -> &Path {
        &self.lock.place
    }

    /// The staged parts.
    pub fn staged(&self) -> &Run {
        &self.staged
    }

    /// What is trained.
    pub fn parts(&self) -> RunParts {
        self.parts
    }

    /// The run as it is, where there is one.
    pub fn run(&self) -> Option<Run> {
        self.lock.run()
    }

    /// Whether it goes on with a training.
    pub fn resumes(&self) -> bool {
        self.resumed
    }

    /// The run whose data, vocabularies and other parts stay, where some do: it is added to, or gone on with.
    pub fn kept(&self) -> Option<Run> {
        if self.change == Change::Whole { None } else { self.lock.run() }
    }

    /// Whether the run has other parts that stay beside those that are trained.
    pub fn adds(&self) -> bool {
        self.change == Change::Add
    }

    /// Makes the staged parts the run's, all at once. The lock stays until `self` goes.
    ///
    /// # Errors
    /// What the file system says. The run is then what it was, or, where the system failed in the middle, becomes the new one as soon as it
    /// is opened.
    pub fn commit(&mut self) -> Result<()> {
        if self.in_place() {
            return Err(Error::internal("a sweep has no staged parts"));
        }
        let exchange = self.exchange()?;
        swap::commit(self.place(), self.staged.directory(), &exchange, &mut |_| Ok(()))?;
        self.committed = true;
        Ok(())
    }

    /// Whether parts are made where they stay.
    fn in_place(&self) -> bool {
        self.staged.directory() == self.place()
    }

    fn exchange(&self) -> Result<Exchange> {
        let (staged, place) = (self.staged.directory(), self.place());
        // Whatever else is there, such as the plan or a temporary file of a process that was killed, goes with the directory.
        let is_part = |name: &OsString| PARTS.iter().any(|part| name == part);
        let entries: Vec<PathBuf> = names(staged)?.into_iter().filter(is_part).map(PathBuf::from).collect();
        if self.change == Change::Whole {
            let kept = self.data_within();
            let goes = |name: &&&str| !entries.iter().chain(&kept).any(|entry| entry.as_path() == Path::new(**name));
            let remove = PARTS.iter().filter(goes).map(PathBuf::from).collect();
            return Ok(Exchange { put: entries, remove });
        }
        let mut put = Vec::new();
        for entry in entries {
            // An artifact's folder, and a retriever that only gets another index, keep what else is in them.
            let part_by_part =
                entry == Path::new(DEVICE) || (entry == Path::new(RETRIEVER) && self.change == Change::Update);
            match part_by_part {
                true => put.extend(names(&staged.join(&entry))?.into_iter().map(|name| entry.join(name))),
                false => put.push(entry),
            }
        }
        let mut remove: Vec<PathBuf> = Vec::new();
        if self.change == Change::Continue && self.is_another_model()? {
            remove.extend(REPORT.map(PathBuf::from));
            remove.extend(ARTIFACT.map(|name| Path::new(DEVICE).join(name)));
            remove.retain(|part| !put.contains(part) && place.join(part).exists());
        }
        Ok(Exchange { put, remove })
    }

    /// Parts of the run which the new one has its data from: they stay, though all else goes.
    fn data_within(&self) -> Vec<PathBuf> {
        let Ok(origin) = self.staged.origin() else { return Vec::new() };
        let paths = [Some(&origin.dataset), origin.raw.as_ref()].into_iter().flatten();
        let inside = paths.filter_map(|path| match path {
            super::StoredPath::Inside(path) => path.components().next(),
            super::StoredPath::Outside { .. } => None,
        });
        inside.map(|part| PathBuf::from(part.as_os_str())).collect()
    }

    /// Whether the staged ranker is not the run's, so that what was made of that one is out of date.
    fn is_another_model(&self) -> Result<bool> {
        let (new, old) = (self.staged.directory().join(MODEL), self.place().join(MODEL));
        if !new.is_dir() {
            return Ok(false);
        }
        for name in names(&new)? {
            let read = |place: &Path| std::fs::read(place.join(&name)).ok();
            if read(&new) != read(&old) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for RunWriter {
    /// A training that failed before its first checkpoint leaves nothing that could be gone on with.
    fn drop(&mut self) {
        let staged = self.staged.directory();
        let checkpoints = [staged.join(CHECKPOINT), staged.join(RETRIEVER).join(CHECKPOINT)];
        if !self.committed && !self.in_place() && !checkpoints.iter().any(|place| place.exists()) {
            let _ = remove(staged);
        }
    }
}

fn names(directory: &Path) -> Result<Vec<OsString>> {
    let fail = |error| Error::io(error, "could not read the directory", directory);
    let entries = std::fs::read_dir(directory).map_err(fail)?;
    let names: Result<Vec<OsString>> = entries.map(|entry| Ok(entry.map_err(fail)?.file_name())).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}
