//! What the model was trained and judged on.

use maud::html;

use super::super::data::{DataSummary, Histogram, Split};
use super::super::format::{capital, count, counted, moment, number, percent, share};
use super::super::page::{Figure, Section, Table, facts};
use super::super::plot::{Axis, Plot, Series};

pub(super) fn section(summary: &DataSummary) -> Option<Section> {
    if *summary == DataSummary::default() {
        return None;
    }
    let bad = summary.bad_rows.map(|bad| match summary.rows_read {
        Some(read) => format!("{} of {} ({})", count(bad), count(read), share(bad, read)),
        None => count(bad),
    });
    let read = summary.rows_read.filter(|_| summary.bad_rows.is_none()).map(count);
    let body = html! {
        (facts(&[("Rows read", read.unwrap_or_default()), ("Malformed rows left out", bad.unwrap_or_default())]))
        @if !summary.splits.is_empty() { (splits(&summary.splits).html()) }
        @if !summary.tables.is_empty() {
            p.note { "Embedding tables. Out of vocabulary: the share of look-ups in the test split that met an id unseen in training." }
            (tables(summary).html())
        }
        @if let Some(figure) = summary.history_length.as_ref().and_then(history) {
            div.figures { (figure.html()) }
        }
    };
    Some(Section { title: "Data", body })
}

fn splits(splits: &[Split]) -> Table {
    let mut tasks: Vec<&str> = Vec::new();
    for positives in splits.iter().flat_map(|split| &split.positives) {
        if !tasks.contains(&positives.task.as_str()) {
            tasks.push(&positives.task);
        }
    }
    let mut table = Table::new(["Split", "Samples", "Users", "Items", "From (UTC)", "To (UTC)"]);
    for task in &tasks {
        table.head.push(format!("Positive: {task}"));
    }
    for split in splits {
        let [from, to] = split.time.map(|ends| ends.map(moment)).unwrap_or_default();
        let mut cells = vec![
            split.name.clone(),
            count(split.rows),
            split.users.map(count).unwrap_or_default(),
            split.items.map(count).unwrap_or_default(),
            from,
            to,
        ];
        for task in &tasks {
            let positives = split.positives.iter().find(|positives| positives.task == *task);
            cells.push(positives.map_or_else(String::new, |found| {
                let of =
                    if found.labelled == split.rows { String::new() } else { format!(" of {}", count(found.labelled)) };
                format!("{}{of} ({})", count(found.positive), share(found.positive, found.labelled))
            }));
        }
        table.row(cells);
    }
    table.without_empty_columns()
}

fn tables(summary: &DataSummary) -> Table {
    let mut table = Table::new(["Table", "Rows", "Dimension", "Numbers", "Out of vocabulary", "Features"]);
    for entry in &summary.tables {
        table.row([
            entry.name.clone(),
            count(entry.rows),
            count(entry.dimension),
            count(entry.rows.saturating_mul(entry.dimension)),
            entry.out_of_vocabulary.map(percent).unwrap_or_default(),
            entry.features.join(", "),
        ]);
    }
    table.without_empty_columns()
}

fn history(histogram: &Histogram) -> Option<Figure> {
    let total: u64 = histogram.counts.iter().sum();
    if total == 0 || histogram.edges.len() != histogram.counts.len() + 1 {
        return None;
    }
    let heights: Vec<f64> = histogram.counts.iter().map(|&count| count as f64).collect();
    let x = Axis::between("events in the history", *histogram.edges.first()?, *histogram.edges.last()?);
    let mut plot = Plot::new(x, Axis::with_zero("training samples", heights.iter().copied()), 230.0);
    plot.steps(&histogram.edges, &heights, Series(0));
    let mut numbers = Table::new(["Events", "Samples", "Share"]);
    for (ends, &samples) in histogram.edges.windows(2).zip(&histogram.counts) {
        let bin = if ends[1] - ends[0] == 1.0 {
            plain(ends[0])
        } else {
            format!("{} to below {}", plain(ends[0]), plain(ends[1]))
        };
        numbers.row([bin, count(samples), share(samples, total)]);
    }
    let mut below = 0;
    let middle = histogram.edges.iter().zip(&histogram.counts).find(|(_, samples)| {
        below += **samples;
        2 * below >= total
    });
    let median = middle.map(|(edge, _)| format!(" The median history has {} events or more.", plain(*edge)));
    let fullest = histogram.counts.iter().max().copied().unwrap_or_default();
    let last = histogram.counts.last().copied().unwrap_or_default();
    let full = if last == fullest && histogram.counts.len() > 2 {
        format!(" {} of them end in the last bin, where histories reach their limit.", share(last, total))
    } else {
        String::new()
    };
    let caption = format!(
        "{} by the length of their history.{}{full}",
        counted(total, "training sample"),
        median.unwrap_or_default()
    );
    let drawing = plot.svg(&caption);
    Some(Figure { title: capital("history length"), caption, legend: Vec::new(), drawing, numbers })
}

/// An edge, without decimals if it is whole.
fn plain(edge: f64) -> String {
    if edge.fract() == 0.0 && edge >= 0.0 { count(edge as u64) } else { number(edge) }
}
