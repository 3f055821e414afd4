//! The simulator's files, prepared by their preset.
#![allow(clippy::unwrap_used)]

use kitestring_core::{Batch, Schema, Seed};
use kitestring_data::config::DataConfig;
use kitestring_data::dataset::Dataset;
use kitestring_data::layout::open;
use kitestring_data::prepare::prepare_folder;
use kitestring_data::simulator::{Config, Session, Simulator, write};

#[test]
fn the_preset_prepares_what_the_simulator_writes() {
    let mut config: toml::Table = toml::from_str(include_str!("../../../configs/simulated.toml")).unwrap();
    let mut section = |name: &str| config.remove(name).unwrap();
    let data: DataConfig = section("data").try_into().unwrap();
    let schema: Schema = section("schema").try_into().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (folder, out) = (directory.path().join("simulated"), directory.path().join("set"));
    let simulated = Config { users: 300, items: 400, events: 20_000, ..Config::default() };
    let summary = write(&simulated, &folder, &mut |_| ()).unwrap();
    let sessions: Vec<Session> = Simulator::new(&simulated).unwrap().collect();

    prepare_folder(&open(&data, &folder).unwrap(), &data, &schema, (Seed(1), None), &out, &mut |_| {}).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    let history = dataset.schema().sparse().position(|feature| feature.name == "clicked_items").unwrap();
    let (mut rows, mut random, mut labels, mut listed) = (0, 0, [0.0; 2], 0);
    let mut borders = Vec::new();
    for name in ["train", "valid", "test"] {
        let split = dataset.split(name).unwrap();
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        let order: Vec<u64> = split.order(Seed(1), 0).iter().collect();
        let mut batch = Batch::default();
        for indices in order.chunks(1_000) {
            split.read(indices, Seed(2), &mut batch).unwrap();
            rows += batch.rows as u64;
            random += batch.treatment.iter().map(|arm| u64::from(*arm)).sum::<u64>();
            for (task, sum) in labels.iter_mut().enumerate() {
                *sum += (0..batch.rows).map(|row| batch.labels[2 * row + task]).sum::<f32>();
            }
            listed += (0..batch.rows).map(|row| batch.sparse[history].of_row(row).len()).sum::<usize>();
            first = batch.time.iter().copied().fold(first, i64::min);
            last = batch.time.iter().copied().fold(last, i64::max);
            assert!(batch.propensity.iter().all(|propensity| *propensity > 0.0 && *propensity <= 1.0));
            assert!(batch.position.iter().all(|position| (1..=16).contains(position)));
        }
        borders.push((first, last));
    }
    assert_eq!((rows, random), (summary.impressions, summary.random_impressions));
    assert_eq!(labels, [summary.clicks as f32, summary.conversions as f32]);
    assert!(borders[0].1 < borders[1].0 && borders[1].1 < borders[2].0, "{borders:?}");

    // A sample's history is the clicks of the same user that came before, at most 50.
    let mut clicks = vec![0; 300];
    let mut expected = 0;
    for shown in sessions.iter().flat_map(|session| &session.impressions) {
        expected += clicks[shown.user as usize].min(50);
        clicks[shown.user as usize] += usize::from(shown.click);
    }
    assert_eq!(listed, expected);
}
