//! Layouts on files made here; the presets are checked in `tests/presets.rs`.

#![allow(clippy::unwrap_used)]

use super::*;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use value::Texts;

const RATINGS: &str = "u::m::r::t\n1::20::5::100\n2::10::3::101\n1::30::4::102\n3::20::x::103\n2::20::1::-1\n";
const USERS: &str = "id,sex,born\n1,F,1980\n2,M,1970\n";
const MOVIES: &str = "m|title|genres\n10|A|Drama,War\n20|B|Comedy\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn movies() -> tempfile::TempDir {
    folder(&[("ratings.dat", RATINGS), ("users.csv", USERS), ("movies.psv", MOVIES)])
}

const CONFIG: &str = r#"
    split = { by = "time", test = 0.1 }
    [[layouts]]
    name = "other"
    samples = { path = "ratings.tsv" }
    joins = [{ source = { path = "users.tsv" }, on = "u" }]
    [[layouts]]
    name = "movies"
    samples = { path = "ratings.dat", separator = "::" }
    joins = [
        { source = { path = "users.csv" }, on = { left = "u", right = "id" } },
        { source = { path = "movies.psv", separator = "|" }, on = "m", columns = ["genres"] },
    ]
    derive = [
        { name = "genre", from = "genres", as = { part = { separator = ",", index = 0 } } },
        { name = "user", from = "u", as = { offset = -1 } },
        { name = "item", from = "m", as = { first_appearance = 0 } },
        { name = "old", from = "born", as = { when = { at_most = 1975.0 } } },
        { name = "loop", from = "pool", as = { offset = 1 } },
        { name = "pool", from = "loop", as = { offset = 1 } },
        { name = "sex", from = "u", as = { offset = 1 }, only = [] },
    ]
"#;

fn config(change: impl Fn(&mut DataConfig)) -> DataConfig {
    let mut config: DataConfig = toml::from_str(CONFIG).unwrap();
    config.layouts[1].derive.retain(|derive| derive.name != "sex");
    change(&mut config);
    config
}

/// The rows as `line: a|b`.
fn shown(rows: &mut Rows) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for chunk in rows {
        let chunk = chunk?;
        let columns: Vec<Texts> = chunk.rows.columns().iter().map(|column| Texts::new(column).unwrap()).collect();
        assert!(chunk.rows.columns().iter().all(|column| column.len() == chunk.rows.num_rows()));
        for row in 0..chunk.rows.num_rows() {
            let cells: Vec<&str> = columns.iter().map(|column| column.get(row).unwrap_or("-")).collect();
            shown.push(format!("{}: {}", chunk.lines.of(row), cells.join("|")));
        }
    }
    Ok(shown)
}

fn read(config: &DataConfig, path: &Path, needed: &[&str]) -> Result<Vec<String>> {
    shown(&mut open(config, path)?.read(None, needed, &BadRows::default())?)
}

#[test]
fn joins_and_derives_in_the_order_they_need() {
    let folder = movies();
    let opened = open(&config(|_| ()), folder.path()).unwrap();
    assert_eq!(opened.layout().name, "movies");
    assert_eq!(opened.splits().collect::<Vec<_>>(), [None]);
    let mut rows = opened.read(None, &["genre", "user", "sex", "item", "old", "r"], &BadRows::default()).unwrap();
    assert_eq!(
        shown(&mut rows).unwrap(),
        ["2: Comedy|0|F|0|0|5", "3: Drama|1|M|1|1|3", "4: -|0|F|2|0|4", "5: Comedy|2|-|0|0|x", "6: Comedy|1|M|0|1|1"]
    );
    let without: Vec<u64> = opened.without_partner().iter().map(|(_, rows)| *rows).collect();
    assert_eq!(without, [1, 1]);
}

#[test]
fn side_tables_nobody_asks_for_are_not_read() {
    let folder = movies();
    std::fs::write(folder.path().join("movies.psv"), "m|title|genres\nbroken\n").unwrap();
    assert_eq!(read(&config(|_| ()), folder.path(), &["sex"]).unwrap().len(), 5);
    let error = read(&config(|_| ()), folder.path(), &["genre"]).unwrap_err().to_string();
    assert!(error.contains("movies.psv:2: found 1 fields"), "{error}");
}

