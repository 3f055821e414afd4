//! Every format and setting, and every kind of bad input.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Encoding;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, cast::AsArray};
use std::io::Write;

/// A folder with files in it.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn chunks(folder: &Path, source: &Source, wanted: &[&str], bad: &BadRows) -> Result<Vec<Chunk>> {
    Input::open(folder, source)?.read(wanted, bad)?.collect()
}

/// The rows as text with their lines: `line: a|b`; `-` is null.
fn shown(chunks: &[Chunk]) -> Vec<String> {
    let mut rows = Vec::new();
    for chunk in chunks {
        let columns: Vec<ArrayRef> = chunk
            .rows
            .columns()
            .iter()
            .map(|column| arrow_cast::cast(column, &arrow_schema::DataType::Utf8).unwrap())
            .collect();
        for row in 0..chunk.rows.num_rows() {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) { "-".into() } else { column.as_string::<i32>().value(row).to_owned() }
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            rows.push(format!("{}: {}", chunk.lines.of(row), cells.join("|")));
        }
    }
    rows
}

fn read_with(bytes: &[u8], source: Source, wanted: &[&str], bad: &BadRows) -> Result<Vec<String>> {
    let folder = folder(&[("x.csv", bytes)]);
    let source = Source { path: "x.csv".into(), ..source };
    chunks(folder.path(), &source, wanted, bad).map(|chunks| shown(&chunks))
}

fn read(bytes: &[u8], source: Source, wanted: &[&str]) -> Vec<String> {
    read_with(bytes, source, wanted, &BadRows::default()).unwrap()
}

