//! Recall, then rank: what is lost and saved by ranking only what a retriever found.

use maud::html;

use super::super::data::{Estimate, RankingValue, Recall};
use super::super::format::{capital, count, counted, duration, estimate, interval_cell, number, percent};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Row, Rows, Series};

pub(super) fn section(ways: &[Recall]) -> Option<Section> {
    let first = ways.first()?;
    let mut metrics: Vec<(&str, u64)> = Vec::new();
    for value in &first.values {
        if ["Recall", "HR", "NDCG"].contains(&value.metric.as_str()) {
            metrics.push((&value.metric, value.cutoff));
        }
    }
    let shown: Vec<Figure> =
        metrics.iter().filter(|(metric, _)| *metric == "NDCG").map(|at| figure(ways, *at)).collect();
    let body = html! {
        p {
            "A ranker that scores every item of a large catalogue for every request is too slow. A retriever finds candidates first, by the "
            "inner products of two vectors; a relevant item that it misses cannot come back. " (counted(first.lists, "list")) " judged."
        }
        (table(ways, &metrics).html())
        (figures(&shown))
    };
    Some(Section { title: "Recall, then rank", body })
}

fn name(way: &Recall) -> String {
    way.candidates.map_or_else(|| "everything ranked".into(), |candidates| format!("{} candidates", count(candidates)))
}

fn value<'a>(way: &'a Recall, (metric, cutoff): (&str, u64)) -> Option<&'a RankingValue> {
    way.values.iter().find(|value| value.metric == metric && value.cutoff == cutoff)
}

fn table(ways: &[Recall], metrics: &[(&str, u64)]) -> Table {
    let mut table = Table::new(["Way", "Relevant among them", "Finding a list", "Ranking it"]);
    table.head.extend(metrics.iter().map(|(metric, cutoff)| format!("{metric}@{cutoff}")));
    for way in ways {
        let a_list = |seconds: f64| duration(seconds / way.lists.max(1) as f64);
        let found = if way.candidates.is_some() { a_list(way.recall_seconds) } else { String::new() };
        let values =
            metrics.iter().map(|at| value(way, *at).map(|value| estimate(&value.estimate)).unwrap_or_default());
        let facts = [capital(&name(way)), percent(way.reached), found, a_list(way.rank_seconds)];
        table.row(facts.into_iter().chain(values));
    }
    table
}

fn figure(ways: &[Recall], at: (&str, u64)) -> Figure {
    let label = format!("{}@{}", at.0, at.1);
    let marks = ways.iter().filter_map(|way| Some((way, value(way, at)?.estimate)));
    let rows = marks.clone().map(|(way, estimate)| Row {
        name: name(way),
        marks: vec![(Series(usize::from(way.candidates.is_some())), estimate)],
    });
    let all = marks.clone().find(|(way, _)| way.candidates.is_none());
    let best = marks.filter(|(way, _)| way.candidates.is_some()).max_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let caption = match (all, best) {
        (Some((all, value)), Some((best, reached))) => format!(
            "With {} the {label} is {}, and {} where everything is ranked; a list takes {} in place of {}.",
            name(best),
            number(reached.value),
            number(value.value),
            duration((best.recall_seconds + best.rank_seconds) / best.lists.max(1) as f64),
            duration(all.rank_seconds / all.lists.max(1) as f64),
        ),
        _ => format!("The {label} of each way."),
    };
    let mut numbers = Table::new(["Way", &label, "Interval"]);
    for way in ways {
        let estimate = value(way, at).map_or(Estimate::from(f64::NAN), |value| value.estimate);
        numbers.row([name(way), number(estimate.value), interval_cell(&estimate)]);
    }
    Figure {
        title: format!("{label} by number of candidates"),
        drawing: Rows::dots(&label, rows.collect(), Vec::new()).svg(&caption),
        legend: Vec::new(),
        numbers: numbers.without_empty_columns(),
        caption,
    }
}
