//! A sweep's points side by side, as a page and as text.

mod data;

pub use data::*;

use super::compare::letter;
use super::data::Estimate;
use super::format::{capital, count, counted, estimate, interval_cell, listed, number};
use super::page::{Figure, Section, Table, figures, page};
use super::plot::{Axis, Plot, Row, Rows, Series};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Series of a figure that can be told apart by colour and dashes.
const MOST_SERIES: usize = 12;

/// The sweep as one self-contained HTML file.
pub fn sweep(report: &SweepReport) -> String {
    let title = if report.name.is_empty() { "Sweep" } else { &report.name };
    let sections =
        [points(report), metrics(report), trade_offs(report), scenarios(report), keys(report), failures(report)];
    page(title, lead(report), &sections.into_iter().flatten().collect::<Vec<_>>())
}

/// The sweep as a table for a terminal, a line a point, and what is chosen.
pub fn sweep_text(report: &SweepReport) -> String {
    let mut table = Table::new(["", "Point", "Seeds"]);
    let shown: Vec<&SweepMetric> = report.metrics.iter().filter(|metric| metric.headline).collect();
    table.head.extend(shown.iter().map(|metric| format!("{}, {}", metric.full_name(), metric.split)));
    table.head.push("Samples/s".into());
    for (number, point) in report.points.iter().enumerate() {
        let value = |metric: &&SweepMetric| metric.values.get(number).map(with_interval).unwrap_or_default();
        let first = [letter(number), point.name.clone(), point.seeds.len().to_string()];
        let speed = point.samples_per_second.map(|rate| count(rate.round() as u64)).unwrap_or_default();
        table.row(first.into_iter().chain(shown.iter().map(value)).chain([speed]));
    }
    let mut text = table.text();
    for sentence in conclusions(report) {
        text.push_str(&format!("{sentence}\n"));
    }
    text
}

fn with_interval(value: &Estimate) -> String {
    match (value.value.is_finite(), value.ends()) {
        (false, _) => "—".into(),
        (true, Some([low, high])) => format!("{} [{}, {}]", number(value.value), number(low), number(high)),
        (true, None) => number(value.value),
    }
}

/// What is chosen, and for each drawn metric which points are surely apart from the first.
fn conclusions(report: &SweepReport) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((best, point)) = report.best.and_then(|best| Some((best, report.points.get(best)?))) {
        let value = estimate(&point.choice);
        said.push(format!(
            "The validation split chooses {} ({}): {} {value}.",
            letter(best),
            point.name,
            report.chosen_by
        ));
    }
    let shown = report.metrics.iter().filter(|metric| metric.headline && report.points.len() > 1);
    said.extend(shown.map(|metric| {
        format!("{}: {}", capital(&metric.full_name()), apart(&metric.differences, metric.lower_is_better))
    }));
    said
}

/// "B and C are better than A; D is worse; the other 3 tie with it."
fn apart(differences: &[Estimate], lower_is_better: bool) -> String {
    let (mut better, mut worse, mut tied, mut unknown) = (Vec::new(), Vec::new(), 0, 0);
    for (point, difference) in differences.iter().enumerate().skip(1) {
        match difference.ends() {
            _ if !difference.value.is_finite() => unknown += 1,
            None => unknown += 1,
            Some([low, high]) if low > 0.0 || high < 0.0 => {
                if (low > 0.0) != lower_is_better {
                    better.push(letter(point))
                } else {
                    worse.push(letter(point))
                }
            }
            Some(_) => tied += 1,
        }
    }
    let mut parts = Vec::new();
    let are = |letters: &[String]| if letters.len() == 1 { "is" } else { "are" };
    if !better.is_empty() {
        parts.push(format!("{} {} better than A", listed(&better), are(&better)));
    }
    if !worse.is_empty() {
        parts.push(format!("{} {} worse than A", listed(&worse), are(&worse)));
    }
    if tied > 0 {
        parts.push(format!("{} not surely apart from A", counted(tied, "point")));
    }
    if unknown > 0 {
        parts.push(format!("{} without an interval of the difference", counted(unknown, "point")));
    }
    let text = parts.join("; ");
    if text.is_empty() { "nothing to compare.".into() } else { text + "." }
}