fn error(bytes: &[u8], source: Source, wanted: &[&str]) -> String {
    read_with(bytes, source, wanted, &BadRows::default()).unwrap_err().to_string()
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn columns_in_the_order_asked_for() {
    assert_eq!(read(b"a,b,c\n1,2,3\n4,5,6", Source::default(), &["c", "a"]), ["2: 3|1", "3: 6|4"]);
    assert_eq!(read(b"a,b\n\n1,2\r\n\n3,\n", Source::default(), &["b"]), ["3: 2", "5: "]);
    let none: [&str; 0] = [];
    assert_eq!(read(b"a,b\n", Source::default(), &["a"]), none);
    let no_columns = read(b"a,b\n1,2\n", Source::default(), &[]);
    assert_eq!(no_columns, ["2: "]);
}

#[test]
fn headers_given_names_and_new_names() {
    let given = Source { columns: names(&["x", "y"]), ..Source::default() };
    assert_eq!(read(b"1,2\n", given.clone(), &["y"]), ["1: 2"]);
    let instead = Source { header: Some(true), ..given.clone() };
    assert_eq!(read(b"user_id:token,b\n1,2\n", instead.clone(), &["x"]), ["2: 1"]);
    assert!(error(b"a\n1\n", instead, &["x"]).contains("the header has 1 columns, `columns` names 2"));
    let rename = Source { rename: [("user".to_owned(), "u:token".to_owned())].into(), ..Source::default() };
    assert_eq!(read(b"u:token,b\n1,2\n", rename.clone(), &["b", "user"]), ["2: 2|1"]);
    assert!(error(b"a,b\n1,2\n", rename, &["b"]).contains("`u:token`: there is no such column among `a`, `b`"));
    let nameless = Source { header: Some(false), ..Source::default() };
    assert!(error(b"1\n", nameless, &[]).contains("needs `columns`"));
    assert_eq!(read(b"\"a,\"\"b\",c\n1,2\n", Source::default(), &["a,\"b"]), ["2: 1"]);
}

#[test]
fn quotes_keep_the_lines_of_the_rows_after_them() {
    let text = b"a,b\n\"1\n1\",\"x,\"\"y\"\n2,z\n3,\"\"";
    assert_eq!(read(text, Source::default(), &["b", "a"]), ["2: x,\"y|1\n1", "4: z|2", "5: |3"]);
    let off = Source { quote: Some(String::new()), ..Source::default() };
    assert_eq!(read(b"a,b\n\"1,2\"\n", off, &["a", "b"]), ["2: \"1|2\""]);
    let single = Source { quote: Some("'".into()), separator: Some("|".into()), ..Source::default() };
    assert_eq!(read(b"a|b\n'1|1'|2\n", single, &["a", "b"]), ["2: 1|1|2"]);
}

#[test]
fn records_in_quotes_longer_than_the_buffer() {
    let long = "line,\n".repeat(100_000);
    let text = format!("a,b\n1,\"{long}\"\n2,x\n");
    let rows = read(text.as_bytes(), Source::default(), &["a", "b"]);
    assert_eq!(rows[0], format!("2: 1|{long}"));
    assert_eq!(rows[1], "100003: 2|x");
}

/// Users and their items a line, as LightGCN publishes them.
fn lists() -> Source {
    Source { columns: names(&["user", "item"]), separator: Some(" ".into()), repeat: true, ..Source::default() }
}

#[test]
fn a_line_of_several_values_is_a_row_for_each() {
    // No value, a space behind the last one, two spaces, an empty line.
    let text = b"7 1 2 3\n8\n9 \r\n\n10 4  5 \r\n11 6";
    assert_eq!(read(text, lists(), &["item", "user"]), ["1: 1|7", "1: 2|7", "1: 3|7", "5: 4|10", "5: 5|10", "6: 6|11"]);
    assert_eq!(read(text, lists(), &["user"]).len(), 6);
    let three = Source { columns: names(&["a", "b", "c"]), header: Some(true), ..lists() };
    assert_eq!(read(b"x y z\n1 2 3 4\n5 6\n7  8\n", three, &["c", "b"]), ["2: 3|2", "2: 4|2", "4: 8|"]);
    let settings = Source {
        separator: Some(",".into()),
        quote: Some(String::new()),
        trim: true,
        comment: Some("#".into()),
        missing: [("item".to_owned(), vec!["0".to_owned()])].into(),
        rename: [("thing".to_owned(), "item".to_owned())].into(),
        encoding: Encoding::Latin1,
        ..lists()
    };
    let text = b"# made by hand\ncaf\xe9, \"1\" ,0, , \xe9\n";
    assert_eq!(
        read(text, settings, &["user", "thing"]),
        ["2: caf\u{e9}|\"1\"", "2: caf\u{e9}|-", "2: caf\u{e9}|\u{e9}"]
    );
}

#[test]
fn a_line_of_too_few_fields_or_of_wrong_letters_is_bad() {
    let source = Source { columns: names(&["a", "b", "c"]), ..lists() };
    let text = b"1 2 3\n4\n5 6 7 \xff 8\n9 10\n";
    let error = error(text, source.clone(), &["a", "c"]);
    assert!(error.contains("x.csv:2: found 1 fields, expected at least 2: `4`"), "{error}");
    let bad = BadRows::new(9);
    assert_eq!(read_with(text, source, &["a", "c"], &bad).unwrap(), ["1: 1|3", "3: 5|7", "3: 5|8"]);
    assert_eq!(bad.messages()[1].split(": ").nth(1), Some("`c`"), "{:?}", bad.messages());
    assert!(bad.messages()[1].contains("x.csv:3: `c`:"), "{:?}", bad.messages());
}

#[test]
fn long_lines_of_values_are_cut_into_chunks() {
    let values: String = (0..100_000).map(|value| format!(" {value}")).collect();
    let text = format!("a{values}\nb\nc 1 2\n");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let folder = folder(&[("x.txt.gz", &encoder.finish().unwrap())]);
    let source = Source { path: "x.txt".into(), ..lists() };
    let chunks = chunks(folder.path(), &source, &["user", "item"], &BadRows::default()).unwrap();
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.rows.num_rows()).collect();
    assert_eq!(sizes, [vec![CHUNK_ROWS; 12], vec![100_002 - 12 * CHUNK_ROWS]].concat());
    let rows = shown(&chunks);
    let expected = (0..100_000).map(|value| format!("1: a|{value}")).chain(["3: c|1".into(), "3: c|2".into()]);
    assert!(rows.into_iter().eq(expected));
}

