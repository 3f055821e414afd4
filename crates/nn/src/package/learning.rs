//! Learning on a device: a few numbers, from what one user did, and only where it helps.
//!
//! A few numbers are learned by gradients of the ranker's own losses, through its weights as the artifact has them and with statistics that
//! stay, pulled towards the artifact's numbers: `Σ loss + λ/2 ‖θ − θ₀‖²`, so that few examples move little. Examples come in the order of
//! time and are cut into blocks: of each block but the first the loss is told after every epoch of learning from those before it, scored as
//! the device scores, products in codes included. Over all these blocks the number of epochs is chosen that loses least; and only if it loses
//! less than the artifact alone by more than chance explains, as many epochs are learned from all examples and taken. Else the device goes on
//! with the artifact.

use super::personal::{Learner, Learns, Personal};
use super::{Packaged, Runtime};
use crate::engine::{BatchInputs, OneWorker, Scorer, Trainer};
use crate::graph::{Graph, Loss};
use crate::network::Network;
use crate::optimizer::{Optimizer, Rule};
use crate::quantization::product::Codes;
use kitestring_core::{Batch, Error, Result, Seed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Epochs are told one by one, so there is an end to them.
const MOST_EPOCHS: usize = 10_000;

/// How a device learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// What is learned.
    pub learns: Learns,
    /// The length of a step.
    pub rate: f32,
    /// How often all examples are gone through at most.
    pub epochs: usize,
    /// Examples a step.
    pub batch: usize,
    /// λ: how strongly numbers are pulled towards the artifact's, against the sum of the examples' losses.
    pub pull: f32,
    /// How many blocks of examples tell what learning from those before them is worth.
    pub folds: usize,
    /// How often each outcome of a task with labels 0 and 1 must be among those that tell: of what is seldom few examples have none, and all of them
    /// are told better by saying that it never happens.
    pub least: usize,
    /// How sure it must be that the loss falls, in standard deviations of a normal distribution: 2 is wrong once in 44 times.
    pub certainty: f64,
    /// Decides the order of examples.
    pub seed: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            learns: Learns::default(),
            rate: 0.005,
            epochs: 60,
            batch: 16,
            pull: 10.0,
            folds: 4,
            least: 5,
            certainty: 2.0,
            seed: 0,
        }
    }
}

impl Learning {
    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return wrong("rate", "a step has a length above zero");
        }
        if self.epochs > MOST_EPOCHS {
            return wrong("epochs", "more than 10000 epochs");
        }
        if self.batch == 0 {
            return wrong("batch", "a step has at least one example");
        }
        if !(self.pull >= 0.0 && self.pull.is_finite()) {
            return wrong("pull", "a pull is not negative");
        }
        if self.folds == 0 {
            return wrong("folds", "at least one block tells what learning is worth");
        }
        if self.certainty.is_nan() || self.certainty < 0.0 {
            return wrong("certainty", "a certainty is not negative");
        }
        Ok(())
    }
}

/// What came of learning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesson {
    /// Examples with labels.
    pub examples: usize,
    /// How many of them told what learning is worth; 0 where there are fewer than blocks, and nothing is learned.
    pub judged: usize,
    /// The numbers that were learned.
    pub numbers: usize,
    /// How often the examples were gone through.
    pub epochs: usize,
    /// The mean loss of those judged, by the artifact alone; NaN where none was.
    pub artifact: f64,
    /// The same by what is learned from those before them.
    pub learned: f64,
    /// How sure it is that the loss falls, in standard deviations of a normal distribution.
    pub certainty: f64,
    /// Whether the device goes on with what it learned, or with the artifact alone.
    pub taken: bool,
}

impl Runtime {
    /// What it learned, where anything is in use.
    pub fn personal(&self) -> Option<&Personal> {
        self.personal.as_ref()
    }

    /// Goes on by what was learned on this device, or by the artifact alone.
    ///
    /// # Errors
    /// What was learned for another version of the artifact, or does not fit it: the runtime stays as it is.
    pub fn personalize(&mut self, personal: Option<Personal>) -> Result<()> {
        let mut packaged = Packaged::open(&self.artifact)?;
        if let Some(personal) = &personal {
            personal.apply(&mut packaged, &self.artifact.manifest().version)?;
        }
        (self.scorer, self.remembered) = Self::scorers(&packaged);
        (self.packaged, self.personal) = (packaged, personal);
        Ok(())
    }

