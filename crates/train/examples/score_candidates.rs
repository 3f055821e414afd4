//! The ten best items for a user: what a server does with a trained ranker.
//!
//! ```text
//! cargo run --release -p kitestring-train --example score_candidates
//! ```

use kitestring_core::metrics::top_k;
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::prepare::prepare_folder;
use kitestring_data::{layout, simulator};
use kitestring_train::fit::fit;
use kitestring_train::inputs::Prepared;
use kitestring_train::predictor::Predictor;
use kitestring_train::run::{Existing, RunLock, RunParts, RunWriter};
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use std::path::Path;

/// How many items are shown.
const SHOWN: usize = 10;

fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::io(error, "no temporary folder", "."))?;
    let (dataset, model) = ranker(folder.path())?;
    let vocabularies = dataset.vocabularies()?;
    for (item, score) in recommend(&dataset, &model, 0)? {
        println!("item {:>6}: clicked with probability {score:.3}", vocabularies.item(item.into()));
    }
    Ok(())
}

/// The best items in the place of the item of one sample of the test split, each with its predicted probability of a click.
fn recommend(dataset: &Dataset, model: &Model, sample: u64) -> Result<Vec<(u32, f32)>> {
    // The candidates: here all items that training knew. A retriever would hand over some hundreds of them.
    let items = dataset.items().ok_or_else(|| Error::config("the schema names no item"))?;
    let candidates = items.trained();

    // One sample becomes as many rows as there are candidates: user and context stay, and each candidate brings its own features.
    // What is long and the same for all, such as the user's history, is stored once and shared.
    let mut prepared = Prepared::default();
    let offsets = [0, candidates.len() as u32];
    dataset.split("test")?.read_candidates(&[sample], &offsets, candidates, &mut prepared.batch)?;

    // A predictor is made once and used again: a warm one allocates nothing.
    let threads = Threads::new(0)?;
    let mut predictor = Predictor::new(model, threads.count());
    let mut scores = Vec::new();
    predictor.score(&mut prepared, &threads, &mut scores)?;

    // Scores are `rows × tasks`; the first task is the click.
    let clicks: Vec<f32> = scores.iter().step_by(model.schema.tasks.len()).copied().collect();
    Ok(top_k(&clicks, SHOWN).into_iter().map(|(best, score)| (candidates[best], score)).collect())
}

/// A small simulated marketplace and a ranker for it. `Dataset::open` and `Run::open(…)?.model()` read stored ones.
fn ranker(folder: &Path) -> Result<(Dataset, Model)> {
    let small = ["simulator.users=300", "simulator.items=400", "simulator.events=20000", "train.batch_size=256"];
    let small: Vec<String> = small.map(str::to_owned).into();
    let config = RunConfig::parse(include_str!("../../../configs/simulated.toml"), "simulated.toml", &small)?;
    let world = config.simulator.clone().unwrap_or_default();
    let (shop, place) = (folder.join("shop"), folder.join("dataset"));
    simulator::write(&world, &shop, &mut |_| {})?;
    let opened = layout::open(&config.data, &shop)?;
    prepare_folder(&opened, &config.data, &config.schema, (Seed(config.seed), None), &place, &mut |_| {})?;
    let dataset = Dataset::open(&place)?;
    let lock = RunLock::create(Some(&folder.join("run")))?;
    let mut writer = RunWriter::train(lock, RunParts::RANKER, Existing::Refuse)?;
    let run = writer.staged();
    run.begin(&config, &place, None, None)?;
    let fitted = fit(&config, &dataset, run.directory(), false, &mut |_| {})?;
    writer.commit()?;
    Ok((dataset, fitted.model))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_best_come_first_and_users_differ() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, model) = ranker(folder.path()).unwrap();
        let lists: Vec<_> = (0..8).map(|sample| recommend(&dataset, &model, sample * 150).unwrap()).collect();
        for list in &lists {
            assert_eq!(list.len(), SHOWN);
            assert!(list.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{list:?}");
            assert!(list.iter().all(|(item, score)| *item > 0 && (0.0..=1.0).contains(score)), "{list:?}");
        }
        assert!(lists.iter().any(|list| list[0].0 != lists[0][0].0 || list[0].1 != lists[0][0].1));
    }
}
