//! Two clusters of scenarios that want opposite things, and one scenario that is small:
//! `cargo run --release -p kitestring-bench --bin clusters [CONFIG] [split=test] [worlds=10] [models=a,b] [key=value …]`.
//!
//! CONFIG is `configs/simulated-scenarios.toml` where absent, which trains AESM². Each world is a marketplace of its own with a model of
//! each kind trained on its log, so intervals are over data and first weights together; differences are paired by world. Scores are
//! held against the simulator's truth, which has far less noise than labels: AUC against the true relevance, for each scenario, is the
//! AUC expected if each sample's label were drawn anew from the relevance of its item. The last model is trained on the small scenario's
//! rows alone (histories too) and judged on the same samples of it.
//!
//! Whether a body finds the clusters is seen from its gates: the cosine of two scenarios' mean weights of experts, for pairs within a
//! cluster less pairs across clusters, where both scenarios have different entrances, so that the outer level explains nothing.

use kitestring_bench::seeds::{each, mean, mean_difference, shown};
use kitestring_core::metrics::auc;
use kitestring_core::{Error, Result, Seed};
use kitestring_data::config::{Condition, Filter, Split, TimeBorder};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_data::simulator::{self, Session, Simulator};
use kitestring_train::RunConfig;
use kitestring_train::assemble::gates;
use kitestring_train::evaluate::{Scored, score};
use kitestring_train::fit::fit;
use kitestring_train::report::{Estimate, Gate};
use kitestring_train::truth::expected_auc;
use kitestring_train::workers::Threads;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The models, and what each has other than the config.
const MODELS: [(&str, &[&str]); 8] = [
    ("aesm2", &[]),
    ("aesm2, noise 0", &["model.body.noise=0"]),
    ("aesm2, specific_weight 0", &["model.body.specific_weight=0"]),
    ("aesm2, shared_weight 0", &["model.body.shared_weight=0"]),
    ("aesm2, gate_batch_norm off", &["model.body.gate_batch_norm=false"]),
    ("mmoe", &["model.body.type=mmoe"]),
    ("shared_bottom", &["model.body.type=shared_bottom"]),
    (ALONE, &["model.body.type=shared_bottom"]),
];
const ALONE: &str = "shared_bottom, alone";
/// The scenario that is small on purpose: its entrance and channel.
const SMALL: [&str; 2] = ["live", "room"];

/// What is asked for.
struct Asked {
    config: String,
    split: String,
    worlds: usize,
    models: Option<Vec<String>>,
    overrides: Vec<String>,
}

impl Asked {
    fn from_arguments() -> Result<Self> {
        let mut asked = Self {
            config: "configs/simulated-scenarios.toml".into(),
            split: "test".into(),
            worlds: 10,
            models: None,
            overrides: Vec::new(),
        };
        for argument in std::env::args().skip(1) {
            match argument.split_once('=') {
                None => asked.config = argument,
                Some(("split", name)) => asked.split = name.into(),
                Some(("models", names)) => asked.models = Some(names.split(';').map(str::to_owned).collect()),
                Some(("worlds", count)) => {
                    asked.worlds = count.parse().map_err(|_| Error::config("`worlds` is a number"))?;
                }
                Some(_) => asked.overrides.push(argument),
            }
        }
        Ok(asked)
    }

    fn config(&self, overrides: &[&str], world: usize) -> Result<RunConfig> {
        let overrides: Vec<String> =
            overrides.iter().map(|text| (*text).to_owned()).chain(self.overrides.iter().cloned()).collect();
        let mut config = RunConfig::read(Path::new(&self.config), &overrides)?;
        config.seed = world as u64;
        // The experiments share the cores.
        config.train.workers = 1;
        config.simulator.get_or_insert_default().seed = 1 + world as u64;
        Ok(config)
    }
}

/// What the simulator knows of each impression.
struct Truths {
    relevance: Vec<f32>,
    clicked: Vec<bool>,
}

