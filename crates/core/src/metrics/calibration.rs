//! Whether predicted probabilities mean what they say.

use super::order::{Ascending, equal_count_part, same_rows};
use super::probability::in_unit_interval;

/// How probabilities are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Bins {
    /// This many intervals of equal width; an edge belongs to the interval below it.
    EqualWidth(usize),
    /// This many bins with about equally many rows. Equal probabilities stay together, so bins may be fewer.
    EqualCount(usize),
}

/// One bin of a reliability curve. Bins without rows are left out.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ReliabilityBin {
    /// Smallest probability of the bin's rows.
    pub lowest: f64,
    /// Largest probability of the bin's rows.
    pub highest: f64,
    /// Mean predicted probability.
    pub mean_prediction: f64,
    /// Mean label: how often it happened.
    pub mean_label: f64,
    /// Rows.
    pub count: u64,
}

/// The points of a reliability curve in ascending order of prediction.
///
/// `None` without bins or rows, or if a probability or label is outside [0, 1] or NaN.
pub fn reliability(probabilities: &[f32], labels: &[f32], bins: Bins) -> Option<Vec<ReliabilityBin>> {
    let (Bins::EqualWidth(number) | Bins::EqualCount(number)) = bins;
    if number == 0 || !same_rows(probabilities, labels) || !in_unit_interval(probabilities) || !in_unit_interval(labels)
    {
        return None;
    }
    let order = Ascending::new(probabilities)?;
    let mut start = 0;
    let mut curve: Vec<ReliabilityBin> = Vec::new();
    let mut last = None;
    for block in order.blocks() {
        let Some(first) = block.rows().next() else { continue };
        let probability = f64::from(probabilities[first]);
        let bin = match bins {
            Bins::EqualWidth(number) => ((probability * number as f64).ceil() as usize).saturating_sub(1),
            Bins::EqualCount(number) => equal_count_part(start, block.len(), probabilities.len(), number),
        };
        start += block.len();
        if last != Some(bin) {
            last = Some(bin);
            let empty = ReliabilityBin {
                lowest: probability,
                highest: probability,
                mean_prediction: 0.0,
                mean_label: 0.0,
                count: 0,
            };
            curve.push(empty);
        }
        // Sums stand in the means' place until all rows are in.
        if let Some(bin) = curve.last_mut() {
            bin.highest = probability;
            bin.mean_prediction += probability * block.len() as f64;
            bin.mean_label += block.rows().map(|row| f64::from(labels[row])).sum::<f64>();
            bin.count += block.len() as u64;
        }
    }
    for bin in &mut curve {
        bin.mean_prediction /= bin.count as f64;
        bin.mean_label /= bin.count as f64;
    }
    Some(curve)
}

/// Expected calibration error: the mean over rows of `|mean prediction − mean label|` of the row's bin (Naeini, Cooper
/// and Hauskrecht 2015). Equal-count bins are the better choice where most probabilities are small, as click rates are.
///
/// `None` as for [`reliability`].
pub fn expected_calibration_error(probabilities: &[f32], labels: &[f32], bins: Bins) -> Option<f64> {
    let curve = reliability(probabilities, labels, bins)?;
    let sum: f64 = curve.iter().map(|bin| bin.count as f64 * (bin.mean_prediction - bin.mean_label).abs()).sum();
    Some(sum / probabilities.len() as f64)
}

/// Predicted over observed: the sum of probabilities over the sum of labels; above one is over-confidence.
///
/// `None` if no label is positive, or as for [`reliability`].
pub fn predicted_over_observed(probabilities: &[f32], labels: &[f32]) -> Option<f64> {
    if !same_rows(probabilities, labels) || !in_unit_interval(probabilities) || !in_unit_interval(labels) {
        return None;
    }
    let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>();
    let observed = sum(labels);
    (observed > 0.0).then(|| sum(probabilities) / observed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn by_hand() {
        let probabilities = [0.0, 0.25, 0.5, 0.75, 1.0];
        let labels = [0.0, 1.0, 0.0, 1.0, 1.0];
        let curve = reliability(&probabilities, &labels, Bins::EqualWidth(2)).unwrap();
        assert_eq!(curve.len(), 2);
        assert_eq!((curve[0].lowest, curve[0].highest, curve[0].count), (0.0, 0.5, 3));
        assert_eq!((curve[0].mean_prediction, curve[0].mean_label), (0.25, 1.0 / 3.0));
        assert_eq!((curve[1].mean_prediction, curve[1].mean_label, curve[1].count), (0.875, 1.0, 2));
        let error = expected_calibration_error(&probabilities, &labels, Bins::EqualWidth(2)).unwrap();
        assert!((error - (3.0 * (1.0 / 3.0 - 0.25) + 2.0 * 0.125) / 5.0).abs() < 1e-15);
        assert_eq!(predicted_over_observed(&probabilities, &labels), Some(2.5 / 3.0));
    }

    #[test]
    fn equal_counts_do_not_depend_on_the_order_of_ties() {
        let probabilities = [0.1, 0.3, 0.3, 0.3, 0.3, 0.9];
        let labels = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let curve = reliability(&probabilities, &labels, Bins::EqualCount(3)).unwrap();
        assert_eq!(curve.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 4, 1]);
        let reversed = reliability(&probabilities, &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0], Bins::EqualCount(3)).unwrap();
        assert_eq!(curve, reversed);
        let distinct: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
        let curve = reliability(&distinct, &[0.0; 100], Bins::EqualCount(4)).unwrap();
        assert_eq!(curve.iter().map(|bin| bin.count).collect::<Vec<_>>(), [25; 4]);
    }

    #[test]
    fn no_value() {
        assert_eq!(reliability(&[0.5], &[1.0], Bins::EqualWidth(0)), None);
        assert_eq!(reliability(&[1.5], &[1.0], Bins::EqualCount(2)), None);
        assert_eq!(reliability(&[f32::NAN], &[1.0], Bins::EqualCount(2)), None);
        assert_eq!(expected_calibration_error(&[], &[], Bins::EqualCount(2)), None);
        assert_eq!(predicted_over_observed(&[0.5], &[0.0]), None);
    }
}
