//! What makes a ranker smaller, one file a pass. A pass takes a candidate and gives another one; it says what it did in a few words.

pub mod aware;
pub mod distil;
pub mod quantize;
pub mod rows;
#[cfg(test)]
mod tests;

use crate::candidate::Candidate;
use crate::pipeline::Setting;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A pass, as a config names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Pass {
    /// A student learns from the ranker so far.
    Distil(crate::distil::Distil),
    /// Which rows are shipped.
    Rows(rows::Rows),
    /// Numbers in a byte or half of one.
    Quantize(quantize::Quantize),
}

impl Pass {
    /// Its name in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Distil(_) => "distil",
            Self::Rows(_) => "rows",
            Self::Quantize(_) => "quantize",
        }
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        match self {
            // It is checked against the run that it learns from.
            Self::Distil(_) => Ok(()),
            Self::Rows(pass) => pass.check(),
            Self::Quantize(pass) => pass.check(),
        }
    }

    /// Does it. Gives what it did in words, too.
    ///
    /// # Errors
    /// What does not fit the candidate; what training or the file system says.
    pub fn apply(&self, candidate: Candidate, setting: &mut Setting<'_>) -> Result<(Candidate, String)> {
        match self {
            Self::Distil(pass) => distil::apply(pass, candidate, setting),
            Self::Rows(pass) => pass.apply(candidate, setting),
            Self::Quantize(pass) => pass.apply(candidate, setting),
        }
    }
}

/// The names of a candidate's tables, where those that a pass names are among them.
fn tables<'a>(candidate: &Candidate, named: impl Iterator<Item = &'a String>) -> Result<Vec<String>> {
    let names: Vec<String> = candidate.model.tables.iter().map(|table| table.name().to_owned()).collect();
    for name in named {
        if !names.contains(name) {
            let error = Error::config(format!("there is no table `{name}`")).in_field("tables");
            return Err(error.suggest(name, names.iter().map(String::as_str)));
        }
    }
    Ok(names)
}