#[test]
fn filters_drop_rows_and_keep_their_lines() {
    let folder = movies();
    let filters: Vec<crate::config::Filter> = toml::from_str::<Layout>(
        "name = \"\"\nfilters = [{ column = \"t\", keep = { at_least = 0 } }, { column = \"sex\", keep = { present = true } }]",
    )
    .unwrap()
    .filters;
    let config = config(|config| config.layouts[1].filters.clone_from(&filters));
    // The item is numbered before filters.
    assert_eq!(read(&config, folder.path(), &["item", "r"]).unwrap(), ["2: 0|5", "3: 1|3", "4: 2|4"]);
    let nothing = DataConfig { layouts: vec![config.layouts[1].clone()], ..config.clone() };
    std::fs::write(folder.path().join("ratings.dat"), "u::m::r::t\n1::1::1::-1\n").unwrap();
    assert!(open(&nothing, folder.path()).unwrap().read(None, &["r"], &BadRows::default()).unwrap().next().is_none());
}

#[test]
fn a_value_that_is_no_number_is_a_bad_row_once() {
    let folder = movies();
    let filters: Layout = toml::from_str(
        "name = \"\"\nfilters = [{ column = \"r\", keep = { at_least = 2 } }, { column = \"r\", keep = { at_most = 9 } }]",
    )
    .unwrap();
    let config = config(|config| config.layouts[1].filters.clone_from(&filters.filters));
    let error = read(&config, folder.path(), &["u"]).unwrap_err().to_string();
    assert!(error.contains("ratings.dat:5: `r`: expected a number, found `x`"), "{error}");
    let bad = BadRows::new(5);
    let mut rows = open(&config, folder.path()).unwrap().read(None, &["u"], &bad).unwrap();
    assert_eq!(shown(&mut rows).unwrap(), ["2: 1", "3: 2", "4: 1"]);
    assert_eq!(bad.count(), 1);
}

#[test]
fn keys_of_several_columns_and_rules_for_one_split() {
    let folder = folder(&[("all.csv", "a,b\n1,2\n1,3\n2,2\n"), ("test.csv", "u,b\n1,3\n")]);
    let config: DataConfig = toml::from_str(
        r#"
        [[layouts]]
        name = "held out"
        splits.train = { path = "all.csv", rename = { u = "a" } }
        splits.test = { path = "test.csv" }
        joins = [{ source = { path = "test.csv", columns = ["u", "b", "held"], header = true }, on = ["u", "b"] }]
        filters = [{ column = "held", keep = { present = false }, only = ["train"] }]
        derive = [{ name = "c", from = "b", as = { offset = 5 }, only = ["train"] }, { name = "c", from = "b", as = { offset = 0 }, only = ["test"] }]
        "#,
    )
    .unwrap();
    std::fs::write(folder.path().join("test.csv"), "u,b\n1,3\n").unwrap();
    // The side table has no third column: its header says two.
    assert!(open(&config, folder.path()).unwrap_err().to_string().contains("`columns` names 3"));
    std::fs::write(folder.path().join("test.csv"), "u,b,x\n1,3,yes\n").unwrap();
    let opened = open(&config, folder.path()).unwrap();
    assert_eq!(opened.splits().collect::<Vec<_>>(), [Some("train"), Some("test")]);
    let of = |split| shown(&mut opened.read(Some(split), &["u", "c"], &BadRows::default()).unwrap()).unwrap();
    assert_eq!(of("train"), ["2: 1|7", "4: 2|7"]);
    assert_eq!(of("test"), ["2: 1|3"]);
}

#[test]
fn a_single_file_takes_the_place_of_the_rows() {
    let folder = movies();
    std::fs::write(folder.path().join("new.dat"), "u::m::r::t\n2::20::5::1\n").unwrap();
    let path = folder.path().join("new.dat");
    assert_eq!(read(&config(|_| ()), &path, &["sex", "genre"]).unwrap(), ["2: M|Comedy"]);
    std::fs::remove_file(folder.path().join("users.csv")).unwrap();
    let error = open(&config(|_| ()), &path).unwrap_err().to_string();
    assert!(error.contains("side tables of no layout"), "{error}");
}

