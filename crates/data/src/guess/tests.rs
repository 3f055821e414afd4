//! Guesses about small files of common shapes.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{Encoding, Split};
use kitestring_core::schema::{FeatureKind, Of, Transform};

fn of(name: &str, text: &[u8]) -> Guess {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let guess = guess(&path).unwrap();
    // The rows can be read by it.
    let opened = crate::layout::open(&guess.data, folder.path()).unwrap();
    let columns: Vec<&str> = guess.schema.features.iter().filter(|f| f.history.is_none()).map(|f| f.column()).collect();
    assert!(opened.read(None, &columns, &BadRows::default()).unwrap().next().unwrap().unwrap().rows.num_rows() > 0);
    guess
}

fn kinds(guess: &Guess) -> Vec<(&str, FeatureKind, Of)> {
    guess.schema.features.iter().map(|feature| (feature.name.as_str(), feature.kind, feature.of)).collect()
}

#[test]
fn ratings_with_users_and_items() {
    let mut text = "userId,movieId,genres,rating,timestamp\n".to_owned();
    for row in 0..200 {
        let (movie, genres) = (row * 31 % 17, ["Drama|War", "Comedy", "War|Comedy|Drama"][row * 31 % 17 % 3]);
        text += &format!("{},{movie},{genres},{},{}\n", row % 20, 1 + row * 7 % 5, 978_300_000 + row);
    }
    let guess = of("ratings.csv", text.as_bytes());
    assert_eq!(guess.data.split, Some(Split::UserFraction { valid: 0.1, test: 0.1 }));
    let schema = &guess.schema;
    assert_eq!(
        [&schema.user, &schema.item, &schema.time].map(|name| name.as_deref().unwrap()),
        ["userId", "movieId", "timestamp"]
    );
    assert_eq!(
        kinds(&guess),
        [
            ("userId", FeatureKind::Categorical, Of::User),
            ("movieId", FeatureKind::Categorical, Of::Item),
            ("genres", FeatureKind::Multi, Of::Item),
            ("history", FeatureKind::Sequence, Of::User)
        ]
    );
    assert_eq!(schema.features[2].separator.as_deref(), Some("|"));
    assert_eq!(schema.features[3].history.as_ref().unwrap().when.as_deref(), Some("rating"));
    assert_eq!((schema.tasks[0].column(), schema.tasks[0].at_least), ("rating", Some(4.0)));
    assert!(guess.text.contains("# \"timestamp\" is left out: it is the time."), "{}", guess.text);
}

#[test]
fn a_chain_of_outcomes_and_what_is_known_afterwards() {
    let mut text = "click,purchase,101,price,play_time_ms,note\n".to_owned();
    for row in 0..300 {
        text += &format!("{},{},{},{}.5,{},same\n", row % 3 / 2, row % 6 / 5, row % 7, row * row, row % 90);
    }
    let guess = of("log.csv", text.as_bytes());
    let tasks = &guess.schema.tasks;
    assert_eq!((tasks[0].column(), tasks[1].column(), tasks[1].after.as_deref()), ("click", "purchase", Some("click")));
    assert_eq!(
        kinds(&guess),
        [("101", FeatureKind::Categorical, Of::Context), ("price", FeatureKind::Numeric, Of::Context)]
    );
    assert_eq!(guess.schema.features[1].transform, Transform::Standardize);
    assert_eq!(guess.data.split, Some(Split::Random { valid: 0.1, test: 0.1 }));
    assert!(guess.text.contains("\"play_time_ms\" is left out") && guess.text.contains("\"note\" is left out"));
}

#[test]
fn no_header_and_two_colons() {
    let text: String = (0..60).map(|row| format!("{}::caf\u{e9} {}::{}\n", row % 2, row % 4, row * 10 - 90)).collect();
    let latin: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
    let guess = of("x.dat", &latin);
    let source = guess.data.layouts[0].samples.as_ref().unwrap();
    assert_eq!((source.separator.as_deref(), source.encoding), (Some("::"), Encoding::Latin1));
    assert_eq!(source.columns.as_ref().unwrap(), &["column_1", "column_2", "column_3"]);
    assert_eq!(guess.schema.tasks[0].column(), "column_1");
    assert_eq!(guess.schema.features[1].kind, FeatureKind::Numeric);
}

#[test]
fn rows_without_outcomes_are_positives() {
    let text: String = (0..40).map(|row| format!("{},{}\n", row % 5, row % 9)).collect();
    let guess = of("seen.csv", format!("user,item\n{text}").as_bytes());
    assert_eq!(guess.data.negatives.as_ref().unwrap().per_positive, 4);
    assert_eq!(guess.schema.tasks[0].column(), "label");
    assert_eq!(guess.schema.features.last().unwrap().history.as_ref().unwrap().of, "item");
}