    /// Learns from examples, the oldest first: batches of one sample with labels, ids as [`Self::score`] has them, the lists that a recurrent state
    /// stands for elsewhere included. It learns anew, from the artifact's numbers: what was learned before and is not in the examples is gone.
    ///
    /// # Errors
    /// A setting out of its range; examples that do not fit the schema; a loss that is not finite. The runtime then goes on as before.
    pub fn learn(&mut self, examples: &[&Batch], learning: &Learning) -> Result<Lesson> {
        learning.check()?;
        let version = self.artifact.manifest().version.clone();
        let packaged = Packaged::open(&self.artifact)?;
        let mut learner = learning.learns.learner(&packaged, &version)?;
        let origin = learner.numbers();
        let examples: Vec<&Batch> =
            examples.iter().copied().filter(|example| counts(&packaged.graph, example)).collect();
        let nan = f64::NAN;
        let (numbers, count, blocks) = (origin.len(), examples.len(), learning.folds.saturating_add(1));
        let mut lesson = Lesson {
            examples: count,
            judged: 0,
            numbers,
            epochs: 0,
            artifact: nan,
            learned: nan,
            certainty: 0.0,
            taken: false,
        };
        if count >= blocks {
            let mut losses = Losses::new(&learner.graph, packaged.codes.without(&learner.learned));
            let mut after = vec![Vec::new(); learning.epochs + 1];
            for block in 1..blocks {
                let [start, end] = [block, block + 1].map(|block| block * count / blocks);
                let judged = joined(&examples[start..end]);
                learner.set(&origin)?;
                after[0].extend(losses.of(self, &learner.network, &judged)?);
                self.descend(
                    &mut learner,
                    (&examples[..start], learning.epochs),
                    learning,
                    &mut |device, network, epoch| {
                        after[epoch].extend(losses.of(device, network, &judged)?);
                        Ok(())
                    },
                )?;
            }
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
            let means: Vec<f64> = after.iter().map(|losses| mean(losses)).collect();
            let best = (1..means.len()).min_by(|a, b| means[*a].total_cmp(&means[*b])).unwrap_or(0);
            (lesson.judged, lesson.epochs) = (after[0].len(), best);
            (lesson.artifact, lesson.learned) = (means[0], means[best]);
            lesson.certainty = certainty(&after[0], &after[best]);
            let known = rarest(&packaged.graph, &examples[count / blocks..]) >= learning.least;
            lesson.taken = known && lesson.certainty > learning.certainty;
        }
        if lesson.taken {
            learner.set(&origin)?;
            self.descend(&mut learner, (&examples, lesson.epochs), learning, &mut |_, _, _| Ok(()))?;
            let learns = learning.learns.clone();
            self.personalize(Some(Personal { version, learns, numbers: learner.numbers() }))?;
        } else if self.personal.is_some() {
            self.personalize(None)?;
        }
        Ok(lesson)
    }

    /// Goes down the gradient of the losses of some examples, and tells of every epoch.
    fn descend(
        &mut self,
        learner: &mut Learner,
        (examples, epochs): (&[&Batch], usize),
        learning: &Learning,
        each: &mut dyn FnMut(&mut Self, &Network, usize) -> Result<()>,
    ) -> Result<()> {
        let origin = learner.numbers();
        let mut numbers = origin.clone();
        let mut trainer = Trainer::of_weights(Arc::clone(&learner.graph), &|name| learning.learns.names(name), 1);
        let mut optimizer = Optimizer::of_numbers(Rule::default(), numbers.len())?;
        let (mut state, mut gradient) = (learner.network.state.clone(), Vec::new());
        let (mut order, mut batch): (Vec<usize>, _) = ((0..examples.len()).collect(), Batch::default());
        // A step's gradient is that of a mean.
        let pull = learning.pull / examples.len().max(1) as f32;
        for epoch in 0..epochs {
            let seed = Seed(learning.seed).child("learn").at(epoch as u64);
            order.sort_by_key(|example| seed.bits_at(*example as u64));
            for chosen in order.chunks(learning.batch) {
                batch.clear();
                chosen.iter().for_each(|example| batch.append(examples[*example]));
                self.gather(&batch)?;
                let inputs = BatchInputs { batch: &batch, lookups: &self.lookups, rows: &self.rows, occurrences: &[] };
                trainer.step(&learner.network.weights, &mut state, &inputs, None, &OneWorker)?;
                let found = trainer.gradients();
                gradient.clear();
                learner.learned.iter().for_each(|range| gradient.extend_from_slice(&found.network[range.clone()]));
                for ((gradient, number), origin) in gradient.iter_mut().zip(&numbers).zip(&origin) {
                    *gradient += pull * (number - origin);
                }
                optimizer.apply(&mut numbers, &gradient, learning.rate);
                learner.set(&numbers)?;
            }
            each(self, &learner.network, epoch + 1)?;
        }
        Ok(())
    }
}

/// Scores the losses of samples in the place of predictions.
struct Losses {
    graph: Arc<Graph>,
    scorer: Scorer,
    found: Vec<f32>,
}

