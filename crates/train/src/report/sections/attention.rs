//! Where the model looks in a history.

use maud::html;

use super::super::data::{Attention, AttentionBin, AttentionExample, Estimate};
use super::super::format::{count, interval_cell, number};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Row, Rows, Series};

const SAME: Series = Series(0);
const OTHER: Series = Series(1);

pub(super) fn section(attention: &Attention) -> Option<Section> {
    let mut shown: Vec<_> = recency(attention).into_iter().collect();
    shown.extend(
        attention
            .examples
            .iter()
            .filter(|example| !example.events.is_empty())
            .map(|example| figure(attention, example)),
    );
    let body = html! {
        p {
            "The weight that the encoder gives each event of a history when it scores a candidate. A weight says what the "
            "encoder lets through, not what caused the outcome."
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "What the model attends to", body })
}

fn names(attention: &Attention) -> [String; 2] {
    match attention.shares.as_str() {
        "" => ["same as the target".into(), "other".into()],
        shares => [format!("same {shares}"), format!("another {shares}")],
    }
}

/// The mean over all recencies, each weighted by its events.
fn mean(bins: &[AttentionBin], of: impl Fn(&AttentionBin) -> (Option<Estimate>, u64)) -> Option<f64> {
    let known = bins.iter().map(of).filter_map(|(estimate, count)| Some((estimate?.value, count as f64)));
    let (sum, weight) = known
        .filter(|(value, _)| value.is_finite())
        .fold((0.0, 0.0), |(sum, weight), (value, count)| (sum + value * count, weight + count));
    (weight > 0.0).then_some(sum / weight)
}

fn recency(attention: &Attention) -> Option<Figure> {
    let bins = &attention.recency;
    let both = |bin: &AttentionBin| [(SAME, bin.same, bin.same_count), (OTHER, bin.other, bin.other_count)];
    let values: Vec<f64> = bins
        .iter()
        .flat_map(both)
        .filter_map(|line| line.1)
        .flat_map(|value| value.extent())
        .filter(|v| v.is_finite())
        .collect();
    if values.is_empty() {
        return None;
    }
    let last = bins.iter().map(|bin| bin.recency).max().unwrap_or_default();
    let x = Axis::between("events back from now (1 is the latest)", 0.5, last as f64 + 0.5).whole();
    let mut plot = Plot::new(x, Axis::with_zero("mean weight", values), 280.0);
    for (index, series) in [SAME, OTHER].into_iter().enumerate() {
        let line = || bins.iter().filter_map(|bin| Some((bin.recency as f64, both(bin).get(index)?.1?)));
        let band: Vec<_> = line().filter_map(|(x, value)| value.ends().map(|[low, high]| [x, low, high])).collect();
        plot.band(&band, series);
        plot.line(&line().map(|(x, value)| [x, value.value]).collect::<Vec<_>>(), series);
    }
    let [same, other] = names(attention);
    let mut numbers = Table::new(["Events back"]);
    for name in [&same, &other] {
        numbers.head.extend([format!("Weight, {name}"), "Interval".into(), "Events".into()]);
    }
    for bin in bins {
        let cells = both(bin).into_iter().flat_map(|(_, value, events)| match value {
            Some(value) => [number(value.value), interval_cell(&value), count(events)],
            None => [String::new(), String::new(), count(events)],
        });
        numbers.row(std::iter::once(bin.recency.to_string()).chain(cells));
    }
    let means = mean(bins, |bin| (bin.same, bin.same_count)).zip(mean(bins, |bin| (bin.other, bin.other_count)));
    let mut caption = match means {
        Some((a, b)) if a > 0.0 && b > 0.0 => format!(
            "An event of the {same} weighs {} on average, {} times one of {other} ({}).",
            number(a),
            super::super::format::fixed(a / b, 1),
            number(b)
        ),
        Some((a, b)) => {
            format!("An event of the {same} weighs {} on average, one of {other} {}.", number(a), number(b))
        }
        None => String::new(),
    };
    let ends = |of: fn(&AttentionBin) -> Option<Estimate>| {
        let known: Vec<_> = bins.iter().filter_map(|bin| Some((bin.recency, of(bin)?.value))).collect();
        known.first().copied().zip(known.last().copied()).filter(|(first, last)| first.0 < last.0)
    };
    if let Some(((first, near), (last, far))) = ends(|bin| bin.same).or_else(|| ends(|bin| bin.other)) {
        caption.push_str(&format!(
            " The weight goes from {} at {first} back to {} at {last} back.",
            number(near),
            number(far)
        ));
    }
    let caption: String = caption.trim_start().into();
    let drawing = plot.svg(&caption);
    Some(Figure {
        title: "Attention by recency".into(),
        caption,
        legend: vec![(SAME, same), (OTHER, other)],
        drawing,
        numbers,
    })
}

/// Events drawn for an example; older ones are only in its table.
const EVENTS: usize = 15;

fn figure(attention: &Attention, example: &AttentionExample) -> Figure {
    let [same, other] = names(attention);
    let series = |is_same: bool| if is_same { SAME } else { OTHER };
    let rows = example
        .events
        .iter()
        .take(EVENTS)
        .map(|event| Row { name: event.name.clone(), marks: vec![(series(event.same), event.weight.into())] });
    let total: f64 = example.events.iter().map(|event| event.weight).sum();
    let matching: f64 = example.events.iter().filter(|event| event.same).map(|event| event.weight).sum();
    let count_same = example.events.iter().filter(|event| event.same).count();
    let outcome = if example.outcome.is_empty() {
        String::new()
    } else {
        format!("{}. ", super::super::format::capital(&example.outcome))
    };
    let share = if example.events.iter().all(|event| event.weight >= 0.0) && total > 0.0 {
        let share = super::super::format::percent(matching / total);
        format!("{count_same} of {} events are of the {same} and carry {share} of the weight.", example.events.len())
    } else {
        format!("{count_same} of {} events are of the {same}.", example.events.len())
    };
    let left_out = example.events.len().saturating_sub(EVENTS);
    let rest = if left_out > 0 { format!(" The {left_out} oldest are only in the table.") } else { String::new() };
    let caption = format!("{outcome}Latest event on top. {share}{rest}");
    let mut numbers = Table::new(["Events back", "Event", "Kind", "Weight"]);
    for (index, event) in example.events.iter().enumerate() {
        let kind = if event.same { &same } else { &other };
        numbers.row([(index + 1).to_string(), event.name.clone(), kind.clone(), number(event.weight)]);
    }
    Figure {
        title: format!("One history, scoring {}", example.target),
        drawing: Rows::bars("weight", rows.collect()).svg(&caption),
        legend: vec![(SAME, same), (OTHER, other)],
        numbers,
        caption,
    }
}
