//! One row of scores against the one that should be highest.

use super::activation::exp;

/// Lanes that are summed apart, so that a loop vectorizes; the order of summation is fixed.
const LANES: usize = 16;

kernel! {
    /// From scores to the gradient of `−ln softmax(x)[own]` over them, in place, with logits `x_j = scale · score_j + offset_j`, and
    /// `x_own = scale · score_own + own_offset`. The result is the loss. Shares below e⁻⁵⁰ of the largest are zero. A score or an offset of minus
    /// infinity leaves a column out: its gradient is zero. With a NaN among the logits the loss is NaN, and the gradient holds one.
    ///
    /// # Panics
    /// If there are not as many offsets as scores, or `own` is past them.
    pub fn contrast['a](scores: &'a mut [f32], offsets: &'a [f32], scale: f32, own: usize, own_offset: f32) -> f32 {
        assert_eq!(scores.len(), offsets.len(), "an offset a score");
        let own_logit = scale * scores[own] + own_offset;
        scores.iter_mut().zip(offsets).for_each(|(x, offset)| *x = scale * *x + offset);
        scores[own] = own_logit;
        let mut highest = [f32::NEG_INFINITY; LANES];
        for part in scores.chunks(LANES) {
            highest.iter_mut().zip(part).for_each(|(high, x)| *high = if *x > *high { *x } else { *high });
        }
        let highest = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0_f32; LANES];
        for part in scores.chunks_mut(LANES) {
            for (sum, x) in sums.iter_mut().zip(part) {
                // Numbers too small to be normal would make all that is computed with them slow.
                let below = *x - highest;
                // `max` makes -50 of NaN, which must come out as it is.
                let share = exp(below.max(-50.0));
                *x = if below < -50.0 { 0.0 } else if below.is_nan() { below } else { share };
                *sum += *x;
            }
        }
        let sum: f32 = sums.iter().sum();
        let factor = scale / sum;
        scores.iter_mut().for_each(|x| *x *= factor);
        scores[own] -= scale;
        sum.ln() + highest - own_logit
    }
}

kernel! {
    /// From scores to the gradient of `1 − score_own + Σ_j weight_j · max(0, score_j − margin)` over them, in place; `own` is none of the j. The
    /// result is the loss: NaN with a NaN among the scores. A score of minus infinity leaves a column out.
    ///
    /// # Panics
    /// If there are not as many weights as scores, or `own` is past them.
    pub fn hinge['a](scores: &'a mut [f32], weights: &'a [f32], margin: f32, own: usize) -> f32 {
        assert_eq!(scores.len(), weights.len(), "a weight a score");
        let own_score = scores[own];
        scores[own] = f32::NEG_INFINITY;
        let mut sums = [0.0_f32; LANES];
        for (scores, weights) in scores.chunks_mut(LANES).zip(weights.chunks(LANES)) {
            for ((sum, score), weight) in sums.iter_mut().zip(scores).zip(weights) {
                // NaN is no smaller than the margin.
                let over = *score > margin || score.is_nan();
                *sum += if over { weight * (*score - margin) } else { 0.0 };
                *score = if over { *weight } else { 0.0 };
            }
        }
        scores[own] = -1.0;
        1.0 - own_score + sums.iter().sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_gradient_by_hand() {
        for count in [1_usize, 2, 15, 16, 17, 100] {
            let scores: Vec<f32> = (0..count).map(|at| (at as f32 * 0.7).sin()).collect();
            let offsets: Vec<f32> = (0..count).map(|at| (at as f32 * 0.3).cos()).collect();
            let (scale, own, own_offset) = (3.0, count / 2, 0.25);
            let mut logits: Vec<f64> =
                scores.iter().zip(&offsets).map(|(score, offset)| f64::from(scale * score + offset)).collect();
            logits[own] = f64::from(scale * scores[own] + own_offset);
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            let mut found = scores.clone();
            let loss = contrast(&mut found, &offsets, scale, own, own_offset);
            assert!((f64::from(loss) - (sum.ln() - logits[own])).abs() < 1e-5, "{count}");
            for (at, (found, logit)) in found.iter().zip(&logits).enumerate() {
                let expected = f64::from(scale) * (logit.exp() / sum - f64::from(u8::from(at == own)));
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{count} {at}: {found} {expected}");
            }
        }
    }

    #[test]
    fn hinge_by_hand() {
        let mut scores = [0.9, 0.5, 0.75, -1.0];
        let loss = hinge(&mut scores, &[2.0, 3.0, 4.0, 5.0], 0.5, 2);
        assert!((loss - (0.25 + 2.0 * 0.4)).abs() < 1e-6, "{loss}");
        assert_eq!(scores, [2.0, 0.0, -1.0, 0.0]);
    }

    /// A score that is no number, wherever it stands, is no loss and no gradient that training could go on with.
    #[test]
    fn nan_stays_nan() {
        for count in [1_usize, 3, 16, 17, 40] {
            for at in 0..count {
                for own in [0, count - 1] {
                    let mut scores = vec![0.5; count];
                    scores[at] = f32::NAN;
                    let mut found = scores.clone();
                    let loss = contrast(&mut found, &vec![0.0; count], 2.0, own, 0.0);
                    assert!(loss.is_nan() && found.iter().any(|x| x.is_nan()), "{count} {at} {own}: {loss}");
                    assert!(hinge(&mut scores, &vec![1.0; count], 0.1, own).is_nan(), "{count} {at} {own}");
                }
            }
        }
    }

    /// An offset of minus infinity takes a score out.
    #[test]
    fn what_is_taken_out_has_no_weight() {
        let mut scores = [1.0, 5.0, 2.0];
        let loss = contrast(&mut scores, &[0.0, f32::NEG_INFINITY, 0.0], 1.0, 0, 0.0);
        assert!((loss - (1.0 + 1.0_f32.exp()).ln()).abs() < 1e-6);
        assert_eq!(scores[1], 0.0);
    }
}
