//! Cheap random numbers and functions whose every bit is the same on every machine.
//!
//! The mathematics library of an operating system may round `exp` and `ln` its own way, and one bit is enough to turn a
//! click. What is here uses nothing but the operations IEEE 754 defines exactly.

use kitestring_core::Seed;

/// A stream of random numbers: the values of a [`Seed`] at 0, 1, 2 …
#[derive(Debug, Clone)]
pub struct Stream {
    seed: Seed,
    next: u64,
}

impl Stream {
    /// The stream of a seed.
    pub fn new(seed: Seed) -> Self {
        Self { seed, next: 0 }
    }

    /// Sixty-four bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u64 {
        let bits = self.seed.bits_at(self.next);
        self.next += 1;
        bits
    }

    /// A uniform number of [0, 1).
    #[inline(always)]
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// A uniform number of (0, 1).
    #[inline(always)]
    pub fn open_unit(&mut self) -> f32 {
        ((self.bits() >> 41) as f32 + 0.5) * (1.0 / (1u64 << 23) as f32)
    }

    /// Whether an event of this probability happens.
    #[inline(always)]
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// A uniform whole number below `n`; its bias is at most `n / 2³²`.
    #[inline(always)]
    pub fn below(&mut self, n: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// A number of zero mean and unit variance that is nearly normal: the sum of four uniform numbers (Irwin and Hall
    /// 1927), scaled. Its excess kurtosis is −0.3 and its range ±3.46, which no part of the simulator minds.
    #[inline(always)]
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        // Variance of one uniform number is 1/12, of the sum 1/3. The mean of the sum is 2 · 65535.
        (sum as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
    }

    /// An exponential number of mean one.
    #[inline(always)]
    pub fn exponential(&mut self) -> f32 {
        -ln(self.open_unit())
    }
}

/// `eˣ` to a relative error of about 2·10⁻⁷; the argument is clamped to ±87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the nearest whole number in the low bits
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits, so that the remainder keeps all of its own
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.0
        + r * (1.0 + r * (0.5 + r * (0.166_666_67 + r * (0.041_666_668 + r * (0.008_333_334 + r * 0.001_388_889)))));
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    p * scale
}

/// `ln x` for a positive normal number, to a relative error of about 2·10⁻⁷.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = m · 2ᵉ with m in [√½, √2); then ln m = 2 artanh((m − 1) / (m + 1))
    let bits = x.to_bits() as i32;
    let e = (bits - 0x3f35_04f3) >> 23;
    let m = f32::from_bits((bits - (e << 23)) as u32);
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    let series = 2.0 * s * (1.0 + t * (0.333_333_34 + t * (0.2 + t * (0.142_857_15 + t * 0.111_111_11))));
    e as f32 * std::f32::consts::LN_2 + series
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Draws from a fixed distribution in constant time (Walker 1977, tables built as by Vose 1991).
#[derive(Debug, Clone)]
pub struct Alias {
    /// For each cell, the share of 2³² that stays, and where the rest goes.
    cells: Vec<(u32, u32)>,
}

impl Alias {
    /// The distribution in proportion to these weights, of which at least one is positive and none negative.
    pub fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut height: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut cells: Vec<(u32, u32)> = (0..weights.len() as u32).map(|cell| (u32::MAX, cell)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|cell| height[*cell] < 1.0);
        while let (Some(poor), Some(&rich)) = (low.pop(), high.last()) {
            cells[poor] = ((height[poor] * 4_294_967_296.0) as u32, rich as u32);
            height[rich] -= 1.0 - height[poor];
            if height[rich] < 1.0 {
                high.pop();
                low.push(rich);
            }
        }
        Self { cells }
    }

    /// One draw.
    #[inline(always)]
    pub fn draw(&self, stream: &mut Stream) -> u32 {
        let bits = stream.bits();
        let cell = ((bits >> 32) * self.cells.len() as u64) >> 32;
        let (keep, other) = self.cells[cell as usize];
        if (bits as u32) < keep { cell as u32 } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_are_close_to_the_library() {
        for i in -8_700..8_700 {
            let x = i as f32 * 0.01;
            let truth = f64::from(x).exp();
            assert!((f64::from(exp(x)) / truth - 1.0).abs() < 6e-7, "exp({x})");
        }
        let mut x = 1.2e-38_f32;
        while x < 1e38 {
            let truth = f64::from(x).ln();
            assert!((f64::from(ln(x)) - truth).abs() < 3e-7 * truth.abs().max(0.5), "ln({x})");
            x *= 1.013;
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn draws_have_their_moments() {
        let mut stream = Stream::new(Seed(3));
        let n = 400_000;
        let (mut sum, mut squares, mut waits, mut least) = (0.0, 0.0, 0.0, 1.0_f32);
        for _ in 0..n {
            let x = f64::from(stream.normal());
            sum += x;
            squares += x * x;
            waits += f64::from(stream.exponential());
            least = least.min(stream.open_unit());
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 6e-3);
        assert!((squares / n - 1.0).abs() < 8e-3);
        assert!((waits / n - 1.0).abs() < 6e-3);
        assert!(least > 0.0);
    }

    #[test]
    fn an_alias_table_draws_in_proportion() {
        let weights = [5.0, 0.0, 1.0, 3.0, 1.0];
        let alias = Alias::new(&weights);
        let mut stream = Stream::new(Seed(4));
        let mut counts = [0u32; 5];
        for _ in 0..200_000 {
            counts[alias.draw(&mut stream) as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!((f64::from(*count) / 200_000.0 - weight / 10.0).abs() < 4e-3, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
        assert_eq!(Alias::new(&[2.0]).draw(&mut stream), 0);
    }
}
