//! Texts to numbers, in the order of first appearance.

use hashbrown::HashTable;
use kitestring_core::hash::stable_hash;

/// Numbers texts from 1 on in the order of first appearance; 0 is the missing value. The texts lie in one buffer, so
/// that a new one costs no allocation of its own.
#[derive(Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    numbers: HashTable<u32>,
}

impl Interner {
    /// The number of a text, a new one where it is seen for the first time.
    #[inline]
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let Self { bytes, ends, numbers } = self;
        let found = numbers.entry(
            stable_hash(text),
            |number| slice(bytes, ends, *number) == text.as_bytes(),
            |number| hash_of(bytes, ends, *number),
        );
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len() as u64);
                let number = ends.len() as u32;
                entry.insert(number);
                number
            }
        }
    }

    /// The number of a text seen before.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let Self { bytes, ends, numbers } = self;
        numbers.find(stable_hash(text), |number| slice(bytes, ends, *number) == text.as_bytes()).copied()
    }

    /// The text of a number; empty for 0 and numbers not given out.
    pub(crate) fn text(&self, number: u32) -> &str {
        if number == 0 || number as usize > self.ends.len() {
            return "";
        }
        // Only whole texts were stored.
        std::str::from_utf8(slice(&self.bytes, &self.ends, number)).unwrap_or_default()
    }

    /// One past the largest number.
    pub(crate) fn len(&self) -> usize {
        self.ends.len() + 1
    }
}

#[inline]
fn slice<'a>(bytes: &'a [u8], ends: &[u64], number: u32) -> &'a [u8] {
    let index = number as usize - 1;
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &bytes[start..ends[index] as usize]
}

fn hash_of(bytes: &[u8], ends: &[u64], number: u32) -> u64 {
    kitestring_core::hash::stable_hash_bytes(slice(bytes, ends, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_first_appearance() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = ["b", "a", "b", "", "c"].iter().map(|text| interner.intern(text)).collect();
        assert_eq!(numbers, [1, 2, 1, 3, 4]);
        for i in 0..10_000 {
            assert_eq!(interner.intern(&format!("x{i}")), 5 + i);
        }
        assert_eq!(interner.text(5 + 77), "x77");
        assert_eq!(interner.intern("x77"), 5 + 77);
        assert_eq!(interner.text(0), "");
        assert_eq!(interner.len(), 10_005);
    }
}