#[test]
fn a_folder_of_files_and_nothing_to_guess_from() {
    let folder = tempfile::tempdir().unwrap();
    let error = guess(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no file in the folder"), "{error}");
    for name in ["part-0.csv", "part-1.csv"] {
        std::fs::write(folder.path().join(name), "label,a\n1,x\n0,y\n").unwrap();
    }
    let both = guess(folder.path()).unwrap();
    assert_eq!(both.data.layouts[0].samples.as_ref().unwrap().path, "part-*.csv");
    std::fs::write(folder.path().join("empty.tsv"), "a\tb\n").unwrap();
    let error = guess(&folder.path().join("empty.tsv")).unwrap_err().to_string();
    assert!(error.contains("no rows"), "{error}");
    assert_eq!(guess(&folder.path().join("none.csv")).unwrap_err().exit_code(), 2);
}

#[test]
fn yes_and_no_in_other_words_are_tasks() {
    for (column, yes, no, expected) in [
        ("clicked", "True", "False", "{ name = \"clicked\", kind = \"binary\" }"),
        ("has_clicked", "t", "f", "{ name = \"has_clicked\", kind = \"binary\", equals = \"t\" }"),
        ("purchased", "yes", "no", "{ name = \"purchased\", kind = \"binary\", equals = \"yes\" }"),
        ("label", "1", "-1", "{ name = \"label\", kind = \"binary\", at_least = 1.0 }"),
    ] {
        let text: String =
            (0..60).map(|row| format!("{},{}\n", row % 5, if row % 3 == 0 { yes } else { no })).collect();
        let guess = of("x.csv", format!("user,{column}\n{text}").as_bytes());
        assert!(guess.text.contains(expected) && guess.edits.is_empty(), "{}", guess.text);
    }
}

#[test]
fn kinds_of_events_are_tasks_and_no_feature() {
    let text: String = (0..90)
        .map(|row| {
            format!("{},{},{},{}\n", row % 7, row % 11, ["view", "view", "purchase"][row % 3], 1_700_000_000 + row)
        })
        .collect();
    let guess = of("x.csv", format!("visitorid,itemid,event,timestamp\n{text}").as_bytes());
    let task = &guess.schema.tasks[0];
    assert_eq!((task.name.as_str(), task.column(), task.equals.as_deref()), ("purchase", "event", Some("purchase")));
    assert_eq!(guess.schema.features.last().unwrap().history.as_ref().unwrap().when, None);
    assert!(guess.schema.features.iter().all(|feature| feature.name != "event"), "{}", guess.text);
}

#[test]
fn an_outcome_that_cannot_be_read_is_not_passed_over() {
    let text: String =
        (0..60).map(|row| format!("{},{},{}\n", row % 5, row % 9, ["won", "lost", "open"][row % 3])).collect();
    let guess = of("x.csv", format!("user,item,outcome\n{text}").as_bytes());
    assert!(guess.schema.tasks.is_empty() && guess.data.negatives.is_none(), "{}", guess.text);
    assert!(guess.edits[0].contains("`outcome` is called an outcome") && guess.edits[0].contains("schema.tasks"));
    let text: String = (0..60).map(|row| format!("{},{}\n", row % 5, row % 9)).collect();
    let guess = of("x.csv", format!("user,amount\n{text}").as_bytes());
    assert!(guess.edits[0].contains("no column looks like an outcome"), "{:?}", guess.edits);
}

#[test]
fn row_numbers_and_what_comes_later_are_left_out() {
    let mut text = ",user_id,item_id,session_id,rank,revenue,pctr,click,note\n".to_owned();
    for row in 0..120 {
        text += &format!(
            "{row},{},{},s{},{},{}.5,0.{},{},\"some words, number {row} of many\"\n",
            row % 13,
            row * 7 % 31,
            row / 3,
            row % 10,
            row % 4,
            row % 9 + 1,
            u8::from(row % 3 == 0)
        );
    }
    let guess = of("x.csv", text.as_bytes());
    let names: Vec<&str> = guess.schema.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["user_id", "item_id", "history"], "{}", guess.text);
    for (name, why) in [
        ("", "numbers the rows"),
        ("session_id", "names a row or a visit"),
        ("rank", "has a role of its own"),
        ("revenue", "known only afterwards"),
        ("pctr", "what a model said"),
        ("note", "hardly ever comes twice"),
    ] {
        assert!(
            guess.text.lines().any(|line| line.contains(&format!("# \"{name}\" is left out")) && line.contains(why)),
            "{name}: {}",
            guess.text
        );
    }
    // Positions are counted from 1.
    assert_eq!(guess.schema.position.as_deref(), Some("position_from_1"));
    assert_eq!(guess.data.layouts[0].derive[0].rule, crate::config::Rule::Offset(1));
}

