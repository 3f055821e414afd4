//! The ROC curve, thinned for plotting.

use super::order::{Ascending, is_positive, same_rows};

/// A point of the ROC curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RocPoint {
    /// Share of the negatives at or above the point's threshold.
    pub false_positive_rate: f64,
    /// Share of the positives at or above the point's threshold.
    pub true_positive_rate: f64,
}

/// The ROC curve from (0, 0) to (1, 1), one point a distinct score, tied rows crossed together.
///
/// Points in the middle of a straight stretch are left out, which changes nothing. If more than `max_points` are left
/// (at least two are kept), points spread evenly along the curve's length are chosen from them.
///
/// `None` with a single class or a NaN.
pub fn roc_curve(scores: &[f32], labels: &[f32], max_points: usize) -> Option<Vec<RocPoint>> {
    if !same_rows(scores, labels) {
        return None;
    }
    let mut corners: Vec<[u64; 2]> = vec![[0, 0]];
    let (mut false_positives, mut true_positives) = (0, 0);
    for block in Ascending::new(scores)?.blocks().rev() {
        for row in block.rows() {
            if is_positive(labels[row])? {
                true_positives += 1;
            } else {
                false_positives += 1;
            }
        }
        push_corner(&mut corners, [false_positives, true_positives]);
    }
    if false_positives == 0 || true_positives == 0 {
        return None;
    }
    let curve: Vec<RocPoint> = corners
        .iter()
        .map(|[x, y]| RocPoint {
            false_positive_rate: *x as f64 / false_positives as f64,
            true_positive_rate: *y as f64 / true_positives as f64,
        })
        .collect();
    Some(thin(&curve, max_points.max(2)))
}

/// Adds a point, in place of the last one if that lies on the line from its predecessor to the new one.
fn push_corner(corners: &mut Vec<[u64; 2]>, point: [u64; 2]) {
    if let [.., a, b] = corners.as_slice() {
        // The coordinates never fall, so equal slopes mean that b is between a and the new point.
        let slope = |from: &[u64; 2], to: &[u64; 2]| (u128::from(to[0] - from[0]), u128::from(to[1] - from[1]));
        let (before, after) = (slope(a, b), slope(b, &point));
        if before.0 * after.1 == before.1 * after.0 {
            corners.pop();
        }
    }
    corners.push(point);
}

/// At most `max_points` points, the first and the last among them, evenly by the sum of both rates, which never falls.
fn thin(curve: &[RocPoint], max_points: usize) -> Vec<RocPoint> {
    if curve.len() <= max_points {
        return curve.to_vec();
    }
    let mut kept: Vec<RocPoint> = Vec::with_capacity(max_points);
    let mut wanted = 0;
    for (index, point) in curve.iter().enumerate() {
        let along = (point.false_positive_rate + point.true_positive_rate) / 2.0 * (max_points - 1) as f64;
        if along >= wanted as f64 || index + 1 == curve.len() {
            // The end must have a place: without it, rounding could fill the last place one point early.
            if kept.len() == max_points {
                kept.pop();
            }
            kept.push(*point);
            wanted = along.floor() as usize + 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Seed;
    use crate::metrics::auc;

    fn area(curve: &[RocPoint]) -> f64 {
        curve
            .windows(2)
            .map(|pair| {
                (pair[1].false_positive_rate - pair[0].false_positive_rate)
                    * (pair[1].true_positive_rate + pair[0].true_positive_rate)
                    / 2.0
            })
            .sum()
    }

    fn noisy(rows: u64) -> (Vec<f32>, Vec<f32>) {
        let seed = Seed(3);
        (0..rows)
            .map(|i| {
                let label = f32::from(u8::from(seed.child("label").unit_at(i) < 0.3));
                (seed.child("score").normal_at(i) + label, label)
            })
            .unzip()
    }

    #[test]
    fn corners_only() {
        let curve = roc_curve(&[0.9, 0.8, 0.7, 0.6, 0.5], &[1.0, 1.0, 0.0, 0.0, 0.0], 100).unwrap();
        let points: Vec<_> = curve.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
        assert_eq!(points, [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
        assert_eq!(roc_curve(&[1.0; 4], &[1.0, 0.0, 0.0, 1.0], 9).unwrap().len(), 2);
    }

    #[test]
    fn the_area_under_it_is_auc() {
        let (scores, labels) = noisy(3000);
        let auc = auc(&scores, &labels).unwrap();
        let full = roc_curve(&scores, &labels, usize::MAX).unwrap();
        assert!((area(&full) - auc).abs() < 1e-12);
        for max_points in [0, 2, 3, 10, 100, 500] {
            let thinned = roc_curve(&scores, &labels, max_points).unwrap();
            assert!(thinned.len() <= max_points.max(2) && thinned.len() >= max_points.min(100) / 2);
            assert_eq!((thinned.first(), thinned.last()), (full.first(), full.last()));
            assert!(thinned.iter().all(|point| full.contains(point)));
            if max_points >= 100 {
                assert!((area(&thinned) - auc).abs() < 2e-3, "{max_points}");
            }
        }
    }

    #[test]
    fn no_value() {
        assert_eq!(roc_curve(&[0.1, 0.2], &[1.0, 1.0], 9), None);
        assert_eq!(roc_curve(&[0.1, f32::NAN], &[1.0, 0.0], 9), None);
        assert_eq!(roc_curve(&[], &[], 9), None);
    }
}