fn names(report: &SweepReport) -> Vec<String> {
    report.points.iter().enumerate().map(|(number, point)| format!("{} · {}", letter(number), point.name)).collect()
}

fn lead(report: &SweepReport) -> Markup {
    let runs: usize = report.points.iter().map(|point| point.seeds.len()).sum();
    html! {
        p.lead {
            (counted(report.points.len() as u64, "point")) ", " (counted(runs as u64, "run"))
            @if !report.data.is_empty() { ", trained on " (report.data) } "."
        }
        @for sentence in conclusions(report) { p.note { (sentence) } }
        @if !report.intervals.is_empty() {
            p.note { "Intervals: " (report.intervals) ". Those of differences are paired: the same seeds, the same users." }
        }
        @if report.points.len() > 2 {
            p.note { "The more points are compared, the likelier one of them is ahead by luck: an interval speaks of its own point alone." }
        }
    }
}

fn points(report: &SweepReport) -> Option<Section> {
    let keys: BTreeSet<&String> = report.points.iter().flat_map(|point| point.settings.keys()).collect();
    let mut table = Table::new(["Point", "Seeds", "Network", "Rows", "Samples/s", "Seconds"]);
    if !report.chosen_by.is_empty() {
        table.head.push(format!("{}, valid", capital(&report.chosen_by)));
    }
    table.head.extend(keys.iter().map(|key| (*key).clone()));
    for (name, point) in names(report).into_iter().zip(&report.points) {
        let seeds: Vec<String> = point.seeds.iter().map(u64::to_string).collect();
        let whole = |value: Option<u64>| value.map(count).unwrap_or_default();
        let rounded = |value: Option<f64>| value.map(|value| count(value.round() as u64)).unwrap_or_default();
        let first = [
            name,
            seeds.join(" "),
            whole(point.network),
            whole(point.rows),
            rounded(point.samples_per_second),
            rounded(point.seconds),
        ];
        let choice = (!report.chosen_by.is_empty()).then(|| with_interval(&point.choice));
        let settings = keys.iter().map(|key| point.settings.get(*key).cloned().unwrap_or_default());
        table.row(first.into_iter().chain(choice).chain(settings));
    }
    let body = html! {
        p { "Network and rows are counts of trained numbers. Runs went side by side, so their speeds are not what one alone would reach." }
        (table.without_empty_columns().html())
    };
    (!report.points.is_empty()).then_some(Section { title: "Points", body })
}

fn metrics(report: &SweepReport) -> Option<Section> {
    let names = names(report);
    let shown: Vec<Figure> = report
        .metrics
        .iter()
        .filter(|metric| metric.headline)
        .flat_map(|metric| metric_figures(metric, &names))
        .collect();
    let mut table = Table::new(["Metric", "Split"]);
    table.head.extend((0..report.points.len()).map(letter));
    for metric in &report.metrics {
        let values =
            metric.values.iter().map(|value| if value.value.is_finite() { number(value.value) } else { "—".into() });
        table.row([capital(&metric.full_name()), metric.split.clone()].into_iter().chain(values));
    }
    let body = html! { (figures(&shown)) (table.html()) };
    (!report.metrics.is_empty()).then_some(Section { title: "Metrics", body })
}

/// A metric at every point, and how far every point lies from the first.
fn metric_figures(metric: &SweepMetric, names: &[String]) -> Vec<Figure> {
    let name = capital(&metric.full_name());
    let mut shown = vec![dots(format!("{name}, {}", metric.split), &metric.name, &metric.values, names, None)];
    if names.len() > 1 {
        let caption = capital(&apart(&metric.differences, metric.lower_is_better));
        let title = format!("{name}, {}: difference to {}", metric.split, names[0]);
        shown.push(dots(title, "difference", &metric.differences, names, Some(caption)));
    }
    shown
}

