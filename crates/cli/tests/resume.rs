//! A run that is killed at any step and resumed ends with the bits of one that was not.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SMALL, command, done, simulated};
use kitestring_core::Seed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The files below a folder by name, with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The last step a checkpoint was made at, in a run that has finished or in one that has not.
fn step(run: &Path) -> u64 {
    let steps = |place: &str| {
        let entries = std::fs::read_dir(run.join(place)).into_iter().flatten();
        let steps = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok());
        steps.max().unwrap_or(0)
    };
    steps("unfinished/checkpoint").max(steps("checkpoint"))
}

#[test]
fn killed_and_resumed_is_the_same_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (shop, dataset, simulated) = (place("shop"), place("dataset"), simulated());
    done(&[&["simulate", "--out", &shop][..], &SMALL].concat());
    done(&[&["prepare", &simulated, "--data", &shop, "--out", &dataset][..], &SMALL].concat());
    // 200 steps an epoch, with everything that has a memory: Adam, dropout, batch norm, a schedule, two workers.
    let settings = [
        "train.batch_size=64",
        "train.epochs=2",
        "train.workers=2",
        "train.checkpoint_steps=7",
        "train.schedule={type=\"cosine\",warmup=20}",
        "model.body={type=\"mlp\",units=[32],dropout=0.1,batch_norm=true}",
        "evaluate.splits=[\"test\"]",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let train = |run: &str, more: &[&str]| -> Vec<String> {
        let arguments = ["train", &simulated, "--data", &dataset, "--out", run];
        [&arguments[..], &SMALL, &settings, more].concat().into_iter().map(str::to_owned).collect()
    };
    let unbroken = place("unbroken");
    done(&train(&unbroken, &[]));

    let broken = place("broken");
    let run = Path::new(&broken);
    let mut kills = 0;
    for round in 0..4 {
        // Each time some steps further than where the last kill left it.
        let further = 1 + Seed(11).bits_at(round) % 60;
        let wanted = step(run) + further;
        let resume: &[&str] = if round == 0 { &[] } else { &["--resume"] };
        let mut child = command(&train(&broken, resume)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while step(run) < wanted && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL: the process has no chance to tidy up.
        child.kill().unwrap();
        kills += u32::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills > 0, "the run was over before it could be killed");
    done(&train(&broken, &["--resume"]));

    assert_eq!(step(run), step(Path::new(&unbroken)));
    let model = |run: &str| files(&Path::new(run).join("model"));
    let (expected, found) = (model(&unbroken), model(&broken));
    assert!(expected.contains_key(Path::new("network.safetensors")) && expected.len() >= 4, "{:?}", expected.keys());
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
    // What the optimizers remember is the same, too.
    let memory = |run: &str| {
        let all = files(&Path::new(run).join("checkpoint"));
        all.into_iter().filter(|(name, _)| name.ends_with("optimizer.safetensors")).map(|(_, bytes)| bytes).next()
    };
    assert!(memory(&unbroken).is_some() && memory(&unbroken) == memory(&broken));
}
