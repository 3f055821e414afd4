//! Runs side by side as numbers: which may be compared, what each has for a metric, and by how much they differ.

use std::collections::{BTreeMap, BTreeSet};

use kitestring_core::error::{Error, Result};
use kitestring_core::metrics::Bootstrap;
use serde_json::{Map, Value, json};

use super::data::{Estimate, JudgedSplit, Metric, Report};
use crate::evaluate::{Better, mean_over_runs};

/// Runs side by side. Runs that differ in nothing but their seed are one column: the mean over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    /// The runs.
    pub reports: &'a [Report],
    /// The columns: the runs of each, by their places among the reports.
    pub columns: Vec<Vec<usize>>,
    /// Every metric that any run has, in order of appearance.
    pub metrics: Vec<ComparedMetric>,
    /// The config keys in which columns differ, with the value of each column where it has the key.
    pub settings: Vec<(String, Vec<Option<String>>)>,
    /// How many keys are the same in all columns.
    pub same_settings: usize,
    /// Columns whose config cannot be read.
    pub unread: Vec<usize>,
    /// What a reader must know, a sentence each.
    pub notes: Vec<String>,
}

/// One metric and what each column has for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedMetric {
    /// The metric, as the first run that has it says it.
    pub metric: Metric,
    /// The value of each column: of one run with its interval, of several their mean with that of Student's t over the seeds.
    pub values: Vec<Option<Estimate>>,
    /// By how much each column lies above the first: the mean over pairs of the same seed, or of the columns' only runs. The interval is that
    /// of the paired difference, where both have drawn the same users.
    pub differences: Vec<Option<Estimate>>,
}

impl ComparedMetric {
    /// The column with the best value, where there are two to compare.
    pub fn best(&self) -> Option<usize> {
        let better = self.metric.better();
        let known = || {
            self.values.iter().enumerate().filter_map(|(column, value)| Some((column, better.badness((*value)?.value))))
        };
        let known = || known().filter(|(_, badness)| badness.is_finite());
        let best = known().reduce(|best, next| if next.1 < best.1 { next } else { best });
        best.filter(|best| known().any(|(_, badness)| badness > best.1)).map(|best| best.0)
    }

    /// Whether a column is better than the first by more than chance explains: some where the difference's interval tells, which it does not
    /// of a metric that is best near a value.
    pub fn is_better(&self, column: usize) -> Option<bool> {
        let [low, high] = (*self.differences.get(column)?)?.ends()?;
        match self.metric.better() {
            Better::High if low > 0.0 || high < 0.0 => Some(low > 0.0),
            Better::Low if low > 0.0 || high < 0.0 => Some(high < 0.0),
            _ => None,
        }
    }
}

