//! What tells whether two things mean the same by an id.

use crate::artifact::Digest;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 of all that turns raw values into what a model reads: the values of each vocabulary in their order, what is done without one,
/// and what was fitted to numbers. It stands in whatever was made with them: data sets, models, retrievers and artifacts. Two that have the
/// same one mean the same by every id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VocabularyHash(String);

impl VocabularyHash {
    /// As hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that two things were made with the same vocabularies. Files of versions that wrote no hash have none, and fit everything.
    ///
    /// # Errors
    /// A config error that says `what` was made with other ids than `other`, without a remedy.
    pub fn check(what: (&str, Option<&Self>), other: (&str, Option<&Self>)) -> Result<()> {
        match (what.1, other.1) {
            (Some(one), Some(another)) if one != another => {
                Err(Error::config(format!("{} was made with other ids than {}", what.0, other.0)))
            }
            _ => Ok(()),
        }
    }
}

/// Makes a [`VocabularyHash`] of texts and numbers in their order.
#[derive(Debug, Default)]
pub struct VocabularyHasher(Sha256);

impl VocabularyHasher {
    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// Adds a text; where it ends matters.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    /// The hash of all that was added.
    pub fn finish(self) -> VocabularyHash {
        VocabularyHash(Digest(self.0.finalize().into()).to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(texts: &[&str]) -> VocabularyHash {
        let mut hasher = VocabularyHasher::default();
        texts.iter().for_each(|text| hasher.text(text));
        hasher.finish()
    }

    #[test]
    fn order_and_borders_count() {
        assert_eq!(hash(&["ab", "c"]), hash(&["ab", "c"]));
        assert_ne!(hash(&["ab", "c"]), hash(&["c", "ab"]));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&[]).as_str().len(), 64);
    }

    #[test]
    fn others_are_refused_and_older_files_are_not() {
        let (one, other) = (hash(&["a"]), hash(&["b"]));
        let check = |one, other| VocabularyHash::check(("the model", one), ("the data set", other));
        assert!(check(Some(&one), Some(&one)).is_ok() && check(Some(&one), None).is_ok() && check(None, None).is_ok());
        let error = check(Some(&one), Some(&other)).unwrap_err();
        assert_eq!(error.to_string(), "the model was made with other ids than the data set");
        assert_eq!(error.exit_code(), 2);
    }
}