impl Truths {
    fn of(config: &simulator::Config) -> Result<Self> {
        let (mut simulator, mut session) = (Simulator::new(config)?, Session::default());
        let mut found = Self { relevance: Vec::new(), clicked: Vec::new() };
        while simulator.next_into(&mut session) {
            found
                .relevance
                .extend(session.impressions.iter().map(|shown| 1.0 / (1.0 + (-shown.truth.relevance).exp())));
            found.clicked.extend(session.impressions.iter().map(|shown| shown.click));
        }
        Ok(found)
    }

    /// The relevance of each sample of a split.
    fn of_samples(&self, dataset: &Dataset, scored: &Scored) -> Result<Vec<f32>> {
        let split = dataset.split(&scored.split)?;
        let labels = scored.tasks.first().map(|task| task.labels.as_slice()).unwrap_or_default();
        let of_row = |(row, label): (u64, &f32)| {
            // Lines are counted from one.
            let at = split.source(row)?.1 as usize - 1;
            if self.clicked.get(at) == Some(&(*label > 0.5)) {
                Ok(self.relevance[at])
            } else {
                Err(Error::internal(format!("sample {row} is not impression {at} of the simulation")))
            }
        };
        (0..).zip(labels).map(of_row).collect()
    }
}

/// How a model does on the samples of one scenario, or on all.
#[derive(Debug, Clone, Copy)]
struct Judged {
    on_labels: f64,
    on_relevance: f64,
    /// The AUC of the true relevance against itself.
    ceiling: f64,
}

impl Judged {
    fn of(scores: &[f32], labels: &[f32], relevance: &[f32]) -> Self {
        let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
        Self {
            on_labels: or_nan(auc(scores, labels)),
            on_relevance: or_nan(expected_auc(scores, relevance)),
            ceiling: or_nan(expected_auc(relevance, relevance)),
        }
    }
}

/// A number of what was found.
type Measure = fn(&Judged) -> f64;

/// All samples, beside the names of scenarios.
const ALL: &str = "all";

/// How a model does, by scenario.
fn judge(dataset: &Dataset, scored: &Scored, truths: &Truths) -> Result<BTreeMap<String, Judged>> {
    let task = scored.tasks.first().ok_or_else(|| Error::config("there is no task"))?;
    let relevance = truths.of_samples(dataset, scored)?;
    let mut found = BTreeMap::from([(ALL.to_owned(), Judged::of(&task.scores, &task.labels, &relevance))]);
    let innermost = scored.scenarios.last().ok_or_else(|| Error::config("there are no scenarios"))?;
    let vocabularies = dataset.vocabularies()?;
    for scenario in 1..dataset.scenario_counts().last().copied().unwrap_or(1) as u32 {
        let rows: Vec<usize> = (0..innermost.len()).filter(|row| innermost[*row] == scenario).collect();
        let of = |column: &[f32]| rows.iter().map(|row| column[*row]).collect::<Vec<f32>>();
        let judged = Judged::of(&of(&task.scores), &of(&task.labels), &of(&relevance));
        found.insert(vocabularies.scenario(vocabularies.manifest().schema.scenarios.len() - 1, scenario), judged);
    }
    Ok(found)
}

/// The mean cosine of scenarios' gates within clusters, and across, of scenarios with different entrances.
fn likeness(gate: &Gate, config: &simulator::Config) -> [f64; 2] {
    let known: Vec<_> = gate
        .rows
        .iter()
        .filter_map(|row| {
            let leaf =
                config.scenarios.iter().find(|leaf| row.scenario == format!("{} / {}", leaf.entrance, leaf.channel));
            Some((leaf?, &row.weights))
        })
        .collect();
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    for (number, (first, a)) in known.iter().enumerate() {
        for (second, b) in known[..number].iter().filter(|(second, _)| second.entrance != first.entrance) {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let across = usize::from(first.cluster != second.cluster);
            sums[across] += dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            counts[across] += 1.0;
        }
    }
    [sums[0] / counts[0], sums[1] / counts[1]]
}

