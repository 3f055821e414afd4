//! The lines of a text file, in a buffer that moves over it.

use super::compressed;
use super::magic::{self, HEAD, Packing, Recognized, recognize};
use kitestring_core::error::{Error, Result};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The longest line. A text file has none; a file of another format, or one without line ends, must not fill memory.
const LONGEST: usize = 64 << 20;

/// The bytes in which a line end is looked for.
const LOOKED_AT: usize = 1 << 16;

/// The lines of a text file. What is left to read starts with the current line, see [`Lines::rest`].
pub(crate) struct Lines {
    bytes: Box<dyn Read + Send>,
    packing: Option<Packing>,
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
    ///
    /// # Errors
    /// A file that is no text.
    pub fn open(path: &Path) -> Result<Self> {
        let (bytes, packing) = compressed::plain(path)?;
        let file: Arc<str> = path.display().to_string().into();
        let (buffer, start, end) = (vec![0; 1 << 18], 0, 0);
        let mut lines = Self { bytes, packing, file, buffer, start, end, finished: false, number: 1 };
        while lines.rest().len() < HEAD && lines.more()? {}
        match recognize(&lines.rest()[..HEAD.min(lines.rest().len())]) {
            None => {}
            Some(Recognized::Unread(what, remedy)) => return Err(magic::unread(what, remedy, &lines.file)),
            Some(Recognized::Read(format)) => {
                let what = format!("this is {} file, not text", format.name());
                let remedy = if packing.is_some() { "unpack it" } else { "take `format` out" };
                return Err(Error::data(what).in_file(&*lines.file).mend(remedy));
            }
            Some(Recognized::Packed(inner)) => {
                let what = format!("this is a {} file within another compressed one", inner.name());
                return Err(Error::data(what).in_file(&*lines.file).mend("unpack it once"));
            }
        }
        if lines.rest().starts_with(b"\xef\xbb\xbf") {
            lines.start += 3;
        }
        lines.check_ends()?;
        Ok(lines)
    }

    /// Refuses a text whose lines end in `\r` alone, which would be one line.
    fn check_ends(&mut self) -> Result<()> {
        while memchr::memchr(b'\n', self.rest()).is_none() && self.rest().len() < LOOKED_AT && self.more()? {}
        let rest = self.rest();
        let first = memchr::memchr2(b'\n', b'\r', rest);
        if memchr::memchr(b'\n', rest).is_none() && first.is_some_and(|first| first + 1 < rest.len()) {
            return Err(Error::data("the file's lines end in \\r alone")
                .in_file(&*self.file)
                .mend("write them with \\n, as `tr '\\r' '\\n'` does"));
        }
        Ok(())
    }

    /// Steps over a first line `sep=;`, with which Excel says how the fields are separated, and returns the separator.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn excel_separator(&mut self) -> Result<Option<String>> {
        if self.number != 1 {
            return Ok(None);
        }
        let Some(length) = self.length()? else { return Ok(None) };
        let line = self.rest().get(..length.text).unwrap_or_default();
        let separator = match line {
            [b'"', line @ .., b'"'] => line,
            line => line,
        };
        let Some((name, separator)) = separator.split_at_checked(4) else { return Ok(None) };
        let [letter] = separator else { return Ok(None) };
        if !name.eq_ignore_ascii_case(b"sep=") || !letter.is_ascii() || letter.is_ascii_alphanumeric() {
            return Ok(None);
        }
        let separator = char::from(*letter).to_string();
        self.consume(length.all, 1);
        Ok(Some(separator))
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
                Err(cause) => return Err(compressed::read_error(cause, self.packing, &self.file)),
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

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        brotli::CompressorReader::new(bytes, 4096, 5, 22).read_to_end(&mut packed).unwrap();
        packed
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
        let frames = [zstd(b"a\nb"), zstd(b"c\n")].concat();
        assert_eq!(all(&frames, "x.zst").unwrap(), ["a", "bc"]);
        assert_eq!(all(&brotli(b"a\nb\n"), "x.csv.br").unwrap(), ["a", "b"]);
    }

    #[test]
    fn gzip_with_zeros_behind_and_between_members() {
        let padded = [gzip(b"a\n"), vec![0; 700], gzip(b"b\n"), vec![0; 1 << 18]].concat();
        assert_eq!(all(&padded, "x.gz").unwrap(), ["a", "b"]);
        let error = all(&[gzip(b"a\n"), b"rest".to_vec()].concat(), "x.gz").unwrap_err().to_string();
        assert!(error.contains("the gzip file is"), "{error}");
    }

    #[test]
    fn zstd_with_skippable_frames_and_long_windows() {
        let skipped = b"\x5a\x2a\x4d\x18\x05\0\0\0hello";
        let frames = [&skipped[..], &zstd(b"a\n"), skipped, &zstd(b"b\n"), skipped].concat();
        assert_eq!(all(&frames, "x.csv.zst").unwrap(), ["a", "b"]);
        assert_eq!(all(&frames, "x.csv").unwrap(), ["a", "b"]);
        // A raw block in a frame whose window is 2^31.
        let long = b"\x28\xb5\x2f\xfd\x00\xa8\x11\0\0a\n";
        assert_eq!(all(long, "x.zst").unwrap(), ["a"]);
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
        assert!(error.contains("the name ends in .gz, but the file is not a gzip file"), "{error}");
        let error = all(b"", "x.gz").unwrap_err().to_string();
        assert!(error.contains("x.gz: the file is empty"), "{error}");
        let error = all(b"plain\n", "x.br").unwrap_err().to_string();
        assert!(error.contains("the brotli file is"), "{error}");
    }

    #[test]
    fn files_that_are_not_text_say_what_they_are() {
        let tar = {
            let mut tar = vec![b'x'; 257];
            tar.extend_from_slice(b"ustar\0");
            gzip(&tar)
        };
        for (bytes, what) in [
            (&b"\xff\xfea\0"[..], "this is a UTF-16 text; kitestring does not read it; convert it to UTF-8"),
            (b"PAR1\x15\0", "this is a Parquet file, not text"),
            (&gzip(b"PAR1\x15\0"), "this is a Parquet file, not text; unpack it"),
            (b"ARROW1\0\0", "this is an Arrow file, not text"),
            (b"PK\x03\x04", "this is a zip file; kitestring does not read it; unpack it"),
            (&tar, "this is a tar file; kitestring does not read it; unpack it"),
            (&gzip(&gzip(b"a\n")), "this is a gzip file within another compressed one; unpack it once"),
        ] {
            let error = all(bytes, "x.csv").unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn lines_that_end_in_carriage_returns_alone_are_refused() {
        let error = all(b"a,b\r1,2\r", "x.csv").unwrap_err().to_string();
        assert!(
            error.ends_with("x.csv: the file's lines end in \\r alone; write them with \\n, as `tr '\\r' '\\n'` does"),
            "{error}"
        );
        assert_eq!(all(b"\"a\r\",b\n", "x").unwrap(), ["\"a\r\",b"]);
    }
}
