//! A run is one thing: what fails, is killed, runs out of disk or runs beside another leaves it as it was, and parts that were made with other
//! ids are never brought together.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Outcome, command, kitestring};
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONFIG: &str = r#"
[data]
split = { by = "time", valid = 0.1, test = 0.2 }
[[data.layouts]]
name = "one file"
samples = { path = "a.csv" }
[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "price", kind = "numeric", of = "item", transform = "standardize" },
    { name = "liked", kind = "sequence", of = "user", table = "item", length = 4, history = { of = "item", when = "click" } },
]
tasks = [{ name = "click" }]
[model]
dimension = 4
[model.body]
type = "mlp"
units = [8]
[train]
batch_size = 32
epochs = 2
workers = 1
keep = "last"
[evaluate]
bootstrap = 0
[retrieve]
unknown_items = 0.1
train = { epochs = 1, workers = 1, keep = "last" }
"#;

/// The logs of two days, whose ids come in other orders, and rows to be scored.
struct Days {
    folder: TempDir,
}

impl Days {
    fn new() -> Self {
        let days = Self { folder: tempfile::tempdir().unwrap() };
        days.write("c.toml", CONFIG);
        for (day, first) in [("day1", 0), ("day2", 11)] {
            let mut text = String::from("user,item,time,price,click\n");
            for row in 0..360_usize {
                let (user, item) = ((row + first) % 12, (row * 7 + first * 3) % 24);
                let click = u8::from((user + item) % 3 == 0);
                let _ = writeln!(text, "u{user},i{item},{row},{},{click}", item % 5 + first);
            }
            days.write(&format!("{day}/a.csv"), &text);
        }
        let rows = (0..24).fold(String::from("user,item,time,price\n"), |mut rows, item| {
            let _ = writeln!(rows, "u3,i{item},1000,{}", item % 5);
            rows
        });
        days.write("rows/a.csv", &rows);
        days
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn has(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    fn learn(&self, command: &[&str], data: &str, more: &[&str]) -> Vec<String> {
        let (config, data, run) = (self.path("c.toml"), self.path(data), self.path("run"));
        let arguments = [command, &[&config, "--data", &data, "--out", &run], more].concat();
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn train(&self, data: &str, more: &[&str]) -> Vec<String> {
        self.learn(&["train"], data, more)
    }

    fn predict(&self, more: &[&str]) -> Outcome {
        let (run, rows) = (self.path("run"), self.path("rows"));
        kitestring(&[&["predict", &run, "--data", &rows][..], more].concat())
    }

    /// What the run predicts.
    fn scores(&self) -> String {
        let outcome = self.predict(&[]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    }

    fn evaluated(&self) -> serde_json::Value {
        done(&["evaluate", &self.path("run"), "--json"]).json()["metrics"].clone()
    }

    fn query(&self) -> Outcome {
        kitestring(&["retrieve", "query", &self.path("run"), "--user", "u3", "-k", "9", "--with-seen"])
    }

    /// Begins a training and waits until a folder of it has an entry of this beginning.
    fn begun(&self, arguments: &[String], folder: &str, beginning: &str) -> Child {
        let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let there = || {
            let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten();
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.into_iter().any(|name| name.starts_with(beginning))
        };
        while !there() {
            assert!(child.try_wait().unwrap().is_none(), "the training ended without {beginning}");
            assert!(start.elapsed() < Duration::from_secs(120), "no {beginning} in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }
}

/// Runs the built command, which must succeed; it may note what so little data give reason to.
#[track_caller]
fn done<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(arguments: &[S]) -> Outcome {
    let outcome = kitestring(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
    outcome
}

#[track_caller]
fn refused(outcome: &Outcome, texts: &[&str]) {
    assert_eq!(outcome.code, Some(2), "{}{}", outcome.stdout, outcome.stderr);
    for text in texts {
        assert!(outcome.stderr.contains(text), "no `{text}` in {}", outcome.stderr);
    }
}

/// A long training, with a checkpoint a step.
const LONG: [&str; 4] = ["--set", "train.epochs=100000", "--set", "train.checkpoint_steps=1"];

#[test]
fn a_retraining_that_fails_or_is_killed_changes_nothing() {
    let days = Days::new();
    done(&days.train("day1", &[]));
    let (scores, metrics) = (days.scores(), days.evaluated());
    let same = || {
        assert_eq!(days.scores(), scores);
        assert_eq!(days.evaluated(), metrics);
    };
    let asked = ["--resume", "--overwrite", "another --out"];
    refused(&kitestring(&days.train("day2", &[])), &[&["there is a run here already"][..], &asked].concat());
    let diverges = ["--overwrite", "--set", "train.learning_rate=1e30", "--set", "train.optimizer.type=sgd"];
    assert_eq!(kitestring(&days.train("day2", &diverges)).code, Some(1));
    same();
    // Killed while it prepares, and while it trains.
    for (folder, name) in [("run/unfinished", "plan.json"), ("run/unfinished/checkpoint", "step-")] {
        let mut child = days.begun(&days.train("day2", &[&["--overwrite"][..], &LONG].concat()), folder, name);
        child.kill().unwrap();
        child.wait().unwrap();
        same();
        let outcome = kitestring(&days.train("day2", &[]));
        refused(&outcome, &[&["a training that did not finish is here"][..], &asked].concat());
        refused(&kitestring(&days.learn(&["retrieve", "train"], "day2", &["--resume"])), &["one of a ranker"]);
    }
    // A run that learned from one day does not go on with another.
    refused(&kitestring(&days.train("day1", &["--resume"])), &["the run learned from", "day2"]);
    done(&days.train("day2", &["--resume"]));
    assert_ne!(days.scores(), scores);
    assert!(!days.has("run/unfinished") && !days.has("run/.swap") && !days.has("run/.old"));
}

/// The system kills a process that writes more than it may.
#[cfg(unix)]
#[test]
fn a_limit_of_the_file_size_changes_nothing() {
    let days = Days::new();
    done(&days.train("day1", &[]));
    let scores = days.scores();
    let arguments = days.train("day2", &["--overwrite"]);
    for limit in ["0", "2", "8"] {
        let script = format!("ulimit -f {limit}; exec \"$0\" \"$@\"");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_kitestring")]).args(&arguments);
        let output = shell.stdout(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "limit {limit}");
        assert_eq!(days.scores(), scores, "limit {limit}");
    }
    done(&arguments);
    assert_ne!(days.scores(), scores);
}

#[test]
fn one_process_changes_a_run_at_a_time() {
    let days = Days::new();
    done(&days.train("day1", &[]));
    let scores = days.scores();
    let long = days.train("day2", &[&["--overwrite"][..], &LONG].concat());
    let mut first = days.begun(&long, "run/unfinished/checkpoint", "step-");
    let who = format!("changed by process {} (train)", first.id());
    let run = days.path("run");
    for second in [&days.train("day1", &["--overwrite"])[..], &["evaluate".to_owned(), run.clone()]] {
        refused(&kitestring(second), &[&run, &who, "wait until it is done"]);
    }
    // Reading goes on meanwhile.
    assert_eq!(days.scores(), scores);
    first.kill().unwrap();
    first.wait().unwrap();
    days.evaluated();
}

#[test]
fn nothing_stays_of_a_run_that_was_overwritten() {
    let days = Days::new();
    days.write(
        "phone.toml",
        "[device]\nname = \"phone\"\ncandidates = 1\n[[passes]]\ntype = \"rows\"\ncoverage = 1.0\n",
    );
    let compress = || done(&["compress", &days.path("run"), "--for", &days.path("phone.toml")]);
    done(&days.train("day1", &[]));
    done(&days.learn(&["retrieve", "train"], "day1", &[]));
    days.evaluated();
    compress();
    days.write("run/notes.txt", "the user's");
    let key = std::fs::read(days.path("run/device/publisher.key")).unwrap();
    let release = |days: &Days| -> u64 {
        let told = done(&["device", "show", &days.path("run/device/ranker.kite"), "--json"]);
        told.json()["release"].as_u64().unwrap()
    };
    let made =
        ["report.html", "report.json", "retriever", "retriever.json", "device/ranker.kite", "device/ranker.html"];
    assert!(made.iter().all(|name| days.has(&format!("run/{name}"))));
    assert_eq!(release(&days), 1);
    // The run's own data may be what the next one learns from.
    done(&days.train("run/dataset", &["--overwrite"]));
    let stale: Vec<_> = made.iter().filter(|name| days.has(&format!("run/{name}"))).collect();
    assert!(stale.is_empty(), "{stale:?}");
    let log = std::fs::read_to_string(days.path("run/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains(r#""event":"epoch""#)).count(), 2, "{log}");
    assert!(days.has("run/notes.txt") && days.has("run/metrics.json") && days.has("run/dataset/manifest.json"));
    days.scores();
    // Devices trust the publisher, and do not go back to an earlier release.
    done(&days.train("day2", &["--overwrite"]));
    days.evaluated();
    compress();
    assert_eq!(std::fs::read(days.path("run/device/publisher.key")).unwrap(), key);
    assert_eq!(release(&days), 2);
    // More epochs make another model: what was made of the one before goes.
    done(&days.train("day2", &["--resume", "--set", "train.epochs=3"]));
    assert!(!days.has("run/device/ranker.kite") && days.has("run/metrics.json"));
    assert!(!days.has("run/report.html"));
}

#[test]
fn a_run_that_was_moved_finds_its_data() {
    let days = Days::new();
    let (config, prepared) = (days.path("c.toml"), days.path("all/prepared"));
    // The data set within the run.
    done(&days.train("day1", &[]));
    let scores = days.scores();
    let move_to = |from: &str, to: &str| {
        std::fs::create_dir_all(Path::new(&days.path(to)).parent().unwrap()).unwrap();
        std::fs::rename(days.path(from), days.path(to)).unwrap();
    };
    move_to("run", "elsewhere/moved");
    let moved = days.path("elsewhere/moved");
    assert_eq!(done(&["predict", &moved, "--data", &days.path("rows")]).stdout, scores);
    done(&["evaluate", &moved]);
    // One of the first format knew its place alone.
    let stored = days.path("elsewhere/moved/run.json");
    std::fs::write(&stored, format!(r#"{{"format":1,"dataset":"{}/dataset","raw":null}}"#, days.path("run"))).unwrap();
    assert_eq!(done(&["predict", &moved, "--data", &days.path("rows")]).stdout, scores);

    // The data set outside: found where it was, as far from the run as it was, or where it is said to be; else an error.
    done(&["prepare", &config, "--data", &days.path("day1"), "--out", &prepared]);
    let run = days.path("all/runs/a");
    done(&["train", &config, "--data", &prepared, "--out", &run]);
    let predict =
        |run: &str, more: &[&str]| kitestring(&[&["predict", run, "--data", &days.path("rows")][..], more].concat());
    assert_eq!(predict(&run, &[]).stdout, scores);
    move_to("all/runs/a", "b");
    assert_eq!(predict(&days.path("b"), &[]).stdout, scores);
    move_to("b", "all/runs/a");
    move_to("all", "other");
    assert_eq!(predict(&days.path("other/runs/a"), &[]).stdout, scores);
    move_to("other/prepared", "gone");
    let moved = days.path("other/runs/a");
    refused(&predict(&moved, &[]), &[&prepared, "is gone", "--dataset", "--without-past"]);
    refused(&kitestring(&["evaluate", &moved]), &[&prepared, "is gone", "--dataset"]);
    assert_eq!(predict(&moved, &["--dataset", &days.path("gone")]).stdout, scores);
    let without = predict(&moved, &["--without-past"]);
    assert!(without.code == Some(0) && without.stdout != scores, "{}", without.stderr);
}

#[test]
fn data_prepared_again_in_the_same_place_are_refused() {
    let days = Days::new();
    let (config, prepared, run) = (days.path("c.toml"), days.path("prepared"), days.path("run"));
    let prepare = |day: &str| done(&["prepare", &config, "--data", &days.path(day), "--out", &prepared]);
    prepare("day1");
    done(&days.train("prepared", &[]));
    let scores = days.scores();
    prepare("day2");
    let other = [prepared.as_str(), "made with other ids", "train again"];
    refused(&days.predict(&[]), &[&prepared, "made with other ids", "--without-past"]);
    refused(&kitestring(&["evaluate", &run]), &other);
    refused(&kitestring(&["evaluate", &run, "--data", &prepared]), &[&prepared, "made with other ids", "raw data"]);
    refused(&kitestring(&["export", &run, "--out", &days.path("exported")]), &other);
    let phone = common::root().join("configs/device/phone-small.toml").display().to_string();
    refused(&kitestring(&["compress", &run, "--for", &phone]), &other);
    let more = ["--resume", "--set", "train.epochs=3"];
    refused(&kitestring(&days.train("prepared", &more)), &["made with other ids"]);
    // Raw data are read through the run's own vocabularies.
    done(&["evaluate", &run, "--data", &days.path("day2"), "--without-past"]);
    // The same ids and other splits: rows of the test would be rows of the training.
    let splits = ["prepare", &config, "--data", &days.path("day1"), "--out", &prepared, "--set", "data.split.test=0.3"];
    done(&splits);
    let others: Vec<Outcome> =
        [&["evaluate", &run][..], &["predict", &run, "--data", &days.path("rows")]].map(kitestring).into();
    others.iter().for_each(|outcome| refused(outcome, &[&prepared, "--dataset"]));
    prepare("day2");
    // Files of versions that wrote no hash: a data set's files tell its ids, a model is taken as it is.
    let forget = |name: &str| {
        let text = std::fs::read_to_string(days.path(name)).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(manifest.as_object_mut().unwrap().remove("vocabulary_hash").is_some(), "{name}");
        std::fs::write(days.path(name), manifest.to_string()).unwrap();
    };
    let model = std::fs::read(days.path("run/model/manifest.json")).unwrap();
    ["prepared/manifest.json", "run/vocabularies/manifest.json", "run/model/manifest.json"]
        .into_iter()
        .for_each(forget);
    refused(&kitestring(&["evaluate", &run]), &other);
    prepare("day1");
    assert_eq!(days.scores(), scores);
    std::fs::write(days.path("run/model/manifest.json"), model).unwrap();
    assert_eq!(days.scores(), scores);
    done(&days.train("prepared", &more));
    // A model beside the vocabularies of others.
    done(&["train", &config, "--data", &days.path("day2"), "--out", &days.path("later")]);
    std::fs::remove_dir_all(days.path("run/model")).unwrap();
    std::fs::rename(days.path("later/model"), days.path("run/model")).unwrap();
    refused(&days.predict(&["--without-past"]), &[&run, "the model was made with other ids", "train the run again"]);
    let grown = ["--from", &run, "--overwrite"];
    let outcome = kitestring(
        &[&["train", &config, "--data", &days.path("day1"), "--out", &days.path("later")], &grown[..]].concat(),
    );
    refused(&outcome, &["the model was made with other ids"]);
}

#[test]
fn a_retriever_and_a_ranker_of_one_run_have_the_same_ids() {
    let days = Days::new();
    let retrieve = ["retrieve", "train"];
    done(&days.learn(&retrieve, "day1", &[]));
    let found = days.query();
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    refused(&kitestring(&days.train("day2", &[])), &["other ids", "day2", "--overwrite"]);
    assert_eq!(days.query().stdout, found.stdout);
    // The same ids: both answer. Each part keeps its own section of the config.
    done(&days.train("day1", &["--set", "retrieve.train.epochs=7"]));
    assert_eq!(days.query().stdout, found.stdout);
    let scores = days.scores();
    let config = std::fs::read_to_string(days.path("run/config.toml")).unwrap();
    assert!(config.contains("epochs = 1") && !config.contains("epochs = 7"), "{config}");
    refused(&kitestring(&days.learn(&retrieve, "day1", &[])), &["--resume", "--overwrite"]);
    refused(&kitestring(&days.learn(&retrieve, "day2", &["--overwrite"])), &["other ids"]);
    done(&days.learn(&retrieve, "day1", &["--overwrite", "--set", "retrieve.train.epochs=2"]));
    assert_ne!(days.query().stdout, found.stdout);
    assert_eq!(days.scores(), scores);
    // A retriever of another run, put there by hand.
    done(&days.train("day2", &["--overwrite"]));
    let gone = days.query();
    assert!(gone.code != Some(0) && gone.stderr.contains("retrieve train"), "{}", gone.stderr);
    let other = days.path("other");
    done(&["retrieve", "train", &days.path("c.toml"), "--data", &days.path("day1"), "--out", &other]);
    std::fs::rename(days.path("other/retriever"), days.path("run/retriever")).unwrap();
    let asked = ["the retriever was made with other ids", "retrieve train"];
    refused(&days.query(), &asked);
    let candidates = ["retrieve", "candidates", &days.path("run"), "--out", &days.path("c.parquet")];
    refused(&kitestring(&candidates), &asked);
    refused(&kitestring(&["retrieve", "index", &days.path("run")]), &asked);
}

/// Each of them waits for the one before, and none is lost.
#[test]
fn twelve_changes_of_an_index_at_once_are_all_there() {
    let days = Days::new();
    done(&days.learn(&["retrieve", "train"], "day1", &[]));
    let run = days.path("run");
    let children: Vec<Child> = (0..12)
        .map(|number| {
            days.write(&format!("{number}.csv"), &format!("item,price\nnew{number},{number}\n"));
            let file = days.path(&format!("{number}.csv"));
            let mut command = command(&["retrieve", "index", &run, "--add", &file]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let all = done(&["retrieve", "query", &run, "--user", "u3", "-k", "1000", "--with-seen"]).stdout;
    let new = (0..12).filter(|number| all.contains(&format!("new{number} "))).count();
    assert_eq!(new, 12, "{all}");
}

#[test]
fn a_run_is_judged_otherwise_and_stays_what_it_is() {
    let days = Days::new();
    done(&days.train("day1", &[]));
    let (run, config) = (days.path("run"), std::fs::read(days.path("run/config.toml")).unwrap());
    let plain = days.evaluated();
    let names =
        |metrics: &serde_json::Value| -> Vec<String> { metrics["test"].as_object().unwrap().keys().cloned().collect() };
    assert!(!names(&plain).iter().any(|name| name.contains("@3")), "{plain}");
    let more = ["--set", "evaluate.ranking=full", "--set", "evaluate.cutoffs=[3]", "--json"];
    let ranked = done(&[&["evaluate", &run][..], &more].concat()).json()["metrics"].clone();
    assert!(names(&ranked).iter().any(|name| name.contains("@3")), "{ranked}");
    assert_eq!(ranked["test"]["click.auc"], plain["test"]["click.auc"]);
    let one = done(&["evaluate", &run, "--set", "evaluate.splits=[\"test\"]", "--json"]).json();
    assert_eq!(one["metrics"].as_object().unwrap().len(), 1);
    refused(&kitestring(&["evaluate", &run, "--set", "train.epochs=3"]), &["`train.epochs` says what was trained"]);
    refused(&kitestring(&["evaluate", &run, "--set", "evaluate.cutofs=[3]"]), &["cutofs", "cutoffs`?"]);
    assert_eq!(std::fs::read(days.path("run/config.toml")).unwrap(), config);
}
