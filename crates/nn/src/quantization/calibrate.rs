//! Which range of activations is worth its codes: a few far ones stretch the range, and everything else loses steps.

use super::affine::Affine;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bins of a histogram.
const BINS: usize = 2048;

/// Levels that the divergence is taken for: those of one sign.
const LEVELS: usize = 128;

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Calibration {
    /// From the least to the largest number that was seen.
    MinMax,
    /// Without the numbers that are larger, by their absolute value, than this share of all.
    Percentile {
        /// The share that stays, such as 0.9999.
        share: f64,
    },
    /// The range whose 128 levels say most about the distribution: the least Kullback–Leibler divergence (Migacz 2017).
    Divergence,
}

/// What was seen of one activation: its ends, and a histogram of absolute values.
#[derive(Debug, Clone)]
pub struct Observer {
    low: f32,
    high: f32,
    /// What a bin is wide; 0 before anything but zeros was seen.
    width: f32,
    bins: Vec<u64>,
}

impl Default for Observer {
    fn default() -> Self {
        Self { low: 0.0, high: 0.0, width: 0.0, bins: vec![0; BINS] }
    }
}

impl Observer {
    /// Counts numbers.
    ///
    /// # Errors
    /// One that is not finite; none of them are counted then.
    pub fn see(&mut self, numbers: &[f32]) -> Result<()> {
        let mut most = 0.0_f32;
        for number in numbers {
            if !number.is_finite() {
                return Err(Error::numeric(format!("an activation is {number}")));
            }
            most = most.max(number.abs());
        }
        if self.width == 0.0 && most > 0.0 {
            // The zeros seen so far are in the first bin, where they stay. A little wider, so that the last bin holds its end.
            self.width = (most * (1.0 + 1e-6) / BINS as f32).max(f32::MIN_POSITIVE);
        }
        while most / self.width.max(f32::MIN_POSITIVE) >= BINS as f32 {
            self.widen();
        }
        for number in numbers {
            self.low = self.low.min(*number);
            self.high = self.high.max(*number);
            let bin = if self.width > 0.0 { (number.abs() / self.width) as usize } else { 0 };
            self.bins[bin.min(BINS - 1)] += 1;
        }
        Ok(())
    }

    /// Makes bins twice as wide.
    fn widen(&mut self) {
        for bin in 0..BINS {
            self.bins[bin] = self.bins.get(2 * bin..2 * bin + 2).map_or(0, |pair| pair.iter().sum());
        }
        self.width *= 2.0;
    }

    /// The codes of the range that a way of calibrating chooses.
    ///
    /// # Errors
    /// A share that is not one.
    pub fn codes(&self, calibration: Calibration) -> Result<Affine> {
        let most = self.low.abs().max(self.high);
        let limit = match calibration {
            Calibration::MinMax => most,
            Calibration::Percentile { share } if share > 0.0 && share <= 1.0 => self.percentile(share),
            Calibration::Percentile { share } => {
                return Err(Error::config(format!("{share} is no share of numbers"))
                    .in_field("share")
                    .mend("give a number above 0, of at most 1"));
            }
            Calibration::Divergence => self.least_divergence(),
        };
        Affine::of_range(self.low.max(-limit), self.high.min(limit))
    }

