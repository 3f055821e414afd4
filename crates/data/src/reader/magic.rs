//! What a file is, by its first bytes and whatever its name.

use crate::config::Format;
use kitestring_core::error::Error;

/// The bytes needed to tell: tar's mark is the last one, at 257.
pub(crate) const HEAD: usize = 512;

/// What the first bytes of a file show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognized {
    /// One of the formats that are read.
    Read(Format),
    /// Bytes compressed so, which are read.
    Packed(Packing),
    /// A format that is not read: what it is called, with its article, and what its owner should do.
    Unread(&'static str, &'static str),
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstandard,
    /// Has no mark: only the name tells.
    Brotli,
}

impl Packing {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "zstd",
            Self::Brotli => "brotli",
        }
    }
}

const UNPACK: &str = "unpack it";
const CONVERT: &str = "convert it to Parquet, CSV or JSON lines";
const UTF_8: &str = "convert it to UTF-8, as `iconv -f UTF-16 -t UTF-8` does";

/// Marks that a file begins with. The longer of two that begin alike comes first.
const MARKS: &[(&[u8], Recognized)] = &[
    (b"PAR1", Recognized::Read(Format::Parquet)),
    (b"PARE", Recognized::Unread("an encrypted Parquet file", "write it without encryption")),
    (b"ARROW1", Recognized::Read(Format::Arrow)),
    (b"\xff\xff\xff\xff", Recognized::Unread("an Arrow stream", "write it as an Arrow IPC file or as Parquet")),
    (b"FEA1", Recognized::Unread("a Feather file of version 1", "write it as Feather version 2 or as Parquet")),
    (b"\x1f\x8b", Recognized::Packed(Packing::Gzip)),
    (b"\x28\xb5\x2f\xfd", Recognized::Packed(Packing::Zstandard)),
    (b"\xfd7zXZ\0", Recognized::Unread("an xz file", UNPACK)),
    (b"\x5d\0\0", Recognized::Unread("an lzma file", UNPACK)),
    (b"LZIP\x01", Recognized::Unread("an lzip file", UNPACK)),
    (b"\x04\x22\x4d\x18", Recognized::Unread("an lz4 file", UNPACK)),
    (b"\x02\x21\x4c\x18", Recognized::Unread("an lz4 file", UNPACK)),
    (b"\xff\x06\0\0sNaPpY", Recognized::Unread("a snappy file", UNPACK)),
    (b"\x89LZO\0", Recognized::Unread("an lzop file", UNPACK)),
    (b"\x1f\x9d", Recognized::Unread("a file of `compress` (.Z)", UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Recognized::Unread("a 7z file", UNPACK)),
    (b"Rar!\x1a\x07", Recognized::Unread("a rar file", UNPACK)),
    (b"Obj\x01", Recognized::Unread("an Avro file", CONVERT)),
    (b"SQLite format 3\0", Recognized::Unread("an SQLite database", "export the table as CSV")),
    (b"\x93NUMPY", Recognized::Unread("a NumPy array", CONVERT)),
    (b"\x89HDF\r\n\x1a\n", Recognized::Unread("an HDF5 file", CONVERT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Recognized::Unread("an old Office file (.xls)", "save it as CSV UTF-8")),
    (b"RDX2\n", Recognized::Unread("an R workspace", "write the table with write.csv")),
    (b"RDX3\n", Recognized::Unread("an R workspace", "write the table with write.csv")),
    (b"X\n\0\0\0", Recognized::Unread("an R object (.rds)", "write the table with write.csv")),
    (b"<stata_dta>", Recognized::Unread("a Stata file", CONVERT)),
    (b"MATLAB 5.0", Recognized::Unread("a MATLAB file", CONVERT)),
    (b"%PDF-", Recognized::Unread("a PDF file", "get the table as CSV")),
    (
        b"version https://git-lfs",
        Recognized::Unread("a pointer of Git LFS", "fetch the file itself with `git lfs pull`"),
    ),
    (b"\xff\xfe\0\0", Recognized::Unread("a UTF-32 text", "convert it to UTF-8, as `iconv -f UTF-32 -t UTF-8` does")),
    (b"\0\0\xfe\xff", Recognized::Unread("a UTF-32 text", "convert it to UTF-8, as `iconv -f UTF-32 -t UTF-8` does")),
    (b"\xff\xfe", Recognized::Unread("a UTF-16 text", UTF_8)),
    (b"\xfe\xff", Recognized::Unread("a UTF-16 text", UTF_8)),
];

/// What the first bytes of a file, up to [`HEAD`] of them, show; `None` for what can only be text or nothing.
pub(crate) fn recognize(head: &[u8]) -> Option<Recognized> {
    if let Some((mark, found)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        // A text may begin with these letters too: then no control character follows.
        let is_word = mark.iter().all(u8::is_ascii_alphanumeric);
        let rest = head.get(mark.len()..).unwrap_or_default();
        return (!is_word || rest.is_empty() || !is_text(rest)).then_some(*found);
    }
    match head {
        // Frames that are skipped: parallel zstd begins with one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Recognized::Packed(Packing::Zstandard)),
        [b'P', b'K', 3 | 5 | 7, 4 | 6 | 8, ..] => Some(zipped(head)),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, 0x41 | 0x72, 0x59 | 0x45, ..] => {
            Some(Recognized::Unread("a bzip2 file", UNPACK))
        }
        [0x80, 2..=5, ..] => Some(Recognized::Unread("a Python pickle", CONVERT)),
        [b'O', b'R', b'C', rest @ ..] if !is_text(rest) => Some(Recognized::Unread("an ORC file", CONVERT)),
        _ if head.get(257..262) == Some(b"ustar") => Some(Recognized::Unread("a tar file", UNPACK)),
        _ if is_page(head) => {
            Some(Recognized::Unread("a web page", "fetch the file itself; a page may ask for a login"))
        }
        _ if halves(head) => Some(Recognized::Unread("a UTF-16 text", UTF_8)),
        // One may have slipped into a text; several are no accident.
        _ if head.iter().filter(|byte| **byte == 0).count() >= 3 => {
            Some(Recognized::Unread("a binary file", "check that it is the right one"))
        }
        _ => None,
    }
}

/// What a zip file is: Excel's workbooks and NumPy's and PyTorch's files are.
fn zipped(head: &[u8]) -> Recognized {
    let length = head.get(26..28).map_or(0, |bytes| usize::from(bytes[0]) + 256 * usize::from(bytes[1]));
    let name = head.get(30..).map_or(&[][..], |rest| &rest[..length.min(rest.len())]);
    match name {
        b"[Content_Types].xml" | b"_rels/.rels" => Recognized::Unread("an Office file (.xlsx)", "save it as CSV UTF-8"),
        _ if name.starts_with(b"xl/") || name.starts_with(b"docProps/") => {
            Recognized::Unread("an Office file (.xlsx)", "save it as CSV UTF-8")
        }
        _ if name.ends_with(b".npy") => Recognized::Unread("a file of NumPy arrays (.npz)", CONVERT),
        _ if name.ends_with(b"data.pkl") => Recognized::Unread("a PyTorch file", CONVERT),
        b"mimetype" => Recognized::Unread("an OpenDocument file (.ods)", "save it as CSV"),
        _ => Recognized::Unread("a zip file", UNPACK),
    }
}

/// Whether bytes hold no control character but those of a text.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= 0x20 || b"\t\n\r\x0c\x1b".contains(byte))
}

