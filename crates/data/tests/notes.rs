//! Rows that contradict the schema are noted with their count; rows that do not are not.
#![allow(clippy::unwrap_used)]

use kitestring_core::{Note, Schema, Seed};
use kitestring_data::config::DataConfig;
use kitestring_data::dataset::Dataset;
use kitestring_data::layout::open;
use kitestring_data::prepare::{encode, prepare_folder};
use kitestring_data::reader::BadRows;

#[derive(serde::Deserialize)]
struct Config {
    data: DataConfig,
    schema: Schema,
}

const CONFIG: &str = r#"
    [[data.layouts]]
    name = "rows"
    splits.train = { path = "train.csv" }
    splits.test = { path = "test.csv" }
    [schema]
    user = "user"
    item = "item"
    time = "time"
    weight = "w"
    position = "place"
    features = [
        { name = "user", kind = "categorical", of = "user" },
        { name = "item", kind = "categorical", of = "item" },
        { name = "city", kind = "categorical" },
        { name = "tags", kind = "multi", separator = "|" },
        { name = "price", kind = "numeric" },
        { name = "seen", kind = "sequence", table = "item", history = { of = "item" } },
    ]
    tasks = [{ name = "click" }, { name = "buy", after = "click" }, { name = "stars", kind = "regression" }]
"#;

const HEAD: &str = "user,item,time,w,place,city,tags,price,click,buy,stars\n";

/// A row in which nothing is wrong, but for the columns given.
fn row(number: usize, other: &[(&str, &str)]) -> String {
    let cell = |name: &str| match name {
        "user" => format!("u{}", number % 10),
        "item" => format!("i{}", number % 7),
        "time" => number.to_string(),
        "w" => "1".to_owned(),
        "place" => (number % 5 + 1).to_string(),
        "city" => format!("c{}", number % 3),
        "tags" => format!("t{}", number % 4),
        "price" | "stars" => (number % 11).to_string(),
        "click" => u8::from(number % 2 == 1).to_string(),
        "buy" => u8::from(number % 4 == 1).to_string(),
        _ => String::new(),
    };
    let given = |name: &str| other.iter().find(|(column, _)| *column == name).map(|(_, value)| (*value).to_owned());
    let cells: Vec<String> = HEAD.trim().split(',').map(|name| given(name).unwrap_or_else(|| cell(name))).collect();
    cells.join(",") + "\n"
}

/// The notes of 100 rows to learn from and 40 to be judged on; `other` gives cells of a row of `train` or not.
fn notes(config: &str, other: &dyn Fn(bool, usize) -> Vec<(&'static str, &'static str)>) -> Vec<Note> {
    prepared(config, other).1.manifest().notes.clone()
}

fn prepared(
    config: &str,
    other: &dyn Fn(bool, usize) -> Vec<(&'static str, &'static str)>,
) -> (tempfile::TempDir, Dataset) {
    let directory = tempfile::tempdir().unwrap();
    for (name, rows, train) in [("train.csv", 0..100, true), ("test.csv", 100..140, false)] {
        let text: String = rows.map(|number| row(number, &other(train, number))).collect();
        std::fs::write(directory.path().join(name), HEAD.to_owned() + &text).unwrap();
    }
    let Config { data, schema } = toml::from_str(config).unwrap();
    let out = directory.path().join("set");
    let opened = open(&data, directory.path()).unwrap();
    prepare_folder(&opened, &data, &schema, (Seed(1), None), &out, &mut |_| {}).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    (directory, dataset)
}

/// That there is exactly one note, about a field, with a count and a text.
fn one(notes: &[Note], field: &str, count: u64, text: &str) {
    let [note] = notes else { panic!("{notes:#?}") };
    assert_eq!((note.field.as_deref(), note.count), (Some(field), Some(count)), "{note}");
    assert!(note.text.contains(text) && note.hint.is_some(), "{note}");
}

#[test]
fn sound_rows_have_no_note() {
    assert_eq!(notes(CONFIG, &|_, _| Vec::new()), []);
}

