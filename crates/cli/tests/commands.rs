//! Every command on a small simulated marketplace.
#![allow(clippy::unwrap_used)]

mod common;

use arrow_array::cast::AsArray;
use common::{Clicks, ROWS, SMALL, command, done, kitestring, simulated};
use kitestring_core::metrics::auc;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A finished run of the whole loop, made once for all tests.
struct World {
    folder: TempDir,
    told: Value,
    progress: Vec<String>,
}

impl World {
    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run").display().to_string();
        let outcome = done(&[&["run", "--out", &out, "--json"][..], &SMALL].concat());
        World { told: outcome.json(), progress: outcome.progress, folder }
    })
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn run_does_the_whole_loop() {
    let world = world();
    let run = world.run();
    for name in ["config.toml", "metrics.json", "report.html", "report.json", "log.jsonl", "model/manifest.json"] {
        assert!(run.join(name).is_file(), "{name}");
    }
    for (key, is) in [("seconds", true), ("samples_per_second", true), ("peak_rss_mib", cfg!(target_os = "linux"))] {
        assert_eq!(world.told[key].as_f64().is_some_and(|value| value > 0.0), is, "{key}");
    }
    let test = &world.told["metrics"]["test"];
    for name in [
        "click.auc",
        "click.gap",
        "conversion.auc",
        "click.relevance_auc",
        "click.relevance_oracle_auc",
        "click.relevance_gap",
    ] {
        assert!((0.0..=1.0).contains(&test[name].as_f64().unwrap()), "{name}: {test}");
    }
    assert!(test["click.relevance_oracle_auc"].as_f64() > test["click.relevance_auc"].as_f64());
    assert_eq!(world.told["report"], run.join("report.html").display().to_string());
    assert_eq!(world.told["artifact"], run.join("device/ranker.kite").display().to_string());
    assert!(world.told["ledger"].is_object() && world.told["violations"] == serde_json::json!([]), "{}", world.told);
    for phase in ["simulating", "reading", "training", "epoch", "scoring"] {
        assert!(world.progress.iter().any(|line| line.contains(phase)), "{phase}: {:?}", world.progress);
    }
    let quiet =
        kitestring(&["evaluate", run.to_str().unwrap(), "--quiet", "--split", "valid", "--out", &world.path("q")]);
    assert!(quiet.code == Some(0) && quiet.progress.is_empty() && quiet.stderr.is_empty(), "{}", quiet.stderr);
    assert!(quiet.stdout.contains("click.auc") && quiet.stdout.contains("report: "), "{}", quiet.stdout);
    assert_eq!(json(&run.join("metrics.json"))["metrics"], world.told["metrics"]);
}

#[test]
fn prepare_and_train_find_what_run_found() {
    let world = world();
    let (shop, dataset, again) = (world.path("shop"), world.path("prepared"), world.path("again"));
    let simulated = simulated();
    let outcome = done(&[&["simulate", "--out", &shop, "--json"][..], &SMALL].concat());
    assert!(outcome.json()["summary"]["impressions"].as_u64() >= Some(16_000));
    let arguments = ["prepare", &simulated, "--data", &shop, "--out", &dataset, "--json"];
    let outcome = done(&[&arguments[..], &SMALL].concat());
    let rows = &outcome.json()["rows"];
    assert!(rows["train"].as_u64() > rows["test"].as_u64() && rows["test"].as_u64() > Some(1_000), "{rows}");
    let arguments = ["train", &simulated, "--data", &dataset, "--out", &again, "--json"];
    let outcome = done(&[&arguments[..], &SMALL].concat());
    assert_eq!(outcome.json()["metrics"], world.told["metrics"]);
    assert!(!Path::new(&again).join("report.html").exists());

    // Evaluating adds the report, and finds the same again.
    let outcome = done(&["evaluate", &again, "--json"]);
    assert_eq!(outcome.json()["metrics"], world.told["metrics"]);
    assert!(Path::new(&again).join("report.html").is_file());
    let outcome = done(&["evaluate", &again, "--data", &dataset, "--split", "valid", "--json"]);
    assert_eq!(outcome.json()["metrics"].as_object().unwrap().keys().collect::<Vec<_>>(), ["valid"]);
    let split = kitestring(&["evaluate", &again, "--split", "tset"]);
    assert!(split.code == Some(2) && split.stderr.contains("no split `tset`"), "{}", split.stderr);

    let (run, page) = (world.run().display().to_string(), world.path("compared.html"));
    let outcome = done(&["compare", &run, &again, "--out", &page, "--json"]);
    let compared = outcome.json();
    assert_eq!((compared["runs"].as_array().unwrap().len(), compared["columns"].as_array().unwrap().len()), (2, 2));
    let auc = compared["compared"]
        .as_array()
        .unwrap()
        .iter()
        .find(|metric| metric["name"] == "AUC" && metric["task"] == "click")
        .unwrap();
    assert_eq!(
        auc["differences"][1]["interval"],
        serde_json::json!([0.0, 0.0]),
        "the same model on the same users: {auc}"
    );
    let metrics = json(&Path::new(&again).join("metrics.json"));
    assert_eq!(metrics["rows"]["test"]["samples"].as_str().unwrap().len(), 16);
    assert_eq!(metrics["baselines"]["test"]["mean"]["click.auc"], 0.5);
    assert!(metrics["gauc_users"]["test"]["click"][0].as_u64() <= metrics["gauc_users"]["test"]["click"][1].as_u64());
    let table = done(&["compare", &run, &again]).stdout;
    assert!(table.contains("AUC"), "{table}");
    assert!(std::fs::read_to_string(page).unwrap().contains("<html"));
}

