//! Who is served how well: one metric over groups of samples.

use maud::html;

use super::super::data::{Estimate, Group, Grouping};
use super::super::format::{capital, count, estimate, fixed, interval_cell, number};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Row, Rows, Series};

pub(super) fn section(groupings: &[Grouping]) -> Option<Section> {
    let shown: Vec<_> = groupings.iter().filter(|grouping| !grouping.groups.is_empty()).map(figure).collect();
    let defines = groupings.iter().any(|grouping| grouping.heterogeneity.is_some() || grouping.head_tail_gap.is_some());
    let body = html! {
        @if defines {
            p {
                "Heterogeneity is 100 × the standard deviation of the groups' values; the head–tail gap is 100 × (last group − "
                "first group). Both definitions are Kitestring's own; published work uses others."
            }
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "Groups", body })
}

fn figure(grouping: &Grouping) -> Figure {
    let metric = &grouping.metric;
    let rows =
        grouping.groups.iter().map(|group| Row { name: group.name.clone(), marks: vec![(Series(0), group.estimate)] });
    let rule = grouping.overall.filter(|overall| overall.value.is_finite());
    let rules = rule.map(|overall| (overall.value, format!("all {}", number(overall.value)))).into_iter().collect();
    let caption = caption(grouping);
    let mut numbers = Table::new(["Group", "Samples", "Positives", metric, "Interval"]);
    for group in &grouping.groups {
        let sizes = [count(group.samples), count(group.positives)];
        let values = [number(group.estimate.value), interval_cell(&group.estimate)];
        numbers.row(std::iter::once(group.name.clone()).chain(sizes).chain(values));
    }
    Figure {
        title: capital(&format!("{} {metric} by {}", grouping.task, grouping.by)),
        drawing: Rows::dots(metric.clone(), rows.collect(), rules).svg(&caption),
        legend: Vec::new(),
        numbers: numbers.without_empty_columns(),
        caption,
    }
}

fn caption(grouping: &Grouping) -> String {
    let defined = || grouping.groups.iter().filter(|group| group.estimate.value.is_finite());
    let order = |a: &&Group, b: &&Group| a.estimate.value.total_cmp(&b.estimate.value);
    let mut text = match (defined().min_by(order), defined().max_by(order)) {
        (Some(least), Some(most)) if least.name != most.name => {
            let have_intervals = least.estimate.ends().and(most.estimate.ends()).is_some();
            let apart = match (have_intervals, least.estimate.is_apart_from(&most.estimate)) {
                (false, _) => "",
                (true, true) => " Their intervals do not overlap.",
                (true, false) => " Their intervals overlap.",
            };
            format!(
                "{} is lowest for “{}” ({}) and highest for “{}” ({}).{apart}",
                grouping.metric,
                least.name,
                number(least.estimate.value),
                most.name,
                number(most.estimate.value)
            )
        }
        _ => String::new(),
    };
    let undefined = grouping.groups.len() - defined().count();
    if undefined > 0 {
        text.push_str(&format!(" It is undefined for {undefined} of {} groups.", grouping.groups.len()));
    }
    let hundredths = |value: &Estimate| match value.ends() {
        Some([low, high]) => format!("{} ({} to {})", fixed(value.value, 2), fixed(low, 2), fixed(high, 2)),
        None => fixed(value.value, 2),
    };
    if let Some(heterogeneity) = &grouping.heterogeneity {
        text.push_str(&format!(" Heterogeneity {}.", hundredths(heterogeneity)));
    }
    if let Some(gap) = &grouping.head_tail_gap {
        text.push_str(&format!(" Head–tail gap {}.", hundredths(gap)));
    }
    if let (true, Some(overall)) = (text.is_empty(), &grouping.overall) {
        text = format!("Over all samples it is {}.", estimate(overall));
    }
    text.trim_start().into()
}
