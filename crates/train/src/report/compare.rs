//! Several runs side by side.

use std::collections::BTreeSet;

use maud::html;

use super::comparison::{ComparedMetric, Comparison};
use super::data::{Curve, Estimate};
use super::format::{capital, count, number};
use super::page::{Figure, Section, Table, figures, page};
use super::plot::{Axis, Plot, Row, Rows, Series, legend};
use super::sections::headline::name;
use super::thin::buckets;
use crate::evaluate::Better;

/// Runs side by side as one self-contained HTML file: metrics with their intervals and differences, learning curves over each other, and
/// the config keys in which the runs differ.
pub fn compare(compared: &Comparison<'_>) -> String {
    let names = names(compared);
    let title = format!("{} runs compared", compared.reports.len());
    let key: Vec<_> = names.iter().enumerate().map(|(index, name)| (Series(index), name.clone())).collect();
    let lead = html! {
        div.note { (legend(&key)) }
        @for note in &compared.notes { p.note { (note) } }
    };
    let parts = [runs(compared, &names), metrics(compared, &names), curves(compared, &names), configs(compared)];
    page(&title, lead, &parts.into_iter().flatten().collect::<Vec<_>>())
}

/// The runs' metrics and differences as text tables for a terminal, one column a run, or a set of runs that differ in their seed alone.
pub fn compare_text(compared: &Comparison<'_>) -> String {
    let mut text: String = names(compared).iter().map(|name| format!("{name}\n")).collect();
    text.push('\n');
    text += &metric_table(compared).text();
    let settings = settings_table(compared);
    if !settings.rows.is_empty() {
        text.push('\n');
        text += &settings.text();
    }
    text + &compared.notes.iter().map(|note| format!("note: {note}\n")).collect::<String>()
}

/// A, B, … for column headings.
pub(super) fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => format!("#{}", index + 1),
    }
}

fn names(compared: &Comparison<'_>) -> Vec<String> {
    let name = |(index, runs): (usize, &Vec<usize>)| {
        let title = runs.first().and_then(|run| compared.reports.get(*run)).map_or("", |report| report.title.as_str());
        let name = if title.is_empty() { letter(index) } else { format!("{} · {title}", letter(index)) };
        if runs.len() > 1 { format!("{name}, {} seeds", runs.len()) } else { name }
    };
    compared.columns.iter().enumerate().map(name).collect()
}

fn runs(compared: &Comparison<'_>, names: &[String]) -> Option<Section> {
    let reports = compared.reports;
    let mut table = Table::new(["Run", "Model", "Data", "Seed", "Samples/s", "Peak MiB"]);
    let named = compared.columns.iter().zip(names).flat_map(|(runs, name)| runs.iter().map(move |run| (run, name)));
    for (report, name) in named.filter_map(|(run, name)| Some((reports.get(*run)?, name))) {
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
            p { "These runs were trained on different data." }
        }
        (table.without_empty_columns().html())
    };
    (!reports.is_empty()).then_some(Section { title: "Runs", body })
}

/// What each column has for every metric, and by how much they differ.
fn metric_table(compared: &Comparison<'_>) -> Table {
    let mut table = Table::new(["Metric", "Split"]);
    table.head.extend((0..compared.columns.len()).map(letter));
    table.head.extend((1..compared.columns.len()).map(|column| format!("{} − A", letter(column))));
    table.head.push("Best".into());
    let cell = |value: &Option<Estimate>| match value.map(|value| (value, value.ends())) {
        None => "—".into(),
        Some((value, None)) => number(value.value),
        Some((value, Some([low, high]))) => format!("{} [{}, {}]", number(value.value), number(low), number(high)),
    };
    for entry in &compared.metrics {
        let words = [capital(&name(&entry.metric)), entry.metric.split.clone()];
        let differences = entry.differences.iter().skip(1).map(cell);
        table.row(words.into_iter().chain(entry.values.iter().map(cell)).chain(differences).chain([best(entry)]));
    }
    table
}

/// The best column; of two, whether it is surely so.
fn best(entry: &ComparedMetric) -> String {
    let Some(best) = entry.best() else { return String::new() };
    let is_sure = entry.is_better(1);
    let unsure = entry.values.len() == 2
        && is_sure.is_none()
        && entry.differences[1].is_some_and(|found| found.ends().is_some());
    let near = matches!(entry.metric.better(), Better::Near(_));
    if unsure && !near { format!("{} (not surely)", letter(best)) } else { letter(best) }
}

