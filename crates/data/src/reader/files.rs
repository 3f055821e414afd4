//! From a source's path to files, and from a file to its plain bytes.

use crate::config::{Format, Source};
use kitestring_core::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// The extensions of compressed text.
const COMPRESSED: [&str; 2] = ["gz", "zst"];

/// The files of a source within a folder, sorted by name; `None` where there is none.
///
/// # Errors
/// An I/O error where a folder cannot be listed.
pub(crate) fn find(folder: &Path, path: &str) -> Result<Option<Vec<PathBuf>>> {
    let full = folder.join(path);
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.contains('*') {
        let parent = full.parent().unwrap_or(folder);
        if !parent.is_dir() {
            return Ok(None);
        }
        let files = list(parent, |file| matches(&name, file))?;
        return Ok((!files.is_empty()).then_some(files));
    }
    if full.is_file() {
        return Ok(Some(vec![full]));
    }
    if full.is_dir() {
        let files = list(&full, |_| true)?;
        return Ok((!files.is_empty()).then_some(files));
    }
    for extension in COMPRESSED {
        let compressed = folder.join(format!("{path}.{extension}"));
        if compressed.is_file() {
            return Ok(Some(vec![compressed]));
        }
    }
    Ok(None)
}

/// The files of a folder whose names are accepted, sorted. Hidden files and markers such as `_SUCCESS` are left out.
fn list(folder: &Path, accept: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let cannot = |cause| Error::io(cause, "cannot list the folder", folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with(['.', '_']) && accept(&name) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name matches a pattern in which `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The extension that tells the format: that of the name without `.gz` or `.zst`, in lower case.
pub(crate) fn extension(path: &Path) -> String {
    let of = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let outer = of(path);
    if COMPRESSED.contains(&outer.as_str()) { of(&path.with_extension("")) } else { outer }
}

/// The format of a file.
pub(crate) fn format(source: &Source, path: &Path) -> Format {
    source.format.unwrap_or_else(|| match extension(path).as_str() {
        "parquet" | "pq" => Format::Parquet,
        "arrow" | "feather" | "ipc" => Format::Arrow,
        _ => Format::Text,
    })
}

/// The separator of a text file.
pub(crate) fn separator<'a>(source: &'a Source, path: &Path) -> &'a str {
    source.separator.as_deref().unwrap_or(if extension(path) == "csv" { "," } else { "\t" })
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| Error::io(cause, "cannot open the file", path))
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstandard,
}

/// The plain bytes of a file that may be compressed: its first bytes tell, whatever its name.
pub(crate) fn plain(path: &Path) -> Result<(Box<dyn Read + Send>, Compression)> {
    let mut file = open(path)?;
    let mut magic = Vec::with_capacity(4);
    let cannot = |cause| Error::io(cause, "cannot read the file", path);
    file.by_ref().take(4).read_to_end(&mut magic).map_err(cannot)?;
    let compression = match *magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstandard,
        _ => Compression::None,
    };
    let name = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if compression == Compression::None && COMPRESSED.contains(&name.as_str()) {
        return Err(Error::format(format!("the name ends in .{name}, but the file is not compressed so"))
            .in_file(path.display().to_string())
            .mend("rename it, or fetch it again"));
    }
    let bytes = BufReader::with_capacity(1 << 17, Cursor::new(magic).chain(file));
    Ok(match compression {
        Compression::None => (Box::new(bytes.into_inner()), compression),
        Compression::Gzip => (Box::new(flate2::bufread::MultiGzDecoder::new(bytes)), compression),
        Compression::Zstandard => {
            (Box::new(zstd::stream::read::Decoder::with_buffer(bytes).map_err(cannot)?), compression)
        }
    })
}

/// What an error while reading plain bytes means.
pub(crate) fn read_error(cause: std::io::Error, compression: Compression, path: &str) -> Error {
    let name = match compression {
        Compression::None => return Error::io(cause, "cannot read the file", path),
        Compression::Gzip => "gzip",
        Compression::Zstandard => "zstd",
    };
    if cause.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::format(format!("the {name} file is truncated"))
            .in_file(path)
            .mend("fetch it again")
            .caused_by(cause);
    }
    Error::format(format!("the {name} file is damaged")).in_file(path).mend("fetch it again").caused_by(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("part-*.csv*", "part-1.csv.gz", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn finds_files_folders_patterns_and_compressed_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".hidden", "_SUCCESS", "c.tsv.gz"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let names = |path: &str| {
            let files = find(folder.path(), path).unwrap()?;
            Some(files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(".").unwrap(), ["a.csv", "b.csv", "c.tsv.gz"]);
        assert_eq!(names("*.csv").unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(names("c.tsv").unwrap(), ["c.tsv.gz"]);
        assert_eq!(names("none"), None);
        assert_eq!(names("none/*.csv"), None);
    }

    #[test]
    fn extensions_tell_format_and_separator() {
        let source = Source::default();
        assert_eq!(format(&source, Path::new("a.PARQUET")), Format::Parquet);
        assert_eq!(format(&source, Path::new("a.feather")), Format::Arrow);
        assert_eq!(format(&source, Path::new("u.data")), Format::Text);
        assert_eq!(separator(&source, Path::new("a.csv.gz")), ",");
        assert_eq!(separator(&source, Path::new("a.tsv.zst")), "\t");
    }
}
