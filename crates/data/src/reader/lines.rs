//! The lines of a text file, in a buffer that moves over it.

use super::files::{self, Compression};
use kitestring_core::error::{Error, Result};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The longest line. A text file has none; a file of another format, or one without line ends, must not fill memory.
const LONGEST: usize = 64 << 20;

/// The lines of a text file. What is left to read starts with the current line, see [`Lines::rest`].
pub(crate) struct Lines {
    bytes: Box<dyn Read + Send>,
    compression: Compression,
    /// The file's name, for messages.
    pub file: Arc<str>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    finished: bool,
    /// The number of the current line, counted from one.
    pub number: u64,
}

/// The length of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length {
    /// Without its end.
    pub text: usize,
    /// With its end, `\n` or `\r\n`.
    pub all: usize,
}

impl Lines {
    /// Opens a file that may be compressed, and skips a byte order mark.
    pub fn open(path: &Path) -> Result<Self> {
        let (bytes, compression) = files::plain(path)?;
        let file: Arc<str> = path.display().to_string().into();
        let (buffer, start, end) = (vec![0; 1 << 18], 0, 0);
        let mut lines = Self { bytes, compression, file, buffer, start, end, finished: false, number: 1 };
        while lines.rest().len() < 3 && lines.more()? {}
        match lines.rest() {
            [0xef, 0xbb, 0xbf, ..] => lines.start += 3,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                return Err(Error::data("the text is UTF-16").in_file(&*lines.file).mend("convert it to UTF-8"));
            }
            [b'P', b'A', b'R', ..] | [b'A', b'R', b'R', ..] | [b'P', b'K', 3, ..] => {
                return lines.binary();
            }
            _ => {}
        }
        Ok(lines)
    }

    /// Refuses what begins like Parquet, Arrow or zip and is so: a text's line may begin with the same three letters.
    fn binary(mut self) -> Result<Self> {
        while self.rest().len() < 6 && self.more()? {}
        let format = match self.rest() {
            [b'P', b'A', b'R', b'1', ..] => "Parquet",
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "Arrow",
            [b'P', b'K', 3, 4, ..] => "zip",
            _ => return Ok(self),
        };
        Err(Error::data(format!("this is a {format} file, not text")).in_file(&*self.file).mend(match format {
            "zip" => "unpack it".to_owned(),
            _ => format!("set format = \"{}\"", format.to_lowercase()),
        }))
    }

    /// What is read and not yet consumed.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The length of the current line; `None` at the end of the file.
    #[inline]
    pub fn length(&mut self) -> Result<Option<Length>> {
        let mut scanned = 0;
        loop {
            let rest = &self.buffer[self.start..self.end];
            if let Some(found) = memchr::memchr(b'\n', &rest[scanned..]) {
                let end = scanned + found;
                let text = if end > 0 && rest[end - 1] == b'\r' { end - 1 } else { end };
                return Ok(Some(Length { text, all: end + 1 }));
            }
            scanned = rest.len();
            if !self.more()? {
                let text = if self.rest().ends_with(b"\r") { scanned - 1 } else { scanned };
                return Ok((scanned > 0).then_some(Length { text, all: scanned }));
            }
        }
    }

    /// Steps over bytes that hold this many line ends.
    #[inline]
    pub fn consume(&mut self, bytes: usize, lines: u64) {
        self.start = (self.start + bytes).min(self.end);
        self.number += lines;
    }

    /// At the end of the file, adds the end of its last line; `false` where that is there.
    pub fn end_line(&mut self) -> bool {
        let missing = self.rest().last().is_some_and(|byte| *byte != b'\n');
        if missing {
            self.buffer.truncate(self.end);
            self.buffer.push(b'\n');
            self.end += 1;
        }
        missing
    }

    /// Reads on; `false` at the end of the file.
    #[cold]
    pub fn more(&mut self) -> Result<bool> {
        if self.finished {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end >= LONGEST {
                return Err(Error::data(format!("a line is longer than {} MiB", LONGEST >> 20))
                    .in_file(&*self.file)
                    .at_line(self.number)
                    .mend("check that this is a text file"));
            }
            self.buffer.resize(2 * self.end, 0);
        }
        loop {
            match self.bytes.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.finished = read == 0;
                    return Ok(read > 0);
                }
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(files::read_error(cause, self.compression, &self.file)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn all(bytes: &[u8], name: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path)?;
        let mut texts = Vec::new();
        while let Some(length) = lines.length()? {
            texts.push(String::from_utf8_lossy(&lines.rest()[..length.text]).into_owned());
            lines.consume(length.all, 1);
        }
        Ok(texts)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn ends_of_lines_and_of_the_file() {
        assert_eq!(all(b"a\r\nb\n\nc", "x").unwrap(), ["a", "b", "", "c"]);
        assert_eq!(all(b"a\n", "x").unwrap(), ["a"]);
        assert_eq!(all(b"a\r", "x").unwrap(), ["a"]);
        assert_eq!(all(b"", "x").unwrap(), [""; 0]);
        assert_eq!(all(b"\xef\xbb\xbfa\n", "x").unwrap(), ["a"]);
        assert_eq!(all(b"PARIS,1\n", "x").unwrap(), ["PARIS,1"]);
    }

    #[test]
    fn lines_longer_than_the_buffer() {
        let long = "x".repeat(1_000_000);
        assert_eq!(all(format!("a\n{long}\nb").as_bytes(), "x").unwrap(), ["a", long.as_str(), "b"]);
    }

    #[test]
    fn compressed_by_first_bytes_whatever_the_name() {
        let members = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
        assert_eq!(all(&members, "x.gz").unwrap(), ["a", "bc", "d"]);
        assert_eq!(all(&members, "x.csv").unwrap(), ["a", "bc", "d"]);
        let frames = [zstd::encode_all(&b"a\nb"[..], 3).unwrap(), zstd::encode_all(&b"c\n"[..], 3).unwrap()].concat();
        assert_eq!(all(&frames, "x.zst").unwrap(), ["a", "bc"]);
    }

    #[test]
    fn truncated_and_damaged_files_say_so() {
        let text: String = (0..5000).map(|i| format!("{}\n", i * 7919 % 5000)).collect();
        let whole = gzip(text.as_bytes());
        for cut in [whole.len() / 2, whole.len() - 3] {
            let error = all(&whole[..cut], "x.gz").unwrap_err().to_string();
            assert!(error.contains("x.gz: the gzip file is truncated"), "{error}");
        }
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 40].fill(0x55);
        let error = all(&damaged, "x.gz").unwrap_err().to_string();
        assert!(error.contains("gzip file is damaged") || error.contains("gzip file is truncated"), "{error}");
        let frame = zstd::encode_all(text.as_bytes(), 3).unwrap();
        let error = all(&frame[..frame.len() / 2], "x.zst").unwrap_err().to_string();
        assert!(error.contains("the zstd file is truncated"), "{error}");
        let error = all(b"plain\n", "x.gz").unwrap_err().to_string();
        assert!(error.contains("not compressed"), "{error}");
    }

    #[test]
    fn files_that_are_not_text_say_what_they_are() {
        for (bytes, word) in [
            (&b"\xff\xfea\0"[..], "UTF-16"),
            (b"PAR1xxxx", "Parquet"),
            (b"ARROW1\0\0", "Arrow"),
            (b"PK\x03\x04", "zip"),
        ] {
            let error = all(bytes, "x.csv").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
