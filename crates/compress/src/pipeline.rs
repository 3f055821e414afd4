//! From a teacher to a signed artifact, with a ledger of what each pass saved and cost.

#[cfg(test)]
mod tests;

use crate::candidate::{Candidate, Recipient, Sealing};
use crate::config::{CompressConfig, Limits};
use crate::measure::{self, Keys, QualityMetric, Scores, TaskQuality, TimedRequest};
use crate::passes::Pass;
use crate::usage::{Needs, Usage};
use kitestring_core::artifact::SecretKey;
use kitestring_core::metrics::{Bootstrap, BootstrapPlan};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_train::report::{Estimate, Shipped, ShippedLimit, ShippedPass, ShippedTask};
use kitestring_train::{Model, RunConfig};
use std::path::Path;

/// Replicates of the intervals, which hold this share of them.
const REPLICATES: usize = 200;
const CONFIDENCE: f64 = 0.95;
/// Samples whose scores are kept for the picture.
const SHOWN: usize = 600;

/// What the pipeline is doing.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A pass begins: its number from 1, of how many, and its name.
    Pass(usize, usize, &'a str),
    /// Samples scored, and all.
    Scoring(u64, u64),
    /// A pass trains.
    Training(kitestring_train::fit::Event<'a>),
}

/// Hears of progress.
pub type Observe<'a> = &'a mut dyn FnMut(Progress<'_>);

/// What passes work in.
pub struct Setting<'a> {
    /// The data the teacher was trained on.
    pub dataset: &'a Dataset,
    /// What turns values into ids.
    pub vocabularies: &'a Vocabularies,
    /// The teacher's run.
    pub config: &'a RunConfig,
    /// Where passes that train leave checkpoints, and whether they go on from those that are there.
    pub scratch: (&'a Path, bool),
    /// Hears of progress.
    pub observe: Observe<'a>,
    usage: Option<Usage>,
}

impl<'a> Setting<'a> {
    /// A setting that has counted nothing yet.
    pub fn new(
        (dataset, vocabularies): (&'a Dataset, &'a Vocabularies),
        config: &'a RunConfig,
        scratch: (&'a Path, bool),
        observe: Observe<'a>,
    ) -> Self {
        Self { dataset, vocabularies, config, scratch, observe, usage: None }
    }

    /// The seed of all that is drawn.
    pub fn seed(&self) -> Seed {
        Seed(self.config.seed)
    }

    /// How often rows were used in training.
    ///
    /// # Errors
    /// A damaged file.
    pub fn usage(&mut self) -> Result<&Usage> {
        if self.usage.is_none() {
            self.usage = Some(Usage::of(self.dataset, self.seed().child("train"))?);
        }
        self.usage.as_ref().ok_or_else(|| Error::internal("usage was counted"))
    }
}

/// What an artifact is made for, and by whom.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The device and the passes.
    pub config: &'a CompressConfig,
    /// The split that the ledger measures on.
    pub split: &'a str,
    /// What the recipients need beside what all have.
    pub needs: &'a Needs,
    /// Counts up with every artifact of a publisher.
    pub release: u64,
    /// The publisher's key.
    pub key: &'a SecretKey,
}

/// An artifact, and how it came about.
pub struct Outcome {
    /// The file.
    pub file: Vec<u8>,
    /// Its release.
    pub release: u64,
    /// What each pass saved and cost.
    pub ledger: Shipped,
    /// The limits that are missed, in words; none where it may be shipped.
    pub missed: Vec<String>,
}

/// Runs the passes, measuring after each.
///
/// # Errors
/// What a pass says; a damaged file.
pub fn compress(teacher: Model, order: &Order<'_>, setting: &mut Setting<'_>) -> Result<Outcome> {
    let passes = &order.config.passes;
    let mut candidate = Candidate::new(teacher, setting.config.clone(), setting.dataset.without(&[])?);
    let mut books = Books { first: None, lines: Vec::new(), timed: Vec::new(), scores: Vec::new() };
    let mut file = books.enter(&candidate, ("trained", "all rows, 32 bits".into()), order, setting)?;
    for (number, pass) in passes.iter().enumerate() {
        (setting.observe)(Progress::Pass(number + 1, passes.len(), pass.name()));
        let (next, said) = Pass::apply(pass, candidate, setting)?;
        candidate = next;
        file = books.enter(&candidate, (pass.name(), said), order, setting)?;
    }
    for (line, here) in books.lines.iter_mut().zip(measure::times_in_turn(&mut books.timed)?) {
        line.here = here;
    }
    let limits = &order.config.device.limits;
    let missed = books.lines.last().map(|last| missed(last, limits)).unwrap_or_default();
    let ledger = Shipped {
        device: order.config.device.name.clone(),
        split: order.split.to_owned(),
        candidates: order.config.device.candidates as u64,
        limits: shown(limits),
        passes: books.lines,
        scores: books.scores,
    };
    Ok(Outcome { file, release: order.release, ledger, missed })
}

/// The lines of a ledger as they are written.
struct Books {
    /// What the teacher said of the samples.
    first: Option<(Scores, Vec<TaskQuality>)>,
    lines: Vec<ShippedPass>,
    /// The artifact of each line, to be timed in turn with the others.
    timed: Vec<TimedRequest>,
    scores: Vec<[f64; 2]>,
}

impl Books {
    /// Measures a candidate and writes its line. Gives the file that would be shipped.
    fn enter(
        &mut self,
        candidate: &Candidate,
        (pass, said): (&str, String),
        order: &Order<'_>,
        setting: &mut Setting<'_>,
    ) -> Result<Vec<u8>> {
        let seed = setting.seed();
        setting.usage()?;
        let usage = setting.usage.as_ref().ok_or_else(|| Error::internal("usage was counted"))?;
        let sealing = Sealing { vocabularies: setting.vocabularies, usage, release: order.release, key: order.key };
        let file = candidate.seal(Recipient::With(order.needs), &sealing)?;
        let mut of_all = measure::open(&candidate.seal(Recipient::Everybody, &sealing)?, order.key)?;
        let keys = Keys::new(candidate, setting.vocabularies)?;
        let told = &mut |done, all| (setting.observe)(Progress::Scoring(done, all));
        let scores = measure::score(candidate, &mut of_all, &keys, order.split, seed, told)?;
        let plan = BootstrapPlan { replicates: REPLICATES, seed: seed.child("intervals") };
        let found = scores.quality(plan);
        let device = &order.config.device;
        let shipped = measure::open(&file, order.key)?;
        let timed = TimedRequest::new(candidate, shipped, &keys, (order.split, device), seed)?;
        let before = self.first.as_ref().map_or(&found, |(_, found)| found);
        let tasks = found.iter().map(|TaskQuality { name, metric, value }| {
            let was = before.iter().find(|task| task.name == *name).and_then(|task| task.value.as_ref());
            ShippedTask {
                name: name.clone(),
                metric: metric.name().to_owned(),
                value: estimate(value.as_ref()),
                loss: estimate(was.zip(value.as_ref()).and_then(|(was, is)| metric.lost(was, is)).as_ref()),
            }
        });
        self.lines.push(ShippedPass {
            pass: pass.to_owned(),
            said,
            download_bytes: file.len() as u64,
            resident_bytes: (file.len() + timed.memory()) as u64,
            // Known when all artifacts are timed.
            here: f64::NAN,
            device: timed.device,
            tasks: tasks.collect(),
        });
        self.timed.push(timed);
        match &self.first {
            None => self.first = Some((scores, found)),
            Some((first, _)) => self.scores = beside(first, &scores),
        }
        Ok(file)
    }
}

/// What both predict of samples evenly taken, of the first task.
fn beside(first: &Scores, last: &Scores) -> Vec<[f64; 2]> {
    let (Some(cloud), Some(device)) = (first.tasks.first(), last.tasks.first()) else { return Vec::new() };
    let (cloud, device) = (&cloud.predictions, &device.predictions);
    let step = cloud.len().div_ceil(SHOWN).max(1);
    cloud
        .iter()
        .zip(device)
        .step_by(step)
        .map(|(cloud, device)| [cloud, device].map(|score| f64::from(*score)))
        .collect()
}

fn estimate(found: Option<&Bootstrap>) -> Estimate {
    let Some(found) = found else { return Estimate::from(f64::NAN) };
    match found.interval(CONFIDENCE) {
        Some(interval) => Estimate::within(found.point, interval.lower, interval.upper),
        None => Estimate::from(found.point),
    }
}

fn shown(limits: &Limits) -> Vec<ShippedLimit> {
    let of = |name: &str, limit: Option<f64>| limit.map(|limit| ShippedLimit { name: name.to_owned(), limit });
    let all = [
        of("download_bytes", limits.download_bytes.map(|bytes| bytes as f64)),
        of("resident_bytes", limits.resident_bytes.map(|bytes| bytes as f64)),
        of("microseconds", limits.microseconds),
        of("auc_loss", limits.auc_loss),
        of("rmse_rise", limits.rmse_rise),
    ];
    all.into_iter().flatten().collect()
}

/// The limits that a line misses, in words.
fn missed(line: &ShippedPass, limits: &Limits) -> Vec<String> {
    let first = |metric: QualityMetric| line.tasks.iter().find(|task| task.metric == metric.name());
    let auc_loss = first(QualityMetric::Auc).map(|task| task.loss.value);
    // A share of what the teacher's was.
    let rmse_rise = first(QualityMetric::Rmse).map(|task| task.loss.value / (task.value.value - task.loss.value));
    let over = |name: &str, found: f64, limit: Option<f64>| {
        // What is not known keeps no limit.
        limit.filter(|limit| found.is_nan() || found > *limit).map(|limit| format!("{name}: {found:.6} of {limit}"))
    };
    let all = [
        over("download_bytes", line.download_bytes as f64, limits.download_bytes.map(|bytes| bytes as f64)),
        over("resident_bytes", line.resident_bytes as f64, limits.resident_bytes.map(|bytes| bytes as f64)),
        over("microseconds", line.device, limits.microseconds),
        // A limit on a kind of task that the ranker does not have is kept.
        auc_loss.and_then(|lost| over("auc_loss", lost, limits.auc_loss)),
        rmse_rise.and_then(|rise| over("rmse_rise", rise, limits.rmse_rise)),
    ];
    all.into_iter().flatten().collect()
}
