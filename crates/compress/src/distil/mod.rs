//! Distillation: a small student learns what a large teacher says (Hinton, Vinyals and Dean 2015).
//!
//! A student is a ranker of its own, of any sizes and slots but the teacher's head, over the teacher's features or fewer: what a device lacks
//! the teacher may still read ("privileged features", Xu et al. 2020). It minimizes
//!
//! `(1 − α) Σ_t w_t L_t + α Σ_t w_t S_t + λ R + γ M`
//!
//! and the auxiliary losses of its own slots as they are, where for each task `t` of weight `w_t`
//!
//! - `L_t` is the task's loss over its labelled samples,
//! - `S_t` the [soft] loss against the teacher's logit over all samples, labelled or not,
//! - `R` the loss of the teacher's [order](rank) of each user's samples,
//! - `M` the squared error of a linear map of the student's representation against the teacher's.
//!
//! The teacher scores each batch as it comes: nothing is stored beside the run. Its loss is computed outside the graph from the student's
//! logits and representation of the whole batch, because an order couples samples, and comes back as their gradient
//! ([`Guide`](kitestring_train::guide::Guide)).
//!
//! The student's run is like any other: the same directory, checkpoints, seeds and early stopping on the student's own validation.

mod config;
pub mod rank;
mod representation;
pub mod soft;
mod teacher;
#[cfg(test)]
mod tests;
mod tutor;

pub use config::{Distil, Rank};
pub(crate) use tutor::Tutor;

use kitestring_core::Result;
use kitestring_data::dataset::Dataset;
use kitestring_train::fit::{Event, Fitted, fit_guided};
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use std::path::Path;

/// A trained student.
pub struct Student {
    /// The config of its run.
    pub config: RunConfig,
    /// The data set as it reads it: without the features it lacks.
    pub dataset: Dataset,
    /// The model, and how training went.
    pub fitted: Fitted,
}

/// Trains a student on what its teacher says of the split `train`, and leaves it in `directory` as [`fit`](kitestring_train::fit::fit) does.
/// `teachers` is the config of the teacher's run, and `dataset` the data set of it. With `resume`, goes on from the newest checkpoint there,
/// if any.
///
/// # Errors
/// A config error that names the key; a teacher of another data set; a loss that is not finite (the last good checkpoint stays); what the
/// file system says.
pub fn distil(
    teacher: &Model,
    dataset: &Dataset,
    teachers: &RunConfig,
    distil: &Distil,
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Student> {
    let mut config = distil.student(teachers)?;
    let read = dataset.without(&distil.without)?;
    // What preparing made of the schema is what counts.
    config.schema = read.schema().clone();
    let workers = Threads::new(config.train.workers)?.count();
    let mut tutor = Tutor::new(distil, (teacher, dataset), &config, workers)?;
    let fitted = fit_guided(&mut tutor, (&config, &read), directory, resume, observe)?;
    Ok(Student { config, dataset: read, fitted })
}
