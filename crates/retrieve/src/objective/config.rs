//! The `[retrieve.objective]` section of a config.

use crate::als;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What makes towers good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Objective {
    /// A loss of each pair, and gravity between all pairs, from Gram matrices.
    Gramian(Gramian),
    /// Each pair's item against other items.
    Softmax(Softmax),
    /// Each pair's item towards its query, and others away where they are nearer than a margin.
    Contrastive(Contrastive),
    /// Alternating least squares over all pairs, for towers of one id each: the linear baseline.
    Als(als::Config),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Gramian(Gramian::default())
    }
}

/// `mean_i ℓ(⟨u_i, v_i⟩, s_i) + λ mean_ij (⟨u_i, v_j⟩ − p_ij)²` (Krichene et al. 2019). The first mean is over training pairs, the second
/// over all pairs of one's query and another's item: n² of them, at the cost of two Gram matrices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gramian {
    /// λ, the weight of gravity. It multiplies a mean over pairs, so it is about 1 to 10 whatever the number of pairs. Too small, and what
    /// has nothing to do with each other ends up together ("folding"); too large, and everything ends up at the prior.
    pub lambda: f32,
    /// ℓ.
    pub fit: Fit,
    /// How the Gram matrices are known.
    pub estimator: Estimator,
    /// p, what gravity pulls to.
    pub prior: Prior,
    /// Gravity averages queries by their share of training pairs to this power: 1 is the paper's average over pairs, 0 counts every user the
    /// same.
    pub query_power: f32,
    /// The same for items: 0 counts every item the same, as implicit ALS does.
    pub item_power: f32,
}

impl Default for Gramian {
    fn default() -> Self {
        Self {
            lambda: 10.0,
            fit: Fit::Squared,
            estimator: Estimator::default(),
            prior: Prior::None,
            query_power: 1.0,
            item_power: 1.0,
        }
    }
}

/// The loss of a training pair, of its inner product `x` and its label `s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// `(x − s)²`.
    #[default]
    Squared,
    /// `ln(1 + e^x) − s x`, for labels of 0 and 1.
    Logistic,
}

/// How the Gram matrices are known, without going through all pairs at every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Estimator {
    /// SOGram: running means, `Ĝ ← (1 − α) Ĝ + α G_batch`. k² numbers. With α = 1 it is sampling: the pairs of two batches.
    Sogram {
        /// α at last.
        #[serde(default = "alpha")]
        alpha: f32,
        /// α at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha_start: Option<f32>,
        /// Steps in which α comes half of the way from its first to its last value.
        #[serde(default = "half_life")]
        half_life: f64,
    },
    /// SAGram: a cache of all pairs' vectors, of which a step renews its batch's. 2 n k numbers.
    Sagram {
        /// How much of what a batch renews counts at once.
        #[serde(default)]
        variant: Sag,
    },
    /// All pairs' vectors, computed anew: for a small number of pairs, and to hold the others against.
    Exact {
        /// Steps between computations.
        #[serde(default = "one")]
        every: u64,
    },
}

fn alpha() -> f32 {
    0.01
}
fn half_life() -> f64 {
    1000.0
}
fn one() -> u64 {
    1
}

impl Default for Estimator {
    fn default() -> Self {
        Self::Sogram { alpha: alpha(), alpha_start: None, half_life: half_life() }
    }
}

/// How much of what a batch renews counts at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sag {
    /// Its share (β = batch / n): always positive semi-definite, biased.
    #[default]
    Sag,
    /// All of it (β = 1): unbiased; what is not positive semi-definite is projected, in O(k³).
    Saga,
}

/// What an inner product should be where nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Prior {
    /// 0.
    #[default]
    None,
    /// The same for all pairs.
    Constant {
        /// It.
        value: f32,
    },
    /// `value · (f / f_max)^power`, where `f` is the item's share of training pairs.
    Popularity {
        /// What the most popular item gets.
        value: f32,
        /// How fast it falls.
        #[serde(default = "power")]
        power: f32,
    },
}

fn power() -> f32 {
    1.0
}

/// `−ln softmax` of each pair's item among others. Logits are inner products over the temperature, less the logarithm of how often the item
/// was to be expected (Bengio and Senécal 2003; for batches, Yi et al. 2019). The others are what the pair's user has in no training pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Softmax {
    /// Whether the batch's other items are among the others.
    pub in_batch: bool,
    /// How many items are drawn for each batch.
    pub drawn: usize,
    /// Items are drawn in proportion to their training pairs to this power: 0 is uniform.
    pub power: f32,
    /// What inner products are divided by.
    pub temperature: f32,
    /// How much of the expectation's logarithm is subtracted. With all of it the softmax is, in the mean, that over all items; without, what
    /// is often drawn is pushed away.
    pub correction: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { in_batch: true, drawn: 0, power: 0.5, temperature: 0.1, correction: 1.0 }
    }
}