fn metrics(compared: &Comparison<'_>, names: &[String]) -> Option<Section> {
    let measured = &compared.metrics;
    let shown: Vec<_> =
        measured.iter().filter(|entry| entry.metric.headline).map(|entry| metric(entry, names)).collect();
    let body = html! {
        p {
            "Intervals are each run's own, those of differences are paired: both runs drew the same users. Where a column is of one run, "
            "they do not cover what another seed would give; where it is of several, Student's t over them does."
        }
        @if !shown.is_empty() { (figures(&shown)) }
        (metric_table(compared).html())
    };
    (!measured.is_empty()).then_some(Section { title: "Metrics", body })
}

fn metric(entry: &ComparedMetric, names: &[String]) -> Figure {
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
            let which = match entry.metric.better() {
                Better::Low => "lowest, which is best".to_owned(),
                Better::High => "highest".to_owned(),
                Better::Near(value) => format!("nearest to {}, which is best", number(value)),
            };
            format!("{} is {which}: {}.{overlap}", letter(run), number(best.value))
        },
    );
    let ceiling = entry.metric.ceiling.map(|ceiling| (ceiling, "ceiling".to_string()));
    let drawing = Rows::dots(entry.metric.name.clone(), rows.collect(), ceiling.into_iter().collect()).svg(&caption);
    Figure { title, caption, legend: Vec::new(), drawing, numbers: numbers.without_empty_columns() }
}

fn curves(compared: &Comparison<'_>, names: &[String]) -> Option<Section> {
    let mut by_name: Vec<(String, Vec<(usize, &Curve)>)> = Vec::new();
    // Of runs that differ in their seed alone, the first is drawn.
    let firsts = compared.columns.iter().enumerate().filter_map(|(column, runs)| Some((column, *runs.first()?)));
    for (run, report) in firsts.filter_map(|(column, run)| Some((column, compared.reports.get(run)?))) {
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

fn configs(compared: &Comparison<'_>) -> Option<Section> {
    let table = settings_table(compared);
    let unread: Vec<_> = compared.unread.iter().map(|column| letter(*column)).collect();
    let same = compared.same_settings as u64;
    let body = html! {
        @if !unread.is_empty() { p { "The config of " (super::format::listed(&unread)) " cannot be read as TOML." } }
        p { (super::format::counted(same, "other key")) " " @if same == 1 { "is" } @else { "are" } " the same in all runs." }
        @if !table.rows.is_empty() { (table.html()) }
    };
    (same > 0 || !table.rows.is_empty()).then_some(Section { title: "Config differences", body })
}

fn settings_table(compared: &Comparison<'_>) -> Table {
    let mut table = Table::new(["Key"]);
    table.head.extend((0..compared.columns.len()).map(letter));
    for (key, values) in &compared.settings {
        let cells = values.iter().map(|value| value.clone().unwrap_or_else(|| "—".into()));
        table.row(std::iter::once(key.clone()).chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::data::{Metric, Report};
    use super::*;

    fn run(title: &str, metric: &str, config: &str) -> Report {
        let metric = Metric {
            split: "test".into(),
            name: metric.into(),
            estimate: 0.7.into(),
            headline: true,
            ..Metric::default()
        };
        Report { title: title.into(), metrics: vec![metric], config: config.into(), ..Report::default() }
    }

    fn compared(reports: &[Report]) -> Comparison<'_> {
        Comparison::new(reports, &[]).unwrap()
    }

    #[test]
    fn a_metric_that_one_run_lacks_keeps_its_row() {
        let text = compare_text(&compared(&[run("a", "AUC", "x = 1"), run("b", "GAUC", "x = 2")]));
        let rows: Vec<_> = text.lines().filter(|line| line.contains("AUC")).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows.iter().all(|row| row.split_whitespace().count() == 5), "{text}");
    }

    #[test]
    fn configs_differ_by_key() {
        let a =
            run("a", "AUC", "seed = 1\n[train]\nrate = 0.1\nbatch = 64\n[[feature]]\nname = \"user\"\ndimension = 8\n");
        let b = run(
            "b",
            "AUC",
            "seed = 1\n[train]\nrate = 0.2\nbatch = 64\n[[feature]]\nname = \"user\"\ndimension = 16\n",
        );
        let reports = [a.clone(), b, run("c", "AUC", "not toml")];
        let page = configs(&compared(&reports)).unwrap().body.0;
        assert!(
            page.contains(">train.rate<") && page.contains(">feature.user.dimension<") && page.contains("of C cannot"),
            "{page}"
        );
        let text = compare_text(&compared(&reports));
        assert!(text.lines().any(|line| line.split_whitespace().eq(["train.rate", "0.1", "0.2", "—"])), "{text}");
        let twice = [a.clone(), a];
        let page = configs(&compared(&twice)).unwrap().body.0;
        assert!(page.contains("4 other keys are the same") && !page.contains("<table"), "{page}");
    }
}