#[test]
fn what_each_layout_misses_is_said() {
    let folder = folder(&[("users.csv", USERS)]);
    let error = open(&config(|_| ()), folder.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`other` misses users.tsv, ratings.tsv; `movies` misses movies.psv, ratings.dat"), "{text}");
    assert_eq!(error.exit_code(), 2);
    let absent = open(&config(|_| ()), &folder.path().join("none")).unwrap_err().to_string();
    assert!(absent.contains("no such file or folder"), "{absent}");
}

#[test]
fn unknown_columns_name_what_there_is() {
    let folder = movies();
    let error = |needed| read(&config(|_| ()), folder.path(), &[needed]).unwrap_err().to_string();
    let unknown = error("gendre");
    assert!(unknown.contains("ratings.dat: `gendre`: there is no such column among `u`, `m`, `r`, `t`"), "{unknown}");
    assert!(unknown.contains("`sex`") && unknown.contains("did you mean `genre`?"), "{unknown}");
    assert!(error("title").contains("no such column"), "not among the join's `columns`");
    assert!(error("loop").contains("derived from itself"));
    let hidden = config(|config| config.layouts[1].derive[0].name = "r".into());
    let hidden = read(&hidden, folder.path(), &["r"]).unwrap_err().to_string();
    assert!(hidden.contains("has the name of a column of the file"), "{hidden}");
    let wrong = config(|config| config.layouts[1].joins[1].columns = Some(vec!["genre_list".into()]));
    let wrong = read(&wrong, folder.path(), &["genre"]).unwrap_err().to_string();
    assert!(wrong.contains("movies.psv: `genre_list`: there is no such column"), "{wrong}");
}

#[test]
fn a_key_twice_in_a_side_table_is_refused() {
    let folder = movies();
    std::fs::write(folder.path().join("users.csv"), format!("{USERS}1,M,1\n")).unwrap();
    let error = read(&config(|_| ()), folder.path(), &["sex"]).unwrap_err().to_string();
    assert!(error.contains("users.csv:4: `id`: the key `1` of a side table appears twice"), "{error}");
}

#[test]
fn the_rows_of_a_key_become_a_list_where_they_are_collected() {
    let side = "a\tb\tc\n1\tx|y, \"z\"\t\n2\tq\t7\n\tlost\t1\n1\tw\t8\n1\t\t9\n";
    let folder = folder(&[("rows.tsv", "k\n1\n3\n2\n1\n"), ("side.tsv", side)]);
    let config: DataConfig = toml::from_str(
        r#"
        split = { by = "random", test = 0.5 }
        [[layouts]]
        name = "lists"
        samples = { path = "rows.tsv" }
        joins = [{ source = { path = "side.tsv" }, on = { left = "k", right = "a" }, collect = true }]
        "#,
    )
    .unwrap();
    let opened = open(&config, folder.path()).unwrap();
    let chunks: Vec<Chunk> =
        opened.read(None, &["b", "c"], &BadRows::default()).unwrap().collect::<Result<_>>().unwrap();
    let lists = |column: usize| -> Vec<Option<Vec<String>>> {
        let column = chunks[0].rows.column(column).as_dictionary::<Int32Type>();
        let values = column.values().as_list::<i32>();
        let texts = |key: usize| {
            let texts = values.value(key);
            let texts = texts.as_string::<i32>();
            texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
        };
        column.keys().iter().map(|key| key.map(|key| texts(key as usize))).collect()
    };
    let (one, two) = (Some(vec!["x|y, \"z\"".into(), "w".into(), String::new()]), Some(vec!["q".into()]));
    assert_eq!(lists(0), [one.clone(), None, two, one]);
    let one = Some(vec![String::new(), "8".into(), "9".into()]);
    assert_eq!(lists(1), [one.clone(), None, Some(vec!["7".into()]), one]);
    assert_eq!(opened.without_partner()[0].1, 1);
}

#[test]
fn columns_of_lists_are_not_collected() {
    let folder = folder(&[("rows.tsv", "k\n1\n")]);
    let list = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>([Some([Some(1)])]);
    let key: arrow_array::ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["1"]));
    let batch = arrow_array::RecordBatch::try_from_iter([("k", key), ("list", Arc::new(list) as _)]).unwrap();
    let file = std::fs::File::create(folder.path().join("side.arrow")).unwrap();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let of = |collect: bool| -> DataConfig {
        toml::from_str(&format!(
            r#"
            split = {{ by = "random", test = 0.5 }}
            [[layouts]]
            name = "lists"
            samples = {{ path = "rows.tsv" }}
            joins = [{{ source = {{ path = "side.arrow" }}, on = "k", collect = {collect} }}]
            "#
        ))
        .unwrap()
    };
    let read =
        |collect| open(&of(collect), folder.path()).unwrap().read(None, &["list"], &BadRows::default()).map(|_| ());
    assert!(read(false).is_ok());
    let error = read(true).unwrap_err().to_string();
    assert!(error.contains("side.arrow: `list`: a column of lists cannot be collected again"), "{error}");
}