#[test]
fn what_the_rows_of_a_line_share_counts_for_the_size_of_a_chunk() {
    let long = "u".repeat(1 << 20);
    let text = format!("{long}{}\n", " 1".repeat(100));
    let folder = folder(&[("x.txt", text.as_bytes())]);
    let source = Source { path: "x.txt".into(), ..lists() };
    let chunks = chunks(folder.path(), &source, &["user"], &BadRows::default()).unwrap();
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.rows.num_rows()).collect();
    assert_eq!(sizes, [32, 32, 32, 4]);
}

#[test]
fn columns_of_parquet_do_not_repeat() {
    let folder = folder(&[("x.parquet", b"PAR1")]);
    let error = Input::open(folder.path(), &Source { path: "x.parquet".into(), ..lists() }).unwrap_err().to_string();
    assert!(error.contains("`repeat`: only a column of text can repeat"), "{error}");
}

#[test]
fn spaces_comments_and_missing_texts() {
    let source = Source {
        trim: true,
        comment: Some("//".into()),
        missing: [("*".to_owned(), vec!["?".to_owned()]), ("b".to_owned(), vec!["NA".to_owned()])].into(),
        ..Source::default()
    };
    let text = b"// made by hand\na, b\n 1 , \"x\" \n// more\n?,NA\nNA,?\n";
    assert_eq!(read(text, source, &["a", "b"]), ["3: 1|x", "5: -|-", "6: NA|-"]);
}

#[test]
fn encodings() {
    let latin = Source { encoding: Encoding::Latin1, ..Source::default() };
    assert_eq!(read(b"n\xe9,b\ncaf\xe9,\"\xfc\"\n", latin, &["né", "b"]), ["2: café|ü"]);
    assert_eq!(read("é,b\ncafé,1\n".as_bytes(), Source::default(), &["é"]), ["2: café"]);
    let wrong = error(b"a,b\n1,2\ncaf\xe9,2\n", Source::default(), &["a", "b"]);
    assert!(wrong.contains("x.csv:3: `a`: `caf\u{fffd}` is not UTF-8"), "{wrong}");
    assert!(error(b"a\xe9,b\n", Source::default(), &["b"]).contains("x.csv:1: the header is not UTF-8"));
    // Two halves of a letter in neighbouring rows are not a letter.
    let bad = BadRows::new(2);
    assert_eq!(read_with(b"a\nx\xc3\n\xa9y\nz\n", Source::default(), &["a"], &bad).unwrap(), ["4: z"]);
    assert_eq!(bad.count(), 2);
}

#[test]
fn a_wrong_number_of_fields() {
    let found = error(b"a,b\n1,2\n1,2,3\n", Source::default(), &["a"]);
    assert!(found.contains("x.csv:3: found 3 fields, expected 2: `1,2,3`; mend the row"), "{found}");
    let found = error(b"a,b\n1,2\n\"1\"\n", Source::default(), &["a"]);
    assert!(found.contains("x.csv:3: found 1 fields, expected 2"), "{found}");
}

#[test]
fn bad_rows_are_dropped_and_counted_within_the_budget() {
    let text = b"a,b\n1,2\n3\n4,5\n\"6\",7,8\n\"9\"x,1\n10,11\n12,\"open\n13,14\n";
    let bad = BadRows::new(4);
    assert_eq!(
        read_with(text, Source::default(), &["a", "b"], &bad).unwrap(),
        ["2: 1|2", "4: 4|5", "7: 10|11", "9: 13|14"]
    );
    assert_eq!(bad.count(), 4);
    let messages = bad.messages().join("\n");
    for expected in
        [":3: found 1 fields", ":5: found 3 fields", ":6: `a`: a quoted field goes on", ":8: a quote is opened"]
    {
        assert!(messages.contains(expected), "{messages}");
    }
    let one_less = read_with(text, Source::default(), &["a"], &BadRows::new(3)).unwrap_err().to_string();
    assert!(one_less.contains("x.csv:8:") && one_less.contains("allows 3"), "{one_less}");
}

