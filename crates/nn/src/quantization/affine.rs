//! A scale and a zero: `real = (code − zero) · scale`.

use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How real numbers of a range become codes of [−128, 127].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    /// What a step of the code is worth; positive.
    pub scale: f32,
    /// The code of 0.
    pub zero: i8,
}

kitestring_core::fields!(Affine { scale, zero; } else Self { scale: 1.0, zero: 0 });

impl Affine {
    /// The codes of a range, which is widened to hold 0: padding and what a rectifier cuts off are exact.
    ///
    /// # Errors
    /// A range that is not finite.
    pub fn of_range(low: f32, high: f32) -> Result<Self> {
        if !(low.is_finite() && high.is_finite()) {
            return Err(Error::numeric(format!("no codes for numbers from {low} to {high}")));
        }
        let (low, high) = (low.min(0.0), high.max(0.0));
        // In f64, for the difference of two finite numbers may not be one.
        let scale = ((f64::from(high) - f64::from(low)) / 255.0) as f32;
        if scale < f32::MIN_POSITIVE {
            return Ok(Self { scale: 1.0, zero: 0 });
        }
        let zero = (-128.0 - low / scale).round().clamp(-128.0, 127.0);
        Ok(Self { scale, zero: zero as i8 })
    }

    /// The code nearest to a number, the even one of two; numbers out of range get the nearest end. There is no code for NaN, which gets the
    /// least one: whoever encodes looks for it first.
    #[inline(always)]
    pub fn encode(self, x: f32) -> i8 {
        // Added to this, a small number is rounded to a whole one, which the sum's lowest bits are: vectors have no quicker way to bytes.
        const WHOLE: f32 = 12_582_912.0;
        let level = x * (1.0 / self.scale) + f32::from(self.zero);
        // Comparisons in this order are one instruction each.
        let level = if level > -128.0 { level } else { -128.0 };
        let level = if level < 127.0 { level } else { 127.0 };
        (level + WHOLE).to_bits() as i8
    }

    /// Whether a number is in range: no more than half a step from what its code stands for, but for the rounding of `f32`.
    #[inline(always)]
    pub fn holds(self, x: f32) -> bool {
        let level = x * (1.0 / self.scale) + f32::from(self.zero);
        (-128.5..=127.5).contains(&level)
    }

    /// What a code stands for.
    #[inline(always)]
    pub fn decode(self, code: i8) -> f32 {
        (i32::from(code) - i32::from(self.zero)) as f32 * self.scale
    }
}

/// A weight matrix in codes of [−127, 127] with a scale a column, the output channel, so that a column of small weights loses nothing to one
/// of large ones. Zero is the code 0, so no product has a term for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// `inputs × outputs`, row-major.
    pub codes: Vec<i8>,
    /// One for each output.
    pub scales: Vec<f32>,
}

impl Weights {
    /// The codes of a matrix of `outputs` columns.
    ///
    /// # Errors
    /// A weight that is not finite, a matrix that does not have whole rows.
    pub fn per_column(weights: &[f32], outputs: usize) -> Result<Self> {
        if outputs == 0 || !weights.len().is_multiple_of(outputs) {
            return Err(Error::internal(format!("{} weights in rows of {outputs}", weights.len())));
        }
        let mut highest = vec![0.0_f32; outputs];
        for row in weights.chunks_exact(outputs) {
            for (high, weight) in highest.iter_mut().zip(row) {
                if !weight.is_finite() {
                    return Err(Error::numeric("a weight is not a finite number"));
                }
                *high = high.max(weight.abs());
            }
        }
        let scales: Vec<f32> = highest.iter().map(|high| (high / 127.0).max(f32::MIN_POSITIVE)).collect();
        let code = |(weight, scale): (&f32, &f32)| (weight / scale).round().clamp(-127.0, 127.0) as i8;
        let codes = weights.chunks_exact(outputs).flat_map(|row| row.iter().zip(&scales).map(code)).collect();
        Ok(Self { codes, scales })
    }

    /// What the codes stand for, `inputs × outputs`.
    pub fn decode(&self) -> Vec<f32> {
        let rows = self.codes.chunks_exact(self.scales.len().max(1));
        rows.flat_map(|row| row.iter().zip(&self.scales).map(|(code, scale)| f32::from(*code) * scale)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;

    #[test]
    fn activations_by_hand() {
        let codes = Affine::of_range(-1.0, 3.0).unwrap();
        assert!((codes.scale - 0.015_686_3).abs() < 1e-7);
        assert_eq!(codes.zero, -64);
        assert_eq!([-1.0, 0.0, 1.0, 3.0].map(|x| codes.encode(x)), [-128, -64, 0, 127]);
    }

    #[test]
    fn weights_by_hand() {
        let weights = Weights::per_column(&[-0.8, 0.3, 0.05, 1.27], 1).unwrap();
        assert_eq!(weights.codes, [-80, 30, 5, 127]);
        assert!((weights.scales[0] - 0.01).abs() < 1e-9);
    }

    #[test]
    fn what_comes_back_is_half_a_step_away_and_zero_is_exact() {
        for case in 0..200 {
            let seed = Seed(11).at(case);
            let (low, high) = (seed.normal_at(0) * 3.0, seed.normal_at(1) * 3.0);
            let (low, high) = (low.min(high), low.max(high));
            let codes = Affine::of_range(low, high).unwrap();
            assert_eq!(codes.decode(codes.encode(0.0)), 0.0, "{low} {high}");
            for at in 0..100 {
                let x = low + (high - low) * seed.unit_at(at + 2);
                // At the ends the zero's rounding may cost a second half.
                let bound = if x < low + codes.scale || x > high - codes.scale { 1.01 } else { 0.501 };
                let off = (codes.decode(codes.encode(x)) - x).abs();
                assert!(off <= bound * codes.scale, "{x} in {low} {high}: {off} of {}", codes.scale);
            }
            assert_eq!((codes.encode(-1e30), codes.encode(1e30)), (-128, 127));
        }
    }

    #[test]
    fn ranges_without_width_and_without_end() {
        assert_eq!(Affine::of_range(0.0, 0.0).unwrap().encode(0.0), 0);
        let wide = Affine::of_range(f32::MIN, f32::MAX).unwrap();
        assert!(wide.scale.is_finite());
        // The zero of an even range lies between two codes, so that one end is half a step short.
        assert_eq!((wide.encode(f32::MIN), wide.encode(f32::MAX)), (-128, 126));
        assert!(Affine::of_range(f32::NAN, 1.0).is_err());
        assert!(Affine::of_range(0.0, f32::INFINITY).is_err());
    }

    /// Columns a hundred times apart: a scale for all of them loses the small one.
    #[test]
    fn a_scale_a_column_is_nearer() {
        let seed = Seed(3);
        let weights: Vec<f32> = (0..200).map(|at| seed.normal_at(at) * if at % 2 == 0 { 1.0 } else { 0.01 }).collect();
        let error = |decoded: &[f32]| {
            let of_small = weights.iter().zip(decoded).skip(1).step_by(2);
            of_small.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let apart = error(&Weights::per_column(&weights, 2).unwrap().decode());
        let together = error(&Weights::per_column(&weights, 1).unwrap().decode());
        assert!(apart < 0.05 * together, "{apart} {together}");
        assert!(Weights::per_column(&[1.0, f32::NAN], 2).is_err());
        assert!(Weights::per_column(&[1.0; 3], 2).is_err());
    }
}
