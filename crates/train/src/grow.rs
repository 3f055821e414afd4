//! A trained model for more scenarios, tasks and ids than it was trained with.
//!
//! A run's model becomes the start of another one. Its data set goes on with the run's vocabularies
//! ([`Options::like`](kitestring_data::prepare::Options::like)), so that every id keeps its row: new scenarios and ids are numbered behind
//! the old ones. The schema may have more tasks.
//!
//! - A new scenario starts as the nearest one: unless it is named, the one with the most training rows among those with the same parent
//!   (or its nearest), by the counts of the run.
//! - A new task starts as the nearest one: unless it is named, the one it comes after if that is of its kind, else the first of its kind.
//! - A new id starts with the row of unknown values, which stood for it before.
//!
//! So every prediction the run could make is the same to the bit until training goes on; [`kitestring_nn::grow`] says how, and how the new
//! ones score. What the optimizers remember does not come along: steps are counted from one. With nothing new this is a warm start.

use crate::config::RunConfig;
use crate::model::Model;
use kitestring_core::schema::Task;
use kitestring_core::{Error, Result, Schema};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_nn::grow::{Origin, Origins};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_table::{Space, Table};
use std::sync::Arc;

/// Which ones new ones start as, where it is not the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nearest {
    /// `NEW=OLD` of scenarios, each its values from the outermost level joined by `/`.
    pub scenarios: Vec<String>,
    /// `NEW=OLD` of tasks.
    pub tasks: Vec<String>,
}

/// A model that starts as another one.
#[derive(Debug)]
pub struct Grown {
    /// The model.
    pub model: Model,
    /// What is new: for each its kind (`scenario` or `task`), its name, and that of the one it starts as.
    pub added: Vec<[String; 3]>,
}

/// Grows a model to what a data set and a config have. `known` are the vocabularies it was trained with.
///
/// # Errors
/// Another feature, table or model than the old ones, a task that is gone, a data set with other ids, a nearest one there is not: each
/// names the key and the mend.
pub fn grow(
    old: &Model,
    known: &Vocabularies,
    (config, dataset): (&RunConfig, &Dataset),
    nearest: &Nearest,
) -> Result<Grown> {
    check(old, config)?;
    let schema = dataset.schema();
    let new = dataset.vocabularies()?;
    check_ids(known, &new)?;
    let mut added = Vec::new();
    let scenarios = scenarios(known, &new, &nearest.scenarios, &mut added)?;
    let tasks = tasks(&old.schema, schema, &nearest.tasks, &mut added)?;
    let counts = dataset.scenario_counts();
    let ranker = Ranker::new(schema, &config.model, &counts)?;
    let network = old.network.grown(&old.graph, &ranker.graph, &Origins { tasks, scenarios })?;
    let tables = old.tables.iter().map(|table| {
        let space = match (table.config().space, dataset.table_size(table.name())?) {
            (Space::Direct { .. }, Some(rows)) => Space::Direct { rows },
            _ => Space::Open(config.train.open),
        };
        table.restarted(space, config.train.rows, known.manifest().unknown_id())
    });
    let tables = tables.collect::<Result<Vec<Table>>>()?;
    let (schema, config) = (schema.clone(), config.model.clone());
    let vocabulary_hash = Some(dataset.vocabulary_hash()?);
    let model =
        Model { schema, config, scenarios: counts, graph: Arc::new(ranker.graph), network, tables, vocabulary_hash };
    Ok(Grown { model, added })
}

/// Checks what needs no data: that a config's model is the old one, perhaps with more tasks.
///
/// # Errors
/// A config error that names the key and the mend.
pub fn check(old: &Model, config: &RunConfig) -> Result<()> {
    config.schema.check_grown_from(&old.schema)?;
    check_model(&old.config, &config.model)
}

