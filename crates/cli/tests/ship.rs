//! From a run to a device: keys, artifacts, deltas, exports.
#![allow(clippy::unwrap_used)]

mod common;

use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use common::{SMALL, done, kitestring, root};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tempfile::TempDir;

/// One test at a time compresses the run: a second process that changes a run is refused.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A finished run, made once for all tests.
fn folder() -> &'static TempDir {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run").display().to_string();
        done(&[&["run", "--out", &out, "--json"][..], &SMALL].concat());
        folder
    })
}

fn path(name: &str) -> String {
    folder().path().join(name).display().to_string()
}

fn phone() -> String {
    root().join("configs/device/phone-small.toml").display().to_string()
}

/// The user of the first impression.
fn user() -> String {
    let file = std::fs::File::open(path("run/simulated/impressions.parquet")).unwrap();
    let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let users = arrow_cast::cast(batch.column_by_name("user_id").unwrap(), &DataType::Utf8).unwrap();
    users.as_string::<i32>().value(0).to_owned()
}

/// Passes without training, so that tests are quick.
const QUICK: [&str; 4] = [
    "--set",
    "passes=[{type=\"rows\",most_used=50},{type=\"quantize\",samples=500}]",
    "--set",
    "device.limits.auc_loss=0.5",
];

#[test]
fn a_run_ships_and_says_what_it_cost() {
    let _alone = alone();
    let report = std::fs::read_to_string(path("run/report.html")).unwrap();
    for words in ["From the cloud to a device", "Bytes to download against AUC of click", "beside the cloud"] {
        assert!(report.contains(words), "{words}");
    }
    assert!(Path::new(&path("run/device/ranker.kite")).is_file());
    let shown = done(&["device", "show", &path("run/device/ranker.kite"), "--json"]);
    let manifest = shown.json();
    let listed = done(&["device", "show", &path("run/device/ranker.kite")]).stdout;
    assert_eq!(manifest["release"], 1);
    for words in ["item_id", "head."] {
        assert!(listed.contains(words), "{listed}");
    }
    let told = done(&["device", "bench", &path("run/device/ranker.kite"), "--candidates", "7", "--json"]).json();
    assert_eq!(told["requests"][0]["candidates"], 7);
    assert!(told["requests"][0]["microseconds"].as_f64().unwrap() > 0.0);
    let fastest = kitestring_nn::kernels::int8::Int8Path::fastest().map(|path| path.name());
    assert_eq!(told["int8_path"].as_str(), fastest, "which instructions its products ran on");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = std::fs::metadata(path("run/device/publisher.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o077, 0, "a secret is its owner's alone");
    }
}

#[test]
fn artifacts_follow_each_other() {
    let _alone = alone();
    let [key, first, next, made] = ["my.key", "first.kite", "next.kite", "made.kite"].map(path);
    done(&["key", &key]);
    let again = kitestring(&["key", &key]);
    assert!(again.code == Some(2) && again.stderr.contains("already"), "{}", again.stderr);
    let compress = |out: &str, more: &[&str]| {
        let (run, phone) = (path("run"), phone());
        let arguments = ["compress", &run, "--for", &phone, "--out", out, "--key", &key, "--json"];
        done(&[&arguments[..], &QUICK, more].concat()).json()
    };
    let told = compress(&first, &[]);
    assert_eq!(told["ledger"]["passes"].as_array().unwrap().len(), 3);
    assert_eq!(told["bytes"].as_u64().unwrap(), std::fs::metadata(&first).unwrap().len());
    assert!(std::fs::read_to_string(path("first.html")).unwrap().contains("From the cloud to a device"));
    let told = compress(&next, &["--release", "2", "--delta-from", &first, "--user", &user()]);
    let delta = path("next.delta");
    assert!(told["delta"]["bytes"].as_u64().unwrap() < told["bytes"].as_u64().unwrap() / 2);
    done(&["device", "update", &first, &delta, "--out", &made]);
    assert_eq!(std::fs::read(&made).unwrap(), std::fs::read(&next).unwrap());
    // In its own place the next one counts on.
    compress(&next, &[]);
    assert_eq!(done(&["device", "show", &next, "--json"]).json()["release"], 3);

    // Of another publisher, damaged, or for another file.
    let other = path("run/device/publisher.pub");
    let strange = kitestring(&["device", "show", &first, "--trust", &other]);
    assert!(strange.code == Some(1) && strange.stderr.contains("not signed by a key that is trusted"));
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(path("damaged.kite"), bytes).unwrap();
    std::fs::copy(path("first.pub"), path("damaged.pub")).unwrap();
    let damaged = kitestring(&["device", "bench", &path("damaged.kite")]);
    assert!(damaged.code == Some(1) && damaged.stderr.contains("damaged.kite"), "{}", damaged.stderr);
    let wrong = kitestring(&["device", "update", &made, &delta]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("whole artifact"), "{}", wrong.stderr);
}

#[test]
fn a_missed_limit_is_named_and_nothing_is_written() {
    let _alone = alone();
    let (run, phone, out) = (path("run"), phone(), path("tight.kite"));
    let arguments = ["compress", &run, "--for", &phone, "--out", &out, "--set", "device.limits.download_bytes=500"];
    let outcome = kitestring(&[&arguments[..], &QUICK].concat());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("download_bytes") && outcome.stderr.contains("of 500"), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("Quantize") && !Path::new(&out).exists());
    let wrong = kitestring(&["compress", &run, "--for", &phone, "--set", "passes.0.typ=x"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn rankers_leave_in_the_formats_of_others() {
    let _alone = alone();
    for (from, out) in [(path("run"), path("exported")), (path("run/device/ranker.kite"), path("exported-int8"))] {
        done(&["export", &from, "--out", &out]);
        for name in ["ranker.onnx", "ranker.json", "network.safetensors", "rows-item_id.parquet"] {
            assert!(Path::new(&out).join(name).is_file(), "{out} {name}");
        }
        let beside: serde_json::Value =
            serde_json::from_slice(&std::fs::read(Path::new(&out).join("ranker.json")).unwrap()).unwrap();
        assert!(beside["inputs"].as_array().unwrap().iter().any(|input| input["name"] == "clicked_items"));
        done(&["export", &from, "--out", &out]);
    }
    let refused = kitestring(&["export", &path("run"), "--out", &path("run")]);
    assert!(refused.code == Some(2) && refused.stderr.contains("other things"), "{}", refused.stderr);
}