/// What one model came to in one world.
struct Found {
    judged: BTreeMap<String, Judged>,
    /// By the gate's name the likeness within clusters and across.
    gates: BTreeMap<String, [f64; 2]>,
    epochs: f64,
    weights: f64,
}

/// The first time of a split.
fn start(dataset: &Dataset, split: &str) -> Result<i64> {
    let split = dataset.split(split)?;
    let (mut batch, all) = (kitestring_core::Batch::default(), (0..split.rows()).collect::<Vec<u64>>());
    let mut first = i64::MAX;
    for part in all.chunks(8192) {
        split.read(part, Seed(0), &mut batch)?;
        first = batch.time.iter().copied().fold(first, i64::min);
    }
    Ok(first)
}

fn in_world(asked: &Asked, models: &[(&str, &[&str])], world: usize) -> Result<Vec<Found>> {
    let place = tempfile::tempdir();
    let place = place.map_err(|error| Error::io(error, "could not make a folder", "the temporary folder"))?;
    let (raw, threads) = (place.path().join("simulated"), Threads::new(1)?);
    let whole = asked.config(&[], world)?;
    let marketplace = whole.simulator.clone().unwrap_or_default();
    simulator::write(&marketplace, &raw, &mut |_| {})?;
    let truths = Truths::of(&marketplace)?;
    let prepare = |config: &RunConfig, name: &str| {
        let (out, opened) = (place.path().join(name), layout::open(&config.data, &raw)?);
        prepare_folder(&opened, &config.data, &config.schema, (Seed(config.seed), None), &out, &mut |_| {})?;
        Dataset::open(&out)
    };
    let all = prepare(&whole, "all")?;
    let borders = [start(&all, "valid")?, start(&all, "test")?];
    let mut found = Vec::new();
    for (number, (name, overrides)) in models.iter().enumerate() {
        let mut config = asked.config(overrides, world)?;
        let alone = *name == ALONE;
        if alone {
            config.data.split = Some(Split::TimeAt {
                valid: Some(TimeBorder::Number(borders[0])),
                test: Some(TimeBorder::Number(borders[1])),
            });
            for layout in &mut config.data.layouts {
                layout.filters.extend(["entrance", "channel"].iter().zip(SMALL).map(|(column, value)| Filter {
                    column: (*column).into(),
                    keep: Condition::Equals(value.into()),
                    only: Vec::new(),
                }));
            }
        }
        let own = if alone { Some(prepare(&config, "alone")?) } else { None };
        let dataset = own.as_ref().unwrap_or(&all);
        let run = place.path().join(number.to_string());
        std::fs::create_dir_all(&run).map_err(|error| Error::io(error, "could not make the folder", &run))?;
        let fitted = fit(&config, dataset, &run, false, &mut |_| {})?;
        let scored = score(&fitted.model, dataset, &asked.split, &config.evaluate, Seed(0), &threads, &mut |_, _| {})?;
        let judged = judge(dataset, &scored, &truths)?;
        let gates = gates(&fitted.model, dataset, &asked.split, Seed(0))?;
        let gates = gates.iter().filter(|_| !alone).map(|gate| (gate.name.clone(), likeness(gate, &marketplace)));
        eprintln!("world {world}, {name}: {:.4} of {:?}", judged[ALL].on_relevance, fitted.history.best_epoch);
        found.push(Found {
            judged,
            gates: gates.collect(),
            epochs: f64::from(fitted.history.best_epoch.unwrap_or(fitted.history.epochs.len() as u32)),
            weights: fitted.model.network.weights.len() as f64,
        });
    }
    Ok(found)
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let asked = Asked::from_arguments()?;
    let wanted = |name: &str| asked.models.as_ref().is_none_or(|models| models.iter().any(|model| model == name));
    let models: Vec<(&str, &[&str])> = MODELS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let worlds = each(asked.worlds, |world| in_world(&asked, &models, world))?;
    let small = SMALL.join(" / ");
    let Some(first) = worlds.first().and_then(|models| models.first()) else {
        return Err(Error::config("there is no such model, or no world"));
    };
    let scenarios: Vec<&String> = first.judged.keys().collect();
    let values = |model: usize, scenario: &str, of: Measure| -> Vec<f64> {
        worlds.iter().map(|models| models[model].judged.get(scenario).map_or(f64::NAN, of)).collect()
    };
    let measures: [(&str, Measure); 2] =
        [("labels", |judged| judged.on_labels), ("relevance", |judged| judged.on_relevance)];
    let mut lines: Vec<Value> = models
        .iter()
        .enumerate()
        .map(|(model, (name, _))| {
            let average = |of: fn(&Found) -> f64| {
                worlds.iter().map(|models| of(&models[model])).sum::<f64>() / worlds.len() as f64
            };
            json!({"model": name, "weights": average(|found| found.weights), "epochs": average(|found| found.epochs)})
        })
        .collect();
    for (measure, of) in measures {
        for scenario in [small.as_str(), ALL] {
            println!("\nAUC against {measure}, {} of {scenario}, {} worlds", asked.split, asked.worlds);
            println!("{:<28}{:<28}{:<28}", "model", "AUC", format!("{} ahead by", models[0].0));
            for (model, (name, _)) in
                models.iter().enumerate().filter(|(_, (name, _))| *name != ALONE || scenario == small)
            {
                let own = mean(&values(model, scenario, of))?;
                let ahead = mean_difference(&values(0, scenario, of), &values(model, scenario, of))?;
                println!(
                    "{name:<28}{:<28}{:<28}",
                    shown(own, 4),
                    if model == 0 { String::new() } else { shown(ahead, 4) }
                );
                lines[model][format!("{scenario}, {measure}")] = json!({"auc": own, "ahead": ahead});
            }
        }
    }
    println!("\nAUC against relevance by scenario, {}; in brackets what {} is ahead by", asked.split, models[0].0);
    print!("{:<20}{:>8}", "scenario", "ceiling");
    models.iter().for_each(|(name, _)| print!("  {name:>24}"));
    println!();
    for scenario in &scenarios {
        let of = |judged: &Judged| judged.on_relevance;
        print!("{scenario:<20}{:>8.4}", mean(&values(0, scenario, |judged| judged.ceiling))?.value);
        for (model, line) in lines.iter_mut().enumerate() {
            let own = mean(&values(model, scenario, of))?;
            let ahead = mean_difference(&values(0, scenario, of), &values(model, scenario, of))?;
            let half = ahead.interval.map_or(f64::NAN, |[low, high]| (high - low) / 2.0);
            print!("  {:>24}", format!("{:.4} ({:+.4} ± {:.4})", own.value, ahead.value, half));
            line["by scenario"][scenario.as_str()] = json!({"auc": own, "ahead": ahead});
        }
        println!();
    }
    println!("\nCosine of scenarios' mean gates, entrances differing: within a cluster, across clusters, difference");
    for (model, (name, _)) in models.iter().enumerate() {
        for gate in worlds[0][model].gates.keys() {
            let of = |side: usize| -> Vec<f64> {
                worlds
                    .iter()
                    .map(|models| models[model].gates.get(gate).map_or(f64::NAN, |likeness| likeness[side]))
                    .collect()
            };
            let (within, across): (Estimate, Estimate) = (mean(&of(0))?, mean(&of(1))?);
            let more = mean_difference(&of(0), &of(1))?;
            println!("{name:<28}{gate:<20}{:<26}{:<26}{:<26}", shown(within, 3), shown(across, 3), shown(more, 3));
            lines[model]["gates"][gate.as_str()] = json!({"within": within, "across": across, "more": more});
        }
    }
    let line = json!({"task": "clusters", "split": asked.split, "worlds": asked.worlds, "overrides": asked.overrides, "models": lines});
    println!("{line}");
    Ok(())
}
