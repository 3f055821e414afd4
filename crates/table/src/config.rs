//! What a table is: its ids, its rows, and how they are updated.

use crate::init::Init;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Numbers a row.
    pub dim: usize,
    /// Which ids there are.
    pub space: Space,
    /// How a row starts.
    #[serde(default)]
    pub init: Init,
    /// How a row is updated.
    #[serde(default)]
    pub optimizer: Optimizer,
}

/// Which ids a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Space {
    /// The ids 0, 1, … below a number, each with its row from the start.
    Direct {
        /// Number of rows.
        rows: u64,
    },
    /// Any 64-bit id, each with a row of its own once it is admitted.
    Open(Open),
}

/// Who has a row in an open space of ids. One sighting is one call of `apply` that holds the id, a training batch's.
///
/// Until it is admitted an id has no row: it reads what [`Unadmitted`] says and its gradients are dropped. The gradient
/// of the sighting that admits it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Open {
    /// The sighting that admits an id.
    pub admit_after: u32,
    /// Eviction removes ids not seen for more than this many steps; also those still waiting for admission.
    pub max_age: Option<u64>,
    /// Eviction keeps at most this many rows: those with the most sightings, among equals the last seen, then the
    /// greater id.
    pub max_rows: Option<u64>,
    /// About the most ids that wait for admission. Where there are more, those with the fewest sightings are forgotten, among equals those not
    /// seen for longest, until half as many are left. An id that was forgotten is counted from nothing when it comes again: it may be admitted
    /// later than `admit_after` says, never earlier. A waiting id takes about 20 bytes.
    pub max_waiting: u64,
    /// What an id without a row reads.
    pub unadmitted: Unadmitted,
}

impl Default for Open {
    fn default() -> Self {
        Self { admit_after: 1, max_age: None, max_rows: None, max_waiting: 1 << 20, unadmitted: Unadmitted::Initial }
    }
}

impl Open {
    /// The most ids that wait in one stripe.
    pub(crate) fn waiting_of_stripe(&self) -> usize {
        usize::try_from(self.max_waiting >> crate::table::OPEN_STRIPES).unwrap_or(usize::MAX)
    }
}

/// What an id without a row reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unadmitted {
    /// The row it would start from.
    #[default]
    Initial,
    /// Zeros.
    Zero,
}

/// How rows are updated. The learning rate comes with each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// The update rule.
    pub rule: Rule,
    /// L2 coefficient λ.
    #[serde(default)]
    pub l2: f32,
    /// Whether L2 shrinks the row by 1 − learning rate · λ (Loshchilov and Hutter 2019) instead of adding λ·row to the
    /// gradient. For SGD both are the same.
    #[serde(default)]
    pub decoupled: bool,
    /// Which rows a step updates.
    #[serde(default)]
    pub rows: Touched,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { rule: Rule::default(), l2: 0.0, decoupled: false, rows: Touched::default() }
    }
}

/// The update rule of a row w with gradient g, all element-wise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// w ← w − η·g.
    Sgd {},
    /// Duchi, Hazan and Singer (2011): s ← s + g², w ← w − η·g / (√s + ε).
    Adagrad {
        /// What s starts from.
        #[serde(default)]
        initial: f32,
        /// ε.
        #[serde(default = "adagrad_epsilon")]
        epsilon: f32,
        /// One s a row, which takes the mean of g² over the row: less memory, the same rate for the whole row.
        #[serde(default)]
        row_wise: bool,
    },
    /// Kingma and Ba (2015). With `rows = "touched"` as PyTorch's SparseAdam: untouched rows keep their moments, and bias
    /// correction takes the number of the step. With `rows = "all"` as PyTorch's Adam. They differ in whether ε is
    /// added before (SparseAdam) or after the second moment's bias correction.
    Adam {
        /// β₁.
        #[serde(default = "adam_beta1")]
        beta1: f64,
        /// β₂.
        #[serde(default = "adam_beta2")]
        beta2: f64,
        /// ε.
        #[serde(default = "adam_epsilon")]
        epsilon: f32,
        /// Bias correction takes the number of the row's own updates instead of the number of the step, so that a row
        /// first seen late starts with steps of full size.
        #[serde(default)]
        per_row_steps: bool,
    },
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adam { beta1: adam_beta1(), beta2: adam_beta2(), epsilon: adam_epsilon(), per_row_steps: false }
    }
}

/// Which rows a step updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touched {
    /// Those of the batch: the others cost nothing, and L2 does not reach them.
    #[default]
    Touched,
    /// Every row, as if its gradient were dense and mostly zero. Where an untouched row's change has a closed form (no
    /// change, or shrinking by L2) it is made up for when the row is next read; otherwise (Adam; Adagrad with coupled L2)
    /// each step needs a [`crate::Table::sweep`] over the table.
    All,
}

fn adagrad_epsilon() -> f32 {
    1e-10
}
fn adam_beta1() -> f64 {
    0.9
}
fn adam_beta2() -> f64 {
    0.999
}
fn adam_epsilon() -> f32 {
    1e-8
}

