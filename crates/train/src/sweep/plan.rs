//! What a sweep trains: a file that names a config and the values to try, made into points and runs.

use crate::config::RunConfig;
use crate::config_error::explain;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::ranker::Ranker;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More runs than this are a slip of the pen.
const MOST_RUNS: usize = 10_000;

/// A sweep file. Points are the named ones (or the config as it is), times all combinations of the grid, times the random draws; each
/// point is trained once a seed. Of the same key, what a draw says counts before the grid, and the grid before a named point.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepFile {
    /// The config that every run starts from, relative to this file.
    pub config: PathBuf,
    /// The seeds of each point's runs. The data is prepared once, with the config's own seed.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Values of keys for every run.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// Points with names.
    #[serde(default)]
    pub points: Vec<Named>,
    /// The values to try for each key; all combinations are.
    #[serde(default)]
    pub grid: BTreeMap<String, Vec<toml::Value>>,
    /// Values drawn at random.
    #[serde(default)]
    pub random: Option<Random>,
    /// Whether runs keep their models. Without, a run keeps its config, its metrics and its log.
    #[serde(default = "yes")]
    pub keep_models: bool,
}

fn yes() -> bool {
    true
}

/// A point with a name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
    /// What it sets.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
}

/// Random search (Bergstra and Bengio 2012): each draw has a value for every key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// How many draws.
    pub draws: u64,
    /// Decides them.
    #[serde(default)]
    pub seed: u64,
    /// Where each key's values come from.
    pub keys: BTreeMap<String, Values>,
}

/// Where random values come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Values {
    /// One of these.
    OneOf(Vec<toml::Value>),
    /// A number between two.
    Between(Between),
}

/// A number between two, both included.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The least.
    pub from: f64,
    /// The greatest.
    pub to: f64,
    /// Whether the logarithm is uniform, as for learning rates.
    #[serde(default)]
    pub log: bool,
    /// Whether it is a whole number.
    #[serde(default)]
    pub whole: bool,
}

/// One setting of all keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is called.
    pub name: String,
    /// The folder of its runs, within the sweep's.
    pub folder: String,
    /// What it changes in the config.
    pub settings: BTreeMap<String, toml::Value>,
    /// The config, with the sweep's first seed.
    pub config: RunConfig,
}

/// A sweep, worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Its name: the file's.
    pub name: String,
    /// The config before anything is varied, which says what the data are.
    pub base: RunConfig,
    /// The points, at least one.
    pub points: Vec<Point>,
    /// The seeds, at least one.
    pub seeds: Vec<u64>,
    /// Whether runs keep their models.
    pub keep_models: bool,
}

/// One run of a sweep: the number of its point, and its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunOf {
    /// The point.
    pub point: usize,
    /// The seed.
    pub seed: u64,
}

