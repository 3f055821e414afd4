//! Bad input: each kind has its own message, says where and how to mend it, has its exit code, and leaves nothing behind.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CONFIG, Clicks, Outcome, ROWS, command, done, kitestring};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What went wrong is told on standard error with the expected code, on one line, and with every one of these texts.
fn refused(case: &str, outcome: &Outcome, code: i32, texts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{case}: {}{}", outcome.stdout, outcome.stderr);
    let told = outcome.stderr.trim_end();
    assert!(told.starts_with("error: ") && told.lines().count() == 1, "{case}: {told}");
    for text in texts {
        assert!(told.contains(text), "{case}: no `{text}` in: {told}");
    }
}

/// Only these names are left in a folder.
fn only(folder: &Path, names: &[&str]) {
    let mut found: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, names);
}

/// A way to spoil the log or its config, and what `prepare` says to it.
struct Case {
    name: &'static str,
    spoil: fn(&Clicks),
    arguments: &'static [&'static str],
    code: i32,
    texts: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "a malformed row",
        spoil: |clicks| clicks.line(7, "u1,i2,5,cheap,1"),
        arguments: &[],
        code: 1,
        texts: &["clicks.csv:7: `price`", "number", "`cheap`", "--max-bad-rows"],
    },
    Case {
        name: "a row of too few columns",
        spoil: |clicks| clicks.line(7, "u1,i2,5"),
        arguments: &[],
        code: 1,
        texts: &["clicks.csv:7", "3", "5"],
    },
    Case {
        name: "more malformed rows than allowed",
        spoil: |clicks| (7..10).for_each(|line| clicks.line(line, "u1,i2,5,cheap,1")),
        arguments: &["--max-bad-rows", "2"],
        code: 1,
        texts: &["clicks.csv:9", "--max-bad-rows allows 2"],
    },
    Case {
        name: "an unknown config key",
        spoil: |clicks| clicks.replace("clicks.toml", "epochs = 1", "epochz = 1"),
        arguments: &[],
        code: 2,
        texts: &["clicks.toml:19", "epochz", "did you mean `train.epochs`?"],
    },
    Case {
        name: "an unknown key in an override",
        spoil: |_| {},
        arguments: &["--set", "train.bach_size=7"],
        code: 2,
        texts: &["--set", "bach_size", "did you mean `train.batch_size`?"],
    },
    Case {
        name: "an override without a value",
        spoil: |_| {},
        arguments: &["--set", "train.epochs"],
        code: 2,
        texts: &["`train.epochs` has no `=`"],
    },
    Case {
        name: "a value of the wrong type",
        spoil: |clicks| clicks.replace("clicks.toml", "epochs = 1", "epochs = \"one\""),
        arguments: &[],
        code: 2,
        texts: &["clicks.toml:19", "expected a whole number of at least 0"],
    },
    Case {
        name: "an unknown column",
        spoil: |clicks| clicks.replace("clicks.toml", "name = \"price\"", "name = \"pricee\""),
        arguments: &[],
        code: 2,
        texts: &["clicks.csv", "`pricee`", "did you mean `price`?"],
    },
    Case {
        name: "an empty split",
        spoil: |clicks| clicks.replace("clicks.toml", "by = \"time\", test = 0.2", "by = \"time_at\", test = 999999"),
        arguments: &[],
        code: 1,
        texts: &["split `test` is empty", "data.split"],
    },
    Case {
        name: "a label that is never positive",
        spoil: |clicks| clicks.replace("clicks.toml", "name = \"click\" }", "name = \"click\", at_least = 2 }"),
        arguments: &[],
        code: 1,
        texts: &["`click`", "never positive in training", "`at_least`"],
    },
    Case {
        name: "a number beyond all numbers",
        spoil: |clicks| clicks.line(8, "u1,i2,6,1e999,1"),
        arguments: &[],
        code: 1,
        texts: &["clicks.csv:8: `price`", "inf"],
    },
    Case {
        name: "an infinite number",
        spoil: |clicks| clicks.line(8, "u1,i2,6,-inf,1"),
        arguments: &[],
        code: 1,
        texts: &["clicks.csv:8: `price`", "inf"],
    },
    Case {
        name: "an empty file",
        spoil: |clicks| clicks.write("clicks.csv", b""),
        arguments: &[],
        code: 1,
        texts: &["clicks.csv", "empty"],
    },
    Case {
        name: "no rows",
        spoil: |clicks| clicks.write("clicks.csv", b"user,item,time,price,click\n"),
        arguments: &[],
        code: 1,
        texts: &["split `train` is empty"],
    },
    Case {
        name: "no config",
        spoil: |clicks| std::fs::remove_file(clicks.path("clicks.toml")).unwrap(),
        arguments: &[],
        code: 2,
        texts: &["clicks.toml", "no such config"],
    },
    Case {
        name: "no data",
        spoil: |clicks| std::fs::remove_file(clicks.path("clicks.csv")).unwrap(),
        arguments: &[],
        code: 2,
        texts: &["clicks.csv", "no such file", "--data"],
    },
];

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    for Case { name, spoil, arguments, code, texts } in CASES {
        let clicks = Clicks::new();
        spoil(&clicks);
        let before = std::fs::read_dir(clicks.folder.path()).unwrap().count();
        refused(name, &clicks.prepare(arguments), *code, texts);
        assert_eq!(
            std::fs::read_dir(clicks.folder.path()).unwrap().count(),
            before,
            "{name}: something is left behind"
        );
    }
}