#[test]
fn unknown_and_doubled_columns() {
    let found = error(b"user_id,b\n", Source::default(), &["usr_id"]);
    assert!(found.contains("x.csv: `usr_id`: there is no such column among `user_id`, `b`; did you mean `user_id`?"));
    assert!(error(b"a,a,b\n", Source::default(), &["a"]).contains("two columns have this name"));
    assert_eq!(read(b"a,a,b\n1,2,3\n", Source::default(), &["b"]), ["2: 3"]);
}

#[test]
fn empty_and_absent_files() {
    assert!(error(b"", Source::default(), &["a"]).contains("x.csv: the file is empty"));
    let none = folder(&[]);
    let absent = Input::open(none.path(), &Source::new("y.csv")).unwrap_err();
    assert!(absent.to_string().contains("y.csv: there is no such file"), "{absent}");
    assert_eq!(absent.exit_code(), 2);
}

#[test]
fn a_folder_is_read_in_the_order_of_names_by_the_names_of_columns() {
    let folder = folder(&[("b.csv", b"b,a\n3,4\n"), ("a.csv", b"a,b\n1,2\n"), ("_SUCCESS", b"")]);
    let read = chunks(folder.path(), &Source::new("."), &["a"], &BadRows::default()).unwrap();
    assert_eq!(shown(&read), ["2: 1", "2: 4"]);
    assert!(read[1].file.ends_with("b.csv"));
    std::fs::write(folder.path().join("c.csv"), "a,x\n5,6\n").unwrap();
    let error = chunks(folder.path(), &Source::new("*.csv"), &["b"], &BadRows::default()).unwrap_err().to_string();
    assert!(error.contains("c.csv: `b`: there is no such column"), "{error}");
}

#[test]
fn chunks_are_bounded_and_no_row_is_lost() {
    let count = 3 * CHUNK_ROWS + 5;
    let mut text = String::from("id,text\n");
    for row in 0..count {
        text += &format!("{row},{}\n", "y".repeat(row % 37));
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let folder = folder(&[("x.csv.gz", &encoder.finish().unwrap())]);
    let read = chunks(folder.path(), &Source::new("x.csv"), &["id"], &BadRows::default()).unwrap();
    assert!(read.iter().all(|chunk| chunk.rows.num_rows() <= CHUNK_ROWS));
    let expected: Vec<String> = (0..count).map(|row| format!("{}: {row}", row + 2)).collect();
    assert_eq!(shown(&read), expected);
}

#[test]
fn folders_of_partitions_are_columns() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("s/day=1/shop=a%20b/part-0.csv", "user,day\n7,9\n");
    write("s/day=2/shop=__HIVE_DEFAULT_PARTITION__/part-0.csv", "user,day\n8,9\n");
    write("s/_SUCCESS", "");
    write("s/README.md", "# hi\n");
    let source = Source { rename: [("store".to_owned(), "shop".to_owned())].into(), ..Source::new("s") };
    let input = Input::open(folder.path(), &source).unwrap();
    assert_eq!(input.columns(), ["user", "day", "store"]);
    let read = |wanted: &[&str]| input.read(wanted, &BadRows::default()).unwrap().collect::<Result<Vec<_>>>().unwrap();
    // The folder's value takes the place of the file's.
    assert_eq!(shown(&read(&["store", "user", "day"])), ["2: a b|7|1", "2: -|8|2"]);
    assert_eq!(shown(&read(&["day"])), ["2: 1", "2: 2"]);
    assert_eq!(shown(&read(&["user"])), ["2: 7", "2: 8"]);
    write("s/part-9.csv", "user,day\n8,9\n");
    let error = chunks(folder.path(), &source, &["user"], &BadRows::default()).unwrap_err().to_string();
    assert!(error.contains("part-9.csv: the partitions of the file are none"), "{error}");
}

