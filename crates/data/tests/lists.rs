//! Lines of lists and side tables of several rows a key, from files to samples.
#![allow(clippy::unwrap_used)]

use kitestring_core::{Batch, Result, Schema, Seed};
use kitestring_data::config::DataConfig;
use kitestring_data::dataset::Dataset;
use kitestring_data::layout::open;
use kitestring_data::prepare::prepare_folder;

#[derive(serde::Deserialize)]
struct Config {
    data: DataConfig,
    schema: Schema,
}

/// Prepares files by a config.
fn prepared(config: &str, files: &[(&str, &str)]) -> Result<(tempfile::TempDir, Dataset)> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let Config { data, schema } = toml::from_str(config).unwrap();
    let out = directory.path().join("set");
    prepare_folder(&open(&data, directory.path())?, &data, &schema, (Seed(1), None), &out, &mut |_| {})?;
    let dataset = Dataset::open(&out)?;
    Ok((directory, dataset))
}

/// The samples of a split in the order they are stored.
fn samples(dataset: &Dataset, split: &str) -> Batch {
    let split = dataset.split(split).unwrap();
    let mut batch = Batch::default();
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(2), &mut batch).unwrap();
    batch
}

const LINES: &str = r#"
    [data]
    split = { by = "random", valid = 0.1 }
    [[data.layouts]]
    name = "lists"
    splits.train = { path = "train.txt", separator = " ", columns = ["FIRST", "LAST"], repeat = true }
    splits.test = { path = "test.txt", separator = " ", columns = ["FIRST", "LAST"], repeat = true }
    derive = [{ name = "one", as = { constant = "1" } }]
    [schema]
    user = "user"
    item = "item"
    features = [
        { name = "user", kind = "categorical", of = "user" },
        { name = "item", kind = "categorical", of = "item" },
    ]
    tasks = [{ name = "visit", kind = "count", column = "one" }]
"#;

/// Whether users list items or items users, the rows of a line are drawn one by one: 9 of 10 for training, and not from one
/// end of the line.
#[test]
fn rows_of_a_line_are_divided_at_random() {
    let line = |first: &str, from: usize| -> String {
        let values: String = (from..from + 4000).map(|value| format!(" {value}")).collect();
        format!("{first}{values}\n")
    };
    let train = line("a", 0) + "b\n" + &line("c", 100);
    for (first, last) in [("user", "item"), ("item", "user")] {
        let config = LINES.replace("FIRST", first).replace("LAST", last);
        let files = [("train.txt", train.as_str()), ("test.txt", "a 5\nc 99 7\n")];
        let (_directory, dataset) = prepared(&config, &files).unwrap();
        let stored: Vec<u64> = dataset.manifest().splits.iter().map(|split| split.stored).collect();
        assert_eq!((stored[0] + stored[1], stored[2]), (8000, 3));
        // Twenty-seven is the standard deviation.
        assert!(stored[1].abs_diff(800) < 100, "{stored:?}");
        let valid = samples(&dataset, "valid");
        let vocabularies = dataset.vocabularies().unwrap();
        let listed = |row: usize| -> u64 {
            let text =
                if last == "item" { vocabularies.item(valid.item[row]) } else { vocabularies.user(valid.user[row]) };
            text.parse().unwrap()
        };
        let half = (0..valid.rows).filter(|row| listed(*row) < 2050).count();
        assert!(half.abs_diff(valid.rows / 2) < 70, "{half} of {}", valid.rows);
        let split = dataset.split("valid").unwrap();
        let lines: Vec<u64> = (0..split.rows()).map(|row| split.source(row).unwrap().1).collect();
        let first = lines.iter().filter(|line| **line == 1).count();
        assert!(lines.iter().all(|line| [1, 3].contains(line)) && first.abs_diff(valid.rows / 2) < 70, "{first}");
    }
}

const TAGS: &str = r#"
    [data]
    split = { by = "random", test = 0.3 }
    [[data.layouts]]
    name = "links"
    samples = { path = "rows.tsv" }
    joins = [{ source = { path = "tags.tsv" }, on = "item", collect = true }]
    [schema]
    user = "user"
    item = "item"
    features = [
        { name = "item", kind = "categorical", of = "item" },
        { name = "tag", kind = "multi", of = "item", length = 3 },
    ]
    tasks = [{ name = "like", kind = "binary" }]
