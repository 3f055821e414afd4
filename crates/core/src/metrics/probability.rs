//! Errors of predicted probabilities and values.

use super::order::same_rows;

/// Mean of `loss(prediction, target)` in f64; `None` on different lengths, no rows, or a mean that is not a number.
fn mean_loss(predictions: &[f32], targets: &[f32], loss: impl Fn(f64, f64) -> f64) -> Option<f64> {
    if !same_rows(predictions, targets) {
        return None;
    }
    let sum: f64 = predictions.iter().zip(targets).map(|(p, y)| loss(f64::from(*p), f64::from(*y))).sum();
    (!sum.is_nan()).then(|| sum / predictions.len() as f64)
}

/// Whether all values are probabilities; NaN is not.
pub(super) fn in_unit_interval(values: &[f32]) -> bool {
    values.iter().all(|value| (0.0..=1.0).contains(value))
}

/// Mean negative log-likelihood of labels in [0, 1] under predicted probabilities, in nats.
///
/// Probabilities are clipped to [ε, 1 − ε] with ε = 2⁻⁵², as scikit-learn does for f64, so that a certain and wrong
/// prediction costs 36 nats and not infinity. `None` if a probability or label is outside [0, 1] or NaN.
pub fn log_loss(probabilities: &[f32], labels: &[f32]) -> Option<f64> {
    if !in_unit_interval(probabilities) || !in_unit_interval(labels) {
        return None;
    }
    mean_loss(probabilities, labels, |p, y| {
        let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        // A soft label needs both terms; for a hard one the other term is exactly zero.
        -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
    })
}

/// Brier score: mean squared difference between probability and label (Brier 1950).
///
/// `None` if a probability or label is outside [0, 1] or NaN.
pub fn brier(probabilities: &[f32], labels: &[f32]) -> Option<f64> {
    if !in_unit_interval(probabilities) || !in_unit_interval(labels) {
        return None;
    }
    mean_loss(probabilities, labels, |p, y| (p - y).powi(2))
}

/// Root of the mean squared difference, in the unit of the targets.
pub fn root_mean_squared_error(predictions: &[f32], targets: &[f32]) -> Option<f64> {
    mean_loss(predictions, targets, |p, y| (p - y).powi(2)).map(f64::sqrt)
}

/// Mean absolute difference, in the unit of the targets.
pub fn mean_absolute_error(predictions: &[f32], targets: &[f32]) -> Option<f64> {
    mean_loss(predictions, targets, |p, y| (p - y).abs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn by_hand() {
        assert!((log_loss(&[0.5, 0.25], &[1.0, 0.0]).unwrap() - (2f64.ln() - 0.75f64.ln()) / 2.0).abs() < 1e-15);
        assert!((log_loss(&[0.0], &[1.0]).unwrap() - 52.0 * 2f64.ln()).abs() < 1e-12);
        assert!(log_loss(&[1.0], &[1.0]).unwrap() < 1e-15);
        // The least expected loss of a soft label is its entropy.
        assert!((log_loss(&[0.5], &[0.5]).unwrap() - 2f64.ln()).abs() < 1e-15);
        assert_eq!(brier(&[0.5, 1.0], &[1.0, 1.0]), Some(0.125));
        assert_eq!(root_mean_squared_error(&[1.0, 5.0], &[4.0, 1.0]), Some(12.5f64.sqrt()));
        assert_eq!(mean_absolute_error(&[1.0, 5.0], &[4.0, 1.0]), Some(3.5));
    }

    #[test]
    fn no_value() {
        assert_eq!(log_loss(&[1.5], &[1.0]), None);
        assert_eq!(log_loss(&[f32::NAN], &[1.0]), None);
        assert_eq!(log_loss(&[], &[]), None);
        assert_eq!(brier(&[0.5], &[2.0]), None);
        assert_eq!(brier(&[0.5], &[f32::NAN]), None);
        assert_eq!(root_mean_squared_error(&[f32::NAN], &[1.0]), None);
        assert_eq!(mean_absolute_error(&[0.5], &[1.0, 2.0]), None);
    }
}
