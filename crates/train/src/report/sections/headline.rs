//! What the run comes to: a few numbers at the top, and the table of all metrics.

use maud::{Markup, html};

use super::super::data::{Estimate, Metric, Report};
use super::super::format::{capital, fixed, interval, interval_cell, number, percent};
use super::super::page::{Section, Table};
use super::super::plot::Axis;
use crate::evaluate::BASELINES;

/// The lines and tiles under the page's heading.
pub(in super::super) fn lead(report: &Report) -> Markup {
    let words: Vec<_> = [&report.model, &report.data].into_iter().filter(|words| !words.is_empty()).cloned().collect();
    html! {
        @if !words.is_empty() { p.lead { (capital(&words.join("; trained on "))) "." } }
        @let tiles: Vec<_> = report.metrics.iter().filter(|metric| metric.headline).collect();
        @if !tiles.is_empty() { div.tiles { @for metric in tiles { (tile(metric)) } } }
        @if !report.intervals.is_empty() { p.note { "Intervals: " (report.intervals) "." } }
    }
}

/// "click AUC", or "AUC" where the metric belongs to no task.
pub(in super::super) fn name(metric: &Metric) -> String {
    match &metric.task {
        Some(task) => format!("{task} {}", metric.name),
        None => metric.name.clone(),
    }
}

fn tile(metric: &Metric) -> Markup {
    let Estimate { value, .. } = metric.estimate;
    let way = metric.ceiling.zip(metric.chance).map(|(ceiling, chance)| (value - chance) / (ceiling - chance));
    html! {
        div.tile {
            p.name { (capital(&name(metric))) ", " (metric.split) }
            p.value { (number(value)) }
            @if let Some(ends) = metric.estimate.ends() { p.more { "Interval " (interval(ends)) } }
            (meter(metric))
            @match (metric.ceiling, way) {
                (Some(ceiling), Some(way)) if way.is_finite() => {
                    p.more { "Ceiling " (number(ceiling)) "; " (percent(way)) " of the way to it from chance" }
                }
                (Some(ceiling), _) => { p.more { "Ceiling " (number(ceiling)) } }
                _ => {}
            }
        }
    }
}

/// A bar from chance to the ceiling that is filled up to the value.
fn meter(metric: &Metric) -> Markup {
    let Some((chance, ceiling)) = metric.chance.zip(metric.ceiling).filter(|ends| ends.0 < ends.1) else {
        return html! {};
    };
    let axis = Axis::between("", chance, ceiling);
    let at = |value: f64| axis.clamp(value).map(|place| fixed(2.0 + 196.0 * place, 1));
    html! {
        svg.meter viewBox="0 0 200 12" aria-hidden="true" {
            path.axis d="M2 6H198M198 1V11M2 1V11" {}
            @if let Some(x) = at(metric.estimate.value) {
                path class="line s0" d={ "M2 6H" (x) } stroke-width="4" {}
                circle class="dot s0" cx=(x) cy="6" r="4.5" {}
            }
        }
    }
}

/// Every metric of every split.
pub(super) fn metrics(metrics: &[Metric]) -> Option<Section> {
    let mut table = Table::new(["Metric", "Split", "Value", "Interval", "Ceiling", "Chance"]);
    table.head.extend(BASELINES.map(|(_, name)| capital(name)));
    table.head.push("Note".into());
    for metric in metrics {
        let baseline = |key: &str| metric.baselines.get(key).map(|value| number(*value)).unwrap_or_default();
        let own = [
            capital(&name(metric)),
            metric.split.clone(),
            number(metric.estimate.value),
            interval_cell(&metric.estimate),
            metric.ceiling.map(number).unwrap_or_default(),
            metric.chance.map(number).unwrap_or_default(),
        ];
        table.row(own.into_iter().chain(BASELINES.map(|(key, _)| baseline(key))).chain([metric.note.clone()]));
    }
    let has_baselines = metrics.iter().any(|metric| !metric.baselines.is_empty());
    let body = html! {
        @if has_baselines {
            p {
                "Baselines are what training says without a model, on the same samples: its mean label for every one; items by how many "
                "positive rows they have in training; the mean label of the item's or the user's training rows, begun with ten rows at "
                "the mean of all."
            }
        }
        (table.without_empty_columns().html())
    };
    (!metrics.is_empty()).then_some(Section { title: "Metrics", body })
}
