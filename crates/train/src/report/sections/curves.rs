//! How well each task is ranked and how far its probabilities can be believed.

use maud::html;

use super::super::data::{CalibrationBin, Task};
use super::super::format::{count, estimate, number, percent};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Series};
use super::super::thin::monotone;

pub(super) fn section(tasks: &[Task]) -> Option<Section> {
    let mut shown: Vec<_> = roc(tasks).into_iter().chain(precision_recall(tasks)).collect();
    shown.extend(tasks.iter().filter_map(calibration));
    let body = html! { (figures(&shown)) };
    (!shown.is_empty()).then_some(Section { title: "ROC, precision and calibration", body })
}

fn roc(tasks: &[Task]) -> Option<Figure> {
    let tasks: Vec<_> = tasks.iter().filter(|task| task.roc.len() > 1).collect();
    if tasks.is_empty() {
        return None;
    }
    let rate = |label: &str| Axis::between(label, 0.0, 1.0);
    let mut plot = Plot::new(rate("false positive rate"), rate("true positive rate"), 380.0);
    plot.diagonal();
    let mut numbers = Table::new(["Task", "False positive rate", "True positive rate"]);
    let mut legend = Vec::new();
    let mut found = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        plot.line(&monotone(&task.roc, 0.006), Series(index));
        for false_rate in [0.01, 0.05, 0.1, 0.2, 0.5] {
            numbers.row([task.name.clone(), percent(false_rate), percent(height(&task.roc, false_rate))]);
        }
        let area = task.auc.map(|auc| format!(": AUC {}", estimate(&auc))).unwrap_or_default();
        legend.push((Series(index), format!("{}{area}", task.name)));
        found.push(format!("{} of {} positives", percent(height(&task.roc, 0.1)), task.name));
    }
    let found = super::super::format::listed(&found);
    let caption = format!(
        "At a false positive rate of 10\u{a0}% the model finds {found}. The dashed line is a model that guesses."
    );
    let drawing = plot.svg(&caption);
    Some(Figure { title: "ROC on the test split".into(), caption, legend, drawing, numbers })
}

/// The share of positives in a task's samples.
fn prevalence(task: &Task) -> f64 {
    let filled = || task.calibration.iter().filter(|bin| bin.count > 0);
    let samples: f64 = filled().map(|bin| bin.count as f64).sum();
    filled().map(|bin| bin.count as f64 * bin.observed).sum::<f64>() / samples
}

/// The precision–recall curve of a ROC: at a false positive rate f and a true positive rate t, and a share p of positives, the recall is t and
/// the precision t p / (t p + f (1 − p)) (Davis and Goadrich 2006).
fn precision_of(roc: &[[f64; 2]], prevalence: f64) -> Vec<[f64; 2]> {
    let precision = |[f, t]: [f64; 2]| t * prevalence / (t * prevalence + f * (1.0 - prevalence));
    let found = roc.iter().filter(|point| point[1] > 0.0).map(|point| [point[1], precision(*point)]);
    found.filter(|point| point[1].is_finite()).collect()
}

fn precision_recall(tasks: &[Task]) -> Option<Figure> {
    let curves: Vec<_> = tasks
        .iter()
        .map(|task| (task, prevalence(task)))
        .filter(|(task, rate)| task.roc.len() > 1 && *rate > 0.0 && *rate < 1.0)
        .map(|(task, rate)| (task, rate, precision_of(&task.roc, rate)))
        .collect();
    if curves.is_empty() {
        return None;
    }
    let mut plot = Plot::new(Axis::between("recall", 0.0, 1.0), Axis::between("precision", 0.0, 1.0), 380.0);
    let mut numbers = Table::new(["Task", "Recall", "Precision", "Share of positives"]);
    let (mut legend, mut found) = (Vec::new(), Vec::new());
    for (index, (task, rate, points)) in curves.iter().enumerate() {
        plot.line(&monotone(points, 0.006), Series(index));
        plot.line(&[[0.0, *rate], [1.0, *rate]], Series(index + 6));
        for recall in [0.1, 0.2, 0.5, 0.8, 1.0] {
            numbers.row([task.name.clone(), percent(recall), percent(height(points, recall)), percent(*rate)]);
        }
        legend.push((Series(index), task.name.clone()));
        found.push(format!("{} for {} ({} are positive)", percent(height(points, 0.5)), task.name, percent(*rate)));
    }
    let found = super::super::format::listed(&found);
    let caption = format!(
        "Of the samples that the model ranks first until half of the positives are found, so many are positive: {found}. A dashed line is a \
         model that guesses."
    );
    let drawing = plot.svg(&caption);
    Some(Figure { title: "Precision and recall on the test split".into(), caption, legend, drawing, numbers })
}

/// The curve's height at an x, on the straight line between its neighbours.
fn height(curve: &[[f64; 2]], x: f64) -> f64 {
    let after = curve.partition_point(|point| point[0] <= x);
    match (after.checked_sub(1).and_then(|before| curve.get(before)), curve.get(after)) {
        (Some(a), Some(b)) => a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0]),
        (Some(a), None) => a[1],
        _ => f64::NAN,
    }
}

/// The mean distance of prediction and outcome over bins, weighted by samples (expected calibration error).
pub(in super::super) fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let filled = || bins.iter().filter(|bin| bin.count > 0);
    let total: f64 = filled().map(|bin| bin.count as f64).sum();
    filled().map(|bin| bin.count as f64 * (bin.predicted - bin.observed).abs()).sum::<f64>() / total
}

