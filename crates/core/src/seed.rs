//! One seed decides everything.
//!
//! A [`Seed`] is a node of a tree: children are derived by name and by number, so that adding a consumer of randomness
//! never moves the numbers of another one. Values can be drawn by position ([`Seed::unit_at`]), which makes them
//! independent of the order in which workers ask.

/// A node of the tree of randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64 bits with full avalanche.
#[inline(always)]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Seed {
    /// The child of a name.
    pub const fn child(self, name: &str) -> Self {
        // FNV-1a over the name; the mixing afterwards gives it avalanche.
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u64).wrapping_mul(0x100_0000_01b3);
            i += 1;
        }
        Self(mix(self.0.wrapping_add(GOLDEN_GAMMA) ^ mix(hash)))
    }

    /// The child of a number.
    #[inline(always)]
    pub const fn at(self, index: u64) -> Self {
        Self(mix(self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA))))
    }

    /// Sixty-four bits at a position.
    #[inline(always)]
    pub const fn bits_at(self, index: u64) -> u64 {
        self.at(index).0
    }

    /// A uniform number of [0, 1) at a position.
    #[inline(always)]
    pub const fn unit_at(self, index: u64) -> f32 {
        (self.bits_at(index) >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// A standard normal number at a position (Box and Muller 1958).
    #[inline]
    pub fn normal_at(self, index: u64) -> f32 {
        let bits = self.bits_at(index);
        // One is added to the 32-bit integer so that the logarithm's argument is never zero.
        let radius = (-2.0 * ((((bits >> 32) + 1) as f64) * (1.0 / 4_294_967_296.0)).ln()).sqrt();
        let angle = std::f64::consts::TAU * (bits as u32 as f64) * (1.0 / 4_294_967_296.0);
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_differ_and_repeat() {
        let seed = Seed(7);
        assert_eq!(seed.child("a"), Seed(7).child("a"));
        assert_ne!(seed.child("a"), seed.child("b"));
        assert_ne!(seed.at(0), seed.at(1));
        assert_ne!(seed.at(0), seed);
    }

    #[test]
    fn moments() {
        let seed = Seed(1);
        let n = 200_000;
        let mean = (0..n).map(|i| f64::from(seed.unit_at(i))).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 3e-3, "{mean}");
        let (mut sum, mut squares) = (0.0, 0.0);
        for i in 0..n {
            let x = f64::from(seed.normal_at(i));
            sum += x;
            squares += x * x;
        }
        assert!((sum / n as f64).abs() < 1e-2);
        assert!((squares / n as f64 - 1.0).abs() < 1.5e-2);
    }
}
