//! Rank correlation.

use super::order::{Ascending, same_rows};

/// Twice the midrank of each value: an integer, so that ranks and their sums are exact.
fn doubled_midranks(values: &[f32]) -> Option<Vec<f64>> {
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for block in Ascending::new(values)?.blocks() {
        let doubled = (2 * start + block.len() + 1) as f64;
        block.rows().for_each(|row| ranks[row] = doubled);
        start += block.len();
    }
    Some(ranks)
}

/// Spearman's rank correlation: Pearson's correlation of the ranks, tied values sharing the mean of their ranks.
///
/// `None` with fewer than two rows, a NaN, or a side whose values are all equal.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    if !same_rows(a, b) {
        return None;
    }
    let (a, b) = (doubled_midranks(a)?, doubled_midranks(b)?);
    // The mean of doubled midranks is n + 1 with or without ties.
    let mean = (a.len() + 1) as f64;
    let (mut covariance, mut variance_a, mut variance_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        let (x, y) = (x - mean, y - mean);
        covariance += x * y;
        variance_a += x * x;
        variance_b += y * y;
    }
    let scale = (variance_a * variance_b).sqrt();
    (scale > 0.0).then(|| (covariance / scale).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Without ties: 1 − 6 Σd² / (n (n² − 1)), here d = (0, 1, 1, 0).
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, f32::NAN], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
    }
}
