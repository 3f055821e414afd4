//! `kitestring sweep`: many runs for one question.

use crate::arguments::{BadRows, OutputArgs};
use crate::metrics::Told;
use crate::output::{columns, say, say_line};
use crate::progress::Several;
use crate::stages::{self, DataRequest, Judged, Known};
use clap::Args;
use kitestring_core::{Error, Result};
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::RunConfig;
use kitestring_train::assemble::data_in_words;
use kitestring_train::evaluate::SEED;
use kitestring_train::report::{self, SweepReport};
use kitestring_train::run::{Existing, Run, RunLock, RunParts, RunWriter, VOCABULARIES, remove_directory};
use kitestring_train::sweep::jobs::{self, Limits};
use kitestring_train::sweep::{Failure, Outcome, RunOf, summarize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The page that compares the points, and what it is drawn from.
const PAGE: &str = "sweep.html";
const STORED: &str = "sweep.json";
/// The share of the free memory that runs may take together where nothing else is said.
const SHARE: f64 = 0.8;

/// Train a config with other values of some keys, with several seeds, and compare
///
/// The file names a config, the values to try (points by name, a grid, random draws) and the seeds. The data is prepared once; runs go side
/// by side as far as cores and memory reach; one page compares them, with intervals over seeds and users.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring sweep configs/sweep-bodies.toml --data census-income --out runs/bodies
  kitestring sweep configs/sweep-bodies.toml --data census-income --out runs/bodies --resume
  kitestring sweep configs/sweep-bodies.toml --list")]
pub struct Sweep {
    /// The sweep file
    file: PathBuf,
    /// A prepared data set, or raw data (a folder or a file), which is prepared within the sweep
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The folder to write; runs/TIME when absent
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the sweep in --out: keep the runs that have finished, and do those that are new or whose config has changed
    #[arg(long, requires = "out")]
    resume: bool,
    /// Runs at once; by default as many as cores, each with one thread, or fewer where `train.workers` says how many threads a run has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Memory that the runs at once may take together, in MiB; by default four fifths of what is free
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Say which runs there would be, and train none
    #[arg(long)]
    list: bool,
    /// Override a key of the config in every run; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    output: OutputArgs,
}

type Plan = kitestring_train::sweep::Sweep;

impl Sweep {
    /// # Errors
    /// What is wrong with the file, its config, the data or the disk; in the end, that some runs failed.
    pub fn execute(self) -> Result<()> {
        let plan = Plan::read(&self.file, &self.set)?;
        if self.list {
            return list(&plan);
        }
        let place = RunWriter::sweep(RunLock::create(self.out.as_deref())?, self.resume)?;
        let folder = place.place().to_owned();
        self.check_place(place.staged())?;
        let mut progress = self.output.progress()?;
        let request =
            DataRequest { given: self.data.as_deref(), start: None, bad_rows: self.bad_rows.allowed(&plan.base) };
        let dataset = stages::data(&place, &plan.base, &request, &mut progress)?;
        stages::note_before_training(place.staged(), &plan.base, &dataset, &progress)?;
        drop(progress);
        plan.check(&dataset.scenario_counts())?;
        let (limits, workers) = self.limits(&plan.base);
        let samples = dataset.split("train")?.rows();
        let work = Work { plan: &plan, folder: &folder, source: dataset.directory().to_owned(), samples, workers };
        let runs = plan.runs();
        let needs = |run: &RunOf| Ok((jobs::memory(&work.config(*run)?, &dataset)?, *run));
        let waiting = runs.iter().map(needs).collect::<Result<Vec<_>>>()?;
        let several = Several::new(runs.len() as u64, self.output.verbosity())?;
        if let Some((bytes, run)) =
            waiting.iter().max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > limits.memory)
        {
            let (need, have) = (bytes >> 20, limits.memory >> 20);
            several.note(&format!("{} may take {need} MiB and there are {have}: it runs alone", work.name(*run)));
        }
        let words = data_in_words(&dataset);
        let mut found = Found { plan: &plan, words: &words, outcomes: BTreeMap::new(), failures: Vec::new() };
        let mut written = Ok(());
        jobs::run(
            &waiting,
            limits,
            |run| work.one(run, &several),
            |run, result| {
                several.done(&work.name(run), result.as_ref().map(said).map_err(ToString::to_string));
                match result {
                    Ok(outcome) => _ = found.outcomes.insert(run, outcome),
                    Err(error) => found.failures.push((run, error.to_string())),
                }
                // What there is so far: a sweep that is cut short has a page too.
                written = found.write(&folder).map(|_| ());
            },
        )?;
        drop(several);
        written?;
        let report = found.write(&folder)?;
        self.output.text(&report::sweep_text(&report))?;
        self.output.line(&format!("comparison: {}", folder.join(PAGE).display()))?;
        self.output.object(&report)?;
        match found.failures.first() {
            None => Ok(()),
            Some((run, why)) => Err(Error::data(format!(
                "{} of {} runs failed; {}: {why}",
                found.failures.len(),
                runs.len(),
                work.name(*run)
            ))
            .in_file(folder.display().to_string())
            .mend("mend the cause, and go on with --resume")),
        }
    }

    /// Hours of work are not begun again by a slip.
    fn check_place(&self, place: &Run) -> Result<()> {
        let there = place.directory().join(STORED).exists();
        let given = self.data.as_deref().filter(|data| stages::is_dataset(data));
        if there && !self.resume {
            return Err(Error::config("there is a sweep in this folder already")
                .in_file(place.directory().display().to_string())
                .mend("go on with it with --resume, or give another --out"));
        }
        if self.resume
            && let Some(given) = given
            && place.origin().is_ok()
        {
            let used = place.dataset(None)?;
            let (real, used) = (|path: &Path| path.canonicalize().ok(), used.directory());
            if real(used) != real(given) {
                return Err(Error::config("this sweep's finished runs learned from another data set")
                    .in_file(used.display().to_string())
                    .mend("give that one with --data, or another --out"));
            }
        }
        Ok(())
    }

    /// How many runs go side by side, and how many threads each has.
    fn limits(&self, base: &RunConfig) -> (Limits, usize) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or_else(|| (cores / base.train.workers.max(1)).max(1), |jobs| jobs as usize);
        let workers = if base.train.workers > 0 { base.train.workers } else { (cores / jobs).max(1) };
        let free = || jobs::available().map_or(u64::MAX, |free| (free as f64 * SHARE) as u64);
        (Limits { jobs, memory: self.memory.map_or_else(free, |mib| mib.saturating_mul(1 << 20)) }, workers)
    }
}