impl Losses {
    fn new(graph: &Graph, codes: Codes) -> Self {
        let mut graph = graph.clone();
        graph.outputs = graph.losses.iter().map(|loss| (loss.name.clone(), loss.value)).collect();
        let graph = Arc::new(graph);
        let scorer = Scorer::new(Arc::clone(&graph), 1).with_codes(Arc::new(codes));
        Self { scorer, graph, found: Vec::new() }
    }

    /// The loss of each sample, over its tasks.
    fn of(&mut self, runtime: &mut Runtime, network: &Network, batch: &Batch) -> Result<Vec<f64>> {
        runtime.gather(batch)?;
        let inputs = BatchInputs { batch, lookups: &runtime.lookups, rows: &runtime.rows, occurrences: &[] };
        self.scorer.score(&network.weights, &network.state, &inputs, &OneWorker, &mut self.found)?;
        let tasks = batch.labels.len() / batch.rows.max(1);
        let losses = self.graph.losses();
        let of_row = |(row, found): (usize, &[f32])| {
            let labels = &batch.labels[row * tasks..(row + 1) * tasks];
            let of = |(loss, value): (&Loss, &f32)| {
                let counts = loss.task.is_some() && loss.counts(labels);
                if counts { f64::from(loss.weight) * f64::from(*value) } else { 0.0 }
            };
            losses.iter().zip(found).map(of).sum()
        };
        let found: Vec<f64> = self.found.chunks_exact(losses.len().max(1)).enumerate().map(of_row).collect();
        if found.iter().any(|loss| !loss.is_finite()) {
            return Err(Error::numeric("the loss of an example held out is not a finite number").mend("lower the rate"));
        }
        Ok(found)
    }
}

/// Whether an example's labels say anything.
fn counts(graph: &Graph, example: &Batch) -> bool {
    graph.losses().iter().any(|loss| loss.task.is_some() && loss.counts(&example.labels))
}

/// How often the rarest outcome of a task is among examples, of the tasks whose labels are 0 and 1.
fn rarest(graph: &Graph, examples: &[&Batch]) -> usize {
    let tasks = graph.losses().iter().filter_map(|loss| loss.task);
    let of_task = |task: usize| {
        let labels =
            || examples.iter().filter_map(move |example| example.labels.get(task)).filter(|label| !label.is_nan());
        let count = |outcome: f32| labels().filter(|label| **label == outcome).count();
        let (no, yes, all) = (count(0.0), count(1.0), labels().count());
        if all > no + yes || all == 0 { usize::MAX } else { no.min(yes) }
    };
    tasks.map(of_task).min().unwrap_or(usize::MAX)
}

/// The samples of all, one after another.
fn joined(examples: &[&Batch]) -> Batch {
    let mut all = Batch::default();
    examples.iter().for_each(|example| all.append(example));
    all
}

/// How sure it is that the loss falls, sample by sample: Student's t of the differences as the normal deviate that is as unlikely
/// (Wallace 1959), for of few differences the spread is hardly known. 0 where nothing differs.
fn certainty(from: &[f64], to: &[f64]) -> f64 {
    let (count, free) = (from.len() as f64, from.len() as f64 - 1.0);
    let falls = || from.iter().zip(to).map(|(from, to)| from - to);
    let mean = falls().sum::<f64>() / count;
    let squares: f64 = falls().map(|fall| (fall - mean).powi(2)).sum();
    if mean == 0.0 || free < 1.0 {
        return 0.0;
    }
    let t = mean / (squares / free / count).sqrt().max(f64::MIN_POSITIVE);
    t.signum() * (8.0 * free + 1.0) / (8.0 * free + 3.0) * (free * (t * t / free).ln_1p()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is two-sided 5 % of Student's t in tables, and 1.96 of the normal distribution.
    #[test]
    fn few_differences_are_less_sure() {
        for (free, t) in [(2_usize, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)] {
            // Differences of mean 1 and a spread that makes t.
            let count = free + 1;
            let spread = (count as f64).sqrt() / t * (free as f64 / count as f64).sqrt();
            let raw: Vec<f64> = (0..count).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let mean = raw.iter().sum::<f64>() / count as f64;
            let norm = (raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64).sqrt();
            let from: Vec<f64> = raw.iter().map(|x| 1.0 + (x - mean) / norm * spread).collect();
            let found = certainty(&from, &vec![0.0; count]);
            assert!((found - 1.96).abs() < 0.04, "{free}: {found}");
        }
        assert_eq!(certainty(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(certainty(&[1.0], &[0.0]), 0.0);
        assert!(certainty(&[1.0; 3], &[0.0; 3]) > 1.0 && certainty(&[0.0; 9], &[1.0; 9]) < -2.0);
    }
}
