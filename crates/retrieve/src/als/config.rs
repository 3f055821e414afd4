//! What decides the objective and how it is solved.

use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The objective's weights and the solver. The module's head has the formula.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Times that all users and then all items are solved.
    pub iterations: u32,
    /// `α₀`: what a pair's product costs for not being zero, against 1 for an observed pair's for not being one.
    pub unobserved_weight: f32,
    /// The pairs whose product is pulled to zero.
    pub zeros: Zeros,
    /// `λ`: the weight of the vectors' squared lengths.
    pub regularization: f32,
    /// `ν`: how `λ` grows with what is known of a user or an item. 0: not at all; 1: in proportion.
    pub regularization_exponent: f32,
    /// How each system is solved.
    pub solver: Solver,
    /// The length that an item's vector has at the start, in the mean of squares; users start at zero.
    pub start_length: f32,
}

/// The pairs whose product is pulled to zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zeros {
    /// All pairs, the observed ones too (iALS).
    #[default]
    AllPairs,
    /// Pairs that were not observed (Hu, Koren and Volinsky).
    Unobserved,
}

/// How a system of `k` unknowns is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Solver {
    /// Exactly: `O(n k² + k³)` for a row of `n` interactions.
    Cholesky,
    /// Steps of conjugate gradients from where the row stood, `O(n k + k²)` each (Takács, Pilászy and Tikk 2011).
    ConjugateGradient {
        /// How many.
        #[serde(default = "default_steps")]
        steps: u32,
    },
    /// Exactly in so many numbers of the vector at a time, with the others as they stand: `O(n k b + k b² + k²)` for `b` of them (iALS++,
    /// Rendle, Krichene, Zhang and Koren 2021). For long vectors.
    Subspace {
        /// How many.
        #[serde(default = "default_width")]
        width: usize,
    },
}

fn default_width() -> usize {
    32
}

fn default_steps() -> u32 {
    3
}

impl Default for Solver {
    fn default() -> Self {
        Self::ConjugateGradient { steps: default_steps() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            iterations: 15,
            unobserved_weight: 0.01,
            zeros: Zeros::default(),
            regularization: 0.002,
            regularization_exponent: 1.0,
            solver: Solver::default(),
            start_length: 0.1,
        }
    }
}

impl Config {
    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        if self.iterations == 0 {
            return wrong("iterations", "there must be at least one iteration");
        }
        if !(self.unobserved_weight >= 0.0 && self.unobserved_weight.is_finite()) {
            return wrong("unobserved_weight", "the weight must be a number from zero up");
        }
        if !(self.regularization >= 0.0 && self.regularization.is_finite()) {
            return wrong("regularization", "the weight must be a number from zero up");
        }
        if !(0.0..=1.0).contains(&self.regularization_exponent) {
            return wrong("regularization_exponent", "the exponent must be in [0, 1]");
        }
        if !(self.start_length > 0.0 && self.start_length.is_finite()) {
            return wrong("start_length", "the length must be a positive number");
        }
        if self.solver == (Solver::ConjugateGradient { steps: 0 }) {
            return wrong("solver.steps", "there must be at least one step");
        }
        if self.solver == (Solver::Subspace { width: 0 }) {
            return wrong("solver.width", "there must be at least one number at a time");
        }
        Ok(())
    }
}
