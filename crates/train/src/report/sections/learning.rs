//! How training went: loss and validation metrics by epoch.

use maud::html;

use super::super::data::{Curve, Learning};
use super::super::format::{capital, listed, number, shorten};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Series};
use super::super::thin::{Bucket, buckets};

/// Points of a curve beyond which it is shown as means of buckets with the range around them.
const DETAIL: usize = 120;

pub(super) fn section(learning: &Learning) -> Option<Section> {
    let mut shown: Vec<_> = loss(&learning.loss, learning).into_iter().collect();
    shown.extend(task_weights(learning));
    let drawn = learning.validation.iter().filter(|curve| !curve.points.is_empty());
    shown.extend(drawn.map(|curve| validation(curve, learning)));
    let body = html! { (figures(&shown)) };
    (!shown.is_empty()).then_some(Section { title: "Learning curves", body })
}

fn epoch_axis<'a>(curves: impl IntoIterator<Item = &'a Curve>) -> Axis {
    let xs = curves.into_iter().flat_map(|curve| &curve.points).map(|point| point[0]);
    Axis::fit("epoch", xs.chain([0.0])).whole()
}

fn rules(learning: &Learning) -> Vec<(f64, String)> {
    let best = learning.best_epoch.map(|best| (best, "weights kept".to_string()));
    let stopped = learning.stopped.as_ref().map(|(epoch, why)| (*epoch, shorten(&format!("stopped: {why}"), 44)));
    best.into_iter().chain(stopped).collect()
}

fn loss(curves: &[Curve], learning: &Learning) -> Option<Figure> {
    let curves: Vec<_> = curves.iter().filter(|curve| !curve.points.is_empty()).collect();
    let thinned: Vec<Vec<Bucket>> = curves.iter().map(|curve| buckets(&curve.points, DETAIL)).collect();
    // The first steps' loss may be many times the rest's: the axis follows the means, and the band is cut at its ends.
    let y = Axis::fit("training loss", thinned.iter().flatten().map(|bucket| bucket.mean));
    let mut plot = Plot::new(epoch_axis(curves.iter().copied()), y, 260.0).with_rules(rules(learning));
    let mut numbers = Table::new(["Curve", "Epoch", "Mean loss", "Least", "Greatest"]);
    let mut is_banded = false;
    for (index, (curve, thin)) in curves.iter().zip(&thinned).enumerate() {
        if thin.len() < curve.points.len() {
            is_banded = true;
            plot.band(
                &thin.iter().map(|bucket| [bucket.x, bucket.low, bucket.high]).collect::<Vec<_>>(),
                Series(index),
            );
        }
        plot.line(&thin.iter().map(|bucket| [bucket.x, bucket.mean]).collect::<Vec<_>>(), Series(index));
        for bucket in buckets(&curve.points, 20) {
            let loss = [bucket.mean, bucket.low, bucket.high].map(number);
            numbers.row([curve.name.clone(), number(bucket.x)].into_iter().chain(loss));
        }
    }
    let (first, last) = (thinned.first()?.first()?, thinned.first()?.last()?);
    let course = format!("Training loss goes from {} to {}.", number(first.mean), number(last.mean));
    let band = if is_banded { " The line is the mean of neighbouring steps, the band their range." } else { "" };
    let legend = if curves.len() > 1 { named(&curves) } else { Vec::new() };
    let caption = course + band;
    let drawing = plot.svg(&caption);
    Some(Figure { title: "Training loss".into(), caption, legend, drawing, numbers })
}

/// What the tasks' losses counted for, where that changed.
fn task_weights(learning: &Learning) -> Option<Figure> {
    let changes = |curve: &&Curve| curve.points.windows(2).any(|pair| pair[0][1] != pair[1][1]);
    let curves: Vec<_> = learning.task_weights.iter().collect();
    curves.iter().find(|curve| changes(curve))?;
    let y = Axis::with_zero("weight", curves.iter().flat_map(|curve| &curve.points).map(|point| point[1]));
    let mut plot = Plot::new(epoch_axis(curves.iter().copied()), y, 260.0).with_rules(rules(learning));
    let mut numbers = Table::new(["Task", "Epoch", "Weight"]);
    for (index, curve) in curves.iter().enumerate() {
        let thin = buckets(&curve.points, DETAIL);
        plot.line(&thin.iter().map(|bucket| [bucket.x, bucket.mean]).collect::<Vec<_>>(), Series(index));
        for bucket in buckets(&curve.points, 20) {
            numbers.row([curve.name.clone(), number(bucket.x), number(bucket.mean)]);
        }
    }
    let ends = curves.iter().filter_map(|curve| Some(format!("{} {}", curve.name, number(curve.points.last()?[1]))));
    let caption = format!("What each task's loss counts for. At the end: {}.", listed(&ends.collect::<Vec<_>>()));
    let drawing = plot.svg(&caption);
    Some(Figure { title: "Task weights".into(), caption, legend: named(&curves), drawing, numbers })
}

fn named(curves: &[&Curve]) -> Vec<(Series, String)> {
    curves.iter().enumerate().map(|(index, curve)| (Series(index), curve.name.clone())).collect()
}

fn validation(curve: &Curve, learning: &Learning) -> Figure {
    let y = Axis::fit(curve.name.clone(), curve.points.iter().map(|point| point[1]));
    let mut plot = Plot::new(epoch_axis([curve]), y, 260.0).with_rules(rules(learning));
    let thin: Vec<_> = buckets(&curve.points, DETAIL).iter().map(|bucket| [bucket.x, bucket.mean]).collect();
    plot.line(&thin, Series(0));
    if thin.len() <= 40 {
        plot.dots(&thin, Series(0));
    }
    let mut numbers = Table::new(["Epoch", &curve.name]);
    for [epoch, value] in &curve.points {
        numbers.row([number(*epoch), number(*value)]);
    }
    let kept = learning.best_epoch.and_then(|best| curve.points.iter().find(|point| (point[0] - best).abs() < 1e-6));
    let mut caption = match (kept, curve.points.last()) {
        (Some(kept), Some(last)) => format!(
            "{} is {} after epoch {}, whose weights were kept, and {} after the last.",
            capital(&curve.name),
            number(kept[1]),
            epoch(kept[0]),
            number(last[1])
        ),
        (None, Some(last)) => format!("{} is {} after the last epoch.", capital(&curve.name), number(last[1])),
        (_, None) => String::new(),
    };
    if let Some((at, why)) = &learning.stopped {
        caption.push_str(&format!(" Training stopped early after epoch {}: {why}.", epoch(*at)));
    }
    let drawing = plot.svg(&caption);
    Figure { title: format!("Validation: {}", curve.name), caption, legend: Vec::new(), drawing, numbers }
}

fn epoch(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { number(value) }
}