fn dots(title: String, axis: &str, values: &[Estimate], names: &[String], caption: Option<String>) -> Figure {
    let row = |(point, (name, value)): (usize, (&String, &Estimate))| Row {
        name: name.clone(),
        marks: Some((Series(point), *value)).filter(|_| value.value.is_finite()).into_iter().collect(),
    };
    // The first point has no difference to itself.
    let from = usize::from(caption.is_some());
    let rows = names.iter().zip(values).enumerate().skip(from).map(row).collect();
    let mut numbers = Table::new(["Point", "Value", "Interval"]);
    for (name, value) in names.iter().zip(values).skip(from) {
        numbers.row([name.clone(), number(value.value), interval_cell(value)]);
    }
    let rules = caption.iter().map(|_| (0.0, "A".to_owned())).collect();
    let caption = caption.unwrap_or_else(|| {
        let known = values.iter().filter(|value| value.value.is_finite());
        let range = known
            .map(|value| value.value)
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
        format!("Means over seeds from {} to {}.", number(range[0]), number(range[1]))
    });
    let drawing = Rows::dots(axis, rows, rules).svg(&caption);
    Figure { title, caption, legend: Vec::new(), drawing, numbers: numbers.without_empty_columns() }
}

/// What one task gains and another loses: the points over the headline metrics of two tasks each, and over quality and size.
fn trade_offs(report: &SweepReport) -> Option<Section> {
    let tasks: Vec<&SweepMetric> =
        report.metrics.iter().filter(|metric| metric.headline && metric.task.is_some()).collect();
    let pairs = tasks.iter().enumerate().flat_map(|(at, x)| tasks[at + 1..].iter().map(move |y| (*x, *y)));
    let mut shown: Vec<Figure> = pairs.map(|(x, y)| pareto(report, &Side::of(x), &Side::of(y))).collect();
    let sizes: Vec<Estimate> = report
        .points
        .iter()
        .map(|point| point.network.map_or_else(Estimate::default, |size| (size as f64).into()))
        .collect();
    if sizes.windows(2).any(|pair| pair[0].value != pair[1].value) {
        let size = Side { name: "Numbers in the network".into(), less: true, values: &sizes };
        shown.extend(tasks.iter().map(|metric| pareto(report, &size, &Side::of(metric))));
    }
    let body = html! {
        p { "A point on the line is beaten by no other on both axes. Lines through a dot are its intervals: a step of the line that is shorter than these may be chance." }
        (figures(&shown))
    };
    (!shown.is_empty() && report.points.len() > 1).then_some(Section { title: "Trade-offs", body })
}

struct Side<'a> {
    name: String,
    less: bool,
    values: &'a [Estimate],
}

impl<'a> Side<'a> {
    fn of(metric: &'a SweepMetric) -> Self {
        let name = format!("{}, {}", capital(&metric.full_name()), metric.split);
        Self { name, less: metric.lower_is_better, values: &metric.values }
    }
}

fn pareto(report: &SweepReport, x: &Side<'_>, y: &Side<'_>) -> Figure {
    let places: Vec<[f64; 2]> = x.values.iter().zip(y.values).map(|(x, y)| [x.value, y.value]).collect();
    let axis = |side: &Side<'_>| Axis::fit(side.name.clone(), side.values.iter().flat_map(Estimate::extent));
    let mut plot = Plot::new(axis(x), axis(y), 320.0);
    let front = pareto_front(&places, x.less, y.less);
    plot.line(&front.iter().map(|point| places[*point]).collect::<Vec<_>>(), Series(0));
    let mut numbers = Table::new(["Point", &x.name, &y.name, "On the line"]);
    for (point, name) in names(report).into_iter().enumerate() {
        let (Some(across), Some(up)) = (x.values.get(point), y.values.get(point)) else { continue };
        if let Some([low, high]) = up.ends() {
            plot.whiskers(&[[across.value, low, high]], Series(point));
        }
        if let Some([low, high]) = across.ends() {
            plot.beams(&[[up.value, low, high]], Series(point));
        }
        plot.dots(&[[across.value, up.value]], Series(point));
        plot.words(across.value, up.value, &letter(point));
        let on = if front.contains(&point) { "yes" } else { "" };
        numbers.row([name, with_interval(across), with_interval(up), on.into()]);
    }
    let on: Vec<String> = front.iter().map(|point| letter(*point)).collect();
    let caption = format!("On the line: {}.", listed(&on));
    let drawing = plot.svg(&caption);
    let shorter = |name: &str| name.rsplit_once(", ").map_or(name.to_owned(), |(name, _)| name.to_owned());
    let title = format!("{} and {}", shorter(&x.name), shorter(&y.name));
    Figure { title, caption, legend: Vec::new(), drawing, numbers }
}