/// Wilson's 95 % interval of a rate (Wilson 1927): it stays within 0..=1 and holds for few samples.
fn wilson(rate: f64, samples: u64) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let n = samples as f64;
    let middle = (rate + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    [middle - half, middle + half]
}

fn calibration(task: &Task) -> Option<Figure> {
    let bins: Vec<_> = task.calibration.iter().filter(|bin| bin.count > 0).collect();
    let total: u64 = bins.iter().map(|bin| bin.count).sum();
    let mean = |value: fn(&CalibrationBin) -> f64| {
        bins.iter().map(|bin| bin.count as f64 * value(bin)).sum::<f64>() / total as f64
    };
    let worst = bins.iter().filter(|bin| bin.count >= 100).max_by(|a, b| {
        let gap = |bin: &CalibrationBin| (bin.predicted - bin.observed).abs();
        gap(a).total_cmp(&gap(b))
    });
    let last = bins.last()?;
    let values = bins.iter().flat_map(|bin| [bin.predicted, bin.observed]).chain([last.high]);
    let surer = bins.iter().filter(|bin| bin.count >= 100).map(|bin| wilson(bin.observed, bin.count)[1]);
    let values = values.chain(surer);
    let range = |label: &str| Axis::between(label, 0.0, Axis::with_zero("", values.clone()).high().min(1.0));
    let mut plot = Plot::new(range("mean prediction of the bin"), range("rate of positives"), 340.0);
    plot.diagonal();
    let whiskers: Vec<_> = bins
        .iter()
        .map(|bin| {
            let [low, high] = wilson(bin.observed, bin.count);
            [bin.predicted, low, high]
        })
        .collect();
    let points: Vec<_> = bins.iter().map(|bin| [bin.predicted, bin.observed]).collect();
    plot.whiskers(&whiskers, Series(0));
    plot.line(&points, Series(0));
    plot.dots(&points, Series(0));

    let edges: Vec<f64> = bins.iter().map(|bin| bin.low).chain([last.high]).collect();
    let density: Vec<f64> = bins.iter().map(|bin| bin.count as f64 / (total as f64 * (bin.high - bin.low))).collect();
    let mut spread =
        Plot::new(range("prediction"), Axis::with_zero("density of predictions", density.iter().copied()), 130.0);
    spread.steps(&edges, &density, Series(0));

    let mut numbers = Table::new(["Predictions", "Samples", "Mean prediction", "Rate of positives"]);
    for bin in &bins {
        let name = format!("{} to {}", number(bin.low), number(bin.high));
        numbers.row([name, count(bin.count), number(bin.predicted), number(bin.observed)]);
    }
    let mut caption = format!(
        "On average {} is predicted and {} happens; the expected calibration error is {}.",
        number(mean(|bin| bin.predicted)),
        number(mean(|bin| bin.observed)),
        number(calibration_error(&task.calibration))
    );
    if let Some(bin) = worst {
        caption.push_str(&format!(
            " The bin furthest off predicts {} where {} happens.",
            number(bin.predicted),
            number(bin.observed)
        ));
    }
    caption.push_str(" Dots on the dashed line are right; whiskers are Wilson's 95 % intervals.");
    let drawing = html! { (plot.svg(&caption)) (spread.svg("How often each prediction is made.")) };
    Some(Figure { title: format!("Calibration: {}", task.name), caption, legend: Vec::new(), drawing, numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roc_is_read_between_its_points() {
        let curve = [[0.0, 0.0], [0.0, 0.2], [0.5, 0.8], [1.0, 1.0]];
        assert!((height(&curve, 0.0) - 0.2).abs() < 1e-12);
        assert!((height(&curve, 0.25) - 0.5).abs() < 1e-12);
        assert!((height(&curve, 1.0) - 1.0).abs() < 1e-12);
        assert!(height(&[], 0.5).is_nan());
    }

    #[test]
    fn precision_follows_from_the_roc() {
        // 1 of 4 is positive. At f = 1/3, t = 1: 1 true among 1 + 1 found.
        let found = precision_of(&[[0.0, 0.0], [0.0, 0.5], [1.0 / 3.0, 1.0], [1.0, 1.0]], 0.25);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], [0.5, 1.0]);
        assert!((found[1][1] - 0.5).abs() < 1e-12 && (found[2][1] - 0.25).abs() < 1e-12);
    }

    #[test]
    fn calibration_error_weighs_bins_by_samples() {
        let bin = |count, predicted, observed| CalibrationBin { count, predicted, observed, ..Default::default() };
        let bins = [bin(30, 0.1, 0.2), bin(10, 0.5, 0.1), bin(0, f64::NAN, f64::NAN)];
        assert!((calibration_error(&bins) - (30.0 * 0.1 + 10.0 * 0.4) / 40.0).abs() < 1e-12);
        assert!(calibration_error(&[]).is_nan());
    }

    #[test]
    fn wilson_agrees_with_a_known_value() {
        // 10 of 100: 0.0552 to 0.1744 (Brown, Cai and DasGupta 2001 use the same form).
        let [low, high] = wilson(0.1, 100);
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4, "{low} {high}");
        assert!(wilson(0.0, 5)[0].abs() < 1e-12);
    }
}