impl Optimizer {
    /// A rule without L2, on touched rows.
    pub fn new(rule: Rule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// Plain stochastic gradient descent.
    pub fn sgd() -> Self {
        Self::new(Rule::Sgd {})
    }

    /// Adagrad from zero, element by element.
    pub fn adagrad() -> Self {
        Self::new(Rule::Adagrad { initial: 0.0, epsilon: adagrad_epsilon(), row_wise: false })
    }

    /// Lazy Adam with the usual constants.
    pub fn adam() -> Self {
        Self::default()
    }

    /// Adam on every row at every step, as a dense gradient would have it.
    pub fn dense_adam() -> Self {
        Self { rows: Touched::All, ..Self::default() }
    }

    /// Whether each step needs a [`crate::Table::sweep`] once its gradients are applied.
    pub fn sweeps(&self) -> bool {
        self.rows == Touched::All
            && match self.rule {
                Rule::Sgd {} => false,
                Rule::Adagrad { .. } => self.l2 > 0.0 && !self.decoupled,
                Rule::Adam { .. } => true,
            }
    }

    /// Whether an untouched row shrinks by a factor that is made up for later.
    pub(crate) fn shrinks_lazily(&self) -> bool {
        self.rows == Touched::All && self.l2 > 0.0 && !self.sweeps()
    }

    /// Numbers of optimizer state a row.
    pub fn state(&self, dim: usize) -> usize {
        match self.rule {
            Rule::Sgd {} => 0,
            Rule::Adagrad { row_wise: true, .. } => 1,
            Rule::Adagrad { .. } => dim,
            Rule::Adam { .. } => 2 * dim,
        }
    }

    pub(crate) fn counts_updates(&self) -> bool {
        matches!(self.rule, Rule::Adam { per_row_steps: true, .. })
    }

    fn check(&self) -> Result<()> {
        let least = |name: &str, value: f32| {
            if value.is_finite() && value >= 0.0 {
                return Ok(());
            }
            Err(Error::config(format!("expected a finite number of at least 0, found {value}"))
                .in_field(format!("optimizer.{name}")))
        };
        least("l2", self.l2)?;
        match self.rule {
            Rule::Sgd {} => Ok(()),
            Rule::Adagrad { initial, epsilon, .. } => least("initial", initial).and(least("epsilon", epsilon)),
            Rule::Adam { beta1, beta2, epsilon, .. } => {
                for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
                    if !(0.0..1.0).contains(&beta) {
                        return Err(Error::config(format!("expected a number in [0, 1), found {beta}"))
                            .in_field(format!("optimizer.{name}")));
                    }
                }
                least("epsilon", epsilon)
            }
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.dim == 0 || self.dim > 1 << 16 {
            return Err(Error::config(format!("expected 1 to 65536 numbers a row, found {}", self.dim)).in_field("dim"));
        }
        match self.space {
            Space::Direct { rows: 0 } => {
                return Err(Error::config("a table needs at least one row").in_field("space.direct.rows"));
            }
            Space::Direct { rows } if rows > 1 << 38 => {
                return Err(
                    Error::config(format!("a table has at most 2^38 rows, not {rows}")).in_field("space.direct.rows")
                );
            }
            Space::Open(Open { admit_after: 0, .. }) => {
                return Err(Error::config("the first sighting is number 1").in_field("space.open.admit_after"));
            }
            Space::Open(Open { max_rows: Some(0), .. }) => {
                return Err(Error::config("a table needs at least one row").in_field("space.open.max_rows"));
            }
            _ => {}
        }
        self.init.check()?;
        self.optimizer.check()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn short_form_is_enough_and_unknown_keys_are_refused() {
        let text = r#"{"dim": 8, "space": {"open": {"admit_after": 3}}, "optimizer": {"rule": {"type": "adam"}}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.optimizer, Optimizer::adam());
        assert_eq!(config.space, Space::Open(Open { admit_after: 3, ..Open::default() }));
        let again = serde_json::from_str::<Config>(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        for wrong in ["\"dimm\": 8", "\"space\": {\"open\": {\"admit\": 3}}"] {
            assert!(serde_json::from_str::<Config>(&text.replace("\"dim\": 8", wrong)).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"type": "adam", "beta": 0.9}"#).is_err());
        assert!(serde_json::from_str::<Rule>(r#"{"type": "sgd", "beta": 0.9}"#).is_err());
    }

    #[test]
    fn senseless_values_are_refused_by_name() {
        let good =
            Config { dim: 4, space: Space::Direct { rows: 3 }, init: Init::default(), optimizer: Optimizer::default() };
        good.check().unwrap();
        let adam = |beta1| Optimizer::new(Rule::Adam { beta1, beta2: 0.999, epsilon: 1e-8, per_row_steps: false });
        for (wrong, name) in [
            (Config { dim: 0, ..good }, "`dim`"),
            (Config { space: Space::Direct { rows: 0 }, ..good }, "`space.direct.rows`"),
            (Config { space: Space::Open(Open { admit_after: 0, ..Open::default() }), ..good }, "admit_after"),
            (Config { space: Space::Open(Open { max_rows: Some(0), ..Open::default() }), ..good }, "max_rows"),
            (Config { optimizer: Optimizer { l2: f32::NAN, ..Optimizer::default() }, ..good }, "`optimizer.l2`"),
            (Config { optimizer: adam(1.0), ..good }, "`optimizer.beta1`"),
            (Config { init: Init::Normal { std: -1.0 }, ..good }, "`init`"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn only_what_has_no_closed_form_sweeps() {
        let all = |optimizer| Optimizer { rows: Touched::All, l2: 0.1, ..optimizer };
        assert!(!all(Optimizer::sgd()).sweeps() && all(Optimizer::sgd()).shrinks_lazily());
        assert!(all(Optimizer::adam()).sweeps() && !all(Optimizer::adam()).shrinks_lazily());
        assert!(all(Optimizer::adagrad()).sweeps());
        let decoupled = Optimizer { decoupled: true, ..all(Optimizer::adagrad()) };
        assert!(!decoupled.sweeps() && decoupled.shrinks_lazily());
        assert!(!Optimizer::adam().sweeps() && !Optimizer::adam().shrinks_lazily());
    }
}
