//! The parts that are mostly tables: ranking metrics, feature importance, speed, caveats, config.

use kitestring_core::Note;
use maud::html;

use super::super::data::{Importance, Ranking, Report, Speed};
use super::super::format::{capital, count, counted, duration, estimate, interval_cell, number, percent};
use super::super::page::{Figure, Section, Table, facts, figures};
use super::super::plot::{Row, Rows, Series};

pub(super) fn rankings(rankings: &[Ranking]) -> Option<Section> {
    let body = html! {
        @for ranking in rankings {
            @if !ranking.values.is_empty() {
                h3 { "Candidates: " (ranking.candidates) }
                p { (counted(ranking.lists, "ranked list")) " judged." }
                (table(ranking).html())
            }
        }
    };
    let is_empty = rankings.iter().all(|ranking| ranking.values.is_empty());
    (!is_empty).then_some(Section { title: "Ranking", body })
}

fn table(ranking: &Ranking) -> Table {
    let mut metrics: Vec<&str> = Vec::new();
    let mut cutoffs: Vec<u64> = ranking.values.iter().map(|value| value.cutoff).collect();
    cutoffs.sort_unstable();
    cutoffs.dedup();
    for value in &ranking.values {
        if !metrics.contains(&value.metric.as_str()) {
            metrics.push(&value.metric);
        }
    }
    let mut table = Table::new(["K"]);
    table.head.extend(metrics.iter().map(|metric| format!("{metric}@K")));
    for cutoff in cutoffs {
        let value = |metric: &&str| {
            let found = ranking.values.iter().find(|value| value.cutoff == cutoff && value.metric == *metric);
            found.map(|value| estimate(&value.estimate)).unwrap_or_default()
        };
        table.row(std::iter::once(cutoff.to_string()).chain(metrics.iter().map(value)));
    }
    table
}

pub(super) fn importance(parts: &[Importance]) -> Option<Section> {
    let shown: Vec<_> = parts.iter().filter(|part| !part.drops.is_empty()).map(figure).collect();
    let body = html! {
        p {
            "How far a metric falls when the trained model has to do without a feature. Features that say the same thing stand in "
            "for each other, so each may seem worth little."
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "What each feature is worth", body })
}

/// Features drawn; the others are only in the table.
const FEATURES: usize = 20;

fn figure(part: &Importance) -> Figure {
    let mut drops = part.drops.clone();
    drops.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    let rows =
        drops.iter().take(FEATURES).map(|(name, drop)| Row { name: name.clone(), marks: vec![(Series(0), *drop)] });
    let mut numbers = Table::new(["Feature", "Fall", "Interval"]);
    for (name, drop) in &drops {
        numbers.row([name.clone(), number(drop.value), interval_cell(drop)]);
    }
    let mut caption = match drops.iter().find(|drop| drop.1.value.is_finite()) {
        Some((name, drop)) => {
            format!("Most rests on {}: without it, {} falls by {}.", name, part.metric, number(drop.value))
        }
        None => "No feature's worth is defined.".into(),
    };
    let with_interval = drops.iter().filter_map(|drop| drop.1.ends());
    let idle = with_interval.clone().filter(|[low, high]| (*low..=*high).contains(&0.0)).count();
    if idle > 0 {
        caption.push_str(&format!(" For {idle} of {} features the interval holds zero.", drops.len()));
    }
    if drops.len() > FEATURES {
        caption.push_str(&format!(" The {FEATURES} greatest of {} are drawn.", drops.len()));
    }
    caption.push_str(&format!(" Features were {}.", part.method));
    Figure {
        title: format!("{}: fall in {}", capital(&part.task), part.metric),
        drawing: Rows::bars(format!("fall in {}", part.metric), rows.collect()).svg(&caption),
        legend: Vec::new(),
        numbers: numbers.without_empty_columns(),
        caption,
    }
}

pub(super) fn speed(speed: &Speed) -> Option<Section> {
    if *speed == Speed::default() {
        return None;
    }
    let total: f64 = speed.phases.iter().map(|phase| phase.1).sum();
    let known = [
        ("Training speed", speed.samples_per_second.map(|rate| format!("{} samples/s", count(rate.round() as u64)))),
        ("Peak resident memory", speed.peak_rss_mib.map(|mib| format!("{} MiB", count(mib.round() as u64)))),
        ("Whole run", (!speed.phases.is_empty()).then(|| duration(total))),
    ];
    let body = html! {
        (facts(&known.map(|(name, value)| (name, value.unwrap_or_default()))))
        @if !speed.phases.is_empty() { (figures(&[phases(speed, total)])) }
    };
    Some(Section { title: "Speed and memory", body })
}

fn phases(speed: &Speed, total: f64) -> Figure {
    let rows = speed
        .phases
        .iter()
        .map(|(name, seconds)| Row { name: name.clone(), marks: vec![(Series(0), (*seconds).into())] });
    let mut numbers = Table::new(["Phase", "Time", "Share"]);
    for (name, seconds) in &speed.phases {
        numbers.row([name.clone(), duration(*seconds), percent(seconds / total)]);
    }
    let longest = speed.phases.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let caption = longest.map_or_else(String::new, |(name, seconds)| {
        format!("{} takes longest: {}, {} of the run.", capital(name), duration(*seconds), percent(seconds / total))
    });
    let drawing = Rows::bars("seconds", rows.collect()).written(duration).svg(&caption);
    Figure { title: "Time by phase".into(), caption, legend: Vec::new(), drawing, numbers }
}

pub(super) fn notes(notes: &[Note]) -> Option<Section> {
    let body = html! { ul.caveats { @for note in notes { li { (note.to_string()) } } } };
    (!notes.is_empty()).then_some(Section { title: "What data and config say against each other", body })
}

pub(super) fn caveats(caveats: &[String]) -> Option<Section> {
    let body = html! { ul.caveats { @for caveat in caveats { li { (caveat) } } } };
    (!caveats.is_empty()).then_some(Section { title: "What this does not show", body })
}

pub(super) fn reproduction(report: &Report) -> Option<Section> {
    let mut known: Vec<(&str, String)> = Vec::new();
    known.extend(report.seed.map(|seed| ("Seed", seed.to_string())));
    known.extend(report.environment.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let body = html! {
        (facts(&known))
        @if !report.config.is_empty() { details { summary { "The resolved config" } pre { (report.config) } } }
    };
    (!known.is_empty() || !report.config.is_empty()).then_some(Section { title: "To run it again", body })
}
