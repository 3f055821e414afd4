//! How a file is written: separator, header, encoding.

use super::columns::is_none;
use crate::config::{Encoding, Format, Source};
use crate::reader::files;
use crate::reader::lines::Lines;
use kitestring_core::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The lines looked at.
const LINES: usize = 200;

/// Separators, the ones less likely to be letters of a text first.
const SEPARATORS: [&str; 6] = ["\t", "::", ";", "|", ",", " "];

/// The folder, and the source in it.
pub(super) fn source(path: &Path) -> Result<(PathBuf, Source)> {
    let (folder, name) = if path.is_dir() {
        (path.to_owned(), common_name(path)?)
    } else {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (folder.to_owned(), name)
    };
    let mut source = Source::new(&name);
    let files = files::find(&folder, &name)?;
    let first = files.iter().flatten().next().ok_or_else(|| {
        Error::config("there is no such file").in_file(path.display().to_string()).mend("check the path")
    })?;
    if files::format(&source, first)? == Format::Text {
        sniff(first, &mut source)?;
    }
    Ok((folder, source))
}

/// The largest file of a folder, together with those whose names differ from its name in numbers alone; where that lies in a subfolder,
/// all files of this subfolder, or of the whole folder where its subfolders are partitions.
fn common_name(folder: &Path) -> Result<String> {
    let files = files::find(folder, ".")?.unwrap_or_default();
    let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let largest = files
        .iter()
        .max_by_key(|file| file.metadata().map_or(0, |data| data.len()))
        .ok_or_else(|| Error::config("there is no file in the folder").in_file(folder.display().to_string()))?;
    let mut steps = largest.strip_prefix(folder).unwrap_or(largest).components();
    if let (Some(first), Some(_)) = (steps.next(), steps.next()) {
        let first = first.as_os_str().to_string_lossy().into_owned();
        return Ok(if first.contains('=') { ".".into() } else { first });
    }
    let pattern = without_numbers(&name(largest));
    let direct = files.iter().filter(|file| file.parent() == largest.parent());
    let alike = direct.filter(|file| without_numbers(&name(file)) == pattern).count();
    Ok(if alike > 1 { pattern } else { name(largest) })
}

/// A name with a star for each number in it.
fn without_numbers(name: &str) -> String {
    let mut pattern = String::new();
    for letter in name.chars() {
        match letter {
            '0'..='9' if pattern.ends_with('*') => {}
            '0'..='9' => pattern.push('*'),
            _ => pattern.push(letter),
        }
    }
    pattern
}

fn sniff(path: &Path, source: &mut Source) -> Result<()> {
    let mut lines = Lines::open(path)?;
    source.separator = lines.excel_separator()?;
    let mut texts: Vec<String> = Vec::new();
    let mut comments = 0;
    while texts.len() < LINES {
        let Some(length) = lines.length()? else { break };
        let line = &lines.rest()[..length.text];
        // Lines above the header that begin so say something about the file.
        if texts.is_empty() && line.starts_with(b"#") {
            comments += 1;
        }
        if !line.is_empty() {
            match std::str::from_utf8(line) {
                Ok(text) => texts.push(text.to_owned()),
                Err(_) => {
                    source.encoding = Encoding::Latin1;
                    texts.push(line.iter().map(|byte| char::from(*byte)).collect());
                }
            }
        }
        lines.consume(length.all, 1);
        if comments > 0 && texts.len() == 1 && texts[0].starts_with('#') && comments < LINES {
            source.comment = Some("#".into());
            texts.clear();
        }
    }
    let usual = files::separator(&Source::default(), path).to_owned();
    let separator = source.separator.clone().unwrap_or_else(|| separator(&texts, &usual));
    if separator != usual {
        source.separator = Some(separator.clone());
    }
    let rows: Vec<Vec<&str>> = texts.iter().map(|text| split(text, &separator)).collect();
    let after = |field: &&str| field.starts_with(' ') && field.len() > 1;
    let fields = || rows.iter().flat_map(|row| row.iter().skip(1));
    source.trim = separator != " " && 10 * fields().filter(|field| after(field)).count() > 9 * fields().count().max(1);
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    if let Some((first, others)) = rows.split_first()
        && !has_header(first, others)
    {
        source.columns = Some((1..=width).map(|number| format!("column_{number}")).collect());
    }
    // Programs that write a tab-separated or a headerless file leave empty fields at the end of a line out.
    let short = rows.iter().filter(|row| row.len() < width).count();
    source.short_rows = width >= 10 && 20 * short >= rows.len() && rows.iter().all(|row| 2 * row.len() > width);
    // A quoted text in which a backslash stands before quotes, which are not doubled.
    let quoted = [",", ";"].contains(&separator.as_str());
    let has = |part: &str| texts.iter().any(|text| text.contains(part));
    if quoted && has("\\\"") && !has("\"\"\"") && texts.iter().all(|text| !text.replace("\\\"", "").contains("\"\"")) {
        source.escape = Some("\\".into());
    } else if !quoted && quoted_fields(&rows) {
        source.quote = Some("\"".into());
    }
    Ok(())
}

