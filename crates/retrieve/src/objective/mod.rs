//! What makes towers good: from the vectors of a step's pairs to a loss and their gradients.
//!
//! - [`config`]: the choices;
//! - [`pairs`]: what an objective sees;
//! - [`gramian`]: a loss of each pair, and gravity between all pairs;
//! - [`gram`], [`moments`], [`estimator`]: how all pairs are known at the cost of a batch;
//! - `others`: each pair's item against other items.

pub mod config;
pub mod estimator;
pub mod gram;
pub mod gramian;
pub mod moments;
mod others;
pub mod pairs;

#[cfg(test)]
mod tests;

use config::Objective;
use estimator::Moving;
use gramian::GramianLoss;
use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;
use others::{Against, Others};
use pairs::{Gradients, Pairs};

/// An objective with what it remembers from step to step.
#[derive(Debug)]
pub struct Minimized {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gramian(Box<GramianLoss>),
    Others(Box<Others>),
}

impl Minimized {
    /// An objective over vectors of a dimension. `pairs` is the number of all training pairs, `most_frequent` the largest share of them
    /// that an item has.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(config: &Objective, dimension: usize, pairs: u64, most_frequent: f32) -> Result<Self> {
        config.check()?;
        let kind = match config {
            Objective::Gramian(config) => {
                Kind::Gramian(Box::new(GramianLoss::new(config.clone(), dimension, pairs, most_frequent)?))
            }
            Objective::Softmax(config) => Kind::Others(Box::new(Others::new(Against::Softmax(config.clone())))),
            Objective::Contrastive(config) => Kind::Others(Box::new(Others::new(Against::Contrastive(config.clone())))),
            Objective::Als(_) => return Err(Error::internal("alternating least squares has no steps")),
        };
        Ok(Self { kind })
    }

    /// The names of what [`Self::gradients`] finds.
    pub fn names(&self) -> &'static [&'static str] {
        match &self.kind {
            Kind::Gramian(_) => &["fit", "gravity"],
            Kind::Others(others) => others.names(),
        }
    }

    /// What the losses of a step come to together.
    pub fn total(&self, losses: &[f64]) -> f64 {
        match &self.kind {
            Kind::Gramian(loss) => losses.iter().zip([1.0, loss.lambda()]).map(|(loss, weight)| loss * weight).sum(),
            Kind::Others(_) => losses.iter().sum(),
        }
    }

    /// The losses of a step, by [`Self::names`], and the gradients of its vectors.
    ///
    /// # Errors
    /// A pair there is not.
    pub fn gradients(
        &mut self,
        pairs: &Pairs<'_>,
        gradients: &mut Gradients<'_>,
        workers: &dyn Workers,
    ) -> Result<Vec<f64>> {
        match &mut self.kind {
            Kind::Gramian(loss) => {
                loss.gradients(pairs, gradients, workers).map(|parts| vec![parts.fit, parts.gravity])
            }
            Kind::Others(loss) => Ok(vec![loss.gradients(pairs, gradients, workers)]),
        }
    }

    /// The moving estimate of all pairs' moments, where the objective has one.
    pub fn moving(&self) -> Option<&Moving> {
        match &self.kind {
            Kind::Gramian(loss) => Some(&loss.moving),
            Kind::Others(_) => None,
        }
    }

    /// The same, to change.
    pub fn moving_mut(&mut self) -> Option<&mut Moving> {
        match &mut self.kind {
            Kind::Gramian(loss) => Some(&mut loss.moving),
            Kind::Others(_) => None,
        }
    }
}
