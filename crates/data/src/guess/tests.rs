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
