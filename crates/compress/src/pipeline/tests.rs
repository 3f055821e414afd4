//! From a trained ranker to an artifact, pass by pass.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::candidate::Kept;
use crate::fixture::{Fixture, ITEMS};
use kitestring_core::artifact::{Aligned, Artifact, delta};
use kitestring_core::hash::stable_hash;
use kitestring_nn::engine::OneWorker;
use kitestring_nn::package::Packaged;
use kitestring_train::evaluate;

const WAY: &str = r#"
[device]
name = "toy"
candidates = 12

[[passes]]
type = "distil"
without = ["hour"]
temperature = 2.0
model = { dimension = 5, encoder = { type = "pool" }, body = { bottom = { activation = "prelu" } } }
train = { epochs = 60 }

[[passes]]
type = "rows"
tables = { item = 28 }

[[passes]]
type = "quantize"
samples = 300
"#;

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[3; 32].into())
}

fn ship(fixture: &Fixture, way: &str, overrides: &[&str], users: &[&str], release: u64) -> Result<Outcome> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let config = CompressConfig::parse(way, &overrides)?;
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let users: Vec<String> = users.iter().map(|user| (*user).to_owned()).collect();
    let needs = crate::usage::needs(&fixture.dataset, &users, Seed(1))?;
    let (scratch, key) = (tempfile::tempdir().unwrap(), secret());
    let order = Order { config: &config, split: "train", needs: &needs, release, key: &key };
    let mut observe = |_: Progress<'_>| {};
    let mut setting =
        Setting::new((&fixture.dataset, &vocabularies), &fixture.config, (scratch.path(), false), &mut observe);
    let teacher = Model::read(&fixture.place("teacher").join(kitestring_train::fit::MODEL)).unwrap();
    compress(teacher, &order, &mut setting)
}

fn open(file: &[u8]) -> Artifact {
    Artifact::open(Box::new(Aligned::from(file)), &[secret().public()]).unwrap()
}

#[test]
fn a_ranker_becomes_small_and_stays_good() {
    let mut fixture = Fixture::new();
    // Serving knows what training knew.
    fixture.config.evaluate.serve_as.clear();
    let outcome = ship(&fixture, WAY, &[], &[], 7).unwrap();
    assert!(outcome.missed.is_empty());
    let lines = &outcome.ledger.passes;
    let names: Vec<&str> = lines.iter().map(|line| line.pass.as_str()).collect();
    assert_eq!(names, ["trained", "distil", "rows", "quantize"]);
    // Of a ranker this small, what is said of codes weighs more than they save.
    assert!(lines[..3].windows(2).all(|pair| pair[1].download_bytes < pair[0].download_bytes), "{lines:?}");
    assert!(lines.iter().all(|line| line.here > 0.0 && line.device > 0.0 && line.resident_bytes > line.download_bytes));
    // What the first line says of the trained ranker is what judging it says.
    let judged = evaluate::quick(
        &fixture.teacher,
        &fixture.dataset,
        "train",
        &fixture.config.evaluate,
        Seed(fixture.config.seed),
        &OneWorker,
    );
    let judged = judged.unwrap();
    let like = judged["like.auc"];
    assert!((lines[0].tasks[0].value.value - like).abs() < 1e-12, "{} {like}", lines[0].tasks[0].value.value);
    assert_eq!(lines[0].tasks[0].loss.value, 0.0);
    let metrics: Vec<(&str, &str)> =
        lines[0].tasks.iter().map(|task| (task.name.as_str(), task.metric.as_str())).collect();
    assert_eq!(metrics, [("like", "AUC"), ("seconds", "RMSE"), ("plays", "RMSE")]);
    let seconds = judged["seconds.rmse"];
    assert!((lines[0].tasks[1].value.value - seconds).abs() < 1e-9, "{} {seconds}", lines[0].tasks[1].value.value);
    let last = &lines[3].tasks[0];
    assert!((last.loss.value - (like - last.value.value)).abs() < 1e-12);
    assert!(last.loss.value < 0.08 && last.value.value > 0.6, "{last:?}");

    let artifact = open(&outcome.file);
    let manifest = artifact.manifest();
    assert_eq!((manifest.release, outcome.file.len() as u64), (7, lines[3].download_bytes));
    assert!(manifest.schema.features.iter().all(|feature| feature.name != "hour"));
    let table = manifest.tables.iter().position(|table| table.name == "item").unwrap();
    let items = artifact.rows(table).unwrap();
    assert_eq!(items.keys.len(), 29, "those used most, and what was never seen");
    assert!(items.find(0).is_some());
    let packaged = Packaged::open(&artifact).unwrap();
    assert!(!packaged.codes.is_empty());
    assert_eq!(packaged.description.rows, [kitestring_nn::package::RowCodes::Int8; 2]);
    assert_eq!(ship(&fixture, WAY, &[], &[], 7).unwrap().file, outcome.file, "the same to the bit");
}