#[test]
fn weights_of_zero() {
    one(
        &notes(CONFIG, &|train: bool, _| if train { vec![("w", "0")] } else { vec![] }),
        "w",
        100,
        "so nothing is learned",
    );
    let most = |train, number| if train && number < 70 { vec![("w", "0.0")] } else { vec![] };
    one(&notes(CONFIG, &most), "w", 70, "70 of 100 training rows");
    one(
        &notes(CONFIG, &|train: bool, _| if train { vec![] } else { vec![("w", "0")] }),
        "w",
        40,
        "weights of `test` are 0",
    );
    assert_eq!(notes(CONFIG, &|_, number| if number.is_multiple_of(3) { vec![("w", "0")] } else { vec![] }), []);
}

#[test]
fn tasks_that_precede_what_they_come_after() {
    let bought = |_: bool, number: usize| if number.is_multiple_of(10) { vec![("buy", "1")] } else { vec![] };
    one(&notes(CONFIG, &bought), "buy", 14, "14 of 49 rows in which `buy` is positive have `click` not positive");
    // A click that nobody knows of contradicts nothing.
    let unknown = |_: bool, number: usize| if number % 4 == 1 && number < 50 { vec![("click", "")] } else { vec![] };
    assert_eq!(notes(CONFIG, &unknown), []);
}

#[test]
fn positions_from_zero() {
    let places = ["0", "1", "2", "3", "4"];
    let found = notes(CONFIG, &|_, number| vec![("place", places[number % 5])]);
    one(&found, "place", 28, "28 of 140 rows have position 0, which means missing");
    assert!(found[0].hint.as_deref().unwrap().contains("offset = 1"));
    assert_eq!(notes(CONFIG, &|_, number| if number.is_multiple_of(2) { vec![("place", "")] } else { vec![] }), []);
}

#[test]
fn vocabularies_that_lose_their_values() {
    let rule = |least: u32| {
        CONFIG.to_owned()
            + &format!("tables = [{{ name = \"item\", vocabulary = {{ known = {{ min_count = {least} }} }} }}]\n")
    };
    // What nobody knows any more is unknown in the test as well.
    let none = notes(&rule(1_000_000), &|_, _| Vec::new());
    one(&none[..1], "schema.tables.item", 7, "leaves none of 7 values");
    one(&none[1..], "item", 40, "40 of 40 values in `test`");
    // Two of the items are in 15 rows, the others in 14.
    let most = notes(&rule(15), &|_, _| Vec::new());
    one(&most[..1], "schema.tables.item", 5, "leaves 2 of 7 values, and 70 of 100 look-ups");
    assert_eq!(notes(&rule(14), &|_, _| Vec::new()), []);
}

#[test]
fn features_of_one_value() {
    one(&notes(CONFIG, &|_, _| vec![("city", "c")]), "city", 100, "one value in all 100 training rows");
    one(&notes(CONFIG, &|_, _| vec![("city", "")]), "city", 100, "missing in all 100 training rows");
    one(&notes(CONFIG, &|_, _| vec![("tags", "")]), "tags", 100, "missing in all 100 training rows");
    one(&notes(CONFIG, &|_, _| vec![("price", "3")]), "price", 100, "one value in all 100 training rows");
    let hashed = CONFIG.to_owned() + "tables = [{ name = \"city\", vocabulary = { hashed = { buckets = 9 } } }]\n";
    one(&notes(&hashed, &|_, _| vec![("city", "c")]), "city", 100, "one value");
    one(&notes(&hashed, &|_, _| vec![("city", "")]), "city", 100, "missing");
    // Given or not is worth knowing.
    assert_eq!(notes(CONFIG, &|_, number| vec![("city", if number.is_multiple_of(2) { "c" } else { "" })]), []);
}

