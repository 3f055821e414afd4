//! Embedding rows in eight or four bits a number, each row with its own scale.
//!
//! A row is stored as its scale and its least number (two little-endian `f32`) and a code a number, `x = least + scale · code`; two codes of
//! four bits share a byte, the first one in the lower half. Rows stand by themselves, so that a device takes those it needs.

use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many bits a number has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bits {
    /// 8: codes from 0 to 255.
    #[default]
    Eight,
    /// 4: codes from 0 to 15.
    Four,
}

/// Bytes before a row's codes.
const HEAD: usize = 8;

impl Bits {
    /// The bytes of a row of `dimension` numbers.
    pub fn row_bytes(self, dimension: usize) -> usize {
        HEAD + match self {
            Self::Eight => dimension,
            Self::Four => dimension.div_ceil(2),
        }
    }

    fn highest(self) -> f32 {
        match self {
            Self::Eight => 255.0,
            Self::Four => 15.0,
        }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A number that is not finite, numbers so far apart that their difference is not.
    pub fn encode(self, row: &[f32], into: &mut Vec<u8>) -> Result<()> {
        if let Some(number) = row.iter().find(|number| !number.is_finite()) {
            return Err(Error::numeric(format!("{number} in an embedding row")));
        }
        let (low, high) =
            row.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        let (low, width) = if row.is_empty() { (0.0, 0.0) } else { (low, high - low) };
        if !width.is_finite() {
            return Err(Error::numeric(format!("an embedding row from {low} to {high}")));
        }
        let scale = width / self.highest();
        into.extend(scale.to_le_bytes());
        into.extend(low.to_le_bytes());
        let code = |x: &f32| {
            let code = if scale > 0.0 { (x - low) / scale } else { 0.0 };
            code.round().clamp(0.0, self.highest()) as u8
        };
        match self {
            Self::Eight => into.extend(row.iter().map(code)),
            Self::Four => into.extend(row.chunks(2).map(|pair| code(&pair[0]) | pair.get(1).map_or(0, code) << 4)),
        }
        Ok(())
    }

    /// Reads a row into its numbers.
    ///
    /// # Errors
    /// Bytes that are not such a row's: as many as [`Self::row_bytes`] says, with a finite scale and least number.
    pub fn decode(self, bytes: &[u8], row: &mut [f32]) -> Result<()> {
        let damaged = || Error::format("an embedding row is damaged");
        if bytes.len() != self.row_bytes(row.len()) {
            return Err(damaged());
        }
        let (head, codes) = bytes.split_first_chunk::<HEAD>().ok_or_else(damaged)?;
        let [a, b, c, d, e, f, g, h] = *head;
        let (scale, low) = (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h]));
        if !(scale.is_finite() && low.is_finite()) {
            return Err(damaged());
        }
        match self {
            Self::Eight => row.iter_mut().zip(codes).for_each(|(x, code)| *x = low + scale * f32::from(*code)),
            Self::Four => {
                for (pair, code) in row.chunks_mut(2).zip(codes) {
                    for (x, code) in pair.iter_mut().zip([code & 15, code >> 4]) {
                        *x = low + scale * f32::from(code);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;

    #[test]
    fn a_row_comes_back_within_half_a_step() {
        for bits in [Bits::Eight, Bits::Four] {
            for dimension in [0, 1, 2, 7, 18, 64] {
                let seed = Seed(5).at(dimension as u64);
                let row: Vec<f32> = (0..dimension).map(|at| seed.normal_at(at as u64)).collect();
                let mut bytes = vec![9; 3];
                bits.encode(&row, &mut bytes).unwrap();
                assert_eq!(bytes.len() - 3, bits.row_bytes(dimension));
                let mut back = vec![f32::NAN; dimension];
                bits.decode(&bytes[3..], &mut back).unwrap();
                let width = row.iter().copied().fold(f32::MIN, f32::max) - row.iter().copied().fold(f32::MAX, f32::min);
                let step = width / bits.highest();
                for (x, back) in row.iter().zip(&back) {
                    assert!((x - back).abs() <= 0.501 * step.max(0.0) + 1e-6, "{bits:?} {dimension}: {x} {back}");
                }
            }
        }
        // The specification's figure: eighteen numbers in 26 bytes for 72.
        assert_eq!(Bits::Eight.row_bytes(18), 26);
    }

    /// A row of one number all over keeps it to the bit, and so does a row of zeros, which stands for what nobody knows.
    #[test]
    fn rows_of_one_number_are_exact() {
        for value in [0.0, -0.37, 1e30] {
            let mut bytes = Vec::new();
            Bits::Four.encode(&[value; 5], &mut bytes).unwrap();
            let mut back = [f32::NAN; 5];
            Bits::Four.decode(&bytes, &mut back).unwrap();
            assert_eq!(back, [value; 5]);
        }
    }

    #[test]
    fn rows_too_wide_are_refused() {
        for bits in [Bits::Eight, Bits::Four] {
            assert!(bits.encode(&[f32::MIN, 0.0, f32::MAX], &mut Vec::new()).is_err());
            let (mut bytes, mut back) = (Vec::new(), [0.0; 2]);
            bits.encode(&[-1e38, 1e38], &mut bytes).unwrap();
            bits.decode(&bytes, &mut back).unwrap();
            assert!((back[1] - 1e38).abs() < 1e33 && back[0] == -1e38, "{back:?}");
        }
    }

    #[test]
    fn damaged_rows_are_refused() {
        let mut bytes = Vec::new();
        Bits::Eight.encode(&[1.0, 2.0], &mut bytes).unwrap();
        assert!(Bits::Eight.decode(&bytes, &mut [0.0; 3]).is_err());
        assert!(Bits::Eight.decode(&bytes[1..], &mut [0.0; 2]).is_err());
        bytes[3] = 0x7f;
        bytes[2] = 0xc0;
        assert!(Bits::Eight.decode(&bytes, &mut [0.0; 2]).is_err(), "a scale that is no number");
        assert!(Bits::Eight.encode(&[f32::NAN], &mut Vec::new()).is_err());
    }
}