/// Keys that act in training alone, wherever they stand in `[model]`: these may differ.
const OF_TRAINING: [&str; 10] = [
    "dropout",
    "gate_dropout",
    "noise",
    "noise_half_life",
    "specific_weight",
    "shared_weight",
    "importance_weight",
    "load_weight",
    "draws",
    "own",
];

/// Checks that both predict by the same formula.
fn check_model(old: &ModelConfig, new: &ModelConfig) -> Result<()> {
    let value = |config: &ModelConfig| {
        let mut value = serde_json::to_value(config).map_err(|error| Error::internal("the model").caused_by(error))?;
        // Which tasks are weighed how, and which have a bias, is a matter of the tasks.
        value["loss"] = serde_json::Value::Null;
        if let Some(bias) = value["bias"].as_object_mut() {
            bias.remove("tasks");
        }
        Ok(value)
    };
    let Some((key, old)) = difference("model", &value(old)?, &value(new)?) else { return Ok(()) };
    Err(Error::config("the run to start from has another value here")
        .in_field(key)
        .mend(format!("set it to {old}, or train a new model")))
}

/// The first key whose values differ, and the old value.
fn difference(key: &str, old: &serde_json::Value, new: &serde_json::Value) -> Option<(String, String)> {
    if let (Some(old), Some(new)) = (old.as_object(), new.as_object()) {
        // Another variant has other keys.
        let keys = ["type"].into_iter().chain(old.keys().chain(new.keys()).map(String::as_str));
        let null = serde_json::Value::Null;
        let mut keys = keys.filter(|key| !OF_TRAINING.contains(key));
        return keys.find_map(|part| {
            difference(&format!("{key}.{part}"), old.get(part).unwrap_or(&null), new.get(part).unwrap_or(&null))
        });
    }
    (old != new).then(|| (key.to_owned(), if old.is_null() { "its default".to_owned() } else { old.to_string() }))
}

/// Checks that every id means what it meant.
fn check_ids(old: &Vocabularies, new: &Vocabularies) -> Result<()> {
    let other = |what: &str, field: String| {
        Err(Error::config(format!("{what} in the data set as in the run to start from"))
            .in_field(field)
            .mend("prepare the data with --like and that run"))
    };
    let manifests = [old.manifest(), new.manifest()];
    for (old, new) in manifests[0].fitted.iter().zip(&manifests[1].fitted) {
        if (old.mean, old.deviation, &old.borders) != (new.mean, new.deviation, &new.borders) {
            return other("the number is not scaled", old.feature.clone());
        }
    }
    let tables = manifests.map(|manifest| manifest.tables.iter().map(|table| table.vocabulary));
    let levels = manifests.map(|manifest| manifest.scenarios.iter().map(|level| Some(*level)));
    let ([old_tables, new_tables], [old_levels, new_levels]) = (tables, levels);
    for pair in old_tables.chain(old_levels).zip(new_tables.chain(new_levels)) {
        let (Some(of_old), Some(of_new)) = pair else { continue };
        let info = &manifests[0].vocabularies[of_old];
        let same = |id: u32| old.text(of_old, id.into()) == new.text(of_new, id.into());
        if manifests[1].vocabularies[of_new].ids < info.ids || !(1..info.ids).all(same) {
            return other("values are not numbered", info.name.clone());
        }
    }
    Ok(())
}

/// A scenario level in the vocabularies of the run and in those of the data set.
struct Level<'a> {
    vocabularies: [&'a Vocabularies; 2],
    number: usize,
    /// How many scenarios, with the unseen one.
    counts: [u32; 2],
}