    /// The end of the first bin up to which there is a share of all numbers.
    fn percentile(&self, share: f64) -> f32 {
        let wanted = (self.bins.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut sum = 0;
        let last = self.bins.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        (last.unwrap_or(BINS - 1) + 1) as f32 * self.width
    }

    fn least_divergence(&self) -> f32 {
        let ends = LEVELS..=BINS;
        let best = ends.map(|end| (end, self.divergence(end))).min_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or(BINS, |(end, _)| end) as f32 * self.width
    }

    /// `KL(P ‖ Q)` of the first `end` bins, P with all that is cut off in its last bin, Q without it in 128 levels, each spread over its
    /// bins that are not empty.
    fn divergence(&self, end: usize) -> f64 {
        let kept = &self.bins[..end];
        let cut: u64 = self.bins[end..].iter().sum();
        let all = (kept.iter().sum::<u64>() + cut) as f64;
        let inside = kept.iter().sum::<u64>() as f64;
        if inside == 0.0 {
            return f64::INFINITY;
        }
        let mut divergence = 0.0;
        for level in 0..LEVELS {
            let (from, to) = (level * end / LEVELS, (level + 1) * end / LEVELS);
            let filled = kept[from..to].iter().filter(|count| **count > 0).count();
            let spread = kept[from..to].iter().sum::<u64>() as f64 / filled.max(1) as f64 / inside;
            for (bin, count) in kept[from..to].iter().enumerate() {
                let last = if from + bin + 1 == end { cut } else { 0 };
                let p = (count + last) as f64 / all;
                if p > 0.0 {
                    // What Q does not know of: only where everything in the last bin was cut off.
                    let q = if *count > 0 { spread } else { 1e-12 };
                    divergence += p * (p / q).ln();
                }
            }
        }
        divergence
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;

    fn normal(count: u64) -> Vec<f32> {
        (0..count).map(|at| Seed(9).normal_at(at)).collect()
    }

    fn range(codes: Affine) -> (f32, f32) {
        (codes.decode(-128), codes.decode(127))
    }

    /// In whatever pieces numbers come, and however much later ones widen the range, the counts are those of all numbers at once.
    #[test]
    fn pieces_are_the_whole() {
        let numbers: Vec<f32> = normal(5000).iter().enumerate().map(|(at, x)| x * (1.0 + at as f32)).collect();
        let mut pieces = Observer::default();
        pieces.see(&[0.0; 7]).unwrap();
        numbers.chunks(13).for_each(|piece| pieces.see(piece).unwrap());
        assert_eq!(pieces.bins.iter().sum::<u64>(), 5007);
        let most = numbers.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let mut expected = vec![0; BINS];
        expected[0] = 7;
        numbers.iter().for_each(|x| expected[((x.abs() / pieces.width) as usize).min(BINS - 1)] += 1);
        assert_eq!(pieces.bins, expected);
        let limit = pieces.percentile(1.0);
        assert!(limit >= most && limit < most + 2.0 * pieces.width, "{limit} {most}");
    }

    #[test]
    fn far_numbers_are_cut_off_where_that_is_wanted() {
        let mut numbers = normal(100_000);
        numbers.extend([200.0, 180.0]);
        let mut seen = Observer::default();
        seen.see(&numbers).unwrap();
        let (low, high) = range(seen.codes(Calibration::MinMax).unwrap());
        assert!(high > 199.0 && low < -3.0, "{low} {high}");
        let (low, high) = range(seen.codes(Calibration::Percentile { share: 0.999 }).unwrap());
        assert!((3.1..3.6).contains(&high) && (-3.6..-3.1).contains(&low), "{low} {high}");
        let (low, high) = range(seen.codes(Calibration::Divergence).unwrap());
        // 128 of the bins, each of .1, are the narrowest range there is.
        assert!(high < 20.0 && low < -3.0, "{low} {high}");
        assert!(seen.codes(Calibration::Percentile { share: 0.0 }).is_err());
    }

    /// Of numbers that fill their range evenly nothing is worth cutting off.
    #[test]
    fn an_even_range_stays() {
        let numbers: Vec<f32> = (0..60_000).map(|at| Seed(2).unit_at(at)).collect();
        let mut seen = Observer::default();
        seen.see(&numbers).unwrap();
        for calibration in [Calibration::MinMax, Calibration::Divergence, Calibration::Percentile { share: 1.0 }] {
            let codes = seen.codes(calibration).unwrap();
            let (low, high) = range(codes);
            assert!(high > 0.97 && low == 0.0, "{calibration:?}: {low} {high}");
            assert_eq!(codes.zero, -128);
        }
    }

    #[test]
    fn nothing_and_nonsense() {
        let mut seen = Observer::default();
        for calibration in [Calibration::MinMax, Calibration::Divergence, Calibration::Percentile { share: 0.5 }] {
            assert_eq!(seen.codes(calibration).unwrap().decode(0), 0.0);
        }
        assert!(seen.see(&[1.0, f32::NAN]).is_err());
        assert_eq!(seen.bins.iter().sum::<u64>(), 0);
    }
}
