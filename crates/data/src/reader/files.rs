//! From a source's path to files, and what their names tell.

use super::compressed;
use super::magic::{self, Packing, Recognized, recognize};
use crate::config::{Format, Source};
use kitestring_core::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The extensions of compressed text.
const COMPRESSED: [(&str, Packing); 3] = [("gz", Packing::Gzip), ("zst", Packing::Zstandard), ("br", Packing::Brotli)];

/// The folders of tables whose files are no longer all a part of them: what is in the folder, what the table is.
const TABLES: [(&str, &str); 3] = [
    ("_delta_log", "a Delta Lake table"),
    (".hoodie", "a Hudi table"),
    ("metadata/version-hint.text", "an Iceberg table"),
];

/// The files of a source within a folder, sorted by their paths; `None` where there is none. A folder stands for all files in it and in
/// its subfolders.
///
/// # Errors
/// An I/O error where a folder cannot be listed; a config error for a folder of a table with versions.
pub(crate) fn find(folder: &Path, path: &str) -> Result<Option<Vec<PathBuf>>> {
    if path.contains('*') {
        let mut found = Vec::new();
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty() && *step != ".").collect();
        let root = if path.starts_with('/') { Path::new("/") } else { folder };
        walk(root, &steps, &mut found)?;
        found.sort();
        return Ok((!found.is_empty()).then_some(found));
    }
    let full = folder.join(path);
    if full.is_file() {
        return Ok(Some(vec![full]));
    }
    if full.is_dir() {
        let mut files = Vec::new();
        list(&full, &mut files)?;
        files.sort();
        return Ok((!files.is_empty()).then_some(files));
    }
    for (extension, _) in COMPRESSED {
        let compressed = folder.join(format!("{path}.{extension}"));
        if compressed.is_file() {
            return Ok(Some(vec![compressed]));
        }
    }
    Ok(None)
}

/// The files that a pattern's steps lead to from a folder. A pattern that ends at a folder stands for all in it.
fn walk(folder: &Path, steps: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((step, rest)) = steps.split_first() else { return list(folder, found) };
    if !step.contains('*') {
        let next = folder.join(step);
        return match next.is_dir() {
            true => walk(&next, rest, found),
            false => {
                found.extend((rest.is_empty() && next.is_file()).then_some(next));
                Ok(())
            }
        };
    }
    if !folder.is_dir() {
        return Ok(());
    }
    for (path, name) in entries(folder)? {
        if matches(step, &name) && path.is_dir() && !is_hidden(&name) {
            walk(&path, rest, found)?;
        } else if rest.is_empty() && matches(step, &name) && path.is_file() && !is_hidden(&name) {
            found.push(path);
        }
    }
    Ok(())
}

/// Adds the files of a folder and its subfolders. What Spark, Hive and people put beside rows is left out: hidden files, markers and
/// checksums, empty files, and texts about the rows such as `README.md`.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if let Some((_, table)) = TABLES.iter().find(|(mark, _)| folder.join(mark).exists()) {
        return Err(Error::config(format!(
            "the folder is {table}, which also holds files that are no longer part of it"
        ))
        .in_file(folder.display().to_string())
        .mend("export the rows of its current version as Parquet"));
    }
    for (path, name) in entries(folder)? {
        match path.is_dir() {
            true if !is_hidden(&name) => list(&path, found)?,
            // Spark writes an empty file for a part without rows.
            false if !is_hidden(&name) && !is_about(&name) && path.metadata().is_ok_and(|about| about.len() > 0) => {
                found.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let cannot = |cause| Error::io(cause, "cannot list the folder", folder);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        entries.push((path, name));
    }
    Ok(entries)
}

/// Whether a name is that of a hidden file or a marker such as `_SUCCESS`; the folder of a partition may begin with `_` too.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('=')) || name.ends_with(".crc")
}

