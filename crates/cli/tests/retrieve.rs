//! Candidates by the command: train, ask, write; and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use common::{SMALL, done, kitestring, simulated};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Settings that make the retriever small.
const RETRIEVER: [&str; 6] = [
    "--set",
    "retrieve.train.epochs=2",
    "--set",
    "retrieve.ranked_users=20",
    // A key that the file does not name.
    "--set",
    "retrieve.train.rows.l2=1e-6",
];

#[test]
fn from_logs_to_candidates() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = path("run");
    let config = simulated();
    let arguments = [&["retrieve", "train", &config, "--out", &run, "--json"][..], &SMALL, &RETRIEVER].concat();
    let trained = done(&arguments);
    let told = trained.json();
    let recall = told["retrieval"]["metrics"]["test"]["recall@100"].as_f64().unwrap();
    assert!((0.25..1.0).contains(&recall), "100 of 400 items at random find a quarter: {recall}");
    assert_eq!(told["retrieval"]["index"]["items"], 400, "{told}");

    // A page of its own, which can be drawn again.
    let page = told["report"].as_str().unwrap();
    let drawn = std::fs::read_to_string(page).unwrap();
    for words in [
        "Two towers (pool of the query",
        "Learning curves",
        "Validation: Recall@100",
        "NDCG@10",
        "<h2>Index</h2>",
        "400 items",
        "exact scan",
        "bootstrap over users",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    assert!(!drawn.contains("<script") && !drawn.contains("http://"));
    std::fs::remove_file(page).unwrap();
    done(&["report", &run]);
    assert_eq!(std::fs::read_to_string(page).unwrap(), drawn);
    done(&["compare", &run, &run]);

    // What is asked for one user: as many as there are, of the category asked for, without what the user had.
    let user = {
        let out = path("candidates.parquet");
        let written = done(&["retrieve", "candidates", &run, "--split", "test", "-k", "30", "--out", &out, "--json"]);
        let batches = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&out).unwrap()).unwrap();
        let batches: Vec<_> = batches.build().unwrap().map(Result::unwrap).collect();
        let users = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        assert_eq!(written.json()["users"], users);
        assert_eq!((&written.json()["asked"], &written.json()["short_lists"]), (&30.into(), &0.into()));
        let lists = batches[0].column(1).as_list::<i32>();
        assert!((0..lists.len()).all(|row| lists.value(row).len() == 30));
        batches[0].column(0).as_string::<i32>().value(0).to_owned()
    };
    let ask = |more: &[&str]| {
        let arguments = [&["retrieve", "query", &run, "--user", &user, "--json"][..], more].concat();
        done(&arguments).json()["items"].as_array().unwrap().clone()
    };
    let items =
        |found: &[Value]| found.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let short = done(&["retrieve", "query", &run, "--user", &user, "-k", "1000", "--with-seen"]).stdout;
    assert!(short.ends_with("1000 were asked for and no more are left\n"), "{short}");
    let plain = ask(&["-k", "15"]);
    assert_eq!(plain.len(), 15);
    let seen = ask(&["-k", "1000", "--with-seen"]);
    assert_eq!(seen.len(), 400, "no more than there are");
    let unseen = items(&ask(&["-k", "1000"]));
    assert!(unseen.len() < 400 && unseen.starts_with(&items(&plain)));
    let of_one = ask(&["-k", "1000", "--with-seen", "--where", "category=0"]);
    let of_two = ask(&["-k", "1000", "--with-seen", "--where", "category=0", "--where", "category=1"]);
    assert!(!of_one.is_empty() && of_one.len() < of_two.len() && of_two.len() < 400);

    let refused = |arguments: &[&str], expected: &str| {
        let outcome = kitestring(&[&["retrieve"], arguments].concat());
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{arguments:?}: {}", outcome.stderr);
    };
    refused(
        &["query", &run, "--user", "nobody"],
        "no user `nobody`; say what is known of a new user to `kitestring recommend`",
    );
    refused(&["query", &run, "--user", &user, "-k", "0"], "-k");
    refused(&["query", &run, "--user", &user, "--where", "categry=3"], "did you mean `category`?");
    refused(&["query", &run, "--user", &user, "--where", "category=nothing"], "nothing");
    refused(&["query", &run, "--user", &user, "--where", "category"], "--where genre=Drama");
    refused(&["candidates", &run, "--split", "tst", "--out", &path("x.parquet")], "tst");
    refused(&["candidates", &run, "--out", &path("x.csv")], ".parquet");

    // A graph in place of the scan: the same run, another index. 400 items are still scanned.
    let built = done(&["retrieve", "index", &run, "--set", "retrieve.index.kind.type=graph", "--json"]);
    assert_eq!(built.json()["items"], 400);
    assert_eq!(ask(&["-k", "15"]), plain);
    // An index of another model.
    let manifest = folder.path().join("run/retriever/model/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let mut described: Value = serde_json::from_str(&text).unwrap();
    described["version"] = "0".into();
    std::fs::write(&manifest, described.to_string()).unwrap();
    let outcome = kitestring(&["retrieve", "query", &run, "--user", &user]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("retrieve index"), "{}", outcome.stderr);
}