impl Sweep {
    /// Reads a sweep file and the config it names. `overrides` are `key=value` for every run.
    ///
    /// # Errors
    /// A config error that names the file and the key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(error, "could not read the sweep", path))?;
        let parsed: SweepFile = toml::from_str(&text).map_err(|error| {
            let error = explain(&error, &text).in_file(&file);
            // A config in the place of a sweep is the likeliest mistake.
            let is_config = text.lines().any(|line| line.trim() == "[schema]");
            if is_config { error.mend("this is a run's config; a sweep names one: config = \"FILE\"") } else { error }
        })?;
        let base = RunConfig::read(&path.parent().unwrap_or(Path::new(".")).join(&parsed.config), overrides)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::new(name, base, &parsed).map_err(|error| error.in_file(file))
    }

    /// Works out the points of a sweep over a config.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(name: String, base: RunConfig, file: &SweepFile) -> Result<Self> {
        let wrong = |field: &str, what: String| Err(Error::config(what).in_field(field));
        let seeds = if file.seeds.is_empty() { vec![base.seed] } else { file.seeds.clone() };
        if seeds.iter().collect::<BTreeSet<_>>().len() < seeds.len() {
            return wrong("seeds", "a seed stands here twice".into());
        }
        if let Some((key, _)) = file.grid.iter().find(|(_, values)| values.is_empty()) {
            return wrong(&format!("grid.\"{key}\""), "there is no value to try".into());
        }
        let draws = file.random.as_ref().map_or(Ok(vec![BTreeMap::new()]), Random::draw)?;
        let mut combinations: Vec<BTreeMap<String, toml::Value>> = vec![BTreeMap::new()];
        for (key, values) in &file.grid {
            let with = |combination: &BTreeMap<String, toml::Value>, value: &toml::Value| {
                let mut combination = combination.clone();
                combination.insert(key.clone(), value.clone());
                combination
            };
            if combinations.len().saturating_mul(values.len()) > MOST_RUNS {
                return wrong("grid", format!("there are more than {MOST_RUNS} combinations"));
            }
            combinations =
                combinations.iter().flat_map(|left| values.iter().map(move |value| with(left, value))).collect();
        }
        let unnamed = [Named { name: String::new(), set: BTreeMap::new() }];
        let named = if file.points.is_empty() { &unnamed[..] } else { &file.points };
        let runs = [named.len(), combinations.len(), draws.len(), seeds.len()]
            .iter()
            .fold(1, |a: usize, b| a.saturating_mul(*b));
        if runs == 0 || runs > MOST_RUNS {
            return wrong("seeds", format!("these are {runs} runs; a sweep has 1 to {MOST_RUNS}"));
        }
        let mut sweep = Self { name, base, points: Vec::new(), seeds, keep_models: file.keep_models };
        for named in named {
            for combination in &combinations {
                for draw in &draws {
                    let varied: BTreeMap<_, _> =
                        combination.iter().chain(draw).map(|(k, v)| (k.clone(), v.clone())).collect();
                    sweep.add(named, &file.set, varied, file.random.is_some())?;
                }
            }
        }
        Ok(sweep)
    }

    fn add(
        &mut self,
        named: &Named,
        common: &BTreeMap<String, toml::Value>,
        varied: BTreeMap<String, toml::Value>,
        random: bool,
    ) -> Result<()> {
        let mut settings = common.clone();
        settings.extend(named.set.clone());
        settings.extend(varied.clone());
        let name = label(&named.name, &varied);
        if let Some(twin) = self.points.iter().find(|point| point.name == name) {
            // Two draws may be the same; two points that somebody wrote down may not.
            return match twin.settings == settings && random {
                true => Ok(()),
                false => Err(Error::config(format!("there are two points `{name}`")).mend("give them different names")),
            };
        }
        let mut config = self.base.configured(&settings, &format!("point `{name}`"))?;
        let base = &self.base;
        if (&config.data, &config.schema, &config.simulator) != (&base.data, &base.schema, &base.simulator) {
            return Err(Error::config(
                "a sweep prepares its data once: it cannot vary [data], [schema] or [simulator]",
            )
            .in_field(format!("point `{name}`"))
            .mend("prepare data sets of their own, and sweep over each"));
        }
        config.name = Some(name.clone());
        config.seed = self.seeds.first().copied().unwrap_or_default();
        let slug = slug(&name);
        let taken = |folder: &str| self.points.iter().any(|point| point.folder == folder);
        let folder = match taken(&slug) {
            true => (2..).map(|number| format!("{slug}-{number}")).find(|folder| !taken(folder)).unwrap_or_default(),
            false => slug,
        };
        self.points.push(Point { name, folder, settings, config });
        Ok(())
    }

    /// Every run: all points with the first seed, then all with the next, so that a sweep that is cut short compares what it has.
    pub fn runs(&self) -> Vec<RunOf> {
        let points = |seed: &u64| {
            let seed = *seed;
            (0..self.points.len()).map(move |point| RunOf { point, seed })
        };
        self.seeds.iter().flat_map(points).collect()
    }

    /// The config of a run.
    pub fn config(&self, run: RunOf) -> Option<RunConfig> {
        let point = self.points.get(run.point)?;
        Some(RunConfig { seed: run.seed, ..point.config.clone() })
    }

    /// The folder of a run, within the sweep's.
    pub fn folder(&self, run: RunOf) -> PathBuf {
        let point = self.points.get(run.point).map(|point| point.folder.as_str()).unwrap_or_default();
        Path::new(point).join(format!("seed-{}", run.seed))
    }

    /// Checks that every point is a ranker, before any is trained.
    ///
    /// # Errors
    /// The first config error, with the point's name.
    pub fn check(&self, scenarios: &[usize]) -> Result<()> {
        for point in &self.points {
            let ranker = Ranker::new(&point.config.schema, &point.config.model, scenarios);
            ranker.map_err(|error| match error.place().field.clone() {
                Some(field) => error.in_field(format!("{field} of point `{}`", point.name)),
                None => error.in_field(format!("point `{}`", point.name)),
            })?;
        }
        Ok(())
    }
}