#[test]
fn malformed_rows_are_dropped_and_counted_where_that_is_allowed() {
    let clicks = Clicks::new();
    clicks.line(7, "u1,i2,5,cheap,1");
    clicks.line(9, "u1,i2");
    let outcome = clicks.prepare(&["--max-bad-rows", "2"]);
    assert!(outcome.stdout.contains("2 malformed rows were dropped"), "{}", outcome.stdout);
    let outcome = clicks.prepare(&["--max-bad-rows", "2", "--json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let told = outcome.json();
    let rows: u64 = told["rows"].as_object().unwrap().values().map(|rows| rows.as_u64().unwrap()).sum();
    assert_eq!((told["bad_rows"].as_u64(), rows), (Some(2), ROWS as u64 - 2));
}

#[test]
fn a_truncated_gzip() {
    let clicks = Clicks::new();
    let text = std::fs::read(clicks.path("clicks.csv")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&text).unwrap();
    let whole = encoder.finish().unwrap();
    std::fs::remove_file(clicks.path("clicks.csv")).unwrap();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv.gz"), clicks.path("dataset"));
    let arguments = ["prepare", &config, "--data", &data, "--out", &out];
    clicks.write("clicks.csv.gz", &whole);
    done(&arguments);
    std::fs::remove_dir_all(&out).unwrap();
    clicks.write("clicks.csv.gz", &whole[..whole.len() / 2]);
    refused("a truncated gzip", &kitestring(&arguments), 1, &["clicks.csv.gz", "truncated"]);
    only(clicks.folder.path(), &["clicks.csv.gz", "clicks.toml"]);
}

#[test]
fn a_data_set_of_another_format() {
    let clicks = Clicks::new();
    assert_eq!(clicks.prepare(&[]).code, Some(0));
    clicks.replace("dataset/manifest.json", "\"format\": 2", "\"format\": 99");
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("dataset"), clicks.path("run"));
    let outcome = kitestring(&["train", &config, "--data", &data, "--out", &out]);
    refused("another format", &outcome, 1, &["manifest.json", "format 99", "prepare the data set again"]);
}

#[test]
fn a_data_set_of_another_schema() {
    let clicks = Clicks::new();
    assert_eq!(clicks.prepare(&[]).code, Some(0));
    clicks.replace("clicks.toml", "transform = \"standardize\"", "transform = \"log\"");
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("dataset"), clicks.path("run"));
    let outcome = kitestring(&["train", &config, "--data", &data, "--out", &out]);
    refused("another schema", &outcome, 2, &["dataset", "another [schema]"]);
}