/// `run` finds candidates first, and says what that costs and saves.
#[test]
fn run_ranks_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").display().to_string();
    let out = done(&[&["run", "--out", &run][..], &SMALL, &RETRIEVER].concat());
    assert!(out.stdout.contains("candidates  reached  ms/list"), "{}", out.stdout);
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("run/report.json")).unwrap()).unwrap();
    let ways = report["report"]["recall"].as_array().unwrap();
    let candidates: Vec<Option<u64>> = ways.iter().map(|way| way["candidates"].as_u64()).collect();
    assert_eq!(candidates, [Some(100), Some(500), None]);
    let reached: Vec<f64> = ways.iter().map(|way| way["reached"].as_f64().unwrap()).collect();
    assert!(reached[0] > 0.25 && reached[0] < reached[1], "{reached:?}");
    let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("Recall, then rank"));
    // The same ranker over as many candidates as there are is the ranker over everything.
    let value = |way: &Value| {
        way["values"].as_array().unwrap().iter().map(|v| v["estimate"]["value"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(value(&ways[1]), value(&ways[2]));
    // A config without a retriever says so where one is asked for.
    let config = common::root().join("configs/census-income.toml").display().to_string();
    let outcome = kitestring(&["retrieve", "train", &config, "--data", "nowhere", "--out", &run]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("[retrieve]"), "{}", outcome.stderr);
}

/// Users who visit places of their kind; a place has a kind and a size.
const VISITS: &str = r#"
[data]
split = { by = "user_fraction", valid = 0.1, test = 0.1 }
[[data.layouts]]
name = "visits"
samples = { path = "visits.csv" }
[schema]
user = "user"
item = "place"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "before", kind = "sequence", of = "user", table = "place", length = 8, history = { of = "place", when = "visit" } },
    { name = "place", kind = "categorical", of = "item" },
    { name = "kind", kind = "categorical", of = "item" },
    { name = "size", kind = "numeric", of = "item", transform = "standardize" },
]
tasks = [{ name = "visit" }]
[evaluate]
bootstrap = 20
[retrieve]
unknown_items = 0.3
cutoffs = [20]
objective = { type = "softmax", temperature = 0.2 }
[retrieve.model]
dimension = 8
vector = 8
unit_length = true
query = { layers = { units = [16] } }
item = { layers = { units = [16] } }
[retrieve.train]
batch_size = 64
epochs = 8
learning_rate = 1e-2
workers = 1
row_init = { normal = { std = 0.1 } }
"#;

struct Town {
    folder: tempfile::TempDir,
}

impl Town {
    /// Ninety-six places of eight kinds, and a run that learned from visits to them.
    fn new() -> Self {
        let town = Self { folder: tempfile::tempdir().unwrap() };
        let mut rows = String::from("user,place,kind,size,time,visit\n");
        for user in 0..120_u64 {
            for event in 0..20_u64 {
                let draw = (user * 7919 + event * 104_729) ^ (event << 5);
                let kind = if draw % 10 < 9 { user % 8 } else { draw % 8 };
                let (place, visit) = (kind + 8 * (draw / 10 % 12), u8::from(event % 4 != 3));
                rows += &format!("u{user},p{place},k{kind},{},{event},{visit}\n", place % 5);
            }
        }
        town.write("visits.csv", &rows);
        town.write("visits.toml", VISITS);
        town.train();
        town
    }

