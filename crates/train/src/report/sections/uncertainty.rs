//! Whether the model knows what it does not know.

use maud::html;

use super::super::data::{Curve, Uncertainty};
use super::super::format::{capital, counted, number, percent};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Series};

pub(super) fn section(all: &[Uncertainty]) -> Option<Section> {
    let shown: Vec<Figure> = all.iter().flat_map(|task| [reliability(task), rejection(task)]).collect();
    let body = html! {
        p {
            "Aleatoric uncertainty is the noise of the data, which more data does not take away; epistemic uncertainty is what the network "
            "does not know. The whole should be the error to be expected."
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "Uncertainty", body })
}

fn source(task: &Uncertainty) -> String {
    match task.passes {
        0 => format!("The head's own variance; {}.", counted(task.samples, "sample")),
        passes => format!("By {passes} passes with dropout; {}.", counted(task.samples, "sample")),
    }
}

/// Expected against found error, by bins of the expected.
fn reliability(task: &Uncertainty) -> Figure {
    let both = || task.bins.iter().flatten().copied();
    let axis = |label: &str| Axis::with_zero(label, both());
    let mut plot = Plot::new(axis(&task.measure), axis(&task.error), 320.0);
    plot.diagonal();
    plot.line(&task.bins, Series(0));
    plot.dots(&task.bins, Series(0));
    let mut numbers = Table::new(["Uncertainty", "Error"]);
    for [expected, found] in &task.bins {
        numbers.row([number(*expected), number(*found)]);
    }
    // A twentieth more or less is what bins of some hundred samples do by chance.
    let beyond =
        |side: f64| task.bins.iter().filter(|[expected, found]| side * (found - expected) > 0.05 * expected).count();
    let verdict = match (2 * beyond(1.0) > task.bins.len(), 2 * beyond(-1.0) > task.bins.len()) {
        (true, _) => "Most bins lie above the line: the model is surer than it should be.",
        (_, true) => "Most bins lie below the line: the model is less sure than it could be.",
        _ => "Most bins lie near the line, on which errors are what the model expects.",
    };
    let caption = format!("{verdict} {}", source(task));
    let drawing = plot.svg(&caption);
    let title = format!("{}: uncertainty and error", capital(&task.task));
    Figure { title, caption, legend: Vec::new(), drawing, numbers }
}

/// The error of what is left when the most uncertain samples are rejected.
fn rejection(task: &Uncertainty) -> Figure {
    let points = || task.rejection.iter().flat_map(|curve| &curve.points);
    let y = Axis::with_zero(task.error.clone(), points().map(|point| point[1]));
    let mut plot = Plot::new(Axis::between("share rejected", 0.0, 1.0), y, 320.0);
    let mut numbers = Table::new(["Rejected by", "Share", &task.error]);
    for (index, curve) in task.rejection.iter().enumerate() {
        plot.line(&curve.points, Series(index));
        for [share, error] in &curve.points {
            numbers.row([curve.name.clone(), percent(*share), number(*error)]);
        }
    }
    let at =
        |curve: &Curve, share: f64| curve.points.iter().find(|point| point[0] >= share - 1e-9).map(|point| point[1]);
    let words = task.rejection.first().and_then(|curve| Some((at(curve, 0.0)?, at(curve, 0.2)?)));
    let said = words.map_or_else(String::new, |(all, left)| {
        format!(
            "Without the fifth that is most uncertain, {} goes from {} to {}. ",
            task.error,
            number(all),
            number(left)
        )
    });
    let caption = format!("{said}The lowest line rejects by the error itself, which nobody knows beforehand.");
    let legend = task.rejection.iter().enumerate().map(|(index, curve)| (Series(index), curve.name.clone())).collect();
    let drawing = plot.svg(&caption);
    Figure { title: format!("{}: rejection", capital(&task.task)), caption, legend, drawing, numbers }
}