#[test]
fn wrong_usage() {
    let clicks = Clicks::new();
    let (folder, config) = (clicks.folder.path().display().to_string(), clicks.path("clicks.toml"));
    for arguments in [&["trian"][..], &["train"], &["run", "--resume"], &["compare", &folder], &["run", "--seed", "-1"]]
    {
        let outcome = kitestring(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}");
        assert!(
            outcome.stderr.starts_with("error: ") && outcome.stdout.is_empty(),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
    let outcome = kitestring(&["evaluate", &folder]);
    refused("no run", &outcome, 2, &["no run directory"]);
    let outcome = kitestring(&["train", &config, "--out", &folder]);
    refused("a folder of other things", &outcome, 2, &["other things", "--out"]);
    only(clicks.folder.path(), &["clicks.csv", "clicks.toml"]);
    let outcome = kitestring(&["simulate", &config]);
    refused("no simulator", &outcome, 2, &["[simulator]"]);
    let outcome = kitestring(&["simulate", "--set", "simulator.users=0", "--out", &clicks.path("shop")]);
    refused("no users", &outcome, 2, &["`simulator.users`", "0 is not between 1"]);
}

#[test]
fn a_run_that_is_not_finished() {
    let clicks = Clicks::new();
    let (config, data, run) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    done(&["train", &config, "--data", &data, "--out", &run]);
    let report = kitestring(&["report", &run]);
    refused("no report", &report, 1, &["was not evaluated", "kitestring evaluate"]);
    let outcome = kitestring(&["predict", &run, "--data", &data, "--out", &clicks.path("x.json")]);
    refused("another extension", &outcome, 2, &["x.json", ".csv or .parquet"]);
    // Another config must not go on with this one's checkpoint.
    let arguments = ["train", &config, "--data", &data, "--out", &run, "--resume", "--set", "train.learning_rate=0.5"];
    refused("another config", &kitestring(&arguments), 2, &["another [schema], [model], [train]"]);
    std::fs::write(Path::new(&run).join("model/network.safetensors"), b"scribble").unwrap();
    let outcome = kitestring(&["evaluate", &run]);
    refused("a damaged model", &outcome, 1, &["network.safetensors"]);
}

#[test]
fn a_loss_that_is_not_finite() {
    let clicks = Clicks::new();
    let (config, data, run) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    let arguments = ["train", &config, "--data", &data, "--out", &run];
    done(&arguments);
    let model = || std::fs::read(Path::new(&run).join("model/network.safetensors")).unwrap();
    let good = model();
    let diverges = ["--overwrite", "--set", "train.learning_rate=1e30", "--set", "train.optimizer.type=sgd"];
    let outcome = kitestring(&[&arguments[..], &diverges].concat());
    refused("divergence", &outcome, 1, &["clicks.csv:", "not a finite number", "learning rate"]);
    assert!(model() == good, "the last good model was replaced");
}

/// A folder on a file system that is full after a few pages; none where this process may not make one.
struct Full {
    place: tempfile::TempDir,
}

impl Full {
    fn new(kib: u32) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(place.path()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self { place })
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.place.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let Some(full) = Full::new(16) else {
        println!("skipped: a full disk was not tried, for this process may not mount a file system");
        return;
    };
    let clicks = Clicks::new();
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), full.place.path().join("x"));
    let out = out.to_str().unwrap();
    let texts = ["No space left on device", "free some space"];
    refused("prepare", &kitestring(&["prepare", &config, "--data", &data, "--out", out]), 1, &texts);
    only(full.place.path(), &[]);
    let outcome =
        kitestring(&["simulate", "--out", out, "--set", "simulator.users=300", "--set", "simulator.events=20000"]);
    refused("simulate", &outcome, 1, &texts);
    only(full.place.path(), &[]);
    // A run's directory stays, with what was finished, for the run to be resumed.
    let run = clicks.path("run");
    done(&["train", &config, "--data", &data, "--out", &run]);
    let page = full.place.path().join("scores.csv");
    let filler = full.place.path().join("filler");
    let filled = std::fs::write(&filler, vec![0; 1 << 20]);
    assert!(filled.is_err());
    let outcome = kitestring(&["predict", &run, "--data", &data, "--out", page.to_str().unwrap()]);
    refused("predict", &outcome, 1, &texts);
    only(full.place.path(), &["filler"]);
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_is_full() {
    let clicks = Clicks::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = command(&["schema", &clicks.path("clicks.csv")]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("standard output"), "{told}");
    // A device is not replaced by a file.
    let outcome = kitestring(&["compare", "a", "b", "--out", "/dev/full"]);
    assert_eq!(outcome.code, Some(2));
    assert!(std::fs::metadata("/dev/full").unwrap().len() == 0);
    assert!(CONFIG.contains("[schema]"));
}