"#;

#[test]
fn collected_values_are_a_feature_of_several_values() {
    let rows: String = (0..60).map(|row| format!("{}\ti{}\t{}\n", row % 7, row % 4, row % 3 % 2)).collect();
    let rows = format!("user\titem\tlike\n{rows}");
    // Values hold any letters but the file's own; i3 has none, i2 more than are kept.
    let tags = "item\ttag\ni0\ta,b|c\ni1\td\ni0\te f\ni2\tp\ni2\tq\ni2\tr\ni2\ts\n";
    let (_directory, dataset) = prepared(TAGS, &[("rows.tsv", &rows), ("tags.tsv", tags)]).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let batch = samples(&dataset, "train");
    for row in 0..batch.rows {
        let found: Vec<&str> =
            batch.sparse[1].of_row(row).iter().map(|id| vocabularies.value("tag", *id).unwrap()).collect();
        let expected: &[&str] = match vocabularies.item(batch.item[row]) {
            "i0" => &["a,b|c", "e f"],
            "i1" => &["d"],
            "i2" => &["p", "q", "r"],
            _ => &[],
        };
        assert_eq!(found, expected);
    }
    // One value is not a list, and a list is not one value.
    let one = TAGS.replace("kind = \"multi\", of = \"item\", length = 3", "kind = \"categorical\", of = \"item\"");
    let error = prepared(&one, &[("rows.tsv", &rows), ("tags.tsv", tags)]).err().unwrap().to_string();
    assert!(error.contains("rows.tsv: `tag`: the column holds lists where one value is expected"), "{error}");
    let once = TAGS.replace(", collect = true", "");
    let error = prepared(&once, &[("rows.tsv", &rows), ("tags.tsv", tags)]).err().unwrap().to_string();
    assert!(
        error.contains("tags.tsv:4: `item`: the key `i0` of a side table appears twice, and its join has no `collect`"),
        "{error}"
    );
}

/// A history of all events holds what the user has in training, whatever the row's split; of more than its length it is drawn, one of each
/// stretch, other ones for other draws.
#[test]
fn a_history_of_all_events_is_that_of_training() {
    let history = |length: usize| {
        let features = format!(
            "    features = [\n        {{ name = \"bag\", kind = \"sequence\", of = \"user\", table = \"item\", length = {length}, \
             history = {{ of = \"item\", which = \"all\" }} }},"
        );
        let config = LINES.replace("FIRST", "user").replace("LAST", "item").replace("    features = [", &features);
        config.replace("split = { by = \"random\", valid = 0.1 }", "")
    };
    let files = [("train.txt", "a 1 2 3 4 5 6\nb 7 2\n"), ("test.txt", "a 9\nb 8 1\nc 1\n")];
    let bags = |length: usize, draws: u64, split: &str| -> Vec<Vec<String>> {
        let (_directory, dataset) = prepared(&history(length), &files).unwrap();
        let (vocabularies, split) = (dataset.vocabularies().unwrap(), dataset.split(split).unwrap());
        let bag = dataset.schema().sparse().position(|feature| feature.name == "bag").unwrap();
        let mut batch = Batch::default();
        split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(draws), &mut batch).unwrap();
        let named = |id: &u64| vocabularies.value("item", *id).unwrap_or("?").to_owned();
        let mut bags: Vec<_> =
            (0..batch.rows).map(|row| batch.sparse[bag].of_row(row).iter().map(named).collect()).collect();
        bags.sort();
        bags
    };
    let (a, b) = (vec!["1", "2", "3", "4", "5", "6"], vec!["7", "2"]);
    assert_eq!(bags(6, 0, "train"), [vec![a.clone(); 6], vec![b.clone(); 2]].concat());
    assert_eq!(bags(6, 0, "test"), [vec![vec![]], vec![a], vec![b; 2]].concat());
    let drawn: Vec<_> = (0..40).map(|draws| bags(3, draws, "test")).collect();
    assert!(drawn.iter().any(|bags| *bags != drawn[0]), "the same for all draws");
    for bags in drawn {
        let of =
            |bag: &Vec<String>| bag.iter().map(|item| (item.parse::<usize>().unwrap() - 1) / 2).collect::<Vec<_>>();
        assert_eq!(of(&bags[1]), [0, 1, 2], "one of each stretch");
    }
}
