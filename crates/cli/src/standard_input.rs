//! Data on standard input, for commands that read files.

use kitestring_core::{Error, Result};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Standard input in a temporary file, whose name ends as its bytes say: readers seek in Parquet and Arrow, and read text twice.
pub struct StandardInput {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl StandardInput {
    /// Reads standard input to its end.
    ///
    /// # Errors
    /// What the system says; no bytes at all.
    pub fn read() -> Result<Self> {
        let fail = |error| Error::io(error, "could not read standard input", STANDARD_INPUT);
        let folder = tempfile::Builder::new().prefix("kitestring-").tempdir().map_err(fail)?;
        let mut input = std::io::stdin().lock();
        let mut first = Vec::new();
        input.by_ref().take(8).read_to_end(&mut first).map_err(fail)?;
        if first.is_empty() {
            return Err(Error::data("standard input is empty").mend("pipe rows into it, or name a file with --data"));
        }
        let data = Self { folder, name: name(&first) };
        let mut file = std::fs::File::create(data.path()).map_err(fail)?;
        file.write_all(&first).map_err(fail)?;
        std::io::copy(&mut input, &mut file).map_err(fail)?;
        Ok(data)
    }

    /// Where it lies while this lives.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }
}

/// A file name for bytes that begin so.
fn name(first: &[u8]) -> &'static str {
    match first {
        [b'P', b'A', b'R', b'1', ..] => "stdin.parquet",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "stdin.arrow",
        [0x1f, 0x8b, ..] => "stdin.csv.gz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "stdin.csv.zst",
        [b'{' | b'[', ..] => "stdin.jsonl",
        _ => "stdin.csv",
    }
}

/// A file's name for readers: `-` for standard input.
pub fn shown<'a>(file: &'a str, input: Option<&Path>) -> &'a str {
    if input.is_some_and(|input| Path::new(file) == input) { STANDARD_INPUT } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_the_format() {
        assert_eq!(name(b"PAR1\x15\x04"), "stdin.parquet");
        assert_eq!(name(b"ARROW1\0\0"), "stdin.arrow");
        assert_eq!(name(&[0x1f, 0x8b, 8]), "stdin.csv.gz");
        assert_eq!(name(b"{\"user\""), "stdin.jsonl");
        assert_eq!(name(b"user,ite"), "stdin.csv");
    }
}
