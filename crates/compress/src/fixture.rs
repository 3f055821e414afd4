//! A small data set and a ranker of it.
#![allow(clippy::unwrap_used)]

use kitestring_core::Seed;
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_train::fit::fit;
use kitestring_train::{Model, RunConfig};
use std::fmt::Write;
use tempfile::TempDir;

pub const USERS: u64 = 40;
pub const ITEMS: u64 = 30;

/// What a user likes is in `taste`, which a device may lack. One label in five is missing.
pub const CONFIG: &str = r#"
seed = 5

[data]
split = { by = "user_fraction", valid = 0.2, test = 0.2 }
[[data.layouts]]
name = "events"
samples = { path = "events.csv" }

[schema]
user = "user"
item = "item"
time = "time"
weight = "weight"
features = [
    { name = "taste", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "price", kind = "numeric", of = "item" },
    { name = "hour", kind = "numeric" },
    { name = "liked", kind = "sequence", of = "user", table = "item", length = 4, history = { of = "item", when = "like" } },
]
tasks = [
    { name = "like", kind = "binary" },
    { name = "seconds", kind = "regression" },
    { name = "plays", kind = "count" },
]

[model]
dimension = 6
dimensions = { taste = 4 }
encoder = { type = "din", attention = [8] }
body = { type = "shared_bottom", bottom = { units = [16] }, towers = { units = [6] } }

[train]
workers = 1
epochs = 30
keep = "last"
batch_size = 64
learning_rate = 0.02

[evaluate]
batch_size = 64
serve_as = { taste = "t0" }
"#;

pub struct Fixture {
    pub config: RunConfig,
    pub dataset: Dataset,
    pub teacher: Model,
    pub folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut events = "user,taste,item,price,hour,time,weight,like,seconds,plays\n".to_owned();
        let mut time = 0;
        for user in 0..USERS {
            for event in 0..12 + user % 9 {
                let draw = Seed(11).at(user).at(event);
                let (item, taste) = (draw.bits_at(0) % ITEMS, user % 3);
                let fits = item % 3 == taste;
                let like = u8::from(draw.unit_at(1) < if fits { 0.85 } else { 0.2 });
                let like = if draw.unit_at(2) < 0.2 { String::new() } else { like.to_string() };
                let (price, hour, weight) = (item + 1, draw.bits_at(3) % 24, 1 + user % 2);
                let (seconds, plays) = (item % 7 + 3 * u64::from(fits), 1 + 2 * u64::from(fits));
                time += 1;
                writeln!(events, "u{user},t{taste},i{item},{price},{hour},{time},{weight},{like},{seconds}.5,{plays}")
                    .unwrap();
            }
        }
        std::fs::write(folder.path().join("events.csv"), events).unwrap();
        let config = RunConfig::parse(CONFIG, "fixture.toml", &[]).unwrap();
        let opened = layout::open(&config.data, folder.path()).unwrap();
        let set = folder.path().join("set");
        prepare_folder(&opened, &config.data, &config.schema, (Seed(config.seed), None), &set, &mut |_| {}).unwrap();
        let dataset = Dataset::open(set).unwrap();
        let place = folder.path().join("teacher");
        let teacher = fit(&config, &dataset, &place, false, &mut |_| {}).unwrap().model;
        Self { config, dataset, teacher, folder }
    }

    pub fn place(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}