/// A missing value has the row of the key 0, which is no value's hash; what has no key, an unknown value, has the default row.
#[test]
fn missing_and_unknown_values_have_rows_of_their_own() {
    let Fixture { config, dataset, teacher, folder } = Fixture::new();
    let vocabularies = dataset.vocabularies().unwrap();
    let number = teacher.tables.iter().position(|table| table.name() == "item").unwrap();
    let (table, mut route) = (&teacher.tables[number], kitestring_table::Route::new());
    let known = vocabularies.id("item", "i3");
    let mut told: Vec<Vec<f32>> = [1.0, 2.0, 3.0].map(|value| vec![value; table.dim()]).into();
    table.route(&[vocabularies.id("item", ""), vocabularies.id("item", "nothing"), known], &mut route).unwrap();
    table.assign(&mut route, &told.concat()).unwrap();
    let usage = Usage::of(&dataset, Seed(0)).unwrap();
    let needs = crate::usage::Needs::new();
    for kept in [Kept::All, Kept::Ids(vec![known])] {
        let key = secret();
        let teacher = Model::read(&write(&teacher, folder.path())).unwrap();
        let mut candidate = Candidate::new(teacher, config.clone(), dataset.without(&[]).unwrap());
        candidate.kept[number] = kept.clone();
        let sealing = Sealing { vocabularies: &vocabularies, usage: &usage, release: 1, key: &key };
        let artifact = open(&candidate.seal(Recipient::With(&needs), &sealing).unwrap());
        let rows = artifact.rows(number).unwrap();
        let row = |key: u64| rows.row(rows.find(key).unwrap()).to_vec();
        let bytes = |row: &[f32]| bytemuck::cast_slice::<f32, u8>(row).to_vec();
        assert_eq!((row(0), row(stable_hash("i3"))), (bytes(&told[0]), bytes(&told[2])));
        // Of what was left out only the mean is known, and training had no unknown item.
        if kept != Kept::All {
            assert_eq!(rows.keys.len(), 2);
            let left = usage.ranked("item").into_iter().filter(|(id, _)| *id != known).collect::<Vec<_>>();
            told[1] = crate::candidate::mean(&candidate.model.tables[number], &left).unwrap();
        }
        assert_eq!(rows.default, bytes(&told[1]));
    }
}

/// Writes a model into a folder of its own.
fn write(model: &Model, folder: &Path) -> std::path::PathBuf {
    let place = folder.join("copy");
    std::fs::create_dir_all(&place).unwrap();
    model.write(&place, false).unwrap();
    place
}