/// `1 − ⟨u, v⟩ + w · mean_j max(0, ⟨u, v_j⟩ − m)` over drawn items j (cosine contrastive loss, Mao et al. 2021). Inner products are to be
/// cosines: `retrieve.model.unit_length = true`. One draw serves the whole batch; what the pair's user has in training is left out of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contrastive {
    /// How many items are drawn for each batch.
    pub drawn: usize,
    /// Items are drawn in proportion to their training pairs to this power: 0 is uniform.
    pub power: f32,
    /// m: what is less alike than this is left alone.
    pub margin: f32,
    /// w: how much others count together, beside the pair's own item.
    pub negative_weight: f32,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { drawn: 1024, power: 0.0, margin: 0.9, negative_weight: 150.0 }
    }
}

impl Objective {
    /// How many items are drawn for each batch, and the power of their share that they are drawn by; none where none are drawn.
    pub fn draws(&self) -> Option<(usize, f32)> {
        match self {
            Self::Softmax(softmax) => Some((softmax.drawn, softmax.power)).filter(|(drawn, _)| *drawn > 0),
            Self::Contrastive(contrastive) => Some((contrastive.drawn, contrastive.power)),
            Self::Gramian(_) | Self::Als(_) => None,
        }
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: &str| Err(Error::config(what).in_field(format!("retrieve.objective.{key}")));
        let share = |x: f32| x > 0.0 && x <= 1.0;
        match self {
            Self::Als(als) => als.check(),
            Self::Gramian(gramian) => {
                if !(gramian.lambda >= 0.0 && gramian.lambda.is_finite()) {
                    return wrong("lambda", "λ must be a number of at least 0");
                }
                for (key, power) in [("query_power", gramian.query_power), ("item_power", gramian.item_power)] {
                    if !(0.0..=1.0).contains(&power) {
                        return wrong(key, "the power must be between 0 and 1");
                    }
                }
                match gramian.estimator {
                    Estimator::Sogram { alpha, alpha_start, half_life } => {
                        if !share(alpha) {
                            return wrong("estimator.alpha", "α must be above 0 and at most 1");
                        }
                        if alpha_start.is_some_and(|alpha| !share(alpha)) {
                            return wrong("estimator.alpha_start", "α must be above 0 and at most 1");
                        }
                        if !(half_life > 0.0 && half_life.is_finite()) {
                            return wrong("estimator.half_life", "the half-life must be a positive number of steps");
                        }
                    }
                    Estimator::Exact { every: 0 } => {
                        return wrong("estimator.every", "there must be at least one step between computations");
                    }
                    Estimator::Exact { .. } | Estimator::Sagram { .. } => {}
                }
                match gramian.prior {
                    Prior::Constant { value } | Prior::Popularity { value, .. } if !value.is_finite() => {
                        wrong("prior.value", "the prior must be a finite number")
                    }
                    Prior::Popularity { power, .. } if !(power >= 0.0 && power.is_finite()) => {
                        wrong("prior.power", "the power must be a number of at least 0")
                    }
                    _ => Ok(()),
                }
            }
            Self::Contrastive(contrastive) => {
                if contrastive.drawn == 0 {
                    return wrong("drawn", "some items must be drawn");
                }
                if !(-1.0..1.0).contains(&contrastive.margin) {
                    return wrong("margin", "the margin must be a cosine of less than 1");
                }
                for (key, number) in [("power", contrastive.power), ("negative_weight", contrastive.negative_weight)] {
                    if !(number >= 0.0 && number.is_finite()) {
                        return wrong(key, "this must be a number of at least 0");
                    }
                }
                Ok(())
            }
            Self::Softmax(softmax) => {
                if !softmax.in_batch && softmax.drawn == 0 {
                    return wrong("drawn", "without the batch's items some must be drawn");
                }
                if !(softmax.temperature > 0.0 && softmax.temperature.is_finite()) {
                    return wrong("temperature", "the temperature must be a positive number");
                }
                for (key, number) in [("power", softmax.power), ("correction", softmax.correction)] {
                    if !(number >= 0.0 && number.is_finite()) {
                        return wrong(key, "this must be a number of at least 0");
                    }
                }
                Ok(())
            }
        }
    }
}
