//! What the place on the page adds to a prediction.

use maud::html;

use super::super::data::PositionBias;
use super::super::format::{capital, count, listed, number};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::{Axis, Plot, Series};

pub(super) fn section(biases: &[PositionBias]) -> Option<Section> {
    let shown: Vec<Figure> = biases.iter().filter(|bias| !bias.lines.is_empty()).map(figure).collect();
    let body = html! {
        p {
            "What standing at a place adds to the logit of a task while training, and no score has. A bias is known up to a constant; each "
            "learned line is moved by one."
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "Position bias", body })
}

fn figure(bias: &PositionBias) -> Figure {
    let all = || bias.lines.iter();
    let xs = all().flat_map(|line| line.positions.iter().copied());
    let ys = all().flat_map(|line| line.learned.iter().chain(&line.truth).copied());
    let mut plot = Plot::new(Axis::fit("position", xs).whole(), Axis::fit("logit", ys), 280.0);
    let mut numbers = Table::new(["Line", "Position", "Samples", "Learned", "True"]);
    let mut legend = Vec::new();
    let (mut said, mut errors) = (Vec::new(), Vec::new());
    let several = bias.lines.len() > 1;
    for (index, line) in all().enumerate() {
        // Two lines of a colour, the dashed one true.
        let series = |dashed: usize| Series(index % 6 + 6 * dashed);
        let pairs =
            |values: &[f64]| -> Vec<[f64; 2]> { line.positions.iter().zip(values).map(|(x, y)| [*x, *y]).collect() };
        plot.line(&pairs(&line.learned), series(0));
        plot.dots(&pairs(&line.learned), series(0));
        plot.line(&pairs(&line.truth), series(1));
        let name = if several { format!("{} ", line.name) } else { String::new() };
        legend.push((series(0), format!("{name}learned")));
        if !line.truth.is_empty() {
            legend.push((series(1), format!("{name}true")));
            errors.push(format!("{name}{}", number(line.distance())));
        }
        let rises = line.learned.windows(2).filter(|pair| pair[1] > pair[0]).count();
        said.push(match rises {
            0 => format!("{name}falls at every step"),
            1 => format!("{name}falls but for one step"),
            rises => format!("{name}rises at {rises} of {} steps", line.learned.len() - 1),
        });
        for (at, position) in line.positions.iter().enumerate() {
            let value = |values: &[f64]| values.get(at).map(|value| number(*value)).unwrap_or_default();
            let samples = line.samples.get(at).map(|samples| count(*samples)).unwrap_or_default();
            numbers.row([line.name.clone(), number(*position), samples, value(&line.learned), value(&line.truth)]);
        }
    }
    let mut caption = format!("The learned bias: {}.", listed(&said));
    if !errors.is_empty() {
        caption.push_str(&format!(" Root mean squared distance to the truth over the samples: {}.", listed(&errors)));
    }
    let drawing = plot.svg(&caption);
    Figure { title: capital(&bias.task), caption, legend, drawing, numbers: numbers.without_empty_columns() }
}
