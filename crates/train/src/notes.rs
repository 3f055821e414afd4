//! What config and data say against each other, found before anything is trained, and what training itself tells.

use crate::config::{Ranking, RunConfig, Schedule, TrainConfig};
use crate::evaluate::lower_is_better;
use crate::history::{Epoch, History};
use crate::workers::{bounded, cores};
use kitestring_core::schema::Vocabulary;
use kitestring_core::{Error, Note, Result};
use kitestring_data::dataset::Dataset;
use kitestring_table::{Open, Space, Table};

/// The share by which a metric or a loss must have become better at the end for training to be called unfinished.
const STILL: [f64; 2] = [2e-3, 1e-2];

/// Notes on a run before it is trained: those that preparation left in the data set, and what the config says against the data.
///
/// # Errors
/// What cannot be: early stopping without a split `valid`, a split to judge on that there is not.
pub fn before_training(config: &RunConfig, dataset: &Dataset) -> Result<Vec<Note>> {
    for split in &config.evaluate.splits {
        dataset.manifest().split(split).map_err(|error| error.in_field("evaluate.splits"))?;
    }
    let mut notes = dataset.manifest().notes();
    notes.extend(of_training(&config.train, dataset, "train")?);
    let judged = || {
        dataset.splits().iter().filter(|split| match config.evaluate.splits.as_slice() {
            [] => split.name() != "train",
            named => named.iter().any(|name| name == split.name()),
        })
    };
    if config.evaluate.ranking == Ranking::Candidates && judged().all(|split| split.candidates().is_none()) {
        notes.push(
            Note::new("no candidates are given for the splits that are judged, so nothing is ranked")
                .hint("give them as data.layouts.candidates, or rank all items with full")
                .in_field("evaluate.ranking"),
        );
    }
    Ok(notes)
}

/// Notes on a section of training, `train` or that of a retriever.
///
/// # Errors
/// Early stopping without a split `valid`.
pub fn of_training(train: &TrainConfig, dataset: &Dataset, section: &str) -> Result<Vec<Note>> {
    let field = |key: &str| format!("{section}.{key}");
    let rows = dataset.split("train")?.rows();
    let length = train.length(rows);
    let mut notes = Vec::new();
    let mut note = |key: &str, count: u64, text: String, hint: &str| {
        notes.push(Note::new(text).hint(hint).in_field(field(key)).counting(count));
    };
    if train.early_stopping.is_some() && dataset.splits().iter().all(|split| split.name() != "valid") {
        return Err(Error::config("early stopping needs a split named `valid`")
            .in_field(field("early_stopping"))
            .mend("make one in [data] split, or train a fixed number of epochs"));
    }
    let (asked, used, cores) = (train.workers, bounded(train.workers), cores());
    if used < asked {
        let text = format!("{asked} workers are too many for {cores} cores: {used} are used");
        note("workers", asked as u64, text, "set it to 0 for one a core");
    } else if asked > cores {
        let text = format!("{asked} workers share {cores} cores, which is slower than one a core");
        note("workers", asked as u64, text, "set it to 0 for one a core");
    }
    if length.batch_size as u64 > rows {
        let text = format!(
            "a batch of {} is larger than the {rows} training samples: an epoch is one step",
            length.batch_size
        );
        note("batch_size", length.batch_size as u64, text, "leave it out, and it follows from the samples");
    }
    if let Some(stopping) = &train.early_stopping
        && length.epochs > 0
        && stopping.patience >= length.epochs
    {
        let text = format!("a patience of {} in {} epochs never stops", stopping.patience, length.epochs);
        note("early_stopping.patience", stopping.patience.into(), text, "lower it, or train more epochs");
    }
    let steps = u64::from(length.epochs) * rows.div_ceil(length.batch_size.max(1) as u64);
    if let Schedule::Warmup { steps: up } | Schedule::Cosine { warmup: up } = train.schedule
        && up >= steps.max(1)
        && length.epochs > 0
    {
        let text =
            format!("{up} steps of warm-up are no fewer than the run's {steps}: the learning rate is never reached");
        note("schedule", up, text, "warm up over fewer steps, or train longer");
    }
    let schema = dataset.schema();
    let open = schema.table_names().into_iter().any(|table| schema.vocabulary(table) == Vocabulary::Open);
    if train.open != Open::default() && !open {
        let text = "no table is open, so admission and eviction have nothing to act on".to_owned();
        note("open", 0, text, "give a table an open vocabulary in schema.tables, or leave it out");
    }
    Ok(notes)
}