impl Random {
    fn draw(&self) -> Result<Vec<BTreeMap<String, toml::Value>>> {
        for (key, values) in &self.keys {
            let wrong = |what: &str| Err(Error::config(what).in_field(format!("random.keys.\"{key}\"")));
            match values {
                Values::OneOf(values) if values.is_empty() => return wrong("there is no value to draw"),
                Values::Between(Between { from, to, .. }) if !(from <= to && from.is_finite() && to.is_finite()) => {
                    return wrong("`from` must be at most `to`");
                }
                Values::Between(Between { from, log: true, .. }) if *from <= 0.0 => {
                    return wrong("only positive numbers have a logarithm");
                }
                _ => {}
            }
        }
        let draw = |draw: u64| {
            let value = |(key, values): (&String, &Values)| {
                // By the key and the draw's number: another key, or more draws, changes none of these.
                (key.clone(), values.draw(f64::from(Seed(self.seed).child("sweep").child(key).unit_at(draw))))
            };
            self.keys.iter().map(value).collect()
        };
        if self.draws > MOST_RUNS as u64 {
            return Err(Error::config(format!("more than {MOST_RUNS} draws")).in_field("random.draws"));
        }
        Ok((0..self.draws).map(draw).collect())
    }
}

impl Values {
    /// The value at a share of the way through.
    fn draw(&self, share: f64) -> toml::Value {
        match self {
            Self::OneOf(values) => {
                let at = ((share * values.len() as f64) as usize).min(values.len().saturating_sub(1));
                values[at].clone()
            }
            Self::Between(Between { from, to, log, whole }) => {
                // A whole number stands for everything that rounds to it.
                let (from, to) = if *whole { (from - 0.5, to + 0.5) } else { (*from, *to) };
                let value = if *log {
                    let low = if *whole { from.max(0.5) } else { from };
                    (low.ln() + share * (to.ln() - low.ln())).exp()
                } else {
                    from + share * (to - from)
                };
                match whole {
                    true => toml::Value::Integer(value.round().clamp(from.ceil(), to.floor()) as i64),
                    // Four digits tell draws apart and can be read.
                    false => toml::Value::Float(format!("{value:.3e}").parse().unwrap_or(value)),
                }
            }
        }
    }
}

/// A point's name: its own, then what is varied, each key by its last word, a variant by its name alone.
fn label(name: &str, varied: &BTreeMap<String, toml::Value>) -> String {
    let mut parts: Vec<String> = Some(name.to_owned()).filter(|name| !name.is_empty()).into_iter().collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    for (key, value) in varied {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let short = last(key);
        let shared = varied.keys().filter(|other| last(other) == short).count() > 1;
        parts.push(match (short.as_str(), shared) {
            ("type", false) => value,
            (_, false) => format!("{short} {value}"),
            (_, true) => format!("{key} {value}"),
        });
    }
    if parts.is_empty() { "as it is".into() } else { parts.join(", ") }
}

