//! From the cloud to a device: what each pass saved, and what it cost.

use maud::html;

use super::super::data::{Estimate, Shipped, ShippedPass, ShippedTask};
use super::super::format::{capital, count, estimate, interval_cell, number};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Series};

pub(super) fn section(shipped: &Shipped) -> Option<Section> {
    let (first, last) = (shipped.passes.first()?, shipped.passes.last()?);
    let mut shown = Vec::new();
    if let Some(task) = first.tasks.first() {
        let bytes = |pass: &ShippedPass| pass.download_bytes as f64;
        let device = |pass: &ShippedPass| pass.device;
        if task.metric == "AUC" {
            shown.extend(tradeoff(shipped, &task.name, "Bytes to download", &bytes));
            shown.extend(tradeoff(shipped, &task.name, "Microseconds a candidate on the device", &device));
        }
        shown.extend(beside(shipped, &task.name));
    }
    let limits = shipped.limits.iter().map(|limit| format!("{} {}", limit.name, number(limit.limit)));
    let limits: Vec<String> = limits.collect();
    let body = html! {
        p {
            "What is shipped to " (shipped.device) " is " (times(first.download_bytes, last.download_bytes)) " smaller than what was trained: "
            (count(last.download_bytes)) " bytes in place of " (count(first.download_bytes)) ". Each line is the ranker after a pass, through "
            "the device's own runtime, on the split " (shipped.split) "; lost is how much worse a metric is than the trained ranker's. Microseconds are for one of "
            (count(shipped.candidates)) " candidates, here measured on one core, on the device estimated from what the operations cost."
            @if !limits.is_empty() { " Limits: " (limits.join(", ")) "." }
        }
        (ledger(shipped).html())
        @for pass in &shipped.passes { p { (capital(&pass.pass)) ": " (pass.said) "." } }
        (figures(&shown))
    };
    Some(Section { title: "From the cloud to a device", body })
}

fn times(before: u64, after: u64) -> String {
    format!("{:.1} times", before as f64 / after.max(1) as f64)
}

/// The ledger as a table.
pub(in super::super) fn ledger(shipped: &Shipped) -> Table {
    let mut table = Table::new(["Pass", "Download", "Resident", "µs here", "µs device"]);
    let first = shipped.passes.first();
    for task in first.iter().flat_map(|pass| &pass.tasks) {
        table.head.extend([format!("{} {}", task.metric, task.name), "Interval".into(), "Lost".into()]);
    }
    let tasks: Vec<&str> = first.iter().flat_map(|pass| &pass.tasks).map(|task| task.name.as_str()).collect();
    for pass in &shipped.passes {
        let facts = [
            capital(&pass.pass),
            count(pass.download_bytes),
            count(pass.resident_bytes),
            number(pass.here),
            number(pass.device),
        ];
        let of = |name: &&str| match task(pass, name) {
            Some(task) => [number(task.value.value), interval_cell(&task.value), estimate(&task.loss)],
            None => Default::default(),
        };
        let judged: Vec<String> = tasks.iter().flat_map(of).collect();
        table.row(facts.into_iter().chain(judged));
    }
    table
}

fn task<'a>(pass: &'a ShippedPass, name: &str) -> Option<&'a ShippedTask> {
    pass.tasks.iter().find(|task| task.name == name)
}

/// What quality costs: a point a pass; those that no other beats in both are joined.
fn tradeoff(shipped: &Shipped, name: &str, what: &str, cost: &dyn Fn(&ShippedPass) -> f64) -> Option<Figure> {
    let mut points: Vec<(&ShippedPass, f64, Estimate)> = shipped
        .passes
        .iter()
        .filter_map(|pass| Some((pass, cost(pass), task(pass, name)?.value)))
        .filter(|(_, cost, auc)| *cost > 0.0 && cost.is_finite() && auc.value.is_finite())
        .collect();
    points.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.value.total_cmp(&a.2.value)));
    let (cheapest, best) = (points.first()?, points.iter().max_by(|a, b| a.2.value.total_cmp(&b.2.value))?);
    let xs = Axis::logarithmic(format!("{what}, logarithmic"), points.iter().map(|point| point.1));
    let ys = Axis::fit(format!("AUC of {name}"), points.iter().flat_map(|point| point.2.extent()));
    let mut plot = Plot::new(xs, ys, 300.0);
    let mut front: Vec<[f64; 2]> = Vec::new();
    for (_, cost, auc) in &points {
        if front.last().is_none_or(|last| auc.value > last[1]) {
            front.push([*cost, auc.value]);
        }
    }
    plot.line(&front, Series(0));
    let mut numbers = Table::new(["After", what, "AUC", "Interval"]);
    for (pass, cost, auc) in &points {
        plot.dots(&[[*cost, auc.value]], Series(0));
        if let Some([low, high]) = auc.ends() {
            plot.whiskers(&[[*cost, low, high]], Series(0));
        }
        plot.words(*cost, auc.value, &pass.pass);
        numbers.row([capital(&pass.pass), number(*cost), number(auc.value), interval_cell(auc)]);
    }
    let caption = format!(
        "{what} falls to {} with an AUC of {}; the best AUC, {}, takes {}. The line joins what nothing else beats in both.",
        number(cheapest.1),
        number(cheapest.2.value),
        number(best.2.value),
        number(best.1),
    );
    let drawing = plot.svg(&caption);
    Some(Figure { title: format!("{what} against AUC of {name}"), caption, legend: Vec::new(), drawing, numbers })
}

/// What the cloud and the device say of the same samples.
fn beside(shipped: &Shipped, name: &str) -> Option<Figure> {
    let points: Vec<[f64; 2]> =
        shipped.scores.iter().copied().filter(|pair| pair.iter().all(|score| score.is_finite())).collect();
    if points.is_empty() {
        return None;
    }
    let range = || points.iter().flatten().copied();
    let (xs, ys) = (Axis::fit("as trained", range()), Axis::fit("on the device", range()));
    let mut plot = Plot::new(xs, ys, 300.0);
    plot.diagonal();
    plot.dots(&points, Series(0));
    let mut off: Vec<f64> = points.iter().map(|[cloud, device]| (cloud - device).abs()).collect();
    off.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| off[((off.len() - 1) as f64 * share) as usize];
    let caption = format!(
        "Predictions of {name} for {} samples: half of them differ by less than {}, all but a twentieth by less than {}.",
        count(points.len() as u64),
        number(at(0.5)),
        number(at(0.95)),
    );
    let mut numbers = Table::new(["Share of samples", "Differ by at most"]);
    for share in [0.5, 0.9, 0.95, 1.0] {
        numbers.row([number(share), number(at(share))]);
    }
    let drawing = plot.svg(&caption);
    Some(Figure {
        title: "The device's scores beside the cloud's".into(),
        caption,
        legend: Vec::new(),
        drawing,
        numbers,
    })
}
