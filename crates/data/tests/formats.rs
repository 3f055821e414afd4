//! The same log as text, Parquet and Arrow is the same data set, whatever the types of its columns.
#![allow(clippy::unwrap_used)]

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, DictionaryArray,
    Float32Array, Float64Array, Int64Array, LargeStringArray, ListArray, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow_buffer::i256;
use kitestring_core::fitted::Fitted;
use kitestring_core::{Batch, Result, Schema, Seed};
use kitestring_data::config::DataConfig;
use kitestring_data::dataset::Dataset;
use kitestring_data::dataset::manifest::TimeScale;
use kitestring_data::layout::open;
use kitestring_data::prepare::prepare_folder;
use std::path::Path;
use std::sync::Arc;

const ROWS: usize = 200;

/// A column: its name, its array, and what pandas or a database writes for it in a text file.
type Typed = (&'static str, ArrayRef, Vec<String>);

/// Draws that look random.
fn draw(row: usize, column: u64) -> u64 {
    Seed(column).bits_at(row as u64)
}

/// The digits of a decimal.
fn decimal(digits: &str, scale: usize) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn column<T>(values: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    values.iter().map(text).collect()
}

/// Columns that are read as ids.
fn ids() -> Vec<Typed> {
    let rows = || 0..ROWS;
    let big = |row: usize| 9_007_199_254_740_992 + (draw(row, 1) % 9) as i64;
    let integers: Vec<i64> = rows().map(big).collect();
    let unsigned: Vec<u64> = rows().map(|row| u64::MAX - draw(row, 2) % 5).collect();
    let decimals: Vec<i128> = rows().map(|row| i128::from(big(row)) * 1000 + i128::from(draw(row, 3) % 3)).collect();
    let prices: Vec<i128> = rows().map(|row| i128::from(draw(row, 4) % 40) * 25 - 300).collect();
    let huge: Vec<String> = rows().map(|row| format!("{}{}", "1234567890".repeat(5), draw(row, 5) % 7)).collect();
    let floats: Vec<f32> = rows().map(|row| (draw(row, 6) % 30) as f32 / 10.0).collect();
    let wide_floats: Vec<f32> = rows().map(|row| 3e10 * (1 + draw(row, 7) % 4) as f32).collect();
    let doubles: Vec<Option<f64>> =
        rows().map(|row| (!draw(row, 8).is_multiple_of(4)).then(|| (draw(row, 9) % 6) as f64)).collect();
    let small: Vec<f64> = rows().map(|row| [1e-7, -2.5e-5, 1e21, 0.1, -0.0][(draw(row, 10) % 5) as usize]).collect();
    let flags: Vec<bool> = rows().map(|row| draw(row, 11).is_multiple_of(3)).collect();
    let words: Vec<Option<&str>> = rows()
        .map(|row| [Some("a"), Some("1.10"), Some("1.1"), Some("007"), None][(draw(row, 12) % 5) as usize])
        .collect();
    let days: Vec<i32> = rows().map(|row| 19_675 + (draw(row, 13) % 3) as i32).collect();
    let dates = ["2023-11-14", "2023-11-15", "2023-11-16"];
    let words_text = column(&words, |word| word.unwrap_or_default().to_owned());
    let dictionary: DictionaryArray<Int8Type> = words.iter().copied().collect();
    let python = |value: f64| if value == 0.0 { "-0.0".to_owned() } else { value.to_string() };
    let exponents = |value: &f64| match *value {
        1e-7 => "1e-07".to_owned(),
        -2.5e-5 => "-2.5e-05".into(),
        1e21 => "1e+21".into(),
        other => python(other),
    };
    vec![
        ("big", Arc::new(Int64Array::from(integers.clone())), column(&integers, i64::to_string)),
        ("unsigned", Arc::new(UInt64Array::from(unsigned.clone())), column(&unsigned, u64::to_string)),
        (
            "decimal",
            Arc::new(Decimal128Array::from(decimals.clone()).with_precision_and_scale(38, 3).unwrap()),
            column(&decimals, |value| decimal(&value.to_string(), 3)),
        ),
        (
            "spark",
            Arc::new(
                Decimal128Array::from(integers.iter().map(|value| i128::from(*value)).collect::<Vec<_>>())
                    .with_precision_and_scale(20, 0)
                    .unwrap(),
            ),
            column(&integers, i64::to_string),
        ),
        (
            "price",
            Arc::new(Decimal128Array::from(prices.clone()).with_precision_and_scale(10, 2).unwrap()),
            column(&prices, |value| decimal(&value.to_string(), 2)),
        ),
        (
            "huge",
            Arc::new(
                Decimal256Array::from(huge.iter().map(|text| i256::from_string(text)).collect::<Vec<_>>())
                    .with_precision_and_scale(60, 0)
                    .unwrap(),
            ),
            huge.clone(),
        ),
        ("float", Arc::new(Float32Array::from(floats.clone())), column(&floats, |value| format!("{value:?}"))),
        (
            "wide",
            Arc::new(Float32Array::from(wide_floats.clone())),
            column(&wide_floats, |value| format!("{value:e}").replace('e', "e+")),
        ),
        (
            "double",
            Arc::new(doubles.iter().map(|value| value.unwrap_or(f64::NAN)).collect::<Float64Array>()),
            column(&doubles, |value| value.map_or_else(String::new, |value| format!("{value:?}"))),
        ),
        ("small", Arc::new(Float64Array::from(small.clone())), column(&small, exponents)),
        (
            "flag",
            Arc::new(BooleanArray::from(flags.clone())),
            column(&flags, |flag| if *flag { "True" } else { "False" }.into()),
        ),
        (
            "date",
            Arc::new(Date32Array::from(days.clone())),
            column(&days, |day| dates[(*day - 19_675) as usize].into()),
        ),
        (
            "day",
            Arc::new(Date64Array::from(days.iter().map(|day| i64::from(*day) * 86_400_000).collect::<Vec<_>>())),
            column(&days, |day| dates[(*day - 19_675) as usize].into()),
        ),
        (
            "moment",
            Arc::new(TimestampMillisecondArray::from(
                days.iter().map(|day| i64::from(*day) * 86_400_000 + 1500).collect::<Vec<_>>(),
            )),
            column(&days, |day| format!("{} 00:00:01.5", dates[(*day - 19_675) as usize])),
        ),
        ("word", Arc::new(LargeStringArray::from(words.clone())), words_text.clone()),
        ("view", Arc::new(StringViewArray::from(words.clone())), words_text.clone()),
        (
            "bytes",
            Arc::new(BinaryArray::from(words.iter().map(|word| word.map(str::as_bytes)).collect::<Vec<_>>())),
            words_text.clone(),
        ),
        ("coded", Arc::new(dictionary), words_text),
    ]
}

/// Columns of numbers and labels, the time, and a list.
fn others() -> Vec<Typed> {
    let rows = || 0..ROWS;
    let floats: Vec<f32> = rows().map(|row| (draw(row, 20) % 1000) as f32 / 7.0).collect();
    let digits: Vec<i128> = rows().map(|row| i128::from(draw(row, 21))).collect();
    let stays: Vec<f64> = rows().map(|row| (draw(row, 22) % 100) as f64 / 3.0).collect();
    let weights: Vec<f32> = rows().map(|row| 0.1 * (draw(row, 24) % 9) as f32).collect();
    let lists: Vec<Vec<bool>> =
        rows().map(|row| (0..draw(row, 23) % 4).map(|at| (row + at as usize).is_multiple_of(2)).collect()).collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        lists.iter().map(|list| Some(list.iter().map(|flag| Some(i32::from(*flag))))),
    );
    let users: Vec<i64> = rows().map(|row| (row % 9) as i64).collect();
    let flags: Vec<bool> = rows().map(|row| draw(row, 25).is_multiple_of(2)).collect();
    vec![
        (
            "user",
            Arc::new(Float64Array::from(users.iter().map(|user| *user as f64).collect::<Vec<_>>())),
            column(&users, |user| format!("{user}.0")),
        ),
        ("ratio", Arc::new(Float32Array::from(floats.clone())), column(&floats, f32::to_string)),
        (
            "amount",
            Arc::new(Decimal128Array::from(digits.clone()).with_precision_and_scale(38, 17).unwrap()),
            column(&digits, |value| decimal(&value.to_string(), 17)),
        ),
        ("stay", Arc::new(Float64Array::from(stays.clone())), column(&stays, f64::to_string)),
        ("weight", Arc::new(Float32Array::from(weights.clone())), column(&weights, f32::to_string)),
        (
            "tags",
            Arc::new(list),
            column(&lists, |list| list.iter().map(|flag| i32::from(*flag).to_string()).collect::<Vec<_>>().join("|")),
        ),
        (
            "click",
            Arc::new(BooleanArray::from(flags.clone())),
            column(&flags, |flag| if *flag { "True" } else { "False" }.into()),
        ),
    ]
}