/// A note on a run whose last epoch was still better than those before, by validation or, without one, by the training loss. `key` is the
/// one that says how many epochs there are.
pub fn still_improving(history: &History, epochs: u32, key: &str) -> Option<Note> {
    let (what, from, to) = match metric_at_the_end(history) {
        Some(found) => found?,
        None => {
            let [from, to] = loss_at_the_end(history)?;
            ("the training loss".to_owned(), from, to)
        }
    };
    let moves = if to < from { "falls" } else { "rises" };
    let epoch = history.epochs.last()?.epoch;
    let more = epochs.max(epoch).saturating_mul(2);
    (history.stopped.is_none()).then(|| {
        Note::new(format!("{what} still {moves} at the end, from {from:.4} to {to:.4} in epoch {epoch}"))
            .hint(format!("train longer: --set {key}={more}"))
            .in_field(key)
            .counting(epoch.into())
    })
}

/// The metric that chose the epoch before the last epoch and after it, where that made it better; none in it where it did not, and none at
/// all where no two epochs were compared.
fn metric_at_the_end(history: &History) -> Option<Option<(String, f64, f64)>> {
    let metric = history.metric.as_ref()?;
    let (last, before) = history.epochs.split_last().filter(|(_, before)| !before.is_empty())?;
    let value = |epoch: &Epoch| epoch.metrics.get(metric).copied();
    let sign = if lower_is_better(metric) { -1.0 } else { 1.0 };
    let best = before.iter().filter_map(value).max_by(|a, b| (sign * a).total_cmp(&(sign * b)))?;
    let last = value(last)?;
    Some((sign * (last - best) > STILL[0] * best.abs()).then(|| (format!("{metric} on `valid`"), best, last)))
}