    fn train(&self) -> common::Outcome {
        let (config, data, run) = (self.path("visits.toml"), self.path("visits.csv"), self.path("run"));
        let outcome = kitestring(&["retrieve", "train", &config, "--data", &data, "--out", &run, "--overwrite"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn index(&self, more: &[&str]) -> common::Outcome {
        kitestring(&[&["retrieve", "index", &self.path("run"), "--json"][..], more].concat())
    }

    /// Adds the items of a file with this text.
    fn add(&self, text: &str) -> common::Outcome {
        self.write("new.csv", text);
        self.index(&["--add", &self.path("new.csv")])
    }

    /// The places found for a user, the best first.
    fn found(&self, user: &str, k: &str, more: &[&str]) -> Vec<String> {
        let run = self.path("run");
        let asked = [&["retrieve", "query", &run, "--user", user, "-k", k, "--json"][..], more].concat();
        let items = done(&asked).json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
    }

    /// The files of the retriever, with their sizes.
    fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        for folder in ["run/retriever", "run/retriever/index"] {
            for entry in std::fs::read_dir(self.path(folder)).unwrap().map(Result::unwrap) {
                files.push((entry.path().display().to_string(), entry.metadata().unwrap().len()));
            }
        }
        files.sort();
        files
    }
}

/// An item never seen is found by those who love its kind, under the name that its file gives it; one that is there gets new features; one
/// that goes is gone. An index that is built again keeps all that.
#[test]
fn items_come_change_and_go() {
    let town = Town::new();
    let has = |found: &[String], name: &str| found.iter().any(|found| found == name);
    let before = town.found("u3", "1000", &["--with-seen"]);
    assert_eq!(before.len(), 96);
    let new = "place,kind,size,more\nnew3,k3,2,x\nnew5,k5,2,x\np3,k5,3,x\nbare,,,x\nodd,k99,1,x\n";
    // A kill may leave the new items beside the old index: it answers as before, and the command can be given again.
    let index = || std::fs::read_dir(town.path("run/retriever/index")).unwrap().map(|entry| entry.unwrap().path());
    let old: Vec<_> = index().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    assert_eq!(town.add(new).code, Some(0));
    index().for_each(|path| std::fs::remove_file(path).unwrap());
    old.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    assert_eq!(town.found("u3", "1000", &["--with-seen"]), before);
    let outcome = town.add(new);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let told = outcome.json();
    assert_eq!((&told["added"], &told["updated"], &told["items"]), (&4.into(), &1.into(), &100.into()), "{told}");
    assert_eq!((&told["without_features"], &told["unknown_values"]["kind"]), (&1.into(), &1.into()), "{told}");
    assert!(outcome.stderr.contains("1 item has no value"), "{}", outcome.stderr);
    let check = |removed: &[&str]| {
        for user in ["u3", "u11", "u19", "u27"] {
            let best = town.found(user, "15", &["--with-seen"]);
            assert_eq!(has(&best, "new3"), !removed.contains(&"new3"), "{user}: {best:?}");
            // Behind all of its own kind a user may have anything.
            assert!(!has(&best[..12 - removed.len()], "new5"), "{user}: {best:?}");
        }
        assert!(has(&town.found("u5", "15", &["--with-seen"]), "new5"));
        let third = town.found("u3", "1000", &["--with-seen", "--where", "kind=k3"]);
        let fifth = town.found("u3", "1000", &["--with-seen", "--where", "kind=k5"]);
        assert_eq!((third.len(), fifth.len()), (12 - removed.len(), 14), "{third:?} {fifth:?}");
        assert!(has(&fifth, "p3") && has(&fifth, "new5") && !has(&third, "p3"));
        let all = town.found("u3", "1000", &["--with-seen"]);
        assert!(all.len() == 100 - removed.len() && has(&all, "bare") && has(&all, "odd"), "{}", all.len());
        assert!(removed.iter().all(|name| !has(&all, name)));
        all
    };
    let all = check(&[]);
    // A candidate like any other.
    let out = town.path("candidates.parquet");
    done(&["retrieve", "candidates", &town.path("run"), "-k", "15", "--out", &out]);
    let batches = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&out).unwrap()).unwrap();
    let named = batches.build().unwrap().map(Result::unwrap).any(|batch| {
        let names = batch.column(1).as_list::<i32>().values().clone();
        names.as_string::<i32>().iter().any(|name| name == Some("new3"))
    });
    assert!(named);

