//! The hash that turns values into ids where there is no vocabulary.

use crate::seed::mix;

/// The stable 64-bit hash of a value's text: the same on every machine and in every version, for it is part of what a
/// model learnt.
///
/// The text's bytes are read as little-endian 64-bit words, the last one padded with zeros. Starting from
/// `0xcbf29ce484222325`, each word `w` makes `h = mix(h ^ w)`; the number of bytes `n` ends it: `mix(h ^ n)`. `mix` is
/// the finalizer of SplitMix64 ([`crate::seed::mix`]), a bijection, so texts of up to eight bytes and of one
/// length never collide.
///
/// ```
/// # use kitestring_core::hash::stable_hash;
/// assert_eq!(stable_hash("kitestring"), 0x6965_b944_1d6e_8003);
/// ```
#[inline]
pub fn stable_hash(text: &str) -> u64 {
    stable_hash_bytes(text.as_bytes())
}

/// [`stable_hash`] of a text's bytes.
#[inline]
pub fn stable_hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut word = [0u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    mix(hash ^ bytes.len() as u64)
}