#[test]
fn rows_are_those_used_most_and_those_a_user_needs() {
    let fixture = Fixture::new();
    let way = "[[passes]]\ntype = \"rows\"\nmost_used = 5\n";
    let plain = ship(&fixture, way, &[], &[], 1).unwrap();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let usage = Usage::of(&fixture.dataset, Seed(0)).unwrap();
    let artifact = open(&plain.file);
    let table = artifact.manifest().tables.iter().position(|table| table.name == "item").unwrap();
    let rows = artifact.rows(table).unwrap();
    let ranked = usage.ranked("item");
    assert!(ranked.len() > 20 && ranked.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    for (place, (id, _)) in ranked.iter().enumerate() {
        let key = stable_hash(vocabularies.value("item", *id).unwrap());
        assert_eq!(rows.find(key).is_some(), place < 5, "the item used {place} most");
    }
    // The default row is the mean of those left out, each as often as it was used.
    let item = fixture.teacher.tables.iter().find(|table| table.name() == "item").unwrap();
    let ids: Vec<u64> = ranked[5..].iter().map(|(id, _)| *id).collect();
    let all = crate::candidate::rows_of(item, &ids).unwrap();
    let total: u64 = ranked[5..].iter().map(|(_, count)| count).sum();
    let default: &[f32] = bytemuck::cast_slice(rows.default);
    for (column, found) in default.iter().enumerate() {
        let sum: f64 =
            (0..ids.len()).map(|row| f64::from(all[row * item.dim() + column]) * ranked[5 + row].1 as f64).sum();
        assert!((f64::from(*found) - sum / total as f64).abs() < 1e-6);
    }

    let mine = open(&ship(&fixture, way, &[], &["u3"], 2).unwrap().file);
    let rows = mine.rows(table).unwrap();
    let mut seen = 0;
    for split in fixture.dataset.splits() {
        crate::usage::each_batch(split, Seed(1), |batch| {
            for row in (0..batch.rows).filter(|row| vocabularies.user(batch.user[*row]) == "u3") {
                let id = batch.sparse[1].of_row(row)[0];
                assert!(id < 2 || rows.find(stable_hash(vocabularies.value("item", id).unwrap())).is_some());
                seen += 1;
            }
        })
        .unwrap();
    }
    assert!(seen > 10 && rows.keys.len() < ITEMS as usize);
    // What the user's own artifact has beside the common one goes as a delta of rows alone.
    let (change, summary) = delta::make(&artifact, &mine).unwrap();
    assert_eq!((summary.pages, summary.changed, summary.evicted), (0, 0, 0));
    assert!(summary.added > 0);
    assert_eq!(delta::apply(&artifact, &change, &[secret().public()]).unwrap().bytes(), mine.bytes());
    let error = ship(&fixture, way, &[], &["nobody"], 1).err().unwrap().to_string();
    assert!(error.contains("no user `nobody`"), "{error}");
}

#[test]
fn limits_are_kept_or_named() {
    let fixture = Fixture::new();
    let way = "[device.limits]\ndownload_bytes = 2000\nmicroseconds = 1e9\n[[passes]]\ntype = \"quantize\"\n";
    let outcome = ship(&fixture, way, &[], &[], 1).unwrap();
    assert_eq!(outcome.missed.len(), 1);
    assert!(outcome.missed[0].starts_with("download_bytes: ") && outcome.missed[0].ends_with(" of 2000"));
    assert!(ship(&fixture, way, &["device.limits.download_bytes=1000000"], &[], 1).unwrap().missed.is_empty());
}

#[test]
fn what_cannot_be_is_refused() {
    let fixture = Fixture::new();
    let refused = |way: &str, overrides: &[&str]| ship(&fixture, way, overrides, &[], 1).err().unwrap().to_string();
    assert!(refused("[[passes]]\ntype = \"rows\"\nmost = 5\n", &[]).contains("most"));
    assert!(refused("[[passes]]\ntype = \"rowz\"\n", &[]).contains("rowz"));
    let error = refused("[[passes]]\ntype = \"rows\"\ntables = { itm = 5 }\n", &[]);
    assert!(error.contains("did you mean `item`?"), "{error}");
    let error = refused("[[passes]]\ntype = \"rows\"\n", &["passes.0.coverage=2"]);
    assert!(error.contains("passes.0.coverage"), "{error}");
    assert!(refused("[[passes]]\ntype = \"rows\"\n", &["passes.3.own=true"]).contains("no such key"));
    let late = "[[passes]]\ntype = \"quantize\"\n[[passes]]\ntype = \"distil\"\n";
    assert!(refused(late, &[]).contains("put distil before"));
    assert!(refused("[device]\ncandidates = 0\n", &[]).contains("device.candidates"));
    let neither = "[[passes]]\ntype = \"quantize\"\nweights = false\n";
    assert!(refused(neither, &[]).contains("weights = true"));
}

#[test]
fn a_user_has_its_own_row_alone() {
    let fixture = Fixture::new();
    let mut candidate = Candidate::new(
        Model::read(&fixture.place("teacher").join("model")).unwrap(),
        fixture.config.clone(),
        fixture.dataset.without(&[]).unwrap(),
    );
    let table = candidate.model.tables.iter().position(|table| table.name() == "taste").unwrap();
    candidate.kept[table] = Kept::Own;
    let (vocabularies, usage) =
        (fixture.dataset.vocabularies().unwrap(), Usage::of(&fixture.dataset, Seed(0)).unwrap());
    let key = secret();
    let sealing = Sealing { vocabularies: &vocabularies, usage: &usage, release: 1, key: &key };
    let needs = crate::usage::needs(&fixture.dataset, &["u4".into()], Seed(1)).unwrap();
    let nothing = Needs::new();
    let rows = |recipient| open(&candidate.seal(recipient, &sealing).unwrap()).rows(table).unwrap().keys.to_vec();
    assert_eq!(rows(Recipient::Everybody).len(), 4, "three tastes, and none");
    assert_eq!(rows(Recipient::With(&nothing)), [0]);
    let mut own = vec![0, stable_hash("t1")];
    own.sort_unstable();
    assert_eq!(rows(Recipient::With(&needs)), own);
}

/// A ranker without a binary task is held to the limits of its kind of task, and ships where it keeps them.
#[test]
fn limits_hold_for_the_kinds_of_task_there_are() {
    let limits = Limits { auc_loss: Some(0.01), rmse_rise: Some(0.02), ..Limits::default() };
    let line = |tasks: &[(&str, f64, f64)]| {
        let task = |(metric, value, loss): &(&str, f64, f64)| ShippedTask {
            name: "t".into(),
            metric: (*metric).into(),
            value: Estimate::from(*value),
            loss: Estimate::from(*loss),
        };
        ShippedPass { tasks: tasks.iter().map(task).collect(), ..ShippedPass::default() }
    };
    // From 2 to 2.03 the RMSE rises by 1.5 %, to 2.05 by 2.5 %.
    assert!(missed(&line(&[("RMSE", 2.03, 0.03)]), &limits).is_empty());
    assert!(missed(&line(&[("RMSE", 2.05, 0.05)]), &limits)[0].starts_with("rmse_rise: 0.025000 of 0.02"));
    assert!(missed(&line(&[("AUC", 0.7, 0.02), ("RMSE", 2.0, 0.0)]), &limits)[0].starts_with("auc_loss"));
    // One that is not known keeps no limit.
    assert_eq!(missed(&line(&[("AUC", f64::NAN, f64::NAN)]), &limits).len(), 1);
}

#[test]
fn artifacts_are_timed_in_turn() {
    let fixture = Fixture::new();
    let outcome = ship(&fixture, "[[passes]]\ntype = \"quantize\"\nsamples = 100\n", &[], &[], 1).unwrap();
    assert!(outcome.ledger.passes.iter().all(|line| line.here > 0.0 && line.here.is_finite()));
}