    // Built again, as it is and as another kind.
    for more in [&[][..], &["--set", "retrieve.index.kind.type=graph"]] {
        let told = town.index(more).json();
        assert_eq!((&told["items"], &told["added"], &told["removed"]), (&100.into(), &4.into(), &0.into()), "{told}");
        assert_eq!(check(&[]), all);
    }
    let told = town.index(&["--remove", "new3", "p11"]).json();
    assert_eq!((&told["removed"], &told["items"]), (&2.into(), &98.into()), "{told}");
    check(&["new3", "p11"]);
    let told = town.index(&[]).json();
    assert_eq!((&told["added"], &told["removed"]), (&3.into(), &1.into()), "{told}");
    check(&["new3", "p11"]);

    // From another format; what was removed may come back.
    let columns: [(&str, arrow_array::ArrayRef); 3] = [
        ("size", std::sync::Arc::new(arrow_array::Float32Array::from(vec![3.0, 1.0]))),
        ("kind", std::sync::Arc::new(arrow_array::StringArray::from(vec!["k3", "k3"]))),
        ("place", std::sync::Arc::new(arrow_array::StringArray::from(vec!["new3", "p11"]))),
    ];
    let batch = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    let file = town.path("new.parquet");
    let mut writer = parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&file).unwrap(), batch.schema(), None);
    writer.as_mut().unwrap().write(&batch).unwrap();
    writer.unwrap().close().unwrap();
    let told = town.index(&["--add", &file]).json();
    assert_eq!((&told["added"], &told["updated"]), (&2.into(), &0.into()), "{told}");
    check(&[]);

    // A file that was taken away leaves numbers that nothing names.
    std::fs::remove_file(town.path("run/retriever/items.arrow")).unwrap();
    let outcome = kitestring(&["retrieve", "query", &town.path("run"), "--user", "u3"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("which nothing names"), "{}", outcome.stderr);
    assert_eq!(town.index(&[]).json()["items"], 96);
    assert_eq!(town.found("u3", "1000", &["--with-seen"]), before);
    // A new training begins with the data.
    assert_eq!(town.add("place,kind,size\nnew3,k3,2\n").code, Some(0));
    let outcome = town.train();
    assert!(outcome.stderr.contains("the items of the data again"), "{}", outcome.stderr);
    assert_eq!(town.found("u3", "1000", &["--with-seen"]).len(), 96);
}

/// What is wrong with new items is said with its place, and nothing of the index is changed.
#[test]
fn malformed_items_change_nothing() {
    let town = Town::new();
    let (files, before) = (town.files(), town.found("u3", "1000", &["--with-seen"]));
    let refused = |outcome: common::Outcome, code: i32, expected: &[&str]| {
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(expected.iter().all(|part| outcome.stderr.contains(part)), "{}", outcome.stderr);
        assert_eq!(town.files(), files);
    };
    refused(town.add("place,knd,size\nn,k3,1\n"), 2, &["new.csv", "`kind`", "did you mean `knd`?"]);
    refused(town.add("kind,size\nk3,1\n"), 2, &["new.csv", "`place`"]);
    refused(town.add("place,kind,size\nn,k3,1\nm,k3,inf\n"), 1, &["new.csv:3: `size`", "finite number"]);
    let twice = "place,kind,size\nn,k3,1\nm,k3,1\nn,k4,1\n";
    refused(town.add(twice), 1, &["new.csv:4: `place`: item `n` is given twice, first in line 2"]);
    refused(town.index(&["--add", &town.path("nowhere.csv")]), 2, &["nowhere.csv", "no such file"]);
    refused(town.index(&["--remove", "p999"]), 2, &["--remove", "there is no item `p999`"]);
    refused(town.index(&["--remove", "p1", "--set", "retrieve.index.kind.type=graph"]), 2, &["--set"]);
    refused(town.add("place,kind,size\nn,k3,1e38\nm,k3,-1e300\n"), 1, &["new.csv:3: `size`", "32 bits can hold"]);
    assert_eq!(town.found("u3", "1000", &["--with-seen"]), before);
    let file = town.path("new.csv");
    town.write("new.csv", twice);
    let told = town.index(&["--add", &file, "--max-bad-rows", "1"]).json();
    assert_eq!((&told["added"], &told["bad_rows"]), (&2.into(), &1.into()), "{told}");
}
