//! Every way rows are written as JSON, and what is wrong with some.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::reader::Input;
use arrow_array::Array;
use arrow_array::cast::AsArray;

/// The rows as `line: a|b`; a list is in brackets, `-` is null.
fn read_with(name: &str, text: &[u8], source: Source, wanted: &[&str], bad: &BadRows) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    let input = Input::open(folder.path(), &Source { path: name.into(), ..source })?;
    let mut rows = Vec::new();
    for chunk in input.read(wanted, bad)? {
        let chunk = chunk?;
        for row in 0..chunk.rows.num_rows() {
            let texts = |column: &ArrayRef, row: usize| {
                let column = column.as_string::<i32>();
                if column.is_null(row) { "-".to_owned() } else { column.value(row).to_owned() }
            };
            let cell = |column: &ArrayRef| match column.as_list_opt::<i32>() {
                Some(list) if list.is_null(row) => "-".to_owned(),
                Some(list) => {
                    let values = list.value(row);
                    format!("[{}]", (0..values.len()).map(|at| texts(&values, at)).collect::<Vec<_>>().join(","))
                }
                None => texts(column, row),
            };
            let cells: Vec<String> = chunk.rows.columns().iter().map(cell).collect();
            rows.push(format!("{}: {}", chunk.lines.of(row), cells.join("|")));
        }
    }
    Ok(rows)
}

fn read(text: &str, wanted: &[&str]) -> Vec<String> {
    read_with("x.jsonl", text.as_bytes(), Source::default(), wanted, &BadRows::default()).unwrap()
}

fn error(text: &str, wanted: &[&str]) -> String {
    let read = read_with("x.jsonl", text.as_bytes(), Source::default(), wanted, &BadRows::default());
    read.unwrap_err().to_string()
}

fn found(text: &str) -> Vec<(String, Holds)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    std::fs::write(&path, text).unwrap();
    let members = columns(&path, &Source::default()).unwrap();
    members.into_iter().map(|member| (member.name, member.holds)).collect()
}

const ROWS: &str = r#"{"user": 9007199254740993, "item": "caf\u00e9 \"x\"", "tags": ["a", "b", null], "at": {"day": 3, "geo": {"lat": -1.50}}}

{"item": null, "user": 123456789012345678901234567890, "ok": true, "tags": []}
{"user": 5.0, "tags": "c", "at": {"geo": {"lat": 2e3}}, "junk": [{"a": 1}]}
"#;

#[test]
fn members_are_columns_whatever_their_order() {
    assert_eq!(
        read(ROWS, &["tags", "user", "at.geo.lat", "item", "ok"]),
        [
            "1: [a,b,-]|9007199254740993|-1.50|caf\u{e9} \"x\"|-",
            "3: []|123456789012345678901234567890|-|-|true",
            "4: [c]|5|2000|-|-"
        ]
    );
    let names: Vec<String> = found(ROWS).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["user", "item", "tags", "at.day", "at.geo.lat", "ok", "junk"]);
    assert_eq!(found(ROWS)[2].1, Holds::Lists);
    assert_eq!(found(ROWS)[6].1, Holds::Nested);
}

#[test]
fn arrays_and_objects_over_several_lines() {
    let array = "\u{feff}[\n  {\"a\": 1, \"b\": \"}]\\\"{\"},\n  {\"a\": 2\n  },{\"a\":3}]\n";
    assert_eq!(read(array, &["a", "b"]), ["2: 1|}]\"{", "3: 2|-", "4: 3|-"]);
    assert_eq!(read("[{\"a\":1},{\"a\":2}]", &["a"]), ["1: 1", "1: 2"]);
    assert_eq!(read("{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", &["a"]), ["1: 1", "4: 2"]);
    assert!(error("[{\"a\":1},", &["a"]).contains("the array is not closed"));
    assert!(error("{\n\"a\": 1", &["a"]).contains("the last object is not closed"));
}

#[test]
fn rows_that_are_no_objects_are_bad_rows() {
    let text = "{\"a\": 1}\n{\"a\": 2\n[3]\n{\"a\": 4, \"a\": 5}\n{\"a\": [6]}\n{\"a\": 7}\n{\"a\": \"\u{7f}\n";
    let bad = BadRows::new(9);
    let rows = read_with("x.json", text.as_bytes(), Source::default(), &["a"], &bad);
    // The first rows decide what a column holds: here lists.
    assert_eq!(rows.unwrap(), ["1: [1]", "5: [6]", "6: [7]"]);
    let messages = bad.messages();
    for (message, expected) in messages.iter().zip([
        "x.json:2: this is not JSON: `{\"a\": 2",
        "x.json:3: expected an object, found `[3]`",
        "x.json:4: `a`: the member is there twice",
        "x.json:7: this is not JSON",
    ]) {
        assert!(message.contains(expected), "{message}");
    }
    assert!(error(text, &["a"]).contains("--max-bad-rows"));
    let latin = b"{\"a\": \"caf\xe9\"}\n";
    let wrong = read_with("x.json", latin, Source::default(), &["a"], &BadRows::default()).unwrap_err().to_string();
    assert!(wrong.contains("is not UTF-8; set encoding = \"latin-1\""), "{wrong}");
    let source = Source { encoding: Encoding::Latin1, ..Source::default() };
    assert_eq!(read_with("x.json", latin, source, &["a"], &BadRows::default()).unwrap(), ["1: caf\u{e9}"]);
}

#[test]
fn files_that_are_no_rows_say_so() {
    assert!(error("a,b\n1,2\n", &["a"]).contains("expected JSON objects, found `a,b`; write an object a line"));
    assert!(error("", &["a"]).contains("the file is empty"));
    let pandas = "{\"user\":{\"0\":1,\"1\":2},\"item\":{\"0\":3,\"1\":4}}";
    assert!(error(pandas, &["user"]).contains("one object of columns") && error(pandas, &[]).contains("orient"));
    assert!(error(ROWS, &["junk"]).contains("`junk`: the column holds lists of objects"));
    assert!(error(ROWS, &["At.Day"]).contains("did you mean `at.day`?"));
}

#[test]
fn what_the_first_file_holds_the_others_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{\"t\": [1], \"u\": 1}\n").unwrap();
    std::fs::write(folder.path().join("b.json"), "{\"t\": 2}\n{\"t\": null}\n").unwrap();
    let input = Input::open(folder.path(), &Source::new(".")).unwrap();
    let chunks: Vec<Chunk> = input.read(&["t", "u"], &BadRows::default()).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(chunks[1].rows.column(0).as_list::<i32>().value_length(0), 1);
    assert!(chunks[1].rows.column(0).is_null(1) && chunks[1].rows.column(1).is_null(0));
}

#[test]
fn missing_texts_and_members_that_come_late() {
    let missing = [("*".to_owned(), vec!["NA".to_owned()])].into();
    let source = Source { missing, columns: Some(vec!["late".into()]), ..Source::default() };
    let text = "{\"a\": \"NA\"}\n{\"a\": \"x\"}\n";
    let rows = read_with("x.ndjson", text.as_bytes(), source, &["a", "late"], &BadRows::default());
    assert_eq!(rows.unwrap(), ["1: -|-", "2: x|-"]);
}

#[test]
fn chunks_are_bounded_and_no_row_is_lost() {
    let text: String = (0..2 * CHUNK_ROWS + 5).map(|row| format!("{{\"id\":{row}}}\n")).collect();
    let rows = read(&text, &["id"]);
    assert!(rows.into_iter().eq((0..2 * CHUNK_ROWS + 5).map(|row| format!("{}: {row}", row + 1))));
}