#[test]
fn report_draws_the_same_page_again() {
    let world = world();
    let page = world.path("drawn.html");
    done(&["report", &world.run().display().to_string(), "--out", &page]);
    assert!(std::fs::read(page).unwrap() == std::fs::read(world.run().join("report.html")).unwrap());
}

/// Predictions of a file's rows, and the labels of the same rows, in the order of the file.
fn predicted(world: &World, more: &[&str]) -> (Vec<f32>, Vec<f32>) {
    let (run, data) = (world.run(), world.run().join("simulated/impressions.parquet"));
    let arguments = ["predict", run.to_str().unwrap(), "--data", data.to_str().unwrap(), "--without-past"];
    let outcome = done(&[&arguments[..], more].concat());
    let mut lines = outcome.stdout.lines();
    assert_eq!(lines.next(), Some("file,line,click,conversion"));
    let mut scores = Vec::new();
    for (number, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert!(cells[0].ends_with("impressions.parquet") && cells[1] == (number + 1).to_string(), "{line}");
        let [click, conversion] = [cells[2], cells[3]].map(|cell| cell.parse::<f32>().unwrap());
        assert!((0.0..=1.0).contains(&click) && conversion <= click, "{line}");
        scores.push(click);
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(data).unwrap()).unwrap().build().unwrap();
    let mut labels = Vec::new();
    for batch in reader {
        let column = batch.unwrap().column_by_name("click").unwrap().clone();
        let column = arrow_cast::cast(&column, &arrow_schema::DataType::Float32).unwrap();
        labels.extend_from_slice(column.as_primitive::<arrow_array::types::Float32Type>().values());
    }
    (scores, labels)
}

#[test]
fn predictions_come_in_the_order_of_the_file() {
    let world = world();
    let (scores, labels) = predicted(world, &[]);
    assert_eq!(scores.len(), labels.len());
    let run = world.run().display().to_string();
    let data = world.run().join("simulated/impressions.parquet").display().to_string();
    let outcome = done(&["evaluate", &run, "--data", &data, "--without-past", "--json"]);
    // Were rows mixed up on the way out, the two would not rank alike.
    let evaluated = outcome.json()["metrics"]["impressions"]["click.auc"].as_f64().unwrap();
    let computed = auc(&scores, &labels).unwrap();
    assert!((evaluated - computed).abs() < 1e-9, "{evaluated} {computed}");
    // Nothing of the run is replaced by an evaluation of other files.
    let metrics = json(&world.run().join("metrics.json"));
    assert!(metrics["metrics"].get("impressions").is_none());
}