#[test]
fn labels_that_are_all_alike() {
    let in_test = |column: &'static str, value: &'static str| {
        notes(CONFIG, &move |train: bool, _| if train { vec![] } else { vec![(column, value), ("buy", "")] })
    };
    let alone = |notes: Vec<Note>, field: &str| -> Vec<Note> {
        notes.into_iter().filter(|note| note.field.as_deref() == Some(field)).collect()
    };
    one(&alone(in_test("click", "0"), "click"), "click", 40, "never positive in the 40 rows of `test`");
    one(&alone(in_test("click", "1"), "click"), "click", 40, "never negative in the 40 rows of `test`");
    one(&alone(in_test("click", ""), "click"), "click", 40, "has no label in the 40 rows of `test`");
    one(&notes(CONFIG, &|_, _| vec![("stars", "3")])[..1], "stars", 100, "always 3 in the 100 rows of `train`");
}

#[test]
fn features_that_are_the_answer() {
    let told = CONFIG.replace("{ name = \"price\", kind", "{ name = \"price\", column = \"click\", kind");
    let [note] = &notes(&told, &|_, _| Vec::new())[..] else { panic!() };
    assert_eq!(note.field.as_deref(), Some("price"));
    assert!(note.text.contains("task `click`: the model is told its answer"), "{note}");
}

#[test]
fn times_and_users_that_leave_no_history() {
    one(&notes(CONFIG, &|_, _| vec![("time", "5")]), "time", 140, "all 140 rows have one time, 5");
    let single = CONFIG.replace("    time = \"time\"\n", "");
    let found = notes(&single, &|_, number| vec![("user", Box::leak(format!("user {number}").into_boxed_str()))]);
    one(&found[..1], "schema.user", 140, "every one of 140 users has one row");
}

/// Milliseconds for seconds, cents for euros; what lies near the range is none of these.
#[test]
fn numbers_in_another_unit() {
    let cents =
        |train: bool, number: usize| if !train && number.is_multiple_of(2) { vec![("price", "1000")] } else { vec![] };
    one(&notes(CONFIG, &cents), "price", 20, "20 of 40 values in `test` are far outside of training's range, 0 to 10");
    assert_eq!(notes(CONFIG, &|train: bool, _| if train { vec![] } else { vec![("price", "19")] }), []);
    assert_eq!(notes(CONFIG, &|train: bool, _| if train { vec![] } else { vec![("price", "")] }), []);
}

/// Values written otherwise than in training, and the same for rows that are only scored.
#[test]
fn values_that_training_does_not_have() {
    let upper = |train: bool, number: usize| if !train && number != 100 { vec![("city", "C1")] } else { vec![] };
    one(&notes(CONFIG, &upper), "city", 39, "39 of 40 values in `test` are in no training row");
    let some =
        |train: bool, number: usize| if !train && number.is_multiple_of(2) { vec![("city", "C1")] } else { vec![] };
    assert_eq!(notes(CONFIG, &some), []);

    let (directory, dataset) = prepared(CONFIG, &|_, _| Vec::new());
    let path = directory.path().join("rows.csv");
    let rows: String = (0..30).map(|number| row(number, &[("city", "C1"), ("price", "5000")])).collect();
    std::fs::write(&path, HEAD.to_owned() + &rows).unwrap();
    let Config { mut data, schema } = toml::from_str(CONFIG).unwrap();
    data.layouts[0].splits.retain(|name, _| name == "train");
    data.layouts[0].splits.values_mut().for_each(|source| source.path = "rows.csv".into());
    let (opened, bad) = (open(&data, directory.path()).unwrap(), BadRows::default());
    let columns = kitestring_data::prepare::columns(&schema);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let chunks = Box::new(opened.read(Some("train"), &columns, &bad).unwrap());
    let out = directory.path().join("scored");
    let vocabularies = dataset.vocabularies().unwrap();
    let manifest = encode("rows", chunks, Vec::new(), (&vocabularies, None), &bad, &out, &mut |_| {}).unwrap();
    one(&manifest.notes[..1], "price", 30, "30 of 30 values in `rows` are far outside");
    one(&manifest.notes[1..], "city", 30, "30 of 30 values in `rows` are in no training row");
}
