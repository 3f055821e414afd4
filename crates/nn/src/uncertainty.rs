//! What a prediction does not know: from several passes with dropout to the noise of the data and the ignorance of the network
//! (Kendall and Gal 2017).
//!
//! The passes are those of [`Scorer::score_with_dropout`](crate::engine::Scorer::score_with_dropout), one a seed. Aleatoric uncertainty is
//! in the data: more data does not help. Epistemic uncertainty is in the network: it falls as data grows and rises away from them.

/// The uncertainty of one prediction. Variances for [`regression`], nats for [`binary`]; the sum of both parts is the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Uncertainty {
    /// The mean of the passes' predictions.
    pub prediction: f64,
    /// The noise of the data.
    pub aleatoric: f64,
    /// The ignorance of the network.
    pub epistemic: f64,
}

/// Of passes that each predict a value and its variance (0 where the head predicts none): the mean variance is aleatoric, the variance of
/// the values epistemic. Without a pass all is zero.
pub fn regression(passes: impl IntoIterator<Item = (f32, f32)>) -> Uncertainty {
    // Welford 1962: the mean of squares less the square of the mean would lose the digits of a small variance.
    let (mut count, mut mean, mut squares, mut variances) = (0.0, 0.0, 0.0, 0.0);
    for (value, variance) in passes {
        count += 1.0;
        let deviation = f64::from(value) - mean;
        mean += deviation / count;
        squares += deviation * (f64::from(value) - mean);
        variances += f64::from(variance);
    }
    let passes = f64::max(count, 1.0);
    Uncertainty { prediction: mean, aleatoric: variances / passes, epistemic: squares / passes }
}

/// Of passes that each predict a probability: the mean entropy is aleatoric; what the entropy of the mean has beyond it, the mutual
/// information of prediction and network (Houlsby et al. 2011), epistemic. Without a pass all is zero.
pub fn binary(passes: impl IntoIterator<Item = f32>) -> Uncertainty {
    let (mut count, mut sum, mut entropies) = (0.0, 0.0, 0.0);
    for probability in passes {
        count += 1.0;
        sum += f64::from(probability);
        entropies += entropy(f64::from(probability));
    }
    let passes = f64::max(count, 1.0);
    let (prediction, aleatoric) = (sum / passes, entropies / passes);
    // Never negative but by rounding.
    Uncertainty { prediction, aleatoric, epistemic: (entropy(prediction) - aleatoric).max(0.0) }
}

/// The entropy of a yes with probability `p`, in nats.
fn entropy(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(p) + part(1.0 - p)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shared specification's case.
    #[test]
    fn mutual_information() {
        let found = binary([0.9, 0.6, 0.3]);
        assert!((found.prediction - 0.6).abs() < 1e-6, "{found:?}");
        assert!((found.aleatoric - 0.536320).abs() < 1e-6, "{found:?}");
        assert!((found.epistemic - 0.136692).abs() < 1e-6, "{found:?}");
        assert!((found.aleatoric + found.epistemic - 0.673012).abs() < 1e-6, "{found:?}");
        // Passes that agree know the network, also where they are sure.
        assert_eq!(binary([0.3, 0.3]).epistemic, 0.0);
        assert_eq!(binary([1.0, 1.0]), Uncertainty { prediction: 1.0, aleatoric: 0.0, epistemic: 0.0 });
        // Passes that are sure of opposite things know nothing, and say that the data are clear.
        let split = binary([0.0, 1.0]);
        assert!(split.aleatoric == 0.0 && (split.epistemic - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(binary([]), Uncertainty::default());
    }

    #[test]
    fn variance_within_and_between() {
        let found = regression([(1.0, 0.5), (2.0, 0.25), (6.0, 0.0)]);
        assert!((found.prediction - 3.0).abs() < 1e-12 && (found.aleatoric - 0.25).abs() < 1e-12);
        assert!((found.epistemic - (4.0 + 1.0 + 9.0) / 3.0).abs() < 1e-12);
        // Far from zero a variance keeps its digits.
        let far = regression([(10_000.0, 0.0), (10_000.5, 0.0)]);
        assert!((far.epistemic - 0.0625).abs() < 1e-12);
        assert_eq!(regression([]), Uncertainty::default());
    }
}
