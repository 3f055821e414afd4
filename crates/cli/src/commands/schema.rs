//! `kitestring schema`: a first config for a file nobody has described.

use crate::output::say;
use clap::Args;
use kitestring_core::Result;
use kitestring_data::guess::guess;
use std::path::PathBuf;

/// Guess a config for a file: what its columns are, by name, type and cardinality
///
/// The guess is a commented TOML config on standard output, to be corrected by its reader.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kitestring schema clicks.csv > clicks.toml")]
pub struct Schema {
    /// The file, or a folder of files with the same columns
    file: PathBuf,
}

impl Schema {
    /// # Errors
    /// A file that cannot be read, or that has no rows.
    pub fn execute(self) -> Result<()> {
        let guess = guess(&self.file)?;
        guess.edits.iter().for_each(|edit| eprintln!("note: {edit}"));
        say(&guess.text)
    }
}