/// Whether fields stand in quotes, each as a whole.
fn quoted_fields(rows: &[Vec<&str>]) -> bool {
    let quoted = |field: &&str| field.len() >= 2 && field.starts_with('"') && field.ends_with('"');
    let in_quotes = |field: &&str| field.contains('"');
    let fields = || rows.iter().flatten();
    fields().any(quoted) && fields().filter(|field| in_quotes(field)).all(quoted)
}

/// The fields of a line; a quoted one keeps its separators.
fn split<'a>(line: &'a str, separator: &str) -> Vec<&'a str> {
    let mut fields = Vec::new();
    let (mut start, mut at, mut quoted) = (0, 0, false);
    while at < line.len() {
        if line.as_bytes()[at] == b'"' {
            quoted = !quoted;
        } else if !quoted && line.as_bytes()[at..].starts_with(separator.as_bytes()) {
            fields.push(&line[start..at]);
            at += separator.len();
            start = at;
            continue;
        }
        at += 1;
    }
    fields.push(&line[start..]);
    fields
}

/// The separator that parts nearly all lines into the same number of fields: the one that is usual for the extension,
/// else the first of the list.
fn separator(lines: &[String], usual: &str) -> String {
    let parts = |separator: &str| {
        let Some(first) = lines.first().map(|line| split(line, separator).len()) else { return false };
        let same = lines.iter().filter(|line| split(line, separator).len() == first).count();
        first > 1 && 10 * same >= 9 * lines.len()
    };
    let mut all = std::iter::once(usual).chain(SEPARATORS);
    all.find(|separator| parts(separator)).unwrap_or(usual).to_owned()
}

/// Whether the first line names the columns: somewhere a word stands over numbers; where there are no numbers at all, no
/// word of it comes again below.
fn has_header(first: &[&str], others: &[Vec<&str>]) -> bool {
    let bare = |row: &[&'_ str]| -> Vec<String> { row.iter().map(|text| text.trim_matches('"').to_owned()).collect() };
    let (first, others) = (bare(first), others.iter().map(|row| bare(row)).collect::<Vec<_>>());
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let others: Vec<Vec<&str>> = others.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    // A list of numbers is no name either.
    let is_number = |text: &&str| text.split_whitespace().all(|part| part.parse::<f64>().is_ok());
    let column = |place: usize| {
        others.iter().filter_map(move |row| row.get(place)).filter(|text| !text.is_empty() && !is_none(text))
    };
    let numbers = |place: usize| {
        let count = column(place).count();
        count > 0 && 20 * column(place).filter(|text| is_number(text)).count() >= 19 * count
    };
    if (0..first.len()).any(numbers) {
        return first.iter().enumerate().any(|(place, text)| numbers(place) && !text.is_empty() && !is_number(text));
    }
    first
        .iter()
        .enumerate()
        .all(|(place, text)| !is_number(text) && !text.is_empty() && column(place).all(|t| t != text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn separators() {
        assert_eq!(separator(&lines("a,b\n1,2|3\n4,5"), ","), ",");
        assert_eq!(separator(&lines("1::a|b::x\n2::c::y"), "\t"), "::");
        assert_eq!(separator(&lines("1;a,b\n2;c\n3;d,e,f"), ","), ";");
        assert_eq!(separator(&lines("a\t1\nb b\t2"), "\t"), "\t");
        assert_eq!(separator(&lines("1 2 3\n4 5 6"), "\t"), " ");
        assert_eq!(separator(&lines("one\nanother one"), ","), ",");
        assert_eq!(split("a,\"b,c\",d", ","), ["a", "\"b,c\"", "d"]);
    }

    #[test]
    fn names_that_differ_in_numbers() {
        assert_eq!(without_numbers("part-00012.csv.gz"), "part-*.csv.gz");
        assert_eq!(without_numbers("ratings.dat"), "ratings.dat");
    }

    #[test]
    fn headers() {
        let header = |text: &str| {
            let lines = lines(text);
            let rows: Vec<Vec<&str>> = lines.iter().map(|line| split(line, ",")).collect();
            has_header(&rows[0], &rows[1..])
        };
        assert!(header("user,item\n1,2"));
        assert!(header("click,101,121\n0,1,1\n1,5,6"));
        assert!(!header("1,2\n3,4"));
        assert!(!header("1,a\n3,b"));
        assert!(header("name,city\nanna,rome\nbob,oslo"));
        assert!(!header("bob,rome\nanna,rome\nbob,oslo"));
        assert!(!header("0,68fd,05db\n1,8cf0,05db"));
        assert!(!header("0 1 2\n1 5\n2 7 8 9"));
    }
}
