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
    assert!(trained.stdout.contains("index: 400 items, exact"), "{}", trained.stdout);

    // What is asked for one user: as many as there are, of the category asked for, without what the user had.
    let user = {
        let out = path("candidates.parquet");
        let written = done(&["retrieve", "candidates", &run, "--split", "test", "-k", "30", "--out", &out, "--json"]);
        let batches = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&out).unwrap()).unwrap();
        let batches: Vec<_> = batches.build().unwrap().map(Result::unwrap).collect();
        let users = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        assert_eq!(written.json()["users"], users);
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
    refused(&["query", &run, "--user", "nobody"], "nobody");
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
    let config = common::root().join("configs/movielens-1m.toml").display().to_string();
    let outcome = kitestring(&["retrieve", "train", &config, "--data", "nowhere", "--out", &run]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("[retrieve]"), "{}", outcome.stderr);
}
