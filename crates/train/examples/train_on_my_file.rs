//! From a file of clicks to a trained and measured ranker.
//!
//! ```text
//! cargo run --release -p kitestring-train --example train_on_my_file
//! ```

use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_train::RunConfig;
use kitestring_train::evaluate::evaluate;
use kitestring_train::fit::{Event, fit};
use kitestring_train::run::{Existing, RunLock, RunParts, RunWriter};
use kitestring_train::workers::Threads;
use std::path::Path;

/// A config says what the columns mean. `kitestring schema FILE` guesses one; here it is written by hand.
///
/// Two choices are worth a word. The split is by time, because a recommender is always asked about tomorrow. And `history` makes a
/// sequence out of the log itself: for each row, what the user clicked strictly before it.
const CONFIG: &str = r#"
[data]
split = { by = "time", valid = 0.1, test = 0.1 }
layouts = [{ name = "my file", samples = { path = "clicks.csv" } }]

[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "category", kind = "categorical", of = "item" },
    { name = "clicked", kind = "sequence", of = "user", table = "category", length = 10, history = { of = "category", when = "click" } },
]
tasks = [{ name = "click" }]

[model]
dimension = 8
encoder = { type = "din", attention = [16] }
body = { type = "mlp", units = [32] }

[train]
batch_size = 128
epochs = 6
learning_rate = 0.005
row_init = { normal = { std = 0.1 } }
early_stopping = { metric = "auc", patience = 2 }
"#;

fn main() -> Result<()> {
    // Everything is written below one folder, which goes away at the end.
    let folder = tempfile::tempdir().map_err(|error| Error::io(error, "no temporary folder", "."))?;
    let file = folder.path().join("clicks.csv");
    write_a_file(&file)?;
    let auc = train(&file, folder.path())?;
    println!("AUC on the last tenth of the time: {auc:.3}");
    Ok(())
}

fn train(file: &Path, folder: &Path) -> Result<f64> {
    // The seed is part of the config: the same config on the same file gives the same model.
    let config = RunConfig::parse(CONFIG, "this example", &[])?;
    let seed = Seed(config.seed);

    // First the file becomes a data set: a folder of memory-mapped columns. What is fitted, such as vocabularies, is fitted on the
    // training rows only. The data set can be used by any number of runs.
    let opened = layout::open(&config.data, file)?;
    let place = folder.join("dataset");
    prepare_folder(&opened, &config.data, &config.schema, (seed, None), &place, &mut |_| {})?;
    let dataset = Dataset::open(&place)?;
    for split in dataset.splits() {
        println!("{}: {} samples", split.name(), split.rows());
    }

    // Then training. A run is a folder, too: it holds the model and the checkpoints that a killed run goes on from. What is made is staged
    // there, and becomes the run at once when all of it is there.
    let lock = RunLock::create(Some(&folder.join("run")))?;
    let mut writer = RunWriter::train(lock, RunParts::RANKER, Existing::Refuse)?;
    let run = writer.staged();
    run.begin(&config, &place, None, None)?;
    let fitted = fit(&config, &dataset, run.directory(), false, &mut |event| {
        if let Event::Epoch { epoch, best } = event {
            let auc = epoch.metrics.get("auc").copied().unwrap_or(f64::NAN);
            println!("epoch {}: AUC {auc:.3} on valid{}", epoch.epoch, if best { ", the best so far" } else { "" });
        }
    })?;

    writer.commit()?;

    // Last, the test split, which nothing has looked at so far. Intervals come with the metrics.
    let threads = Threads::new(config.train.workers)?;
    let found = evaluate(&fitted.model, &dataset, "test", &config.evaluate, seed, &threads, &mut |_| {})?;
    if let Some(interval) = found.intervals.get("click.auc") {
        println!("95 % interval over users: {:.3} to {:.3}", interval.lower, interval.upper);
    }
    found.metrics.get("click.auc").copied().ok_or_else(|| Error::internal("a binary task has an AUC"))
}

/// Twelve thousand impressions: each user likes two of ten categories, and clicks what is liked more often than not.
fn write_a_file(path: &Path) -> Result<()> {
    let mut text = String::from("user,item,category,time,click\n");
    let draw = Seed(7);
    for row in 0..12_000 {
        let below = |name: &str, bound: f32| (draw.child(name).unit_at(row) * bound) as u32;
        let (user, item) = (below("user", 200.0), below("item", 300.0));
        let category = item % 10;
        let likes = [user % 10, (user * 3 + 1) % 10].contains(&category);
        let click = draw.child("click").unit_at(row) < if likes { 0.7 } else { 0.1 };
        text += &format!("u{user},i{item},c{category},{row},{}\n", u8::from(click));
    }
    std::fs::write(path, text).map_err(|error| Error::io(error, "could not write the example's file", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_learns_what_users_like() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clicks.csv");
        write_a_file(&file).unwrap();
        let auc = train(&file, folder.path()).unwrap();
        // Knowing every user's taste gives .80, knowing nothing .5; of 1,200 samples an AUC is known to .04.
        assert!(auc > 0.65, "{auc}");
    }
}