/// A name as a folder's.
fn slug(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_alphanumeric() || matches!(letter, '.' | '_' | '=') { letter } else { '-' };
    let words: Vec<char> = name.chars().map(letter).collect();
    let words: String = words.into_iter().collect();
    let parts: Vec<&str> = words.split('-').filter(|part| !part.is_empty()).collect();
    let name: String = parts.join("-").trim_start_matches('.').chars().take(80).collect();
    if name.is_empty() { "point".into() } else { name }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BASE: &str =
        "[schema]\nfeatures = [{ name = \"item\", kind = \"categorical\" }]\ntasks = [{ name = \"click\" }]\n";

    fn sweep(text: &str) -> Result<Sweep> {
        let base = RunConfig::parse(BASE, "base.toml", &[])?;
        Sweep::new("s".into(), base, &toml::from_str(&format!("config = \"base.toml\"\n{text}")).unwrap())
    }

    #[test]
    fn points_times_grid_times_seeds() {
        let found = sweep(
            "seeds = [3, 4]\n[set]\n\"train.epochs\" = 7\n[[points]]\nname = \"small\"\nset = { \"model.dimension\" = 4 }\n[[points]]\nname = \"large\"\n\
             [grid]\n\"model.body.type\" = [\"mlp\", \"mmoe\"]\n\"model.body.units\" = [[8]]\n",
        );
        // MMoE has no units of its own: the point says so by its name.
        let message = found.unwrap_err().to_string();
        assert!(message.contains("small, mmoe, units [8]") && message.contains("has no key `units`"), "{message}");
        let found = sweep(
            "seeds = [3, 4]\n[set]\n\"train.epochs\" = 7\n[[points]]\nname = \"small\"\nset = { \"model.dimension\" = 4 }\n[[points]]\nname = \"large\"\n\
             [grid]\n\"model.body.type\" = [\"shared_bottom\", \"mmoe\"]\n\"train.learning_rate\" = [1e-3, 1e-2]\n",
        )
        .unwrap();
        let names: Vec<&str> = found.points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(
            names[..3],
            [
                "small, shared_bottom, learning_rate 0.001",
                "small, shared_bottom, learning_rate 0.01",
                "small, mmoe, learning_rate 0.001"
            ]
        );
        assert_eq!((names.len(), found.runs().len()), (8, 16));
        assert!(found.points.iter().all(|point| point.config.train.epochs == Some(7)));
        assert_eq!((found.points[0].config.model.dimension, found.points[4].config.model.dimension), (4, 16));
        let run = found.runs()[9];
        assert_eq!((run, found.config(run).unwrap().seed), (RunOf { point: 1, seed: 4 }, 4));
        assert_eq!(found.folder(run), Path::new("small-shared_bottom-learning_rate-0.01/seed-4"));
        let folders: BTreeSet<&str> = found.points.iter().map(|point| point.folder.as_str()).collect();
        assert_eq!(folders.len(), 8);
    }

    /// A key that sorts before its variant's `type` is still set after it.
    #[test]
    fn a_variant_is_chosen_before_its_keys() {
        let found = sweep("[grid]\n\"model.body.type\" = [\"mmoe\"]\n\"model.body.experts\" = [3]\n").unwrap();
        let text = found.points[0].config.to_toml().unwrap();
        assert!(text.contains("experts = 3"), "{text}");
    }

    #[test]
    fn draws_are_within_and_stay_when_more_are_added() {
        let text = |draws: u64| {
            format!(
                "[random]\ndraws = {draws}\nseed = 5\n[random.keys]\n\"train.learning_rate\" = {{ from = 1e-4, to = 1e-2, log = true }}\n\
                 \"model.dimension\" = {{ from = 4, to = 6, whole = true }}\n\"train.batch_size\" = [256, 512]\n"
            )
        };
        let (few, many) = (sweep(&text(3)).unwrap(), sweep(&text(200)).unwrap());
        // The same draw twice is one point.
        assert!((195..=200).contains(&many.points.len()), "{}", many.points.len());
        assert_eq!(few.points[..], many.points[..3]);
        let mut dimensions = BTreeMap::new();
        for point in &many.points {
            let rate = point.config.train.learning_rate;
            assert!((1e-4..=1e-2).contains(&rate), "{rate}");
            *dimensions.entry(point.config.model.dimension).or_insert(0) += 1;
        }
        // A logarithm is uniform: half of the draws lie below the geometric mean.
        let low = many.points.iter().filter(|point| point.config.train.learning_rate < 1e-3).count();
        assert!((70..=130).contains(&low), "{low}");
        assert_eq!(dimensions.keys().copied().collect::<Vec<_>>(), [4, 5, 6]);
        assert!(dimensions.values().all(|count| *count > 40), "{dimensions:?}");
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| sweep(text).unwrap_err().to_string();
        assert!(refused("seeds = [1, 1]").contains("`seeds`"));
        assert!(refused("[grid]\n\"train.epochs\" = []").contains("no value to try"));
        assert!(refused("[grid]\n\"train.epochz\" = [1]").contains("did you mean `train.epochs`?"));
        assert!(refused("[grid]\n\"data.max_bad_rows\" = [1]").contains("cannot vary [data]"));
        assert!(refused("[[points]]\nname = \"a\"\n[[points]]\nname = \"a\"").contains("two points `a`"));
        assert!(refused("[random]\ndraws = 1\nkeys = { \"train.epochs\" = { from = 3, to = 1 } }").contains("at most"));
        assert!(refused("[random]\ndraws = 0\nkeys = {}").contains("0 runs"));
        assert!(refused("[grid]\n\"train.learning_rate\" = [-1.0]").contains("train.learning_rate"));
        let found = sweep("[grid]\n\"model.body\" = [{ type = \"aesm2\", scenarios = { experts = 2, specific = 5 } }]");
        let error = found.unwrap().check(&[]).unwrap_err().to_string();
        assert!(error.contains("of point `body"), "{error}");
    }
}
