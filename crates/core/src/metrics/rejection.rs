//! Whether an uncertainty knows where the errors are.

use super::order::same_rows;

/// Samples of about the same uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UncertaintyBin {
    /// Their number.
    pub count: u64,
    /// Their mean uncertainty.
    pub uncertainty: f64,
    /// Their mean error.
    pub error: f64,
}

/// The mean error of what is left when a share of the samples, the most uncertain ones, is rejected: (share rejected, mean error) from 0
/// upwards in `steps` equal steps, 1 left out. Where the uncertainty knows the errors the curve falls; with the errors themselves for the
/// uncertainty it falls as fast as can be. Samples of equal uncertainty are taken to have their mean error each, so their order does not
/// matter.
///
/// `None` without samples or steps, with different lengths, or with a value that is not finite.
pub fn rejection_curve(uncertainties: &[f32], errors: &[f32], steps: usize) -> Option<Vec<[f64; 2]>> {
    let sorted = sorted(uncertainties, errors)?;
    let count = sorted.len();
    if steps == 0 {
        return None;
    }
    // sums[k]: of the k most certain.
    let mut sums = Vec::with_capacity(count + 1);
    sums.push(0.0);
    let mut sum = 0.0;
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let mean = tied.iter().map(|(_, error)| f64::from(*error)).sum::<f64>() / tied.len() as f64;
        for _ in tied {
            sum += mean;
            sums.push(sum);
        }
    }
    let at = |step: usize| {
        let share = step as f64 / steps as f64;
        let left = (count - (share * count as f64) as usize).max(1);
        [share, sums[left] / left as f64]
    };
    Some((0..steps).map(at).collect())
}

/// Mean uncertainty and mean error of bins of equal count, from the most certain up: equal where the uncertainty is the expected error.
///
/// `None` as [`rejection_curve`].
pub fn uncertainty_bins(uncertainties: &[f32], errors: &[f32], bins: usize) -> Option<Vec<UncertaintyBin>> {
    let sorted = sorted(uncertainties, errors)?;
    let bins = bins.min(sorted.len());
    if bins == 0 {
        return None;
    }
    let bin = |number: usize| {
        let rows = &sorted[number * sorted.len() / bins..(number + 1) * sorted.len() / bins];
        let mean =
            |of: fn(&(f32, f32)) -> f32| rows.iter().map(|row| f64::from(of(row))).sum::<f64>() / rows.len() as f64;
        UncertaintyBin { count: rows.len() as u64, uncertainty: mean(|row| row.0), error: mean(|row| row.1) }
    };
    Some((0..bins).map(bin).collect())
}

/// Pairs from the most certain up.
fn sorted(uncertainties: &[f32], errors: &[f32]) -> Option<Vec<(f32, f32)>> {
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    if !same_rows(uncertainties, errors) || !finite(uncertainties) || !finite(errors) {
        return None;
    }
    let mut pairs: Vec<(f32, f32)> = uncertainties.iter().copied().zip(errors.iter().copied()).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Some(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_most_uncertain_go_first() {
        let (uncertainty, error) = ([0.4, 0.1, 0.3, 0.2], [8.0, 1.0, 3.0, 2.0]);
        let curve = rejection_curve(&uncertainty, &error, 4).unwrap();
        assert_eq!(curve, [[0.0, 3.5], [0.25, 2.0], [0.5, 1.5], [0.75, 1.0]]);
        let wrong: Vec<f32> = uncertainty.iter().map(|value| -value).collect();
        assert_eq!(rejection_curve(&wrong, &error, 2).unwrap()[1], [0.5, 5.5]);
        // An uncertainty that tells nothing rejects nobody in particular.
        let flat = rejection_curve(&[1.0; 4], &error, 4).unwrap();
        assert!(flat.iter().all(|point| point[1] == 3.5), "{flat:?}");
    }

    #[test]
    fn bins_have_equal_counts() {
        let bins = uncertainty_bins(&[5.0, 1.0, 4.0, 2.0, 3.0], &[50.0, 10.0, 40.0, 20.0, 30.0], 2).unwrap();
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((bins[0].uncertainty, bins[0].error, bins[1].uncertainty, bins[1].error), (1.5, 15.0, 4.0, 40.0));
        assert_eq!(uncertainty_bins(&[1.0], &[2.0], 9).unwrap().len(), 1);
    }

    #[test]
    fn no_value() {
        assert_eq!(rejection_curve(&[], &[], 4), None);
        assert_eq!(rejection_curve(&[1.0], &[1.0, 2.0], 4), None);
        assert_eq!(rejection_curve(&[f32::NAN], &[1.0], 4), None);
        assert_eq!(rejection_curve(&[1.0], &[1.0], 0), None);
        assert_eq!(uncertainty_bins(&[1.0], &[f32::INFINITY], 4), None);
    }
}
