//! Several runs side by side.

use std::collections::{BTreeMap, BTreeSet};

use maud::html;

use super::data::{Curve, Estimate, Metric, Report};
use super::format::{capital, count, number};
use super::page::{Figure, Section, Table, figures, page};
use super::plot::{Axis, Plot, Row, Rows, Series, legend};
use super::sections::headline::name;
use super::thin::buckets;

/// Runs side by side as one self-contained HTML file: metrics with their intervals, learning curves over each other, and
/// the config keys in which the runs differ.
pub fn compare(reports: &[Report]) -> String {
    let names = names(reports);
    let title = format!("{} runs compared", reports.len());
    let key: Vec<_> = names.iter().enumerate().map(|(index, name)| (Series(index), name.clone())).collect();
    let lead = html! { div.note { (legend(&key)) } };
    let parts = [runs(reports, &names), metrics(reports, &names), curves(reports, &names), configs(reports)];
    page(&title, lead, &parts.into_iter().flatten().collect::<Vec<_>>())
}

/// The runs' metrics as a text table for a terminal, one column a run.
pub fn compare_text(reports: &[Report]) -> String {
    let mut text: String = names(reports).iter().map(|name| format!("{name}\n")).collect();
    text.push('\n');
    text + &metric_table(&measured(reports), reports.len()).text()
}

/// A, B, … for column headings.
pub(super) fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => format!("#{}", index + 1),
    }
}

fn names(reports: &[Report]) -> Vec<String> {
    let name = |(index, report): (usize, &Report)| match report.title.as_str() {
        "" => letter(index),
        title => format!("{} · {title}", letter(index)),
    };
    reports.iter().enumerate().map(name).collect()
}

fn runs(reports: &[Report], names: &[String]) -> Option<Section> {
    let mut table = Table::new(["Run", "Model", "Data", "Seed", "Samples/s", "Peak MiB"]);
    for (report, name) in reports.iter().zip(names) {
        let speed = report.speed.clone().unwrap_or_default();
        table.row([
            name.clone(),
            report.model.clone(),
            report.data.clone(),
            report.seed.map(|seed| seed.to_string()).unwrap_or_default(),
            speed.samples_per_second.map(|rate| count(rate.round() as u64)).unwrap_or_default(),
            speed.peak_rss_mib.map(|mib| count(mib.round() as u64)).unwrap_or_default(),
        ]);
    }
    let sources: BTreeSet<_> = reports.iter().map(|report| &report.data).collect();
    let body = html! {
        @if sources.len() > 1 {
            p { "These runs were judged on different data: their metrics do not measure the same thing." }
        }
        (table.without_empty_columns().html())
    };
    (!reports.is_empty()).then_some(Section { title: "Runs", body })
}

/// One metric and what each run has for it.
struct Measured {
    metric: Metric,
    values: Vec<Option<Estimate>>,
}

impl Measured {
    /// The run with the best value, where there are two to compare.
    fn best(&self) -> Option<usize> {
        let sign = if self.metric.lower_is_better { -1.0 } else { 1.0 };
        let known = || self.values.iter().enumerate().filter_map(|(run, value)| Some((run, sign * (*value)?.value)));
        let known = || known().filter(|(_, value)| value.is_finite());
        let best = known().reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.filter(|best| known().any(|(_, value)| value < best.1)).map(|best| best.0)
    }
}

/// Every metric that any run has, in order of appearance; ranking metrics after the others.
fn measured(reports: &[Report]) -> Vec<Measured> {
    let mut all: Vec<Measured> = Vec::new();
    for (run, report) in reports.iter().enumerate() {
        let rankings = report.rankings.iter().flat_map(|ranking| {
            ranking.values.iter().map(|value| Metric {
                split: format!("ranking, {}", ranking.candidates),
                name: format!("{}@{}", value.metric, value.cutoff),
                estimate: value.estimate,
                ..Metric::default()
            })
        });
        for metric in report.metrics.iter().cloned().chain(rankings) {
            let is_same = |other: &Measured| {
                (&other.metric.split, &other.metric.task, &other.metric.name)
                    == (&metric.split, &metric.task, &metric.name)
            };
            let place = all.iter().position(is_same).unwrap_or_else(|| {
                all.push(Measured { metric: metric.clone(), values: vec![None; reports.len()] });
                all.len() - 1
            });
            if let Some(measured) = all.get_mut(place) {
                measured.metric.headline |= metric.headline;
                if let Some(value) = measured.values.get_mut(run) {
                    *value = Some(metric.estimate);
                }
            }
        }
    }
    all
}