const MICROS: i64 = 1_700_000_000_000_000;

/// The time of each row to the second, in every unit and as texts.
fn times() -> Vec<Typed> {
    let seconds: Vec<i64> = (0..ROWS).map(|row| 1_700_000_000 + (draw(row, 30) % 86_400) as i64).collect();
    let in_units = |per: i64| seconds.iter().map(|second| second * per).collect::<Vec<_>>();
    let days = seconds.iter().map(|second| (second.div_euclid(86_400), second.rem_euclid(86_400)));
    let clock = |zone: &str, separator: &str| -> Vec<String> {
        let date = |day: i64| match day {
            19_675 => "2023-11-14",
            _ => "2023-11-15",
        };
        days.clone()
            .map(|(day, second)| {
                format!("{}{separator}{:02}:{:02}:{:02}{zone}", date(day), second / 3600, second / 60 % 60, second % 60)
            })
            .collect()
    };
    let array = TimestampMillisecondArray::from(in_units(1000));
    vec![
        ("seconds", Arc::new(TimestampSecondArray::from(in_units(1))), clock("Z", "T")),
        ("milliseconds", Arc::new(array.clone()), clock("", " ")),
        ("microseconds", Arc::new(TimestampMicrosecondArray::from(in_units(1_000_000))), clock(" UTC", " ")),
        ("nanoseconds", Arc::new(TimestampNanosecondArray::from(in_units(1_000_000_000))), clock("+00:00", " ")),
        ("zoned", Arc::new(array.with_timezone("Europe/Oslo")), clock("+0000", "T")),
    ]
}