impl<'a> Level<'a> {
    fn new(vocabularies: [&'a Vocabularies; 2], number: usize) -> Self {
        let count = |all: &Vocabularies| {
            let manifest = all.manifest();
            manifest
                .scenarios
                .get(number)
                .and_then(|level| manifest.vocabularies.get(*level))
                .map_or(1, |info| info.ids)
        };
        Self { vocabularies, number, counts: vocabularies.map(count) }
    }

    fn name(&self, id: u32) -> String {
        self.vocabularies[1].scenario(self.number, id)
    }

    /// The scenario of a name among those below a number.
    fn find(&self, name: &str, below: u32) -> Option<u32> {
        let plain = |name: &str| name.split('/').map(str::trim).collect::<Vec<_>>().join("/");
        let name = plain(name);
        (1..below).find(|id| plain(&self.name(*id)) == name)
    }

    fn is_new(&self, id: u32) -> bool {
        id >= self.counts[0]
    }

    /// How many training rows a scenario had in the run.
    fn rows(&self, id: u32) -> u32 {
        let level = self.vocabularies[0].manifest().scenarios.get(self.number);
        level.map_or(0, |level| self.vocabularies[0].count(*level, id.into()))
    }
}

/// Where the scenarios of every level come from.
fn scenarios(
    old: &Vocabularies,
    new: &Vocabularies,
    chosen: &[String],
    added: &mut Vec<[String; 3]>,
) -> Result<Vec<Vec<Origin>>> {
    let levels: Vec<Level<'_>> =
        (0..new.manifest().scenarios.len()).map(|number| Level::new([old, new], number)).collect();
    let chosen = chosen.iter().map(|text| chosen_scenario(text, &levels)).collect::<Result<Vec<_>>>()?;
    let mut all: Vec<Vec<Origin>> = Vec::new();
    for level in &levels {
        // Without a seen scenario there is one row all the same.
        let mut origins: Vec<Origin> =
            (0..level.counts[0].saturating_sub(1).max(1) as usize).map(Origin::Kept).collect();
        if level.counts[0] < 2 && level.counts[1] > 1 {
            return Err(Error::config("the run to start from has no scenario here that a new one could start as")
                .in_field(format!("schema.scenarios.{}", new.manifest().schema.scenarios[level.number].name))
                .mend("train a new model"));
        }
        for id in level.counts[0]..level.counts[1] {
            let given = chosen.iter().find(|(number, new, _)| (*number, *new) == (level.number, id));
            let nearest = given.map_or_else(|| default_scenario(&levels, &all, level, id), |(_, _, nearest)| *nearest);
            added.push(["scenario".into(), level.name(id), level.name(nearest)]);
            origins.push(Origin::Copied(nearest as usize - 1));
        }
        all.push(origins);
    }
    Ok(all)
}

/// The old scenario with the most training rows among those with the same parent, or with the one that the parent starts as.
fn default_scenario(levels: &[Level<'_>], origins: &[Vec<Origin>], level: &Level<'_>, id: u32) -> u32 {
    let parent_of =
        |id: u32| level.name(id).rsplit_once(" / ").map(|(parent, _)| parent.to_owned()).unwrap_or_default();
    let parent = level.number.checked_sub(1).and_then(|outer| {
        let (outer, origins) = (levels.get(outer)?, origins.get(outer)?);
        let parent = outer.find(&parent_of(id), outer.counts[1])?;
        match origins.get(parent as usize - 1)? {
            Origin::Kept(number) | Origin::Copied(number) => Some(outer.name(*number as u32 + 1)),
        }
    });
    let most = |of: &dyn Fn(u32) -> bool| {
        (1..level.counts[0]).filter(|id| of(*id)).max_by_key(|id| (level.rows(*id), std::cmp::Reverse(*id)))
    };
    let related = parent.and_then(|parent| most(&|id| parent_of(id) == parent));
    related.or_else(|| most(&|_| true)).unwrap_or(1)
}

/// The level, the new scenario and the old one of `NEW=OLD`. Names may have a `=` themselves.
fn chosen_scenario(text: &str, levels: &[Level<'_>]) -> Result<(usize, u32, u32)> {
    let cuts = || text.match_indices('=').map(|(at, _)| (text[..at].trim(), text[at + 1..].trim()));
    let known = |name: &str| levels.iter().find_map(|level| Some((level, level.find(name, level.counts[1])?)));
    let Some((name, nearest)) = cuts().find(|(name, _)| known(name).is_some()).or_else(|| cuts().next()) else {
        return Err(unequal(text, "--nearest", "\"live/room=live/hall\""));
    };
    let names = |new: bool| {
        let each = |level: &Level<'_>| {
            (1..level.counts[1]).filter(|id| level.is_new(*id) == new).map(|id| level.name(id)).collect::<Vec<_>>()
        };
        levels.iter().flat_map(each).collect::<Vec<_>>()
    };
    let (level, id) = known(name).ok_or_else(|| {
        Error::config(format!("the data set has no new scenario `{name}`"))
            .in_field("--nearest")
            .suggest(name, names(true).iter().map(String::as_str))
    })?;
    if !level.is_new(id) {
        return Err(Error::config(format!("`{name}` is not new: the run to start from has it"))
            .in_field("--nearest")
            .mend("name new scenarios only; the others go on from where they are"));
    }
    let found = level.find(nearest, level.counts[0]);
    let found = found.ok_or_else(|| {
        let what = format!("the run to start from has no scenario `{nearest}` on the level of `{name}`");
        Error::config(what).in_field("--nearest").suggest(nearest, names(false).iter().map(String::as_str))
    })?;
    Ok((level.number, id, found))
}

/// Where the tasks come from.
fn tasks(old: &Schema, new: &Schema, chosen: &[String], added: &mut Vec<[String; 3]>) -> Result<Vec<Origin>> {
    let names = |tasks: &[Task]| tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>();
    let mut pairs = Vec::with_capacity(chosen.len());
    for text in chosen {
        let Some((name, nearest)) = text.split_once('=').map(|(name, nearest)| (name.trim(), nearest.trim())) else {
            return Err(unequal(text, "--nearest-task", "like=click"));
        };
        if new.task(name).is_none() {
            return Err(Error::config(format!("there is no task `{name}`"))
                .in_field("--nearest-task")
                .suggest(name, names(&new.tasks).iter().map(String::as_str)));
        }
        if old.task(name).is_some() {
            return Err(Error::config(format!("`{name}` is not new: the run to start from has it"))
                .in_field("--nearest-task")
                .mend("name new tasks only; the others go on from where they are"));
        }
        let number = old.task(nearest).ok_or_else(|| {
            let what = format!("the run to start from has no task `{nearest}`");
            Error::config(what)
                .in_field("--nearest-task")
                .suggest(nearest, names(&old.tasks).iter().map(String::as_str))
        })?;
        pairs.push((name, number));
    }
    let origin = |task: &Task| {
        if let Some(number) = old.task(&task.name) {
            return Ok(Origin::Kept(number));
        }
        let given = pairs.iter().find(|(name, _)| *name == task.name).map(|(_, number)| *number);
        let alike = |number: &usize| old.tasks[*number].kind == task.kind;
        let before = || task.after.as_deref().and_then(|after| old.task(after)).filter(alike);
        let nearest = given.or_else(before).or_else(|| (0..old.tasks.len()).find(alike));
        nearest.map(Origin::Copied).ok_or_else(|| {
            Error::config("the run to start from has no task of this kind that it could start as")
                .in_field(format!("schema.tasks.{}", task.name))
                .mend(format!("name one with --nearest-task {}={}", task.name, old.tasks[0].name))
        })
    };
    let origins = new.tasks.iter().map(origin).collect::<Result<Vec<_>>>()?;
    for (task, origin) in new.tasks.iter().zip(&origins) {
        if let Origin::Copied(number) = origin {
            added.push(["task".into(), task.name.clone(), old.tasks[*number].name.clone()]);
        }
    }
    Ok(origins)
}

fn unequal(text: &str, field: &str, example: &str) -> Error {
    Error::config(format!("`{text}` has no `=`")).in_field(field).mend(format!("write it as {field} {example}"))
}
