//! A sweep: its runs are ordinary runs, what has finished is kept, what fails is said, and a slip costs no work.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Clicks, done, kitestring};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

const SWEEP: &str = r#"
config = "clicks.toml"
seeds = [3, 4]
[set]
"evaluate.bootstrap" = 25
[[points]]
name = "one stack"
[[points]]
name = "MMoE"
set = { "model.body.type" = "mmoe" }
"#;

/// The outcomes of a sweep's runs, with the times at which they were written.
fn outcomes(clicks: &Clicks) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for point in std::fs::read_dir(clicks.path("sweep")).unwrap().map(|entry| entry.unwrap().path()) {
        let seeds = std::fs::read_dir(&point).into_iter().flatten().map(|entry| entry.unwrap().path());
        for outcome in seeds.map(|seed| seed.join("outcome.json")).filter(|outcome| outcome.exists()) {
            let written = std::fs::metadata(&outcome).unwrap().modified().unwrap();
            found.insert(outcome, written);
        }
    }
    found
}

fn metric<'a>(report: &'a Value, split: &str, name: &str) -> &'a Value {
    let metrics = report["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["split"] == split && metric["name"] == name).unwrap()
}

#[test]
fn runs_are_compared_kept_and_resumed() {
    let clicks = Clicks::new();
    clicks.write("bodies.toml", SWEEP.as_bytes());
    let (file, data, out) = (clicks.path("bodies.toml"), clicks.path("clicks.csv"), clicks.path("sweep"));
    let arguments = ["sweep", &file, "--data", &data, "--out", &out, "--json"];

    let listed = done(&["sweep", &file, "--list"]);
    assert!(
        listed.stdout.contains("4 runs: 2 points, seeds 3 4") && !PathBuf::from(&out).exists(),
        "{}",
        listed.stdout
    );

    let first = done(&arguments);
    let report = first.json();
    let points = report["points"].as_array().unwrap();
    assert_eq!(points.iter().map(|point| &point["name"]).collect::<Vec<_>>(), ["one stack", "MMoE"]);
    assert!(points.iter().all(|point| point["seeds"] == serde_json::json!([3, 4])), "{points:?}");
    assert!(std::fs::read_to_string(clicks.path("sweep/sweep.html")).unwrap().contains("MMoE"));

    // The mean is that of the runs, and a run is what `train` makes of the same config and data.
    let auc = metric(&report, "test", "AUC");
    let of_seed = |seed: u32| -> f64 {
        let text = std::fs::read_to_string(clicks.path(&format!("sweep/MMoE/seed-{seed}/metrics.json"))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["metrics"]["test"]["click.auc"].as_f64().unwrap()
    };
    let mean = auc["values"][1]["value"].as_f64().unwrap();
    assert!((mean - (of_seed(3) + of_seed(4)) / 2.0).abs() < 1e-12);
    let difference = &auc["differences"][1];
    let lead = mean - auc["values"][0]["value"].as_f64().unwrap();
    assert!((difference["value"].as_f64().unwrap() - lead).abs() < 1e-12);
    let [low, high] = [0, 1].map(|end| difference["interval"][end].as_f64().unwrap());
    assert!(low <= lead && lead <= high, "{difference}");
    let (dataset, alone) = (clicks.path("sweep/dataset"), clicks.path("alone"));
    let config = clicks.path("clicks.toml");
    let train = [
        "train",
        &config,
        "--data",
        &dataset,
        "--out",
        &alone,
        "--seed",
        "4",
        "--set",
        "model.body.type=mmoe",
        "--json",
    ];
    assert_eq!(done(&train).json()["metrics"]["test"]["click.auc"].as_f64().unwrap(), of_seed(4));
    done(&["predict", &clicks.path("sweep/MMoE/seed-4"), "--data", &data, "--out", &clicks.path("scores.csv")]);

    // Without --resume nothing is begun again; with it, nothing that has finished is.
    let again = kitestring(&arguments);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("--resume"), "{}", again.stderr);
    let before = outcomes(&clicks);
    assert_eq!(before.len(), 4);
    let resume = [&arguments[..], &["--resume"]].concat();
    assert_eq!(done(&resume).stdout, first.stdout);
    assert_eq!(outcomes(&clicks), before);

    // A lost outcome is made again, to the same numbers; a point whose config has changed is trained again, and no other.
    std::fs::remove_file(clicks.path("sweep/MMoE/seed-3/outcome.json")).unwrap();
    assert_eq!(metric(&done(&resume).json(), "test", "AUC")["values"], auc["values"]);
    let before = outcomes(&clicks);
    clicks.replace(
        "bodies.toml",
        "\"model.body.type\" = \"mmoe\"",
        "\"model.body\" = { type = \"mmoe\", experts = 2 }",
    );
    let changed = done(&resume).json();
    assert_eq!(metric(&changed, "test", "AUC")["values"][0], auc["values"][0]);
    assert_ne!(metric(&changed, "test", "AUC")["values"][1], auc["values"][1]);
    let after = outcomes(&clicks);
    let rewritten: Vec<_> = after.iter().filter(|(path, time)| before[*path] != **time).map(|(path, _)| path).collect();
    assert!(
        rewritten.len() == 2 && rewritten.iter().all(|path| path.to_string_lossy().contains("MMoE")),
        "{rewritten:?}"
    );
}