fn metric_table(measured: &[Measured], runs: usize) -> Table {
    let mut table = Table::new(["Metric", "Split"]);
    table.head.extend((0..runs).map(letter));
    table.head.push("Best".into());
    for entry in measured {
        let values = entry.values.iter().map(|value| value.map_or_else(|| "—".into(), |value| number(value.value)));
        let words = [capital(&name(&entry.metric)), entry.metric.split.clone()];
        table.row(words.into_iter().chain(values).chain([entry.best().map(letter).unwrap_or_default()]));
    }
    table
}

fn metrics(reports: &[Report], names: &[String]) -> Option<Section> {
    let measured = measured(reports);
    let shown: Vec<_> =
        measured.iter().filter(|entry| entry.metric.headline).map(|entry| metric(entry, names)).collect();
    let body = html! {
        p {
            "Intervals are each run's own. Where runs were judged on the same samples, their difference is surer than the "
            "intervals suggest. None of them covers what another seed would give."
        }
        @if !shown.is_empty() { (figures(&shown)) }
        (metric_table(&measured, reports.len()).html())
    };
    (!measured.is_empty()).then_some(Section { title: "Metrics", body })
}

fn metric(entry: &Measured, names: &[String]) -> Figure {
    let title = format!("{}, {}", capital(&name(&entry.metric)), entry.metric.split);
    let runs = || names.iter().zip(&entry.values).enumerate();
    let rows = runs().map(|(run, (name, value))| Row {
        name: name.clone(),
        marks: value.map(|value| (Series(run), value)).into_iter().collect(),
    });
    let mut numbers = Table::new(["Run", &entry.metric.name, "Interval"]);
    for (_, (name, value)) in runs() {
        let value = value.unwrap_or_default();
        numbers.row([name.clone(), number(value.value), super::format::interval_cell(&value)]);
    }
    let best = entry.best().and_then(|run| Some((run, (*entry.values.get(run)?)?)));
    let caption = best.map_or_else(
        || "No run is ahead.".into(),
        |(run, best)| {
            let others = || entry.values.iter().enumerate().filter(|other| other.0 != run);
            let close: Vec<_> = others()
                .filter(|(_, value)| value.is_some_and(|value| value.ends().is_some() && !value.is_apart_from(&best)))
                .map(|(run, _)| letter(run))
                .collect();
            let overlap = match (best.ends(), close.is_empty()) {
                (None, _) => String::new(),
                (Some(_), true) => " No other run's interval meets its own.".into(),
                (Some(_), false) => format!(" Its interval overlaps that of {}.", super::format::listed(&close)),
            };
            let which = if entry.metric.lower_is_better { "lowest, which is best" } else { "highest" };
            format!("{} is {which}: {}.{overlap}", letter(run), number(best.value))
        },
    );
    let ceiling = entry.metric.ceiling.map(|ceiling| (ceiling, "ceiling".to_string()));
    let drawing = Rows::dots(entry.metric.name.clone(), rows.collect(), ceiling.into_iter().collect()).svg(&caption);
    Figure { title, caption, legend: Vec::new(), drawing, numbers: numbers.without_empty_columns() }
}

fn curves(reports: &[Report], names: &[String]) -> Option<Section> {
    let mut by_name: Vec<(String, Vec<(usize, &Curve)>)> = Vec::new();
    for (run, report) in reports.iter().enumerate() {
        let Some(learning) = &report.learning else { continue };
        // A run may log several losses; the first is the one that training minimizes.
        let loss = learning.loss.first().map(|curve| ("Training loss".to_string(), curve));
        let validation = learning.validation.iter().map(|curve| (format!("Validation: {}", curve.name), curve));
        for (title, curve) in loss.into_iter().chain(validation).filter(|entry| !entry.1.points.is_empty()) {
            match by_name.iter_mut().find(|entry| entry.0 == title) {
                Some(entry) => entry.1.push((run, curve)),
                None => by_name.push((title, vec![(run, curve)])),
            }
        }
    }
    let shown: Vec<_> = by_name.iter().map(|(title, curves)| overlay(title, curves, names)).collect();
    let body = html! { (figures(&shown)) };
    (!shown.is_empty()).then_some(Section { title: "Learning curves", body })
}