#[test]
fn partitions_of_parquet_files_and_files_of_other_formats_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("day=3")).unwrap();
    let mut bytes = Vec::new();
    let batch = batch(2);
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    // The name tells nothing.
    std::fs::write(folder.path().join("day=3/part-0"), bytes).unwrap();
    let source = Source::new(".");
    let read = chunks(folder.path(), &source, &["day", "id"], &BadRows::default()).unwrap();
    assert_eq!(shown(&read), ["1: 3|0", "2: 3|1"]);
    std::fs::write(folder.path().join("day=3/x.csv"), "id,day\n").unwrap();
    let error = chunks(folder.path(), &source, &["id"], &BadRows::default()).unwrap_err().to_string();
    assert!(error.contains("x.csv: this is a text file, and the first one of the source is a Parquet file"), "{error}");
}

#[test]
fn parquet_in_every_compression() {
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    for compression in [
        Compression::BROTLI(BrotliLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::SNAPPY,
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let batch = batch(3);
        let mut bytes = Vec::new();
        let properties = parquet::file::properties::WriterProperties::builder().set_compression(compression).build();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let folder = folder(&[("x.parquet", &bytes)]);
        let read = chunks(folder.path(), &Source::new("x.parquet"), &["name"], &BadRows::default()).unwrap();
        assert_eq!(shown(&read), ["1: n0", "2: n1", "3: n2"], "{compression:?}");
    }
}

#[test]
fn the_first_line_of_excel_names_the_separator() {
    let text = b"\xef\xbb\xbfsep=;\r\na;b\r\n1;\"x;y\"\r\n";
    assert_eq!(read(text, Source::default(), &["b", "a"]), ["3: x;y|1"]);
    let given = Source { separator: Some(";".into()), ..Source::default() };
    assert_eq!(read(text, given, &["b"]), ["3: x;y"]);
    assert_eq!(read(b"\"sep=|\"\na|b\n1|2\n", Source::default(), &["b"]), ["3: 2"]);
    assert_eq!(read(b"sep=,x\n1,2\n", Source::default(), &["x"]), ["2: 2"]);
}

#[test]
fn numbers_with_a_comma_for_a_point() {
    let source = Source { separator: Some(";".into()), decimal_comma: vec!["p".into()], ..Source::default() };
    let text = "p;q\n3,14;3,14\n-1.234,5;x\n+7;x\n1.234;x\n3.14;x\n;x\nabc;x\n";
    assert_eq!(
        read(text.as_bytes(), source.clone(), &["q", "p"]),
        [
            "2: 3,14|3.14",
            "3: x|-1234.5",
            "4: x|7",
            "5: x|1234",
            "6: x|`3.14` without a comma for its point",
            "7: x|",
            "8: x|abc"
        ]
    );
    let wrong = Source { decimal_comma: vec!["P".into()], ..source };
    assert!(error(text.as_bytes(), wrong, &["q"]).contains("`P`: there is no such column"));
}

#[test]
fn lines_may_end_before_the_last_columns() {
    let source = Source { short_rows: true, ..Source::default() };
    assert_eq!(
        read(b"a,b,c\n1\n2,3\n4,5,6\n\"7\",8\n", source.clone(), &["c", "a"]),
        ["2: |1", "3: |2", "4: 6|4", "5: |7"]
    );
    assert!(error(b"a,b\n1,2,3\n", source, &["a"]).contains("found 3 fields, expected 2"));
}

#[test]
fn what_the_reader_advises_is_said_beside_the_budget() {
    let or = "or have such rows dropped and counted with --max-bad-rows";
    let latin = error(b"a,b\n1,caf\xe9\n", Source::default(), &["b"]);
    assert!(latin.contains(&format!("set encoding = \"latin-1\" if it is that, {or}")), "{latin}");
    let lone = error(b"a,b\n1,\"2\n", Source::default(), &["b"]);
    assert!(lone.contains(&format!("set quote = \"\" if quotes are letters here, {or}")), "{lone}");
    let escaped = error(b"a,b\n1,\"say \\\"hi\\\" now\"\n", Source::default(), &["b"]);
    assert!(escaped.contains("`b`: a quoted field goes on") && escaped.contains("set escape = \"\\\\\""), "{escaped}");
    let escape = Source { escape: Some("\\".into()), ..Source::default() };
    assert_eq!(read(b"a,b\n1,\"say \\\"hi\\\", now\"\n", escape, &["b"]), ["2: say \"hi\", now"]);
}

#[test]
fn messages_show_no_control_characters_and_end() {
    let long = format!("a\u{1b}[31m,{}\n1,2\n", "b".repeat(3000));
    let error = error(long.as_bytes(), Source::default(), &["x\ty"]);
    assert!(error.len() < 600 && !error.contains(char::is_control) && error.contains("`x\\ty`"), "{error}");
}

/// A batch with an integer column, a text column and a list column.
fn batch(rows: i64) -> RecordBatch {
    let lists = (0..rows).map(|row| Some(vec![Some(row), Some(row + 1)]));
    let lists = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(lists);
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef),
        ("name", Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("n{row}")))) as ArrayRef),
        ("list", Arc::new(lists) as ArrayRef),
    ])
    .unwrap()
}

