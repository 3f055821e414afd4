//! The body of the fuzz target `artifact` on drawn bytes, as many as `KITESTRING_FUZZ_CASES` says.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/bodies/artifact.rs"]
#[allow(clippy::expect_used)]
mod body;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("KITESTRING_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000)
    ))]

    #[test]
    fn no_bytes_are_too_strange(data in prop::collection::vec(any::<u8>(), 0..60)) {
        body::artifact(&data);
    }

    /// Edits that keep to digits reach numbers of the manifest.
    #[test]
    fn no_signed_number_is_too_strange(edits in prop::collection::vec((any::<u16>(), b'0'..=b'9'), 1..12)) {
        let edits = edits.iter().flat_map(|(at, digit)| [at.to_le_bytes()[0], at.to_le_bytes()[1], 0, *digit]);
        let data: Vec<u8> = std::iter::once(1).chain(edits).collect();
        body::artifact(&data);
    }
}
