//! Exponentials that vectorize, and the activations made of them.

use serde::{Deserialize, Serialize};

/// `e^x` to about two units in the last place; 0 below −87.3 and capped above 88.4. Straight-line code, so that a
/// loop over it vectorizes.
///
/// `x = n ln 2 + r`, `e^r` by a polynomial of degree six (Cephes' coefficients), `2^n` by its bit pattern.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to the nearest integer.
    let clamped = x.clamp(-87.336_54, 88.376_26);
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_65;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127)) << 23);
    // NaN stays NaN: the clamp keeps it and so does the polynomial.
    value * power
}

/// `ln x` of a positive, normal number, to about two units in the last place; NaN of NaN and of infinity. Straight-line code too.
///
/// `x = 2^n (1 + f)` with `1 + f` between `√½` and `√2`, and `ln (1 + f)` by a polynomial (Cephes' coefficients).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const ROOT_OF_HALF: u32 = 0x3f35_04f3;
    let n = (x.to_bits().wrapping_sub(ROOT_OF_HALF) as i32) >> 23;
    let f = f32::from_bits(x.to_bits().wrapping_sub((n << 23) as u32)) - 1.0;
    let n = n as f32;
    let mut p = 7.037_683_6e-2;
    p = p * f - 1.151_461e-1;
    p = p * f + 1.167_699_9e-1;
    p = p * f - 1.242_014_1e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_5e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 3.333_333e-1;
    let small = p * f * f * f - 0.5 * f * f + n * -2.121_944_4e-4;
    // The bits of what is no number make one above; the last term takes it away again.
    small + f + n * 0.693_359_4 + 0.0 * x
}

/// `1 / (1 + e^−x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, exact to about 1e-7 absolute.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    2.0 / (1.0 + exp(-2.0 * x)) - 1.0
}

/// `max(x, 0)`. NaN stays NaN, where `f32::max` would make it 0 and a diverged network would go on unnoticed.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `ln(1 + e^x)`, stable for any `x`.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

kernel! {
    /// `value ← f(value)`.
    pub fn map['a, F: Fn(f32) -> f32](values: &'a mut [f32], f: F) {
        values.iter_mut().for_each(|value| *value = f(*value));
    }

    /// `value ← f(value, other)`.
    pub fn zip_map['a, F: Fn(f32, f32) -> f32](values: &'a mut [f32], others: &'a [f32], f: F) {
        values.iter_mut().zip(others).for_each(|(value, other)| *value = f(*value, *other));
    }

    fn map_with_bias['a, F: Fn(f32) -> f32](values: &'a mut [f32], bias: &'a [f32], f: F) {
        for row in values.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value = f(*value + bias);
            }
        }
    }
}

/// What follows a linear map, elementwise and without weights of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^−x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

kitestring_core::choices!(Activation { None, Relu, Sigmoid, Tanh });

impl Activation {
    /// Adds a row of biases to every row of `values` and applies the activation, in one pass.
    pub fn apply_with_bias(self, values: &mut [f32], bias: &[f32]) {
        match self {
            Self::None => map_with_bias(values, bias, |x| x),
            Self::Relu => map_with_bias(values, bias, relu),
            Self::Sigmoid => map_with_bias(values, bias, sigmoid),
            Self::Tanh => map_with_bias(values, bias, tanh),
        }
    }

    /// Applies the activation in place.
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Relu => map(values, relu),
            Self::Sigmoid => map(values, sigmoid),
            Self::Tanh => map(values, tanh),
        }
    }

    /// Multiplies `grads` by the derivative, taken from the activation's own results `outputs`.
    pub fn chain(self, grads: &mut [f32], outputs: &[f32]) {
        match self {
            Self::None => {}
            Self::Relu => zip_map(grads, outputs, |grad, y| if y > 0.0 { grad } else { 0.0 }),
            Self::Sigmoid => zip_map(grads, outputs, |grad, y| grad * y * (1.0 - y)),
            Self::Tanh => zip_map(grads, outputs, |grad, y| grad * (1.0 - y * y)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_exact_to_a_few_units() {
        for i in -8700..=8800 {
            let x = i as f32 * 0.01;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 4e-7, "{x}: {found} {expected}");
        }
        assert!(exp(-200.0) < 1.3e-38);
        assert!(exp(200.0) > 1e38 && exp(200.0).is_finite());
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn logarithm_is_exact_to_a_few_units() {
        for i in 1..=40_000 {
            for x in [i as f32 * 1e-3, 1.0 + i as f32 * 1e-6, i as f32 * 1e30, i as f32 * 1e-37] {
                let (found, expected) = (f64::from(ln(x)), f64::from(x).ln());
                assert!((found - expected).abs() <= 2.5e-7 * expected.abs(), "{x}: {found} {expected}");
            }
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f32::NAN).is_nan() && ln(f32::INFINITY).is_nan());
    }

    #[test]
    fn activations_and_derivatives_agree() {
        for activation in [Activation::None, Activation::Relu, Activation::Sigmoid, Activation::Tanh] {
            for x in [-3.0_f32, -0.5, 0.2, 4.0] {
                let (mut y, mut up) = ([x], [x + 1e-3]);
                activation.apply(&mut y);
                activation.apply(&mut up);
                let mut grad = [1.0];
                activation.chain(&mut grad, &y);
                assert!(((up[0] - y[0]) / 1e-3 - grad[0]).abs() < 2e-3, "{activation:?} at {x}");
            }
        }
        let mut row = [f32::NAN; 20];
        for activation in [Activation::None, Activation::Relu, Activation::Sigmoid, Activation::Tanh] {
            activation.apply(&mut row);
            assert!(row.iter().all(|x| x.is_nan()), "{activation:?} hides NaN");
        }
        let mut row = [1.0, -2.0];
        Activation::Relu.apply_with_bias(&mut row, &[-3.0, 5.0]);
        assert_eq!(row, [0.0, 3.0]);
    }
}