fn config(file: &str, features: &str) -> String {
    format!(
        r#"
[data]
split = {{ by = "time", test = 0.25 }}
[[data.layouts]]
name = "log"
samples = {{ path = "{file}" }}
[schema]
user = "user"
time = "time"
weight = "weight"
features = [
{features}
    {{ name = "ratio", kind = "numeric", transform = "standardize" }},
    {{ name = "amount", kind = "numeric", transform = "log" }},
    {{ name = "tags", kind = "multi", separator = "|" }},
]
tasks = [{{ name = "click" }}, {{ name = "stay", kind = "regression" }}, {{ name = "yes", column = "flag", equals = "true" }}]
"#
    )
}

#[derive(serde::Deserialize)]
struct Config {
    data: DataConfig,
    schema: Schema,
}

fn prepared(folder: &Path, config: &str) -> Result<Dataset> {
    let Config { data, schema } = toml::from_str(config).unwrap();
    let out = folder.join("set");
    prepare_folder(&open(&data, folder)?, &data, &schema, (Seed(1), None), &out, &mut |_| {})?;
    Dataset::open(&out)
}

/// Writes columns as text, Parquet and Arrow.
fn write(folder: &Path, columns: &[Typed]) {
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let mut text = names.join(",") + "\n";
    for row in 0..ROWS {
        text += &(columns.iter().map(|(_, _, texts)| texts[row].as_str()).collect::<Vec<_>>().join(",") + "\n");
    }
    std::fs::write(folder.join("log.csv"), text).unwrap();
    let arrays = columns.iter().map(|(name, array, _)| (*name, array.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(arrays).unwrap();
    let file = std::fs::File::create(folder.join("log.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let file = std::fs::File::create(folder.join("log.arrow")).unwrap();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

/// All that a data set is: its vocabularies, what was fitted, its times, and its samples in the order of the file.
type Contents = (Vec<(String, Vec<String>)>, Vec<Fitted>, Option<(i64, i64)>, TimeScale, Vec<(u64, Batch)>);

fn contents(dataset: &Dataset) -> Contents {
    let (manifest, vocabularies) = (dataset.manifest(), dataset.vocabularies().unwrap());
    let texts = manifest.vocabularies.iter().enumerate().map(|(number, info)| {
        let texts = (0..u64::from(info.entries)).map(|entry| vocabularies.text(number, entry).to_owned());
        (info.name.clone(), texts.collect())
    });
    let mut samples = Vec::new();
    for split in dataset.splits() {
        for sample in 0..split.rows() {
            let mut batch = Batch::default();
            split.read(&[sample], Seed(0), &mut batch).unwrap();
            batch.index.clear();
            samples.push((split.source(sample).unwrap().1, batch));
        }
    }
    // The first line of a text file is its header.
    let first = samples.iter().map(|(line, _)| *line).min().unwrap();
    samples.iter_mut().for_each(|(line, _)| *line -= first);
    samples.sort_by_key(|(line, _)| *line);
    (texts.collect(), manifest.fitted.clone(), manifest.time, manifest.time_scale, samples)
}

#[test]
fn every_type_is_the_same_in_every_format() {
    let features: String =
        ids().iter().map(|(name, ..)| format!("    {{ name = \"{name}\", kind = \"categorical\" }},\n")).collect();
    let mut first: Option<Contents> = None;
    for (_, array, texts) in times() {
        let folder = tempfile::tempdir().unwrap();
        let columns: Vec<Typed> = ids().into_iter().chain(others()).chain([("time", array, texts)]).collect();
        write(folder.path(), &columns);
        for file in ["log.csv", "log.parquet", "log.arrow"] {
            let found = contents(&prepared(folder.path(), &config(file, &features)).unwrap());
            let Some(first) = &first else {
                let texts = |name: &str| found.0.iter().find(|(other, _)| other == name).unwrap().1.clone();
                assert_eq!(texts("unsigned").len(), 6);
                assert!(texts("big").contains(&"9007199254740993".into()), "{:?}", texts("big"));
                assert_eq!(texts("big"), texts("spark"));
                let mut flags = texts("flag");
                flags.sort();
                assert_eq!(flags, ["", "false", "true"]);
                assert!(
                    texts("float").contains(&"0.1".into()) && texts("float").contains(&"2".into()),
                    "{:?}",
                    texts("float")
                );
                assert!(texts("wide").contains(&"30000000000".into()), "{:?}", texts("wide"));
                assert!(
                    texts("price").contains(&"-2.75".into()) && texts("price").contains(&"2".into()),
                    "{:?}",
                    texts("price")
                );
                assert_eq!(texts("word").len(), 5, "a version is no number");
                assert_eq!(found.3, TimeScale::Moment);
                assert!(found.2.unwrap().0 >= MICROS && found.2.unwrap().1 < MICROS + 86_400_000_000);
                first = Some(found);
                continue;
            };
            assert_eq!(found.0, first.0, "{file}");
            assert_eq!(found.1, first.1, "{file}");
            assert_eq!((found.2, found.3), (first.2, first.3), "{file}");
            assert!(found.4 == first.4, "{file}: the samples differ");
        }
    }
}

/// A log of 100 rows whose column `time` has these texts, prepared with these settings.
fn timed(split: &str, times: impl Fn(usize) -> String) -> Result<(tempfile::TempDir, Dataset)> {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..100).map(|row| format!("u{},a,{},{}\n", row % 3, times(row), row % 2)).collect();
    std::fs::write(folder.path().join("log.csv"), format!("user,word,time,click\n{rows}")).unwrap();
    let config = format!(
        r#"
data.split = {split}
[[data.layouts]]
name = "log"
samples = {{ path = "log.csv" }}
[schema]
user = "user"
time = "time"
features = [{{ name = "word", kind = "categorical" }}]
tasks = [{{ name = "click" }}]
"#
    );
    let dataset = prepared(folder.path(), &config)?;
    Ok((folder, dataset))
}

const LAST: &str = r#"{ by = "time", test = 0.25 }"#;

#[test]
fn times_with_a_point_or_an_exponent_are_numbers() {
    let whole = contents(&timed(LAST, |row| (1_700_000_000 + row).to_string()).unwrap().1);
    for written in
        [|row: usize| format!("{}.0", 1_700_000_000 + row), |row| format!("{:.9}E+09", 1.7 + row as f64 / 1e9)]
    {
        let found = contents(&timed(LAST, written).unwrap().1);
        assert_eq!((found.2, found.3), (Some((1_700_000_000, 1_700_000_099)), TimeScale::Own));
        assert!(found == whole);
    }
    // A fraction is one of a second, and orders events within it.
    let (_folder, fractions) = timed(LAST, |row| format!("1700000000.{:06}", 999_999 - row)).unwrap();
    assert_eq!(fractions.manifest().time, Some((MICROS + 999_900, MICROS + 999_999)));
    assert_eq!(fractions.manifest().time_scale, TimeScale::Seconds);
    let test = fractions.split("test").unwrap();
    assert!((0..25).all(|sample| test.source(sample).unwrap().1 <= 26));
    let whole_among_them = timed(LAST, |row| {
        if row % 2 == 0 { (1_700_000_000 + row).to_string() } else { format!("{}.5", 1_700_000_000 + row) }
    });
    assert_eq!(whole_among_them.unwrap().1.manifest().time, Some((MICROS, MICROS + 99_500_000)));
}

#[test]
fn times_that_have_no_order_are_refused_with_their_row() {
    let error = |times: fn(usize) -> String| timed(LAST, times).err().unwrap().to_string();
    let mixed = error(|row| if row < 50 { row.to_string() } else { "2023-11-14".into() });
    assert!(mixed.contains("log.csv:52: `time`: expected a number as the time"), "{mixed}");
    let mixed = error(|row| if row == 50 { "1700".into() } else { "2023-11-14 22:13".into() });
    assert!(
        mixed.contains("log.csv:52: `time`: expected a date or a time") && mixed.contains("found a number"),
        "{mixed}"
    );
    let units = error(|row| if row < 50 { 1_700_000_000 + row } else { 1_700_000_000_000 + row }.to_string());
    assert!(
        units.contains("log.csv:101: `time`: times from 1700000000 to 1700000000099 cannot be of one unit"),
        "{units}"
    );
    let year = error(|row| if row == 7 { "0001-01-01" } else { "2023-11-14" }.into());
    assert!(
        year.contains("log.csv:9: `time`: expected a time of the years 1900 to 2199, found `0001-01-01`"),
        "{year}"
    );
    let fractions = error(|row| format!("{}.5", 1_700_000_000_000 + row));
    assert!(fractions.contains("log.csv:2: `time`: expected seconds since 1970"), "{fractions}");
}

#[test]
fn borders_are_dates_or_numbers() {
    let days = |row: usize| format!("2023-11-{:02}", 1 + row % 20);
    let first_of_test = |border: &str, times: fn(usize) -> String| {
        timed(&format!("{{ by = \"time_at\", test = {border} }}"), times).map(|(_folder, dataset)| {
            let test = dataset.split("test").unwrap();
            let mut batch = Batch::default();
            test.read(&(0..test.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
            *batch.time.iter().min().unwrap()
        })
    };
    let border = 1_699_920_000_000_000;
    for written in ["\"2023-11-14\"", "\"2023-11-14T00:00:00Z\"", "1699920000000"] {
        assert_eq!(first_of_test(written, days).unwrap(), border, "{written}");
    }
    let seconds = |row: usize| (1_699_919_950 + row).to_string();
    assert_eq!(first_of_test("1699920000", seconds).unwrap(), 1_699_920_000);
    let error = first_of_test("\"2023-11-14\"", seconds).unwrap_err().to_string();
    assert!(error.contains("`data.split`: the border is a date, and the time column holds whole numbers"), "{error}");
}

/// The sources of a folder are its files by name, whoever's rows they hold: predictions are written in their order.
#[test]
fn files_are_named_in_the_order_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for part in 0..6 {
        let rows: String = (0..30).map(|row| format!("u{},i{},{}\n", 100 - part * 7 + row % 5, row, row % 2)).collect();
        std::fs::write(folder.path().join(format!("part-{part}.csv")), format!("user,item,click\n{rows}")).unwrap();
    }
    let config = r#"
data.split = { by = "random", test = 0.3 }
[[data.layouts]]
name = "log"
samples = { path = "*.csv" }
[schema]
user = "user"
features = [{ name = "item", kind = "categorical" }]
tasks = [{ name = "click" }]
"#;
    let dataset = prepared(folder.path(), config).unwrap();
    let sources: Vec<&str> = dataset.manifest().sources.iter().filter_map(|file| file.rsplit('/').next()).collect();
    assert_eq!(sources, ["part-0.csv", "part-1.csv", "part-2.csv", "part-3.csv", "part-4.csv", "part-5.csv"]);
}