fn overlay(title: &str, curves: &[(usize, &Curve)], names: &[String]) -> Figure {
    let thinned: Vec<(usize, Vec<[f64; 2]>)> = curves
        .iter()
        .map(|(run, curve)| (*run, buckets(&curve.points, 100).iter().map(|bucket| [bucket.x, bucket.mean]).collect()))
        .collect();
    let points = || thinned.iter().flat_map(|curve| &curve.1);
    let x = Axis::fit("epoch", points().map(|point| point[0]).chain([0.0])).whole();
    let mut plot = Plot::new(x, Axis::fit(title, points().map(|point| point[1])), 260.0);
    let mut numbers = Table::new(["Run", "Epoch", "Value"]);
    let mut words = Vec::new();
    let mut ends = Vec::new();
    for (run, points) in &thinned {
        plot.line(points, Series(*run));
        if points.len() <= 40 {
            plot.dots(points, Series(*run));
        }
        words.extend(names.get(*run).map(|name| (Series(*run), name.clone())));
        ends.extend(points.last().map(|last| format!("{} {}", letter(*run), number(last[1]))));
    }
    for (run, curve) in curves {
        for bucket in buckets(&curve.points, 12) {
            numbers.row([letter(*run), number(bucket.x), number(bucket.mean)]);
        }
    }
    let caption = format!("At the end: {}.", super::format::listed(&ends));
    let drawing = plot.svg(&caption);
    Figure { title: title.into(), caption, legend: words, drawing, numbers }
}

/// A config's values by dotted key.
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

fn configs(reports: &[Report]) -> Option<Section> {
    let parsed: Vec<Option<BTreeMap<String, String>>> = reports
        .iter()
        .map(|report| {
            let table: toml::Table = report.config.parse().ok()?;
            let mut values = BTreeMap::new();
            flatten("", &toml::Value::Table(table), &mut values);
            Some(values)
        })
        .collect();
    let keys: BTreeSet<&String> = parsed.iter().flatten().flat_map(BTreeMap::keys).collect();
    let mut table = Table::new(["Key"]);
    table.head.extend((0..reports.len()).map(letter));
    for key in &keys {
        let values: Vec<_> = parsed.iter().map(|config| config.as_ref()?.get(*key)).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            let cells = values.into_iter().map(|value| value.map_or_else(|| "—".into(), Clone::clone));
            table.row(std::iter::once((*key).clone()).chain(cells));
        }
    }
    let unread: Vec<_> = (0..reports.len()).filter(|&run| matches!(parsed.get(run), Some(None))).map(letter).collect();
    let same = keys.len() - table.rows.len();
    let body = html! {
        @if !unread.is_empty() { p { "The config of " (super::format::listed(&unread)) " cannot be read as TOML." } }
        p { (super::format::counted(same as u64, "other key")) " " @if same == 1 { "is" } @else { "are" } " the same in all runs." }
        @if !table.rows.is_empty() { (table.html()) }
    };
    (!keys.is_empty()).then_some(Section { title: "Config differences", body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(title: &str, value: f64, lower_is_better: bool) -> Report {
        let metric = Metric {
            split: "test".into(),
            name: "AUC".into(),
            estimate: value.into(),
            lower_is_better,
            headline: true,
            ..Metric::default()
        };
        Report { title: title.into(), metrics: vec![metric], ..Report::default() }
    }

    #[test]
    fn the_best_is_by_the_metric_s_own_direction() {
        let best = |values: [f64; 3], lower| {
            measured(&values.map(|value| run("r", value, lower))).first().and_then(Measured::best)
        };
        assert_eq!(best([0.7, 0.8, f64::NAN], false), Some(1));
        assert_eq!(best([0.7, 0.8, f64::NAN], true), Some(0));
        assert_eq!(best([0.7, 0.7, f64::NAN], false), None);
        assert_eq!(best([f64::NAN; 3], false), None);
    }

    #[test]
    fn a_metric_that_one_run_lacks_keeps_its_row() {
        let mut second = run("b", 0.8, false);
        if let Some(metric) = second.metrics.first_mut() {
            metric.name = "GAUC".into();
        }
        let text = compare_text(&[run("a", 0.7, false), second]);
        let rows: Vec<_> = text.lines().filter(|line| line.contains("AUC")).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows.iter().all(|row| row.split_whitespace().count() == 4), "{text}");
    }

    #[test]
    fn configs_differ_by_key() {
        let config = |text: &str| Report { config: text.into(), ..Report::default() };
        let a = config("seed = 1\n[train]\nrate = 0.1\nbatch = 64\n[[feature]]\nname = \"user\"\ndimension = 8\n");
        let b = config("seed = 1\n[train]\nrate = 0.2\nbatch = 64\n[[feature]]\nname = \"user\"\ndimension = 16\n");
        let page = configs(&[a.clone(), b, config("not toml")]).map(|section| section.body.0).unwrap_or_default();
        assert!(page.contains(">train.rate<") && page.contains(">feature.user.dimension<"), "{page}");
        let page = configs(&[a.clone(), a]).map(|section| section.body.0).unwrap_or_default();
        assert!(page.contains("5 other keys are the same") && !page.contains("<table"), "{page}");
    }
}
