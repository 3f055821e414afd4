//! What devices learn of their users, after the cloud has learned of all.
//!
//! `cargo run --release -p kitestring-bench --bin personal RUN [split=test] [least=20] [users=0] [skip=0] [settings=JSON]`
//!
//! RUN has a trained ranker whose split holds several newer events of each user: of these a device learns from the first half, oldest first,
//! and the second half tells what it is worth there, beside everybody's ranker. Users with fewer than `least` events are left out; `users`
//! is how many are taken, 0 for all, after those that are skipped: settings were chosen on the first 1500. Settings are those of learning (`{"learns": {"type": "layers", "names": ["head"]}}`); without any, patches and last
//! layers take turns. Intervals are over users.

use kitestring_compress::candidate::{Candidate, Recipient, Sealing};
use kitestring_compress::measure::{self, Keys};
use kitestring_compress::usage::Usage;
use kitestring_core::artifact::SecretKey;
use kitestring_core::metrics::{auc, log_loss};
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_nn::package::learning::Learning;
use kitestring_train::run::Run;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What a setting did for the users of a kind.
#[derive(Default)]
struct Found {
    taken: usize,
    /// For each user the mean loss of everybody's ranker and of its own.
    losses: Vec<[f64; 2]>,
    /// For each user who has both labels, the AUC of both.
    areas: Vec<[f64; 2]>,
    seconds: f64,
    examples: usize,
}