#[test]
fn predictions_are_written_as_parquet_and_csv() {
    let world = world();
    let run = world.run().display().to_string();
    let data = world.run().join("simulated/impressions.parquet").display().to_string();
    let (parquet, csv) = (world.path("scores.parquet"), world.path("scores.csv"));
    for out in [&parquet, &csv] {
        let outcome = kitestring(&["predict", &run, "--data", &data, "--out", out, "--json"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("rows"), "that they are the run's own rows is noted: {}", outcome.stderr);
        assert!(outcome.json()["predictions"].as_u64() >= Some(16_000));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(parquet).unwrap()).unwrap().build();
    let mut values = Vec::new();
    for batch in reader.unwrap() {
        let batch = batch.unwrap();
        values.extend_from_slice(batch.column(2).as_primitive::<arrow_array::types::Float32Type>().values());
    }
    let text = std::fs::read_to_string(csv).unwrap();
    let texts = text.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse::<f32>().unwrap());
    assert_eq!(values, texts.collect::<Vec<_>>());
}

#[test]
fn a_guessed_config_runs() {
    let clicks = Clicks::new();
    let guess = done(&["schema", &clicks.path("clicks.csv")]);
    clicks.write("guess.toml", guess.stdout.as_bytes());
    let (config, data, out) = (clicks.path("guess.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    let arguments = ["run", &config, "--data", &data, "--out", &out, "--set", "train.epochs=1", "--json"];
    assert!(done(&arguments).json()["metrics"]["test"]["click.auc"].is_f64());
}

#[test]
fn predictions_say_what_they_do_not_know() {
    let clicks = Clicks::new();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    let dropout = ["--set", "model.body.dropout=0.3", "--set", "evaluate.score={click=0.5}"];
    done(&[&["train", &config, "--data", &data, "--out", &out][..], &dropout].concat());
    let outcome = done(&["predict", &out, "--data", &data, "--draws", "8"]);
    let mut lines = outcome.stdout.lines();
    assert_eq!(lines.next(), Some("file,line,click,click.aleatoric,click.epistemic,score"));
    let rows: Vec<Vec<f32>> =
        lines.map(|line| line.split(',').skip(2).map(|number| number.parse().unwrap()).collect()).collect();
    assert_eq!(rows.len(), ROWS);
    for row in &rows {
        let [click, aleatoric, epistemic, score] = row[..] else { panic!("{row:?}") };
        assert!((score * score - click).abs() < 1e-5, "{row:?}");
        assert!(aleatoric > 0.0 && epistemic >= 0.0 && aleatoric + epistemic <= 0.6932, "{row:?}");
    }
    assert!(rows.iter().any(|row| row[2] > 1e-5));
    // The same again, and nothing to draw where nothing drops out.
    assert_eq!(done(&["predict", &out, "--data", &data, "--draws", "8"]).stdout, outcome.stdout);
    let plain = clicks.path("plain");
    done(&["train", &config, "--data", &data, "--out", &plain]);
    let refused = kitestring(&["predict", &plain, "--data", &data, "--draws", "8"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("evaluate.draws") && refused.stderr.contains("dropout"), "{}", refused.stderr);
    let score = ["--overwrite", "--set", "evaluate.score={clik=1.0}"];
    let refused = kitestring(&[&["train", &config, "--data", &data, "--out", &plain][..], &score].concat());
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("did you mean `click`?"), "{}", refused.stderr);
}

#[test]
fn a_head_that_predicts_more_adds_a_column() {
    let clicks = Clicks::new();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    done(&["train", &config, "--data", &data, "--out", &out, "--set", "model.head.type=heteroscedastic"]);
    let outcome = done(&["predict", &out, "--data", &data]);
    assert!(outcome.stdout.starts_with("file,line,click,click.deviation\n"), "{}", &outcome.stdout[..60]);
    assert_eq!(outcome.stdout.lines().count(), ROWS + 1);
}

#[test]
fn rows_without_a_partner_are_counted() {
    let clicks = Clicks::new();
    let brands: String = (0..30).map(|item| format!("i{item},b{}\n", item % 4)).collect();
    clicks.write("items.csv", format!("item,brand\n{brands}").as_bytes());
    let joined = "samples = { path = \"clicks.csv\" }\njoins = [{ source = { path = \"items.csv\" }, on = \"item\" }]";
    clicks.replace("clicks.toml", "samples = { path = \"clicks.csv\" }", joined);
    let brand = "features = [\n    { name = \"brand\", kind = \"categorical\", of = \"item\" },";
    clicks.replace("clicks.toml", "features = [", brand);
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path(""), clicks.path("dataset"));
    let outcome = kitestring(&["prepare", &config, "--data", &data, "--out", &out]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    // Items are 0 to 30, and the last one is not in the side table.
    let alone = (0..ROWS).filter(|row| row * 7 % 31 == 30).count();
    assert!(outcome.stderr.contains(&format!("note: {alone} rows have no partner in ")), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("items.csv"), "{}", outcome.stderr);
}

#[test]
fn rows_without_labels_are_predicted() {
    let clicks = Clicks::new();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    let arguments = ["train", &config, "--data", &data, "--out", &out, "--set", "train.early_stopping={patience=1}"];
    // There is no split named `valid` to stop by.
    assert_eq!(kitestring(&arguments).code, Some(2));
    done(&arguments[..6]);
    clicks.write("new.csv", b"user,item,time,price\nu1,i3,500,2\nnobody,i999,501,\n");
    let outcome = done(&["predict", &out, "--data", &clicks.path("new.csv")]);
    assert_eq!(outcome.stdout.lines().count(), 3, "{}", outcome.stdout);
    let dropped = ["predict", &out, "--data", &data, "--out", &clicks.path("x.csv"), "--max-bad-rows", "1"];
    clicks.line(9, "u1,i2,7,cheap,1");
    let outcome = done(&dropped);
    assert!(outcome.stdout.contains("1 malformed row was dropped"), "{}", outcome.stdout);
    assert_eq!(std::fs::read_to_string(clicks.path("x.csv")).unwrap().lines().count(), ROWS);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let world = world();
    let (run, data) = (world.run(), world.run().join("simulated/impressions.parquet"));
    let arguments = ["predict", run.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn predictions_carry_columns_rank_groups_and_read_standard_input() {
    let clicks = Clicks::new();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    done(&["train", &config, "--data", &data, "--out", &out]);
    let more = ["--without-past", "--keep", "item,request,click,item", "--rank-within", "request"];
    let rows =
        "user,item,time,price,request,click\nu1,i3,900,2,a,1\nu2,i4,901,,\"b,c\",0\nu1,i5,900,1,a,\nnew,i9,902,3,,1\n";
    clicks.write("new.csv", rows.as_bytes());
    let told = done(&[&["predict", &out, "--data", &clicks.path("new.csv")][..], &more].concat()).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "file,line,item,request,data.click,click,rank");
    assert!(lines[1].contains(",2,i3,a,1,") && lines[2].contains(",3,i4,\"b,c\",0,") && lines[3].contains(",4,i5,a,,"));
    let column = |line: &str, from_end: usize| line.rsplit(',').nth(from_end).unwrap().parse::<f32>().unwrap();
    let best_first = if column(lines[1], 1) >= column(lines[3], 1) { (1.0, 2.0) } else { (2.0, 1.0) };
    assert_eq!((column(lines[1], 0), column(lines[3], 0)), best_first, "{told}");
    assert_eq!((column(lines[2], 0), column(lines[4], 0)), (1.0, 1.0), "{told}");

    let piped = |name: &str, more: &[&str]| {
        let arguments = [&["predict", &out, "--data", "-"][..], more].concat();
        let file = std::fs::File::open(clicks.path(name)).unwrap();
        let output = command(&arguments).stdin(file).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(piped("new.csv", &more).0, told.replace(&clicks.path("new.csv"), "-"));
    let object: Value = serde_json::from_str(&piped("new.csv", &[&more[..], &["--json"]].concat()).0).unwrap();
    assert_eq!((&object["rows"][1]["request"], &object["rows"][3]["request"]), (&"b,c".into(), &Value::Null));
    assert_eq!(object["rows"].as_array().unwrap().len(), 4);
    clicks.write("nothing.csv", b"");
    assert!(piped("nothing.csv", &[]).1.contains("standard input is empty"));

    let wrong = kitestring(&["predict", &out, "--data", &clicks.path("new.csv"), "--keep", "requst"]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("did you mean `request`?"), "{}", wrong.stderr);
}