#[test]
fn a_failing_run_does_not_take_the_others_along() {
    let clicks = Clicks::new();
    let fails = "[[points]]\nname = \"diverges\"\nset = { \"train.learning_rate\" = 1e30, \"train.optimizer.type\" = \"sgd\" }\n";
    clicks.write("bodies.toml", format!("{SWEEP}{fails}").as_bytes());
    let (file, data, out) = (clicks.path("bodies.toml"), clicks.path("clicks.csv"), clicks.path("sweep"));
    let arguments = ["sweep", &file, "--data", &data, "--out", &out];
    let outcome = kitestring(&arguments);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("2 of 6 runs failed; diverges, seed"), "{}", outcome.stderr);
    let page = std::fs::read_to_string(clicks.path("sweep/sweep.html")).unwrap();
    assert!(page.contains("Failed runs") && page.contains("not a finite number"), "{page}");
    assert_eq!(outcomes(&clicks).len(), 4);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_trained() {
    let clicks = Clicks::new();
    let (file, data, out) = (clicks.path("bodies.toml"), clicks.path("clicks.csv"), clicks.path("sweep"));
    let refused = |text: &str, expected: &[&str]| {
        clicks.write("bodies.toml", text.as_bytes());
        let outcome = kitestring(&["sweep", &file, "--data", &data, "--out", &out]);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        for expected in expected {
            assert!(outcome.stderr.contains(expected), "{expected}: {}", outcome.stderr);
        }
    };
    refused(&SWEEP.replace("seeds", "seds"), &["bodies.toml:3", "did you mean `seeds`?"]);
    refused(&SWEEP.replace("clicks.toml", "click.toml"), &["click.toml", "no such config file"]);
    refused(&SWEEP.replace("\"mmoe\"", "\"mmoee\""), &["bodies.toml", "point `MMoE`", "did you mean `mmoe`?"]);
    refused(&SWEEP.replace("type\" = \"mmoe\"", "units\" = [0]"), &["point `MMoE`"]);
    refused(&std::fs::read_to_string(clicks.path("clicks.toml")).unwrap(), &["a sweep names one"]);
    // A config that no schema of this data fits is found before the first run, not in the last.
    refused(&SWEEP.replace("\"model.body.type\" = \"mmoe\"", "\"model.head.type\" = \"esmm\""), &["of point `MMoE`"]);
    assert!(!PathBuf::from(&out).join("one-stack").exists());
}