/// The mean training loss of the last epoch but one and of the last, where it fell; of the last two quarters where there is one epoch.
fn loss_at_the_end(history: &History) -> Option<[f64; 2]> {
    let losses: Vec<f64> = history.steps.iter().map(|step| step.losses.iter().sum()).collect();
    let epochs = history.epochs.len().max(1);
    let size = if epochs > 1 { losses.len() / epochs } else { losses.len() / 4 };
    if size == 0 {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (rest, last) = losses.split_at(losses.len() - size);
    let (last, before) = (mean(last), mean(rest.get(rest.len().checked_sub(size)?..)?));
    (before - last > STILL[1] * before.abs()).then_some([before, last])
}

/// Notes on open tables that admitted no id.
pub fn empty_tables(tables: &[Table]) -> Vec<Note> {
    let empty = tables.iter().filter(|table| table.is_empty());
    let note = |table: &Table| match table.config().space {
        Space::Open(open) => Some(
            Note::new(format!(
                "no id of the open table `{}` was seen {} times, so none has a row",
                table.name(),
                open.admit_after
            ))
            .hint("lower train.open.admit_after, or train on more samples")
            .in_field("train.open.admit_after")
            .counting(open.admit_after.into()),
        ),
        Space::Direct { .. } => None,
    };
    empty.filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::EarlyStopping;
    use crate::fixture::Fixture;
    use crate::history::StepLoss;

    fn fields(notes: &[Note]) -> Vec<(&str, u64)> {
        notes.iter().map(|note| (note.field.as_deref().unwrap(), note.count.unwrap_or(0))).collect()
    }

    #[test]
    fn a_sound_config_has_no_note() {
        let fixture = Fixture::new();
        assert_eq!(before_training(&fixture.config, &fixture.dataset).unwrap(), []);
    }

    #[test]
    fn what_contradicts_the_data_is_noted_with_a_count() {
        let fixture = Fixture::new();
        let noted = |change: &dyn Fn(&mut RunConfig)| {
            let mut config = fixture.config.clone();
            change(&mut config);
            before_training(&config, &fixture.dataset)
        };
        let found = noted(&|config| config.train.workers = 100_000).unwrap();
        assert_eq!(fields(&found), [("train.workers", 100_000)]);
        assert!(found[0].text.contains("are used"), "{}", found[0]);
        let found = noted(&|config| config.train.batch_size = Some(100_000)).unwrap();
        assert_eq!(fields(&found), [("train.batch_size", 100_000)]);
        let found = noted(&|config| {
            config.train.epochs = Some(3);
            config.train.early_stopping = Some(EarlyStopping { metric: None, patience: 3 });
        });
        assert_eq!(fields(&found.unwrap()), [("train.early_stopping.patience", 3)]);
        let found = noted(&|config| config.train.schedule = Schedule::Warmup { steps: 1_000_000 }).unwrap();
        assert_eq!(fields(&found), [("train.schedule", 1_000_000)]);
        let found = noted(&|config| config.train.open.admit_after = 3).unwrap();
        assert_eq!(fields(&found), [("train.open", 0)]);
        let found = noted(&|config| {
            config.evaluate.ranking = Ranking::Candidates;
            config.evaluate.splits = vec!["valid".into()];
        });
        assert_eq!(fields(&found.unwrap()), [("evaluate.ranking", 0)]);
        let error = noted(&|config| config.evaluate.splits = vec!["tset".into()]).unwrap_err().to_string();
        assert!(error.contains("evaluate.splits") && error.contains("valid"), "{error}");
    }

    fn history(metric: Option<&str>, values: &[f64], losses: &[f64]) -> History {
        let epoch = |(number, value): (usize, &f64)| Epoch {
            epoch: number as u32 + 1,
            metrics: metric.map(|metric| (metric.to_owned(), *value)).into_iter().collect(),
            ..Epoch::default()
        };
        History {
            steps: losses.iter().map(|loss| StepLoss { losses: vec![*loss], ..StepLoss::default() }).collect(),
            epochs: values.iter().enumerate().map(epoch).collect(),
            metric: metric.map(str::to_owned),
            ..History::default()
        }
    }

    #[test]
    fn an_unfinished_run_is_told_from_a_finished_one() {
        let falling = [0.7, 0.65, 0.6, 0.55];
        let rising = history(Some("auc"), &[0.6, 0.65, 0.7], &falling);
        let note = still_improving(&rising, 3, "train.epochs").unwrap().to_string();
        assert!(note.contains("auc on `valid` still rises") && note.ends_with("--set train.epochs=6"), "{note}");
        let better = history(Some("click.log_loss"), &[0.6, 0.5], &falling);
        assert!(still_improving(&better, 2, "train.epochs").unwrap().text.contains("still falls"));
        // Validation knows better than the training loss, which falls as long as one likes.
        for values in [[0.6, 0.7, 0.65], [0.6, 0.7, 0.7005]] {
            assert_eq!(still_improving(&history(Some("auc"), &values, &falling), 3, "train.epochs"), None);
        }
        let mut stopped = rising.clone();
        stopped.stopped = Some("auc no better for 2 epochs".into());
        assert_eq!(still_improving(&stopped, 3, "train.epochs"), None);
        // Without validation, or with one epoch of it, the training loss tells.
        for found in [
            history(None, &[0.0], &falling),
            history(Some("auc"), &[0.6], &falling),
            history(None, &[0.0; 2], &falling),
        ] {
            assert!(still_improving(&found, 1, "train.epochs").unwrap().text.contains("training loss still falls"));
        }
        assert_eq!(still_improving(&history(None, &[0.0; 2], &[0.7, 0.5, 0.6, 0.6]), 2, "train.epochs"), None);
        assert_eq!(still_improving(&history(None, &[], &[]), 2, "train.epochs"), None);
    }

    /// More threads than a machine could want are not started.
    #[test]
    fn workers_are_bounded() {
        assert_eq!(bounded(1_000_000), 64.max(cores()));
        assert_eq!((bounded(0), bounded(3)), (cores(), 3));
    }
}
