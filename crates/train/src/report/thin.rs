//! Fewer points for the same picture: a run may log a hundred thousand, a figure shows a few hundred.

/// Neighbouring points as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    /// Mean of x.
    pub x: f64,
    /// Mean of y over finite values; NaN if there is none.
    pub mean: f64,
    /// Least finite y.
    pub low: f64,
    /// Greatest finite y.
    pub high: f64,
}

/// Neighbouring points gathered into at most so many buckets of equal size; the last may be up to half smaller or larger.
pub(super) fn buckets(points: &[[f64; 2]], at_most: usize) -> Vec<Bucket> {
    let size = points.len().div_ceil(at_most.max(1)).max(1);
    let gather = |part: &[[f64; 2]]| {
        let finite = || part.iter().map(|point| point[1]).filter(|y| y.is_finite());
        Bucket {
            x: part.iter().map(|point| point[0]).sum::<f64>() / part.len() as f64,
            mean: finite().sum::<f64>() / finite().count() as f64,
            low: finite().fold(f64::NAN, f64::min),
            high: finite().fold(f64::NAN, f64::max),
        }
    };
    // A few points left over at the end would be noisier than the rest: they belong to the bucket before.
    let rest = points.len() % size;
    let whole = points.len() - if 2 * rest < size && points.len() > size { rest } else { 0 };
    let last = whole.saturating_sub(1) / size * size;
    let (before, last) = points.split_at(last.min(points.len()));
    before.chunks(size).chain((!last.is_empty()).then_some(last)).map(gather).collect()
}

/// A monotone curve through the unit square without points closer than `step` to the last kept one. Both ends stay.
pub(super) fn monotone(points: &[[f64; 2]], step: f64) -> Vec<[f64; 2]> {
    let mut kept: Vec<[f64; 2]> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let far = kept.last().is_none_or(|last| (point[0] - last[0]).abs() + (point[1] - last[1]).abs() >= step);
        if far || index + 1 == points.len() {
            kept.push(*point);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [[1.0, 0.5], [2.0, 0.25]];
        let thin = buckets(&points, 10);
        assert_eq!(thin.iter().map(|bucket| [bucket.x, bucket.mean]).collect::<Vec<_>>(), points);
        assert!(buckets(&[], 10).is_empty());
    }

    #[test]
    fn a_bucket_knows_mean_and_range_and_skips_what_is_missing() {
        let thin = buckets(&[[0.0, 1.0], [1.0, f64::NAN], [2.0, 3.0], [3.0, f64::NAN]], 2);
        assert_eq!(thin[0], Bucket { x: 0.5, mean: 1.0, low: 1.0, high: 1.0 });
        assert_eq!(thin[1], Bucket { x: 2.5, mean: 3.0, low: 3.0, high: 3.0 });
        assert!(buckets(&[[0.0, f64::NAN]], 2)[0].mean.is_nan());
    }

    #[test]
    fn a_curve_keeps_its_ends() {
        let many: Vec<_> = (0..=10_000).map(|i| [f64::from(i) / 1e4, (f64::from(i) / 1e4).sqrt()]).collect();
        let kept = monotone(&many, 0.01);
        assert!(kept.len() < 210, "{}", kept.len());
        assert_eq!((kept.first(), kept.last()), (many.first(), many.last()));
    }
}