fn main() -> Result<()> {
    let (mut run, mut split, mut settings) = (None, "test".to_owned(), Vec::new());
    let (mut least, mut most, mut skip) = (20, 0, 0);
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"));
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("split", name)) => split = name.into(),
            Some(("least", text)) => least = number(text),
            Some(("users", text)) => most = number(text),
            Some(("skip", text)) => skip = number(text),
            Some(("settings", text)) => settings.push(learning(text)?),
            _ => run = Some(argument),
        }
    }
    let run = run.ok_or_else(|| {
        Error::config("usage: personal RUN [split=test] [least=20] [users=0] [skip=0] [settings=JSON]")
    })?;
    if settings.is_empty() {
        for text in [
            "{}",
            r#"{"learns": {"type": "layers", "names": ["head"]}}"#,
            r#"{"learns": {"type": "layers", "names": ["body", "head"]}}"#,
        ] {
            settings.push(learning(text)?);
        }
    }
    let run = Run::open(Path::new(&run))?;
    let (config, model) = (run.config()?, run.model()?);
    let dataset = run.dataset(None)?;
    let vocabularies = dataset.vocabularies()?;
    let usage = Usage::of(&dataset, Seed(config.seed).child("train"))?;
    let candidate = Candidate::new(model, config, dataset.without(&[])?);
    let key = SecretKey::from_bytes(&[1; 32].into());
    let sealing = Sealing { vocabularies: &vocabularies, usage: &usage, release: 1, key: &key };
    let mut device = measure::open(&candidate.seal(Recipient::Everybody, &sealing)?, &key)?;
    let keys = Keys::new(&candidate, &vocabularies)?;

    // Each user's samples, in the order of the split, which is that of time.
    let samples = candidate.dataset.split(&split)?;
    let (mut of_user, mut batch) = (BTreeMap::<u64, Vec<u64>>::new(), Batch::default());
    for first in (0..samples.rows()).step_by(4096) {
        let indices: Vec<u64> = (first..(first + 4096).min(samples.rows())).collect();
        samples.read(&indices, Seed(0), &mut batch)?;
        for (index, user) in indices.iter().zip(&batch.user) {
            of_user.entry(*user).or_default().push(*index);
        }
    }
    of_user.retain(|_, indices| indices.len() >= least);
    let mut users: Vec<Vec<u64>> = of_user.into_values().collect();
    users.sort_by_key(|indices| Seed(5).bits_at(indices[0]));
    users.drain(..skip.min(users.len()));
    users.truncate(if most == 0 { users.len() } else { most });
    println!("{} users with {least} events or more", users.len());

    let tasks = candidate.model.schema.tasks.len();
    let read = |indices: &[u64]| -> Result<Batch> {
        let mut batch = Batch::default();
        samples.read(indices, Seed(0), &mut batch)?;
        keys.put(&mut batch);
        Ok(batch)
    };
    let width = device.width();
    let mut lines = Vec::new();
    println!(
        "{:>9} {:>6} {:>9} {:>9} {:>9} {:>19} {:>8} {:>19} {:>7}  setting",
        "examples", "users", "taken", "loss", "own", "fall [95 %]", "AUC", "rise [95 %]", "ms"
    );
    for learning in &settings {
        let mut by_count: BTreeMap<usize, Found> = BTreeMap::new();
        for indices in &users {
            let (old, new) = indices.split_at(indices.len() / 2);
            let examples = old.iter().map(|index| read(&[*index])).collect::<Result<Vec<_>>>()?;
            let examples: Vec<&Batch> = examples.iter().collect();
            let later = read(new)?;
            let labels: Vec<f32> = later.labels.iter().step_by(tasks).copied().collect();
            device.personalize(None)?;
            let before = said(&mut device, &later, width)?;
            let begin = Instant::now();
            let lesson = device.learn(&examples, learning)?;
            let seconds = begin.elapsed().as_secs_f64();
            let after = said(&mut device, &later, width)?;
            // All, and those with as many examples to a factor of two.
            for kind in [0, 1 << old.len().ilog2()] {
                let found = by_count.entry(kind).or_default();
                found.taken += usize::from(lesson.taken);
                found.losses.push([&before, &after].map(|scores| log_loss(scores, &labels).unwrap_or(f64::NAN)));
                found.seconds += seconds;
                found.examples += old.len();
                if let (Some(before), Some(after)) = (auc(&before, &labels), auc(&after, &labels)) {
                    found.areas.push([before, after]);
                }
            }
        }
        for (kind, found) in &by_count {
            let count = found.losses.len();
            let (fall, rise) = (paired(&found.losses, -1.0), paired(&found.areas, 1.0));
            let mean = |pairs: &[[f64; 2]], at: usize| {
                pairs.iter().map(|pair| pair[at]).sum::<f64>() / pairs.len().max(1) as f64
            };
            let name = serde_json::to_string(&learning).unwrap_or_default();
            let shown = if *kind == 0 { "all".into() } else { format!("{kind}-{}", 2 * kind - 1) };
            println!(
                "{shown:>9} {count:>6} {:>8.1}% {:>9.4} {:>9.4} {:>+7.4} ±{:>9.4} {:>8.4} {:>+7.4} ±{:>9.4} {:>7.1}  {name}",
                100.0 * found.taken as f64 / count as f64,
                mean(&found.losses, 0),
                mean(&found.losses, 1),
                fall[0],
                fall[1],
                mean(&found.areas, 0),
                rise[0],
                rise[1],
                1e3 * found.seconds / count as f64
            );
            lines.push(json!({
                "learning": learning, "examples": shown, "users": count, "taken": found.taken,
                "loss": mean(&found.losses, 0), "fall": fall, "auc": mean(&found.areas, 0), "rise": rise,
                "milliseconds": 1e3 * found.seconds / count as f64,
            }));
        }
    }
    println!("{}", json!({ "users": users.len(), "settings": lines }));
    Ok(())
}

fn learning(text: &str) -> Result<Learning> {
    let wrong = |error| Error::config(format!("`{text}` are no settings")).caused_by(error);
    let learning: Learning = serde_json::from_str(text).map_err(wrong)?;
    learning.check()?;
    Ok(learning)
}

/// The predictions of the first task.
fn said(device: &mut kitestring_nn::package::Runtime, batch: &Batch, width: usize) -> Result<Vec<f32>> {
    let mut scores = Vec::new();
    device.score(batch, &mut scores)?;
    Ok(scores.into_iter().step_by(width).collect())
}

/// The mean difference of pairs and the half of its interval of 95 %.
fn paired(pairs: &[[f64; 2]], sign: f64) -> [f64; 2] {
    let count = pairs.len().max(1) as f64;
    let difference = |pair: &[f64; 2]| sign * (pair[1] - pair[0]);
    let mean = pairs.iter().map(difference).sum::<f64>() / count;
    let squares: f64 = pairs.iter().map(|pair| (difference(pair) - mean).powi(2)).sum();
    [mean, 1.96 * (squares / (count - 1.0).max(1.0) / count).sqrt()]
}