/// Whether every second byte of an ASCII text's UTF-16 is 0.
fn halves(head: &[u8]) -> bool {
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let half = head.len() / 2;
    half >= 2 && (10 * zeros(1) >= 9 * half && zeros(0) == 0 || 10 * zeros(0) >= 9 * half && zeros(1) == 0)
}

/// Whether a text begins like HTML.
fn is_page(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    ["<!doctype html", "<html"]
        .iter()
        .any(|mark| start.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark.as_bytes())))
}

/// The error about a file that is not read.
pub(crate) fn unread(what: &str, remedy: &str, file: &str) -> Error {
    Error::data(format!("this is {what}; kitestring does not read it")).in_file(file).mend(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(head: &[u8]) -> &'static str {
        match recognize(head) {
            Some(Recognized::Unread(what, _)) => what,
            Some(Recognized::Packed(packing)) => packing.name(),
            Some(Recognized::Read(_)) => "read",
            None => "text",
        }
    }

    #[test]
    fn files_are_what_their_first_bytes_say() {
        let mut tar = b"a.csv".to_vec();
        tar.resize(257, 0);
        tar.extend_from_slice(b"ustar\0");
        let xlsx = [&b"PK\x03\x04"[..], &[0; 22], &[19, 0, 0, 0], b"[Content_Types].xml..."].concat();
        let npz = [&b"PK\x03\x04"[..], &[0; 22], &[9, 0, 0, 0], b"arr_0.npy..."].concat();
        for (head, expected) in [
            (&b"PAR1\x15\x04"[..], "read"),
            (b"ARROW1\0\0", "read"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\x50\x2a\x4d\x18\x04\0\0\0", "zstd"),
            (b"BZh91AY&SY\x12\x00", "a bzip2 file"),
            (b"\xfd7zXZ\0", "an xz file"),
            (b"PK\x03\x04", "a zip file"),
            (&xlsx, "an Office file (.xlsx)"),
            (&npz, "a file of NumPy arrays (.npz)"),
            (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
            (&tar, "a tar file"),
            (b"ORC\x0a\x0b\x0a\x03\0\0", "an ORC file"),
            (b"Obj\x01\x04", "an Avro file"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"\x80\x04\x95\x10", "a Python pickle"),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
            (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
            (b"\xff\xfeu\0s\0", "a UTF-16 text"),
            (b"u\0s\0e\0r\0,\0", "a UTF-16 text"),
            (b"\0u\0s\0e\0r", "a UTF-16 text"),
            (b"a\0\0\0bc", "a binary file"),
            (b"\n<!DOCTYPE HTML><html>", "a web page"),
        ] {
            assert_eq!(what(head), expected, "{head:?}");
        }
    }

    #[test]
    fn a_text_may_begin_with_the_letters_of_a_mark() {
        for text in
            [&b"PARIS,1\n"[..], b"PAR1,x\n", b"ARROW1\tz\n", b"ORC,1\n", b"BZh,1\n", b"a,b\n", b"", b"\xef\xbb\xbfa"]
        {
            assert_eq!(recognize(text), None, "{text:?}");
        }
    }
}
