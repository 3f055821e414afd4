//! A small data set and model for this crate's tests.

#![allow(clippy::unwrap_used)]

use crate::config::RunConfig;
use crate::inputs::{Prepared, Readers};
use crate::learner::Learner;
use crate::model::Model;
use crate::workers::Threads;
use kitestring_core::Seed;
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use std::fmt::Write;
use std::path::Path;
use tempfile::TempDir;

pub(crate) const USERS: u64 = 24;
pub(crate) const ITEMS: u64 = 30;

/// Items with even numbers are liked three times out of four, others once. Users with small numbers have few events.
const CONFIG: &str = r#"
seed = 5

[data]
split = { by = "user_fraction", valid = 0.2, test = 0.2 }
[[data.layouts]]
name = "events"
samples = { path = "events.csv" }
candidates.test = { table = { source = { path = "candidates.csv" } } }

[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "brand", kind = "categorical", of = "item" },
    { name = "price", kind = "numeric", of = "item" },
    { name = "liked", kind = "sequence", of = "user", table = "item", length = 4, history = { of = "item", when = "like" } },
]
scenarios = [{ name = "page" }]
tasks = [{ name = "like", kind = "binary" }, { name = "seconds", kind = "regression" }]

[model]
dimension = 4
encoder = { type = "din", attention = [8] }
body = { type = "mlp", units = [8] }

[train]
workers = 1
learning_rate = 0.02

[evaluate]
batch_size = 64
bootstrap = 30
history_groups = 3
cutoffs = [1, 5]
"#;

/// A config, its data set and what keeps its files.
pub(crate) struct Fixture {
    pub config: RunConfig,
    pub dataset: Dataset,
    pub folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_candidates(|_, others| others.join(" "))
    }

    /// With lists of candidates made of a positive's name and those of nine other items.
    pub fn with_candidates(list: impl Fn(&str, &[String]) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seed = Seed(11);
        let mut events = "user,item,brand,price,page,time,like,seconds\n".to_owned();
        let mut time = 0;
        for user in 0..USERS {
            for event in 0..8 + user {
                let draw = seed.at(user).at(event);
                let item = draw.bits_at(0) % ITEMS;
                let like = draw.unit_at(1) < if item.is_multiple_of(2) { 0.75 } else { 0.25 };
                let page = ["home", "search"][(draw.bits_at(2) % 2) as usize];
                time += 1;
                let (like, brand, price) = (u8::from(like), item % 3, item + 1);
                writeln!(events, "u{user},i{item},b{brand},{price},{page},{time},{like},{}.5", item % 7).unwrap();
            }
        }
        let mut candidates = "user,item,candidates\n".to_owned();
        for user in 0..USERS {
            for item in 0..ITEMS {
                // Nine other items, the same ones for all.
                let others: Vec<String> = (1..10).map(|step| format!("i{}", (item + step) % ITEMS)).collect();
                writeln!(candidates, "u{user},i{item},{}", list(&format!("i{item}"), &others)).unwrap();
            }
        }
        std::fs::write(folder.path().join("events.csv"), events).unwrap();
        std::fs::write(folder.path().join("candidates.csv"), candidates).unwrap();
        let config = RunConfig::parse(CONFIG, "fixture.toml", &[]).unwrap();
        let dataset = prepared(&config, folder.path());
        Self { config, dataset, folder }
    }

    /// A model that has seen the training split a few times.
    pub fn trained(&self) -> Model {
        let size = |table: &str| self.dataset.table_size(table);
        let (config, scenarios) = (&self.config, self.dataset.scenario_counts());
        let mut model =
            Model::new(self.dataset.schema(), &config.model, &config.train, size, &scenarios, Seed(1)).unwrap();
        let mut learner = Learner::new(&model, &self.config.train, 1, Seed(1)).unwrap();
        let train = self.dataset.split("train").unwrap();
        let readers = Readers::new(self.dataset.schema());
        let (mut prepared, workers) = (Prepared::default(), Threads::new(1).unwrap());
        for epoch in 0..40 {
            let order: Vec<u64> = train.order(Seed(2), epoch).iter().collect();
            for indices in order.chunks(64) {
                train.read(indices, Seed(3), &mut prepared.batch).unwrap();
                prepared.index_to_learn(&readers);
                learner.step(&mut model, &prepared, self.config.train.learning_rate, &workers).unwrap();
            }
        }
        model
    }
}

/// Prepares a folder beside its files.
pub(crate) fn prepared(config: &RunConfig, folder: &Path) -> Dataset {
    let opened = layout::open(&config.data, folder).unwrap();
    let out = folder.join("set");
    prepare_folder(&opened, &config.data, &config.schema, (Seed(config.seed), None), &out, &mut |_| {}).unwrap();
    Dataset::open(out).unwrap()
}
