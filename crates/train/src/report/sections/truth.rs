//! The model held against what the simulator knows to be true.

use maud::html;

use super::super::data::{Joint, Truth};
use super::super::format::{capital, count, counted, estimate, interval_cell, number, percent};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Row, Rows, Series};

pub(super) fn section(truths: &[Truth]) -> Option<Section> {
    let shown: Vec<_> = truths.iter().flat_map(|truth| std::iter::once(ceiling(truth)).chain(joint(truth))).collect();
    let body = html! {
        p {
            "These samples are simulated, so each one's true probability is known. The oracle ranks by that probability; "
            "outcomes are still drawn at random, so even the oracle's AUC stays below 1."
        }
        (figures(&shown))
    };
    (!truths.is_empty()).then_some(Section { title: "Against the truth", body })
}

fn ceiling(truth: &Truth) -> Figure {
    let mut scorers = vec![("truth oracle", truth.oracle), ("this model", truth.model)];
    scorers.extend(truth.others.iter().map(|(name, estimate)| (name.as_str(), *estimate)));
    let series = |name: &str| Series(usize::from(name != "this model"));
    let rows = scorers.iter().map(|(name, value)| Row { name: (*name).into(), marks: vec![(series(name), *value)] });
    let gap = truth.gap.unwrap_or_else(|| (truth.oracle.value - truth.model.value).into());
    let way = (truth.model.value - 0.5) / (truth.oracle.value - 0.5);
    let mut caption = format!(
        "The model's AUC is {} and the oracle's {}: a gap of {}, {} of the way from guessing to the ceiling.",
        number(truth.model.value),
        number(truth.oracle.value),
        estimate(&gap),
        percent(way)
    );
    if let Some(correlation) = truth.rank_correlation {
        caption
            .push_str(&format!(" Predictions and true probabilities have rank correlation {}.", number(correlation)));
    }
    caption.push_str(&format!(" {}.", counted(truth.samples, "sample")));
    let mut numbers = Table::new(["Scorer", "AUC", "Interval"]);
    for (name, value) in &scorers {
        numbers.row([(*name).into(), number(value.value), interval_cell(value)]);
    }
    numbers.row(["gap (oracle − model)".into(), number(gap.value), interval_cell(&gap)]);
    Figure {
        title: format!("{}: model and ceiling", capital(&truth.task)),
        drawing: Rows::dots("AUC", rows.collect(), vec![(truth.oracle.value, "ceiling".into())]).svg(&caption),
        legend: Vec::new(),
        numbers: numbers.without_empty_columns(),
        caption,
    }
}

/// Mean prediction in each bin of truth that holds samples, taking a bin's middle for its predictions:
/// (middle of the truth bin, mean prediction, samples).
fn means(joint: &Joint) -> Vec<(f64, f64, u64)> {
    let middle: Vec<f64> = joint.edges.windows(2).map(|ends| (ends[0] + ends[1]) / 2.0).collect();
    let mean = |(&truth, counts): (&f64, &Vec<u64>)| {
        let samples: u64 = counts.iter().sum();
        let sum: f64 = middle.iter().zip(counts).map(|(prediction, &count)| prediction * count as f64).sum();
        (samples > 0).then(|| (truth, sum / samples as f64, samples))
    };
    middle.iter().zip(&joint.counts).filter_map(mean).collect()
}

fn joint(truth: &Truth) -> Option<Figure> {
    let joint = truth.joint.as_ref()?;
    let most = joint.counts.iter().flatten().copied().max().filter(|&most| most > 0)?;
    let (low, high) = (*joint.edges.first()?, *joint.edges.last()?);
    let axis = |label: &str| Axis::between(label, low, high);
    let mut plot = Plot::new(axis("true probability"), axis("prediction"), 380.0);
    // Counts span orders of magnitude; their logarithm shows the tails.
    let shade = |&count: &u64| (1.0 + count as f64).ln() / (1.0 + most as f64).ln();
    let shades: Vec<Vec<f64>> = joint.counts.iter().map(|counts| counts.iter().map(shade).collect()).collect();
    plot.cells(&joint.edges, &joint.edges, &shades);
    plot.diagonal();
    let means = means(joint);
    // A handful of samples says little about a mean.
    let line: Vec<_> = means.iter().filter(|mean| mean.2 >= 20).map(|mean| [mean.0, mean.1]).collect();
    plot.line(&line, Series(1));
    plot.dots(&line, Series(1));
    let mut numbers = Table::new(["True probability", "Samples", "Mean prediction"]);
    for (middle, mean, samples) in &means {
        numbers.row([number(*middle), count(*samples), number(*mean)]);
    }
    let ends = match (line.first(), line.last()) {
        (Some([low_truth, low]), Some([high_truth, high])) if line.len() > 1 => format!(
            " Where the truth is {}, it predicts {} on average; where it is {}, {}.",
            number(*low_truth),
            number(*low),
            number(*high_truth),
            number(*high)
        ),
        _ => String::new(),
    };
    let caption = format!(
        "The stronger a cell's colour, the more samples fall in it; a perfect model keeps to the dashed line. The line with dots is \
         the model's mean prediction.{ends}"
    );
    let drawing = plot.svg(&caption);
    let legend = vec![(Series(1), "mean prediction".into())];
    Some(Figure { title: format!("{}: learned and true", capital(&truth.task)), caption, legend, drawing, numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_follow_the_counts() {
        let joint = Joint { edges: vec![0.0, 0.2, 0.4], counts: vec![vec![3, 1], vec![0, 0]] };
        let found = means(&joint);
        assert_eq!(found.len(), 1);
        assert!((found[0].0 - 0.1).abs() < 1e-12 && (found[0].1 - 0.15).abs() < 1e-12 && found[0].2 == 4);
    }
}