fn scenarios(report: &SweepReport) -> Option<Section> {
    let names = names(report);
    let figure = |groups: &SweepGroups| {
        let mut numbers = Table::new([groups.by.as_str()]);
        numbers.head.extend((0..names.len()).map(letter));
        for (group, values) in groups.groups.iter().zip(&groups.values) {
            numbers.row(std::iter::once(group.clone()).chain(values.iter().map(with_interval)));
        }
        let rows = groups.groups.iter().zip(&groups.values).map(|(group, values)| Row {
            name: group.clone(),
            marks: values
                .iter()
                .enumerate()
                .filter(|(_, value)| value.value.is_finite())
                .map(|(point, value)| (Series(point), *value))
                .collect(),
        });
        let caption = match groups.groups.len() {
            1 => "There is one scenario.".to_owned(),
            _ => "Within a scenario, points are in the order of the table.".to_owned(),
        };
        let drawing = match names.len() <= MOST_SERIES {
            true => Rows::dots(groups.metric.clone(), rows.collect(), Vec::new()).svg(&caption),
            false => numbers.html(),
        };
        let legend = (0..names.len().min(MOST_SERIES)).map(|point| (Series(point), names[point].clone()));
        let legend = if names.len() <= MOST_SERIES { legend.collect() } else { Vec::new() };
        let title = format!("{} {} by {}", capital(&groups.task), groups.metric, groups.by);
        Figure { title, caption, legend, drawing, numbers }
    };
    let shown: Vec<Figure> = report.groups.iter().filter(|groups| !groups.groups.is_empty()).map(figure).collect();
    (!shown.is_empty()).then(|| Section { title: "Scenarios", body: figures(&shown) })
}

/// The drawn metrics over each number that was varied.
fn keys(report: &SweepReport) -> Option<Section> {
    let keys: BTreeSet<&String> = report.points.iter().flat_map(|point| point.settings.keys()).collect();
    let mut shown = Vec::new();
    for key in keys {
        let settings: Vec<Option<f64>> =
            report.points.iter().map(|point| point.settings.get(key)?.parse().ok()).collect();
        let known: Vec<f64> = settings.iter().flatten().copied().collect();
        let different: BTreeSet<u64> = known.iter().map(|value| value.to_bits()).collect();
        if different.len() < 3 {
            continue;
        }
        let (low, high) = known
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let by_log = low > 0.0 && high / low >= 20.0;
        for metric in report.metrics.iter().filter(|metric| metric.headline) {
            let values = known.iter().copied();
            let x = if by_log { Axis::logarithmic(key.clone(), values) } else { Axis::fit(key.clone(), values) };
            let mut plot =
                Plot::new(x, Axis::fit(metric.name.clone(), metric.values.iter().flat_map(Estimate::extent)), 260.0);
            let mut numbers = Table::new(["Point", key, &metric.name]);
            for (point, (setting, value)) in settings.iter().zip(&metric.values).enumerate() {
                let Some(setting) = setting else { continue };
                if let Some([low, high]) = value.ends() {
                    plot.whiskers(&[[*setting, low, high]], Series(0));
                }
                plot.dots(&[[*setting, value.value]], Series(0));
                numbers.row([letter(point), number(*setting), with_interval(value)]);
            }
            let caption = format!("{} points; what else they differ in is not held still.", known.len());
            let drawing = plot.svg(&caption);
            let title = format!("{}, {}, over {key}", capital(&metric.full_name()), metric.split);
            shown.push(Figure { title, caption, legend: Vec::new(), drawing, numbers });
        }
    }
    (!shown.is_empty()).then(|| Section { title: "Varied numbers", body: figures(&shown) })
}

fn failures(report: &SweepReport) -> Option<Section> {
    let body = html! { ul.caveats { @for failure in &report.failures {
        li { (failure.point) ", seed " (failure.seed) ": " (failure.why) }
    } } };
    (!report.failures.is_empty()).then_some(Section { title: "Failed runs", body })
}