#[test]
fn an_items_tags_are_the_items_and_lists_with_the_own_item_are_left_out() {
    let mut text = String::new();
    for row in 0..200 {
        let (user, item) = (row % 9, row * 31 % 23);
        let seen = [(row / 5 + 7) % 23, (row / 5 + 11) % 23].map(|row| format!("\"i{row}\"")).join(",");
        text += &format!(
            "{{\"user\":\"u{user}\",\"item\":\"i{item}\",\"tags\":[\"t{}\",\"t{}\"],\"seen\":[{seen}],\"slate\":[\"i{item}\",\"i1\"],\"langs\":[\"l{}\"],\
             \"vector\":[0.5,{row}.25],\"meta\":[{{\"a\":1}}],\"click\":{}}}\n",
            item % 5,
            item % 3,
            user % 4,
            row % 2 == 0
        );
    }
    let guess = of("x.jsonl", text.as_bytes());
    assert_eq!(
        kinds(&guess),
        [
            ("user", FeatureKind::Categorical, Of::User),
            ("item", FeatureKind::Categorical, Of::Item),
            ("tags", FeatureKind::Multi, Of::Item),
            ("seen", FeatureKind::Sequence, Of::Context),
            ("langs", FeatureKind::Multi, Of::User),
            ("history", FeatureKind::Sequence, Of::User)
        ],
        "{}",
        guess.text
    );
    assert_eq!(guess.schema.features[3].table(), "item");
    for (name, why) in
        [("slate", "row's own among them"), ("vector", "vectors of numbers"), ("meta", "lists of objects")]
    {
        assert!(guess.text.lines().any(|line| line.contains(name) && line.contains(why)), "{name}: {}", guess.text);
    }
}

#[test]
fn columns_of_objects_are_left_out() {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StructArray};
    use std::sync::Arc;
    let numbers = |by: i64| -> ArrayRef { Arc::new((0..60).map(|row| row % by).collect::<Int64Array>()) };
    let object = StructArray::try_from(vec![("a", numbers(3))]).unwrap();
    let columns =
        [("user", numbers(7)), ("item", numbers(11)), ("meta", Arc::new(object) as ArrayRef), ("click", numbers(2))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let guess = of("x.parquet", &bytes);
    assert_eq!(guess.schema.tasks[0].name, "click");
    assert!(guess.text.contains("# \"meta\" is left out: it holds objects."), "{}", guess.text);
}

#[test]
fn excel_with_commas_for_points_and_texts_for_nothing() {
    let mut text = "\u{feff}sep=;\r\nuser;item;price;country;shown_at;clicked\r\n".to_owned();
    for row in 0..60 {
        let country = ["DE", "FR", "\\N"][row % 3];
        text += &format!(
            "{};{};{},{};{country};{}.12.2024;{}\r\n",
            row % 7,
            row % 11,
            row % 9,
            row % 10,
            row % 28 + 1,
            row % 2
        );
    }
    let guess = of("x.csv", text.as_bytes());
    let source = guess.data.layouts[0].samples.as_ref().unwrap();
    assert_eq!((source.separator.as_deref(), source.decimal_comma.as_slice()), (Some(";"), &["price".to_owned()][..]));
    assert_eq!(source.missing["country"], ["\\N"]);
    assert!(guess.text.contains("\"shown_at\" is left out: it holds dates that are not read"), "{}", guess.text);
}

#[test]
fn folders_of_partitions_and_lines_that_end_early() {
    let folder = tempfile::tempdir().unwrap();
    for day in 0..3 {
        let path = folder.path().join(format!("events/day=2024-01-0{}", day + 1));
        std::fs::create_dir_all(&path).unwrap();
        let text: String = (0..40).map(|row| format!("{},{},{}\n", row % 5, row % 9, row % 2)).collect();
        std::fs::write(path.join("part-0.csv"), format!("user,item,label\n{text}")).unwrap();
    }
    std::fs::write(folder.path().join("README.md"), "# rows\n").unwrap();
    let whole = guess(folder.path()).unwrap();
    assert_eq!(whole.data.layouts[0].samples.as_ref().unwrap().path, "events");
    // Of each file some rows are looked at, so a partition is no constant, however many rows the first one has.
    assert_eq!(whole.schema.time.as_deref(), Some("day"));
    let mut long =
        std::fs::OpenOptions::new().append(true).open(folder.path().join("events/day=2024-01-01/part-0.csv")).unwrap();
    std::io::Write::write_all(&mut long, "1,2,1\n".repeat(12_000).as_bytes()).unwrap();
    assert_eq!(guess(folder.path()).unwrap().schema.time.as_deref(), Some("day"));
    let events = guess(&folder.path().join("events")).unwrap();
    assert_eq!(events.data.layouts[0].samples.as_ref().unwrap().path, ".");
    let mut text = String::new();
    for row in 0..60 {
        let fields: Vec<String> = (0..12 - row % 3).map(|field| ((row + field) % 4).to_string()).collect();
        text += &format!("{}\t{}\n", row % 2, fields.join("\t"));
    }
    let criteo = of("criteo.txt", text.as_bytes());
    let source = criteo.data.layouts[0].samples.as_ref().unwrap();
    assert!(source.short_rows && source.columns.as_ref().unwrap().len() == 13, "{}", criteo.text);
    assert_eq!(criteo.schema.tasks[0].name, "column_1");
}
