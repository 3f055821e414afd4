//! `kitestring key`: who publishes artifacts.

use crate::output::say_line;
use crate::shipping::{make_key, public_file};
use clap::Args;
use kitestring_core::Result;
use std::path::PathBuf;

/// Make the key that signs artifacts: a secret file, and the public one that devices trust
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kitestring key publisher.key")]
pub struct Key {
    /// The file of the secret key; the public one is beside it, with the ending .pub
    file: PathBuf,
}

impl Key {
    /// # Errors
    /// A file that is there; what the system says.
    pub fn execute(self) -> Result<()> {
        let key = make_key(&self.file)?;
        say_line(&format!("public key: {}", key.public()))?;
        say_line(&format!(
            "devices trust {}; keep {} to yourself",
            public_file(&self.file).display(),
            self.file.display()
        ))
    }
}
