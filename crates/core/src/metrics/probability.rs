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
/// Probabilities are clipped to [ε, 1 − ε] with ε = 2⁻²³, what `f32` tells apart just above 1, as scikit-learn does for `f32`: a certain and
/// wrong prediction costs 15.9 nats. A probability of 32 bits near 1 knows no more: that of a logit of 20, whose loss is 20, is 1, as that of
/// a logit of 17 is. A smaller ε would take both for a loss of its own choice, such as 36. `None` if a probability or label is outside
/// [0, 1] or NaN.
pub fn log_loss(probabilities: &[f32], labels: &[f32]) -> Option<f64> {
    if !in_unit_interval(probabilities) || !in_unit_interval(labels) {
        return None;
    }
    mean_loss(probabilities, labels, |p, y| {
        let epsilon = f64::from(f32::EPSILON);
        let p = p.clamp(epsilon, 1.0 - epsilon);
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
        assert!((log_loss(&[0.0], &[1.0]).unwrap() - 23.0 * 2f64.ln()).abs() < 1e-12);
        assert!(log_loss(&[1.0], &[1.0]).unwrap() < 2e-7);
        // The least expected loss of a soft label is its entropy.
        assert!((log_loss(&[0.5], &[0.5]).unwrap() - 2f64.ln()).abs() < 1e-15);
        assert_eq!(brier(&[0.5, 1.0], &[1.0, 1.0]), Some(0.125));
        assert_eq!(root_mean_squared_error(&[1.0, 5.0], &[4.0, 1.0]), Some(12.5f64.sqrt()));
        assert_eq!(mean_absolute_error(&[1.0, 5.0], &[4.0, 1.0]), Some(3.5));
    }

    /// What 32 bits make of a logit costs what the logit does, up to where they tell no more: never infinity, never 36.
    #[test]
    fn log_loss_of_saturated_probabilities() {
        for (logit, nats) in [(5.0_f32, 5.0067), (14.0, 14.0), (17.0, 15.9424), (20.0, 15.9424), (90.0, 15.9424)] {
            let probability = 1.0 / (1.0 + (-logit).exp());
            let loss = log_loss(&[probability], &[0.0]).unwrap();
            assert!((loss - nats).abs() < 0.05, "{logit}: {loss}");
            // The other side is the same.
            let other = log_loss(&[1.0 - probability], &[1.0]).unwrap();
            assert!((loss - other).abs() < 1e-9, "{logit}: {loss} {other}");
        }
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