#[test]
fn parquet_and_arrow_give_wanted_columns_and_row_numbers() {
    let rows = CHUNK_ROWS as i64 + 2;
    let batch = batch(rows);
    let mut parquet = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut files = vec![("x.parquet", parquet)];
    for (name, compression) in [
        ("x.arrow", None),
        ("x.feather", Some(arrow_ipc::CompressionType::LZ4_FRAME)),
        ("x.ipc", Some(arrow_ipc::CompressionType::ZSTD)),
    ] {
        let options = arrow_ipc::writer::IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut arrow = Vec::new();
        let mut writer =
            arrow_ipc::writer::FileWriter::try_new_with_options(&mut arrow, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        files.push((name, arrow));
    }
    for (name, bytes) in files {
        let folder = folder(&[(name, &bytes)]);
        let source = Source { rename: [("number".to_owned(), "id".to_owned())].into(), ..Source::new(name) };
        let read = chunks(folder.path(), &source, &["list", "number"], &BadRows::default()).unwrap();
        assert_eq!(read.iter().map(|chunk| chunk.rows.num_rows()).collect::<Vec<_>>(), [CHUNK_ROWS, 2], "{name}");
        assert_eq!(read[1].lines.of(1), rows as u64);
        assert_eq!(read[1].rows.schema().field(1).name(), "number");
        let last = read[1].rows.column(1).as_primitive::<arrow_array::types::Int64Type>().value(1);
        assert_eq!(last, rows - 1);
        assert_eq!(read[1].rows.column(0).as_list::<i32>().value(1).len(), 2);
        let unknown = Input::open(folder.path(), &Source::new(name)).unwrap().read(&["nam"], &BadRows::default());
        assert!(unknown.err().unwrap().to_string().contains("did you mean `name`?"));
        // Truncated.
        std::fs::write(folder.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let error = Input::open(folder.path(), &Source::new(name)).unwrap_err().to_string();
        assert!(error.contains("this is not a whole"), "{error}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    /// What is written by the rules of RFC 4180 is read back, whatever the fields hold.
    #[test]
    fn quoted_text_is_read_back(
        rows in proptest::collection::vec(proptest::collection::vec("[ab\u{e9},;\"\r\n ]{0,6}", 3), 1..40),
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let field = |text: &String| match text.contains(['"', ',', '\r', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        let mut text = format!("a,b,c{end}");
        for row in &rows {
            text += &(row.iter().map(field).collect::<Vec<_>>().join(",") + end);
        }
        let folder = folder(&[("x.csv", text.as_bytes())]);
        let read = chunks(folder.path(), &Source::new("x.csv"), &["a", "b", "c"], &BadRows::default()).unwrap();
        let mut found = Vec::new();
        let mut line = 2;
        for chunk in &read {
            for row in 0..chunk.rows.num_rows() {
                let cell = |column: &ArrayRef| column.as_string::<i32>().value(row).to_owned();
                found.push(chunk.rows.columns().iter().map(cell).collect::<Vec<_>>());
                proptest::prop_assert_eq!(chunk.lines.of(row), line);
                line += 1 + found[found.len() - 1].iter().map(|text| text.matches('\n').count() as u64).sum::<u64>();
            }
        }
        proptest::prop_assert_eq!(found, rows);
    }
}
