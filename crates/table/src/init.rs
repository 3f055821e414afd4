//! What a row holds before it is first updated.
//!
//! The numbers come from the table's seed, the id and the place within the row, so that they do not depend on the order
//! in which ids arrive.

use kitestring_core::{Error, Result, Seed};
use serde::{Deserialize, Serialize};

/// How a row starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// Zeros.
    Zero,
    /// Normal with mean zero.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in [−bound, bound).
    Uniform {
        /// Largest magnitude.
        bound: f32,
    },
}

impl Default for Init {
    fn default() -> Self {
        Self::Normal { std: 0.01 }
    }
}

const LANES: usize = 8;

impl Init {
    pub(crate) fn check(self) -> Result<()> {
        let (Self::Normal { std: scale } | Self::Uniform { bound: scale }) = self else { return Ok(()) };
        if scale.is_finite() && scale >= 0.0 {
            return Ok(());
        }
        Err(Error::config(format!("expected a finite number of at least 0, found {scale}")).in_field("init"))
    }

    /// Fills the row of an id.
    #[inline(always)]
    pub(crate) fn fill(self, table: Seed, id: u64, row: &mut [f32]) {
        match self {
            Self::Zero => row.fill(0.0),
            Self::Uniform { bound } => {
                let seed = table.at(id);
                for (j, value) in row.iter_mut().enumerate() {
                    *value = (seed.unit_at(j as u64) * 2.0 - 1.0) * bound;
                }
            }
            Self::Normal { std } => fill_normal(table.at(id), std, row),
        }
    }
}

/// Box and Muller (1958): a uniform radius and angle give two normals. The first half of the row takes the cosines, the
/// second the sines. Sixty-four bits a pair: 24 for the radius, which ends at 5.8 standard deviations, 24 for the angle.
#[inline(always)]
fn fill_normal(seed: Seed, std: f32, row: &mut [f32]) {
    let (cosines, sines) = row.split_at_mut(row.len().div_ceil(2));
    let mut start = 0;
    while start < cosines.len() {
        let (mut c, mut s) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            (c[lane], s[lane]) = normals(seed.bits_at((start + lane) as u64));
        }
        for (value, c) in cosines[start..].iter_mut().zip(c) {
            *value = c * std;
        }
        for (value, s) in sines.iter_mut().skip(start).zip(s) {
            *value = s * std;
        }
        start += LANES;
    }
}

#[inline(always)]
fn normals(bits: u64) -> (f32, f32) {
    // One is added so that the logarithm's argument is never zero.
    let radius = (-2.0 * ln(((bits >> 40) as u32 + 1) as f32 * (1.0 / (1 << 24) as f32))).sqrt();
    let (sin, cos) = sin_cos(bits as u32 & 0xff_ffff);
    (radius * cos, radius * sin)
}

/// The natural logarithm of a positive normal number, to a few units in the last place: 2 artanh((m − 1)/(m + 1)) by its
/// series for the mantissa m in [√½, √2), plus the exponent. Plain arithmetic, so that it vectorizes and gives the same
/// bits on every machine.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // Subtracting the bits of √½ makes the exponent count from there.
    let offset = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (offset as i32) >> 23;
    let mantissa = f32::from_bits((offset & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let series = 2.0 + z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + s * series
}

/// Sine and cosine of a turn's 2⁻²⁴ parts, from π/4 on: the Taylor series within a quadrant, then a rotation by quarters.
#[inline(always)]
fn sin_cos(part: u32) -> (f32, f32) {
    let quadrant = part >> 22;
    let x = ((part & 0x3f_ffff) as f32 * (1.0 / (1 << 22) as f32) - 0.5) * std::f32::consts::FRAC_PI_2;
    let z = x * x;
    let sin = x * (1.0 + z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z * (1.0 / 362_880.0)))));
    let cos = 1.0 + z * (-0.5 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40_320.0))));
    let (a, b) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, -sin) };
    if quadrant & 2 == 0 { (a, b) } else { (-a, -b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximations_are_near() {
        for part in (0..1u32 << 24).step_by(4099) {
            let turn = (f64::from(part) / f64::from(1u32 << 24) - 0.125) * std::f64::consts::TAU;
            let (sin, cos) = sin_cos(part);
            assert!((f64::from(sin) - turn.sin()).abs() < 3e-7, "{part}");
            assert!((f64::from(cos) - turn.cos()).abs() < 3e-7, "{part}");
            let x = (part + 1) as f32 / (1 << 24) as f32;
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() <= 1e-6 * exact.abs().max(1e-6), "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn moments_and_bounds() {
        let (dim, ids) = (17, 20_000);
        let count = (dim * ids) as f64;
        let mut row = vec![0.0; dim];
        let mut powers = [0.0; 4];
        for id in 0..ids as u64 {
            Init::Normal { std: 1.0 }.fill(Seed(3), id, &mut row);
            for x in row.iter().map(|x| f64::from(*x)) {
                (1..=4).for_each(|power| powers[power as usize - 1] += x.powi(power) / count);
            }
        }
        // Standard errors at 340,000 draws: .0017, .0024, .0066, .017.
        for (found, (expected, slack)) in powers.iter().zip([(0.0, 0.007), (1.0, 0.01), (0.0, 0.027), (3.0, 0.07)]) {
            assert!((found - expected).abs() < slack, "{powers:?}");
        }
        let (mut least, mut most) = (0.0f32, 0.0f32);
        for id in 0..ids as u64 {
            Init::Uniform { bound: 0.5 }.fill(Seed(3), id, &mut row);
            least = row.iter().copied().fold(least, f32::min);
            most = row.iter().copied().fold(most, f32::max);
        }
        assert!((-0.5..-0.499).contains(&least) && (0.499..0.5).contains(&most));
    }

    #[test]
    fn rows_differ_and_repeat() {
        let fill = |seed: u64, id: u64| {
            let mut row = [0.0; 5];
            Init::default().fill(Seed(seed), id, &mut row);
            row
        };
        assert_eq!(fill(1, 2), fill(1, 2));
        assert_ne!(fill(1, 2), fill(1, 3));
        assert_ne!(fill(1, 2), fill(2, 2));
        assert!(Init::Normal { std: f32::NAN }.check().is_err());
        assert!(Init::Uniform { bound: -1.0 }.check().is_err());
    }
}
