//! Quantization-aware training: the network learns to say in codes what it said in 32 bits.
//!
//! Steps read a network rounded as a device has it ([`kitestring_nn::quantization::rounding`]), with the ranges that post-training calibration
//! chose. They stay, for what was learned is to live with them: chosen anew they undid half of it where they cut much off. The ranker in 32
//! bits is the teacher, so that nothing is learned but how to live with codes; labels count where `alpha` leaves them a share. Steps are as
//! long as `rate` says at first, and shorten to none along a cosine.
//!
//! Only the network learns, over all rows as the artifact stores them: which rows a device has was decided before, and rows that nobody ships
//! would be learned for nobody. Batch norm goes by each batch and its running statistics go on, so that they are those of the rounded network. A
//! GRU's and experts' products are done in `f32`: of them weights are rounded, and nothing else.

use crate::candidate::{Candidate, rows_of};
use crate::distil::{Distil, Tutor};
use crate::pipeline::{Progress, Setting};
use kitestring_core::schema::Task;
use kitestring_core::{Error, Result};
use kitestring_nn::package::RowCodes;
use kitestring_table::Route;
use kitestring_train::Model;
use kitestring_train::config::{KeptEpoch, Schedule};
use kitestring_train::fit::{Event, fit_aware};
use kitestring_train::run::{remove_directory, replace_directory};
use kitestring_train::workers::Threads;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows rounded at once.
const ROWS: usize = 4096;

/// How the network learns to live with codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aware {
    /// Epochs over the training samples, at least 1.
    pub epochs: u32,
    /// What the learning rate of the ranker's run is multiplied by, above 0.
    pub rate: f32,
    /// The share of the ranker's own predictions in 32 bits in what is learned from, in [0, 1]; the labels have the rest.
    pub alpha: f64,
}

impl Default for Aware {
    fn default() -> Self {
        Self { epochs: 1, rate: 0.5, alpha: 1.0 }
    }
}

impl Aware {
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: &str| Err(Error::config(what).in_field(format!("aware.{key}")));
        if self.epochs == 0 {
            return wrong("epochs", "at least one epoch: leave `aware` out for none");
        }
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return wrong("rate", "what a learning rate is multiplied by must be a positive number");
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return wrong("alpha", "a share must be in [0, 1]");
        }
        Ok(())
    }

    /// Trains the network of a candidate whose codes are decided.
    pub(super) fn train(&self, mut candidate: Candidate, setting: &mut Setting<'_>) -> Result<Candidate> {
        let head = &candidate.model.config.head;
        if self.alpha == 1.0 && candidate.model.schema.tasks.iter().any(|task: &Task| head.spreads(task.kind)) {
            let error = Error::config("the spread of predictions is learned from labels, which have no share left");
            return Err(error.in_field("aware.alpha").mend("give a number below 1"));
        }
        let (folder, resume) = (setting.scratch.0.join("aware"), setting.scratch.1);
        if !resume {
            remove_directory(&folder)?;
        }
        std::fs::create_dir_all(&folder).map_err(|error| Error::io(error, "could not make the folder", &folder))?;
        let copy = folder.join("start");
        replace_directory(&copy, |new| candidate.model.write(new, false))?;
        let student = Model::read(&copy)?;
        round_rows(&student, &candidate, setting)?;

        let mut config = candidate.config.clone();
        config.train.epochs = Some(self.epochs);
        config.train.learning_rate *= self.rate;
        config.train.asynchronous = false;
        // Steps of one length would leave weights as far from where they should be as codes do.
        config.train.schedule = Schedule::Cosine { warmup: 0 };
        // They end where they should be, so an epoch before the last is a better one by chance alone, unless the run is to stop early.
        if config.train.early_stopping.is_none() {
            config.train.keep = KeptEpoch::Last;
        }
        let rounding = Arc::new(candidate.description().rounding(&candidate.model.graph)?);
        let distil = Distil { alpha: self.alpha, temperature: 1.0, ..Distil::default() };
        let workers = Threads::new(config.train.workers)?.count();
        let mut tutor = Tutor::new(&distil, (&candidate.model, &candidate.dataset), &config, workers)?;
        let told = &mut |event: Event<'_>| (setting.observe)(Progress::Training(event));
        let data = (&config, &candidate.dataset);
        let fitted = fit_aware((student, rounding), &mut tutor, data, &folder, resume, told)?;
        remove_directory(&folder)?;
        candidate.model = fitted.model;
        Ok(candidate)
    }
}

/// Makes the rows of a model what the artifact's codes of them stand for.
fn round_rows(model: &Model, candidate: &Candidate, setting: &mut Setting<'_>) -> Result<()> {
    for (number, (table, codes)) in model.tables.iter().zip(&candidate.rows).enumerate() {
        if *codes == RowCodes::F32 {
            continue;
        }
        let ids: Vec<u64> = candidate.ids(number, setting.usage()?)?.into_iter().collect();
        for ids in ids.chunks(ROWS) {
            let (mut rows, mut bytes, mut route) = (rows_of(table, ids)?, Vec::new(), Route::new());
            for row in rows.chunks_exact_mut(table.dim()) {
                bytes.clear();
                codes.encode(row, &mut bytes).map_err(|error| error.in_field(table.name()))?;
                codes.decode(&bytes, row)?;
            }
            table.route(ids, &mut route)?;
            table.assign(&mut route, &rows)?;
        }
    }
    Ok(())
}
