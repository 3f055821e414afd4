//! Student's t distribution, for intervals from a few values.

/// Degrees of freedom from which on the distribution is taken as it is there: its quantiles are .1 % above the normal one's.
pub(super) const NORMAL: usize = 1000;

/// `P(T > x)` for `x ≥ 0` under Student's distribution with whole degrees of freedom, at least 1: the finite series of Abramowitz and
/// Stegun (1964), 26.7.3 and 26.7.4.
pub(super) fn tail(x: f64, degrees: usize) -> f64 {
    let degrees = degrees.clamp(1, NORMAL);
    let angle = (x / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    // Terms are those of cos θ, cos³ θ, … or of 1, cos² θ, …, each made of the one before.
    let (mut term, mut sum, mut power) = if is_odd { (cosine, cosine, 1) } else { (1.0, 1.0, 0) };
    while power + 2 < degrees {
        term *= cosine * cosine * (power + 1) as f64 / (power + 2) as f64;
        sum += term;
        power += 2;
    }
    let within = match (is_odd, degrees) {
        (true, 1) => std::f64::consts::FRAC_2_PI * angle,
        (true, _) => std::f64::consts::FRAC_2_PI * (angle + sine * sum),
        (false, _) => sine * sum,
    };
    (0.5 * (1.0 - within)).clamp(0.0, 0.5)
}

/// The `x` that `T` exceeds with a probability of `share`, below one half: 12.706 for .025 and one degree of freedom.
pub fn student_t(share: f64, degrees: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while tail(high, degrees) > share && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if tail(middle, degrees) > share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against printed tables.
    #[test]
    fn quantiles_are_those_of_tables() {
        let table = [
            (1, 12.7062),
            (2, 4.3027),
            (3, 3.1824),
            (4, 2.7764),
            (9, 2.2622),
            (19, 2.0930),
            (29, 2.0452),
            (120, 1.9799),
        ];
        for (degrees, expected) in table {
            assert!((student_t(0.025, degrees) - expected).abs() < 1e-4, "{degrees}: {}", student_t(0.025, degrees));
        }
        assert!((student_t(0.05, 5) - 2.0150).abs() < 1e-4);
        assert!((student_t(0.025, usize::MAX) / 1.959_964 - 1.0).abs() < 0.002);
        assert!((student_t(tail(1.3, 7), 7) - 1.3).abs() < 1e-9);
        assert!(tail(0.0, 4) == 0.5 && tail(f64::INFINITY, 3) < 1e-15);
    }
}
