//! What a ranker is worth: exact metrics over slices, computed in f64 from f32 scores.
//!
//! Conventions, the same everywhere in this module:
//!
//! - A label above ½ is positive. Probability metrics ([`log_loss`], [`brier`], calibration) also take soft labels.
//! - **`None` means that the metric has no value**: nothing to measure, slices of different lengths, a NaN among
//!   scores, labels or weights, or a single class where two are needed. Nothing here panics, and no NaN is ever ranked
//!   as if it were a score. Rows whose label is missing (NaN in [`crate::Batch::labels`]) are to be left out first.
//! - Equal scores are ties, and no result depends on the order of tied rows unless [`Ties::ByIndex`] is asked for:
//!   AUC counts a tied pair as half, ranking metrics take the mean over all orders or the worst one. A model that gives
//!   every candidate the same score therefore never wins. −0 and 0 are equal; infinities are ordinary scores.
//! - Sorting takes O(n log n), everything else O(n), with a few words of memory a row.

mod auc;
mod bootstrap;
mod calibration;
mod correlation;
mod groups;
mod history;
mod order;
mod placement;
mod probability;
mod ranking;
mod rejection;
mod roc;
mod runs;
mod student;
mod top_k;

pub use auc::{auc, average_precision, relative_improvement, weighted_auc};
pub use bootstrap::{
    Bootstrap, BootstrapPlan, FEWEST_REPLICATES, FEWEST_UNITS, Interval, bootstrap_auc, bootstrap_auc_by_group,
    bootstrap_gauc, bootstrap_mean, bootstrap_ratio, bootstrap_rmse,
};
pub use calibration::{Bins, ReliabilityBin, expected_calibration_error, predicted_over_observed, reliability};
pub use correlation::spearman;
pub use groups::{GroupAuc, auc_by_group, gauc, gauc_coverage};
pub use history::{HistoryAuc, HistoryGroup, auc_by_history};
pub use placement::{Placement, RankingAtK, Ties};
pub use probability::{brier, log_loss, mean_absolute_error, root_mean_squared_error};
pub use ranking::{RankingMean, ranking_by_query};
pub use rejection::{UncertaintyBin, rejection_curve, uncertainty_bins};
pub use roc::{RocPoint, roc_curve};
pub use runs::interval_over_runs;
pub use student::student_t;
pub use top_k::{TopK, top_k};