impl<'a> Comparison<'a> {
    /// Compares runs; `names` stand for them in messages.
    ///
    /// # Errors
    /// Runs that were judged on different rows, or that ranked different lists.
    pub fn new(reports: &'a [Report], names: &[String]) -> Result<Self> {
        let mut notes = Vec::new();
        check_rows(reports, names, &mut notes)?;
        let configs: Vec<_> = reports.iter().map(|report| settings(&report.config)).collect();
        let columns = columns(reports, &configs);
        let of_column = |column: &Vec<usize>| column.first().and_then(|run| configs.get(*run)).cloned().flatten();
        let configs: Vec<Option<BTreeMap<String, String>>> = columns.iter().map(of_column).collect();
        let keys: BTreeSet<&String> = configs.iter().flatten().flat_map(BTreeMap::keys).collect();
        let differing = keys.iter().filter_map(|key| {
            let values: Vec<Option<String>> =
                configs.iter().map(|config| config.as_ref()?.get(*key).cloned()).collect();
            values.windows(2).any(|pair| pair[0] != pair[1]).then(|| ((*key).clone(), values))
        });
        let settings: Vec<_> = differing.collect();
        let same_settings = keys.len() - settings.len();
        let unread = (0..configs.len()).filter(|column| configs[*column].is_none()).collect();
        let metrics = metrics(reports, &columns);
        Ok(Self { reports, columns, metrics, settings, same_settings, unread, notes })
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> Value {
        let column = |(number, runs): (usize, &Vec<usize>)| {
            let seeds: Vec<_> = runs.iter().filter_map(|run| self.reports.get(*run)?.seed).collect();
            json!({ "name": super::compare::letter(number), "runs": runs, "seeds": seeds })
        };
        let metric = |entry: &ComparedMetric| {
            let better = match entry.metric.better() {
                Better::High => json!("high"),
                Better::Low => json!("low"),
                Better::Near(value) => json!({ "near": value }),
            };
            json!({
                "split": entry.metric.split,
                "task": entry.metric.task,
                "name": entry.metric.name,
                "better": better,
                "values": entry.values,
                "differences": entry.differences,
                "best": entry.best().map(super::compare::letter),
            })
        };
        let setting = |(key, values): &(String, Vec<Option<String>>)| json!({ "key": key, "values": values });
        let mut all = Map::new();
        all.insert("columns".into(), self.columns.iter().enumerate().map(column).collect());
        all.insert("compared".into(), self.metrics.iter().map(metric).collect());
        all.insert("config".into(), self.settings.iter().map(setting).collect());
        all.insert("notes".into(), json!(self.notes));
        Value::Object(all)
    }
}

/// Refuses runs whose metrics do not measure the same thing.
fn check_rows(reports: &[Report], names: &[String], notes: &mut Vec<String>) -> Result<()> {
    let name = |run: usize| names.get(run).cloned().unwrap_or_else(|| super::compare::letter(run));
    let mut first: BTreeMap<&str, (usize, &JudgedSplit)> = BTreeMap::new();
    for (run, report) in reports.iter().enumerate() {
        if report.judged.is_empty() && !report.metrics.is_empty() {
            notes.push(format!(
                "{} does not say on which rows it was judged: do `kitestring evaluate` to know.",
                name(run)
            ));
        }
        for split in &report.judged {
            let (other, known) = *first.entry(&split.split).or_insert((run, split));
            let what = if known.rows.samples != split.rows.samples {
                format!("the runs were judged on different rows of `{}`", split.split)
            } else if known.rows.lists != 0 && split.rows.lists != 0 && known.rows.lists != split.rows.lists {
                format!("the runs ranked different lists of `{}`", split.split)
            } else {
                continue;
            };
            return Err(Error::config(format!("{what}: {} and {}", name(other), name(run))).mend(
                "prepare the data once, give it to each with --data, or judge each with `kitestring evaluate RUN --data PREPARED --out FOLDER`",
            ));
        }
    }
    Ok(())
}

/// Runs that differ in nothing but their seed and their name stand together.
fn columns(reports: &[Report], configs: &[Option<BTreeMap<String, String>>]) -> Vec<Vec<usize>> {
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for (run, report) in reports.iter().enumerate() {
        let is_like = |other: usize| {
            let is_same = configs[run].is_some() && configs[run] == configs[other];
            is_same && report.model == reports[other].model && report.seed.is_some()
        };
        let has_seed = |column: &Vec<usize>| column.iter().any(|other| reports[*other].seed == report.seed);
        let fits = |column: &&mut Vec<usize>| column.first().is_some_and(|first| is_like(*first)) && !has_seed(column);
        match columns.iter_mut().find(fits) {
            Some(column) => column.push(run),
            None => columns.push(vec![run]),
        }
    }
    columns
}

/// What every metric is in each column, and by how much it differs from the first.
fn metrics(reports: &[Report], columns: &[Vec<usize>]) -> Vec<ComparedMetric> {
    let mut all: Vec<Metric> = Vec::new();
    for report in reports {
        for metric in measured(report) {
            match all.iter_mut().find(|known| is_same(known, &metric)) {
                Some(known) => known.headline |= metric.headline,
                None => all.push(metric),
            }
        }
    }
    let compare = |metric: Metric| {
        let of_run = |run: &usize| {
            let report = reports.get(*run)?;
            Some((report, measured(report).find(|own| is_same(own, &metric))?))
        };
        let of_column = |column: &Vec<usize>| column.iter().filter_map(of_run).collect::<Vec<(&Report, Metric)>>();
        let found: Vec<_> = columns.iter().map(of_column).collect();
        let values = found.iter().map(|runs| value(runs)).collect();
        let differences = found
            .iter()
            .enumerate()
            .map(|(column, runs)| found.first().filter(|_| column > 0).and_then(|first| difference(runs, first)));
        ComparedMetric { differences: differences.collect(), values, metric }
    };
    all.into_iter().map(compare).collect()
}

/// A report's metrics, with those of rankings that are not among them.
fn measured(report: &Report) -> impl Iterator<Item = Metric> {
    let has = |name: &str| report.metrics.iter().any(|metric| metric.name == name);
    let rankings = report.rankings.iter().flat_map(move |ranking| {
        let values = ranking.values.iter().map(|value| (format!("{}@{}", value.metric, value.cutoff), value.estimate));
        values.filter(move |(name, _)| !has(name)).map(|(name, estimate)| Metric {
            split: format!("ranking, {}", ranking.candidates),
            name,
            estimate,
            ..Metric::default()
        })
    });
    report.metrics.iter().cloned().chain(rankings)
}

fn is_same(one: &Metric, other: &Metric) -> bool {
    (&one.split, &one.task, &one.name) == (&other.split, &other.task, &other.name)
}

/// Which users a run's intervals drew on a metric's split; none where it does not say.
fn users(report: &Report, metric: &Metric) -> Option<u64> {
    report.judged.iter().find(|judged| judged.split == metric.split).map(|judged| judged.rows.users)
}

/// The replicates of runs, where all drew the same users; else the bare values.
fn paired(runs: &[&(&Report, Metric)]) -> Vec<Bootstrap> {
    let drawn = |(report, metric): &(&Report, Metric)| (users(report, metric), metric.replicates.len(), metric.units);
    let first = runs.first().map(|run| drawn(run)).filter(|first| first.0.is_some());
    let is_paired = first.is_some() && runs.iter().all(|run| Some(drawn(run)) == first);
    let bootstrap = |(_, metric): &(&Report, Metric)| Bootstrap {
        point: metric.estimate.value,
        replicates: metric.replicates.iter().filter(|_| is_paired).map(|value| f64::from(*value)).collect(),
        units: usize::try_from(metric.units).unwrap_or(usize::MAX),
    };
    runs.iter().map(|run| bootstrap(run)).collect()
}

/// A column's value.
fn value(runs: &[(&Report, Metric)]) -> Option<Estimate> {
    match runs {
        [] => None,
        [(_, only)] => Some(only.estimate),
        runs => Some(mean_over_runs(&paired(&runs.iter().collect::<Vec<_>>()))),
    }
}

/// By how much a column lies above another; none where no run of one is the other's pair.
fn difference(own: &[(&Report, Metric)], first: &[(&Report, Metric)]) -> Option<Estimate> {
    let pairs: Vec<[&(&Report, Metric); 2]> = match (own, first) {
        ([own], [first]) => vec![[own, first]],
        _ => {
            let of_seed = |seed| first.iter().find(|(report, _)| report.seed == seed);
            own.iter().filter_map(|run| Some([run, of_seed(run.0.seed)?])).collect()
        }
    };
    let all: Vec<_> = pairs.iter().flatten().copied().collect();
    let differences: Option<Vec<Bootstrap>> =
        paired(&all).chunks(2).map(|pair| pair.first()?.minus(pair.last()?)).collect();
    differences.filter(|all| !all.is_empty()).map(|all| mean_over_runs(&all))
}

/// A config's values by dotted key, but for what does not change what is learned: the seed and the name. None where it is no TOML.
fn settings(config: &str) -> Option<BTreeMap<String, String>> {
    let table: toml::Table = config.parse().ok()?;
    let mut values = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut values);
    values.retain(|key, _| key != "seed" && key != "name");
    Some(values)
}