/// Says which runs there would be.
fn list(plan: &Plan) -> Result<()> {
    let mut rows = vec![vec!["point".to_owned(), "sets".to_owned()]];
    for point in &plan.points {
        let settings: Vec<String> = point.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        rows.push(vec![point.name.clone(), settings.join(" ")]);
    }
    say(&columns(&rows))?;
    let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
    say_line(&format!("{} runs: {} points, seeds {}", plan.runs().len(), plan.points.len(), seeds.join(" ")))
}

/// A run's result in a line: the means over its tasks on the last split.
fn said(outcome: &Outcome) -> String {
    let Some((split, metrics)) = outcome.splits.last() else { return String::new() };
    let shown = metrics.iter().filter(|(name, _)| name.ends_with(".auc") || name.ends_with(".rmse"));
    let shown: Vec<String> = shown.map(|(name, found)| format!("{name} {:.4}", found.point)).collect();
    format!("{split} {}", shown.join("  "))
}

/// What every run of a sweep shares.
struct Work<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    source: PathBuf,
    /// Samples of training.
    samples: u64,
    workers: usize,
}

impl Work<'_> {
    fn name(&self, run: RunOf) -> String {
        let point = self.plan.points.get(run.point).map(|point| point.name.as_str()).unwrap_or_default();
        format!("{point}, seed {}", run.seed)
    }

    fn config(&self, run: RunOf) -> Result<RunConfig> {
        let mut config = self.plan.config(run).ok_or_else(|| Error::internal("a run without a point"))?;
        config.train.workers = self.workers;
        Ok(config)
    }

    /// Does one run, or what is left of it. A run whose config is another than the sweep's begins anew.
    fn one(&self, of: RunOf, several: &Several) -> Result<Outcome> {
        let start = Instant::now();
        let config = RetrieveConfig::with_length(&self.config(of)?, self.samples)?;
        let lock = RunLock::create(Some(&self.folder.join(self.plan.folder(of))))?;
        let known = |run: &Run| {
            run.config().is_ok_and(|mut known| {
                // How many threads there were is no reason to train again.
                known.train.workers = config.train.workers;
                known == config
            })
        };
        if let Some(run) = lock.run().filter(known)
            && let Some(outcome) = Outcome::read(&run)?
        {
            return Ok(outcome);
        }
        let goes_on = lock.unfinished().as_ref().is_some_and(known);
        let existing = if goes_on { Existing::Resume } else { Existing::Overwrite };
        let mut writer = RunWriter::train(lock, RunParts::RANKER, existing)?;
        let mut progress = several.progress(&self.name(of))?;
        let request = DataRequest { given: Some(&self.source), start: None, bad_rows: 0 };
        let dataset = stages::data(&writer, &config, &request, &mut progress)?;
        let run = writer.staged();
        let notes = stages::note_before_training(run, &config, &dataset, &progress)?;
        let trained = stages::train(run, &config, &dataset, (None, notes), writer.resumes(), &mut progress)?;
        let mut judged = Judged::default();
        let about = Known { config: &config, model: &trained.model, dataset: &dataset, how: &trained.how };
        // The same draws for every run, so that they can be compared pair by pair.
        judged.add(&about, SEED, &mut progress)?;
        let how = &trained.how;
        stages::note(run.directory(), &Told::new(writer.place(), &judged, start, how.samples_per_second))?;
        remove_directory(&run.directory().join(stages::CHECKPOINTS))?;
        if !self.plan.keep_models {
            remove_directory(&run.directory().join(stages::MODEL))?;
            remove_directory(&run.directory().join(VOCABULARIES))?;
        }
        let outcome = Outcome::new(&judged.evaluations, &trained.model, how.seconds, how.samples_per_second);
        outcome.write(run)?;
        writer.commit()?;
        Ok(outcome)
    }
}

/// What the runs came to so far.
struct Found<'a> {
    plan: &'a Plan,
    words: &'a str,
    outcomes: BTreeMap<RunOf, Outcome>,
    failures: Vec<Failure>,
}

impl Found<'_> {
    /// Compares what there is, and writes the page.
    fn write(&self, folder: &Path) -> Result<SweepReport> {
        let report = summarize(self.plan, &self.outcomes, &self.failures, self.words);
        super::write_beside(&folder.join(STORED), self.json(&report)?.as_bytes())?;
        super::write_beside(&folder.join(PAGE), report::sweep(&report).as_bytes())?;
        Ok(report)
    }

    fn json(&self, report: &SweepReport) -> Result<String> {
        serde_json::to_string(report).map_err(|error| Error::internal("the sweep as JSON").caused_by(error))
    }
}