/// Whether a name is that of a text about the rows.
fn is_about(name: &str) -> bool {
    let lower = name.to_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    ["readme", "license", "licence", "source", "changelog"].contains(&stem)
        || [".md", ".rst", ".html", ".pdf"].iter().any(|end| lower.ends_with(end))
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

/// How a file is compressed, by its name.
pub(crate) fn packing(path: &Path) -> Option<Packing> {
    let name = own_extension(path);
    COMPRESSED.iter().find(|(extension, _)| *extension == name).map(|(_, packing)| *packing)
}

fn own_extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The extension that tells the format: that of the name without `.gz`, `.zst` or `.br`, in lower case.
pub(crate) fn extension(path: &Path) -> String {
    own_extension(if packing(path).is_some() { path.with_extension("") } else { path.to_owned() }.as_path())
}

/// The format of a file: the one its source gives, else what its first bytes show, else what its name says.
///
/// # Errors
/// A file that cannot be opened or is in a format that is not read.
pub(crate) fn format(source: &Source, path: &Path) -> Result<Format> {
    if let Some(format) = source.format {
        return Ok(format);
    }
    let named = match extension(path).as_str() {
        "parquet" | "pq" => Format::Parquet,
        "arrow" | "feather" | "ipc" => Format::Arrow,
        "jsonl" | "ndjson" | "json" => Format::Json,
        _ => Format::Text,
    };
    let head = compressed::head(&mut open(path)?).map_err(|cause| Error::io(cause, "cannot read the file", path))?;
    let columnar = [Format::Parquet, Format::Arrow].contains(&named);
    match recognize(&head) {
        Some(Recognized::Read(format)) => Ok(format),
        Some(Recognized::Unread(what, remedy)) if packing(path) != Some(Packing::Brotli) => {
            Err(magic::unread(what, remedy, &path.display().to_string()))
        }
        Some(Recognized::Packed(packing)) if columnar => {
            let what =
                format!("this is a {0} file around another one; kitestring reads text in {0} only", packing.name());
            Err(Error::data(what).in_file(path.display().to_string()).mend("unpack it"))
        }
        _ => Ok(named),
    }
}

/// The separator of a text file.
pub(crate) fn separator<'a>(source: &'a Source, path: &Path) -> &'a str {
    source.separator.as_deref().unwrap_or(if extension(path) == "csv" { "," } else { "\t" })
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| Error::io(cause, "cannot open the file", path))
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

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &Path, path: &str) -> Option<Vec<String>> {
        let files = find(folder, path).unwrap()?;
        let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        Some(files.iter().map(name).collect())
    }

    #[test]
    fn finds_files_folders_patterns_and_compressed_names() {
        let folder = folder(&["b.csv", "a.csv", ".hidden", "_SUCCESS", "c.tsv.gz"]);
        let names = |path: &str| names(folder.path(), path);
        assert_eq!(names(".").unwrap(), ["a.csv", "b.csv", "c.tsv.gz"]);
        assert_eq!(names("*.csv").unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(names("./*.csv").unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(names(&format!("{}/*.csv", folder.path().display())).unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(names("c.tsv").unwrap(), ["c.tsv.gz"]);
        assert_eq!(names("none"), None);
        assert_eq!(names("none/*.csv"), None);
    }

    #[test]
    fn folders_of_folders_without_what_is_not_rows() {
        let folder = folder(&[
            "s/day=1/part-0.parquet",
            "s/day=0/part-0.parquet",
            "s/day=0/.part-0.parquet.crc",
            "s/day=0/x.crc",
            "s/_SUCCESS",
            "s/_temporary/0/part-9.parquet",
            "s/_key=1/part-0.parquet",
            "s/README.md",
            "s/LICENSE",
            "t/_delta_log/0.json",
            "t/a.parquet",
        ]);
        let names = |path: &str| names(folder.path(), path);
        let all = ["s/_key=1/part-0.parquet", "s/day=0/part-0.parquet", "s/day=1/part-0.parquet"];
        assert_eq!(names("s").unwrap(), all);
        assert_eq!(names("s/day=*").unwrap(), all[1..]);
        assert_eq!(names("s/day=*/part-*.parquet").unwrap(), all[1..]);
        assert_eq!(names("s/day=1").unwrap(), all[2..]);
        std::fs::write(folder.path().join("s/day=1/part-1.parquet"), "").unwrap();
        assert_eq!(names("s").unwrap(), all);
        let error = find(folder.path(), "t").unwrap_err().to_string();
        assert!(error.contains("the folder is a Delta Lake table") && error.contains("export"), "{error}");
    }

    #[test]
    fn first_bytes_tell_the_format_before_the_name_does() {
        let folder = tempfile::tempdir().unwrap();
        let format = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            super::format(&Source::default(), &path)
        };
        assert_eq!(format("a.PARQUET", b"PAR1").unwrap(), Format::Parquet);
        assert_eq!(format("a.csv", b"PAR1\x15\x04").unwrap(), Format::Parquet);
        assert_eq!(format("a.feather", b"ARROW1\0\0").unwrap(), Format::Arrow);
        assert_eq!(format("u.data", b"1\t2\n").unwrap(), Format::Text);
        assert_eq!(format("u.jsonl.gz", b"\x1f\x8b").unwrap(), Format::Json);
        for (name, bytes, expected) in [
            ("a.parquet", &b"\x1f\x8b"[..], "this is a gzip file around another one"),
            ("a.csv", b"Obj\x01", "this is an Avro file; kitestring does not read it; convert it"),
            ("a.csv.xz", b"\xfd7zXZ\0", "this is an xz file; kitestring does not read it; unpack it"),
        ] {
            let error = format(name, bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn extensions_tell_the_separator() {
        let source = Source::default();
        assert_eq!(separator(&source, Path::new("a.csv.gz")), ",");
        assert_eq!(separator(&source, Path::new("a.tsv.zst")), "\t");
        assert_eq!(separator(&source, Path::new("a.CSV.br")), ",");
    }
}