fn flatten(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let key = |last: &str| if prefix.is_empty() { last.to_string() } else { format!("{prefix}.{last}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(name, value)| flatten(&key(name), value, into)),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                // Features and tasks have names, which say more than their place.
                let name = item.get("name").and_then(toml::Value::as_str).map_or(index.to_string(), str::to_string);
                flatten(&key(&name), item, into);
            }
        }
        value => {
            into.insert(prefix.to_string(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::evaluate::JudgedRows;

    /// A run's report with one metric of 200 replicates around a value; each draw moves all runs alike.
    fn run(name: &str, value: f64, seed: u64, config: &str) -> Report {
        let noise = |draw: u64| f64::from(kitestring_core::Seed(8).normal_at(draw)) * 0.02;
        let metric = Metric {
            split: "test".into(),
            task: Some("click".into()),
            name: name.into(),
            estimate: Estimate::within(value, value - 0.04, value + 0.04),
            lower_is_better: name == "log-loss",
            best_near: (name == "predicted over observed").then_some(1.0),
            replicates: (0..200).map(|draw| (value + noise(draw)) as f32).collect(),
            units: 500,
            ..Metric::default()
        };
        let rows = JudgedRows { samples: 7, users: 8, lists: 0 };
        let judged = vec![JudgedSplit { split: "test".into(), rows }];
        Report {
            seed: Some(seed),
            metrics: vec![metric],
            judged,
            config: format!("seed = {seed}\n{config}"),
            ..Report::default()
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|run| format!("runs/{run}")).collect()
    }

    #[test]
    fn the_best_is_high_or_low_or_near_a_value() {
        let best = |name: &str, values: [f64; 3]| {
            let reports: Vec<Report> =
                values.iter().zip(0..).map(|(value, at)| run(name, *value, 0, &format!("x = {at}"))).collect();
            Comparison::new(&reports, &names(3)).unwrap().metrics[0].best()
        };
        assert_eq!(best("AUC", [0.7, 0.8, f64::NAN]), Some(1));
        assert_eq!(best("log-loss", [0.7, 0.8, f64::NAN]), Some(0));
        assert_eq!(best("predicted over observed", [0.8, 1.5, 1.1]), Some(2));
        assert_eq!(best("AUC", [0.7, 0.7, f64::NAN]), None);
        assert_eq!(best("AUC", [f64::NAN; 3]), None);
    }

    /// Each run's interval is ±.04, and they overlap; drawn on the same users, the difference of .01 is sure.
    #[test]
    fn a_difference_on_the_same_users_is_paired() {
        let mut reports = [run("AUC", 0.70, 0, "x = 1"), run("AUC", 0.71, 1, "x = 2")];
        let compared = Comparison::new(&reports, &names(2)).unwrap();
        let [low, high] = compared.metrics[0].differences[1].unwrap().interval.unwrap();
        assert!((low - 0.01).abs() < 1e-6 && (high - 0.01).abs() < 1e-6, "{low} {high}");
        assert_eq!((compared.metrics[0].is_better(1), compared.metrics[0].differences[0]), (Some(true), None));
        assert_eq!(compared.settings, [("x".to_owned(), vec![Some("1".to_owned()), Some("2".to_owned())])]);
        // Other users are drawn by number: there is a difference, and no interval of it.
        reports[1].judged[0].rows.users = 9;
        let compared = Comparison::new(&reports, &names(2)).unwrap();
        let found = compared.metrics[0].differences[1].unwrap();
        assert!((found.value - 0.01).abs() < 1e-9 && found.interval.is_none(), "{found:?}");
        let mut loss = [run("log-loss", 0.4, 0, "x = 1"), run("log-loss", 0.5, 0, "x = 2")];
        assert_eq!(Comparison::new(&loss, &names(2)).unwrap().metrics[0].is_better(1), Some(false));
        // A run of few users has no interval of a difference either.
        loss[1].metrics[0].units = 19;
        loss[0].metrics[0].units = 19;
        assert_eq!(Comparison::new(&loss, &names(2)).unwrap().metrics[0].is_better(1), None);
    }

    #[test]
    fn runs_judged_on_different_rows_are_refused() {
        let mut reports = [run("AUC", 0.7, 0, ""), run("AUC", 0.8, 0, "")];
        reports[1].judged[0].rows.samples = 70;
        let error = Comparison::new(&reports, &names(2)).unwrap_err();
        assert_eq!(error.kind(), kitestring_core::Kind::Config);
        let shown = error.to_string();
        assert!(shown.contains("different rows of `test`: runs/0 and runs/1") && shown.contains("--data"), "{shown}");
        reports[1].judged[0].rows = JudgedRows { lists: 3, ..reports[0].judged[0].rows };
        assert!(Comparison::new(&reports, &names(2)).is_ok(), "one of them ranked nothing");
        reports[0].judged[0].rows.lists = 4;
        let shown = Comparison::new(&reports, &names(2)).unwrap_err().to_string();
        assert!(shown.contains("ranked different lists of `test`"), "{shown}");
        // A run that does not say is compared, with a note.
        reports[1].judged.clear();
        let compared = Comparison::new(&reports, &names(2)).unwrap();
        assert!(compared.notes[0].starts_with("runs/1 does not say on which rows"), "{:?}", compared.notes);
        assert_eq!(compared.metrics[0].differences[1].unwrap().interval, None);
    }

    /// Runs of several seeds are a column: two with a spread of .01 tell little, by Student's t; their paired difference is sure.
    #[test]
    fn seeds_are_one_column() {
        let both = |lead: f64, config: &str| [run("AUC", 0.70 + lead, 0, config), run("AUC", 0.72 + lead, 1, config)];
        let reports = [both(0.0, "x = 1"), both(0.05, "x = 2")].concat();
        let compared = Comparison::new(&reports, &names(4)).unwrap();
        assert_eq!(compared.columns, [[0, 1], [2, 3]]);
        let entry = &compared.metrics[0];
        let first = entry.values[0].unwrap();
        assert!((first.value - 0.71).abs() < 1e-9);
        let [low, high] = first.interval.unwrap();
        let t = 12.706 * 0.01;
        assert!(high - first.value > t && high - first.value < t * 1.2 && first.value - low > t, "{low} {high}");
        let [low, high] = entry.differences[1].unwrap().interval.unwrap();
        assert!(low > 0.049 && high < 0.051, "{low} {high}");
        // The same seed twice is no spread.
        let twice = [run("AUC", 0.7, 0, ""), run("AUC", 0.7, 0, "")];
        assert_eq!(Comparison::new(&twice, &names(2)).unwrap().columns.len(), 2);
        let json = compared.to_json();
        assert_eq!(json["columns"][1]["seeds"], json!([0, 1]));
        assert_eq!((&json["compared"][0]["best"], &json["compared"][0]["better"]), (&json!("B"), &json!("high")));
    }
}
