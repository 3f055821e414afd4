//! A page of plain charts, for experiments that are no runs.

use super::data::Estimate;
use super::format::{interval_cell, number};
use super::page::{Figure, Section, Table, figures, page};
use super::plot::{Axis, Plot, Series};
use maud::{PreEscaped, html};

/// Lines with whiskers over one pair of axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What to see in it.
    pub caption: String,
    /// What is along x; drawn by its logarithm to the base of ten where `log` says so.
    pub x: String,
    /// What is along y.
    pub y: String,
    /// Whether x is drawn by its logarithm.
    pub log_x: bool,
    /// Whether y is.
    pub log_y: bool,
    /// Whether y starts at zero, so that what is nearly flat looks so.
    pub from_zero: bool,
    /// Named lines of (x, y).
    pub lines: Vec<(String, Vec<(f64, Estimate)>)>,
}

/// Charts as one self-contained HTML file.
pub fn charts(title: &str, lead: &str, all: &[Chart]) -> String {
    let shown: Vec<Figure> = all.iter().map(figure).collect();
    page(title, html! { p.lead { (lead) } }, &[Section { title: "Charts", body: figures(&shown) }])
}

/// A chart as an image of its own, an SVG with its words and colours, for documents.
pub fn chart_svg(chart: &Chart) -> String {
    const LINE: usize = 20;
    let figure = figure(chart);
    let top = LINE * (1 + figure.legend.len());
    let size = format!("width=\"400\" height=\"300\" y=\"{top}\"");
    let drawing = figure.drawing.into_string().replacen("<svg ", &format!("<svg {size} "), 1);
    let image = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 400 " (top + 300) } font-family="sans-serif" font-size="12" {
            style { (PreEscaped(IMAGE_STYLE)) }
            rect width="400" height=(top + 300) fill="#fff" {}
            text x="2" y="14" font-weight="bold" { (figure.title) }
            @for (index, (series, words)) in figure.legend.iter().enumerate() {
                @let y = LINE * (index + 1);
                path class={ "line " (series.class()) } d={ "M2 " (y + 10) "h20" } {}
                text x="28" y=(y + 14) { (words) }
            }
            (PreEscaped(drawing))
        }
    };
    image.into_string()
}

/// The colours of the page's light theme: an image in a document has no other.
const IMAGE_STYLE: &str = ".line{stroke:currentColor;stroke-width:2;fill:none}.dot{fill:currentColor}\
    .whisker{stroke:currentColor;stroke-width:1.5;fill:none}.grid{stroke:#ddd}.axis{stroke:#555;fill:none}\
    text{fill:#222}.s0{color:#1f6fb4}.s1{color:#bf5700}.s2{color:#12805c}.s3{color:#7a4fb5}.s4{color:#b8327a}.s5{color:#6b6a00}\
    .line.d1{stroke-dasharray:7 4}.line.d2{stroke-dasharray:2 4}";

fn figure(chart: &Chart) -> Figure {
    let place = |log: bool, value: f64| if log { value.log10() } else { value };
    let (x, y) = (|value: f64| place(chart.log_x, value), |value: f64| place(chart.log_y, value));
    let axis = |log: bool, name: &str| if log { format!("log10 of {name}") } else { name.to_owned() };
    let points = || chart.lines.iter().flat_map(|(_, points)| points);
    let xs = Axis::fit(axis(chart.log_x, &chart.x), points().map(|point| x(point.0)));
    let ys = Axis::fit(
        axis(chart.log_y, &chart.y),
        points().flat_map(|point| point.1.extent()).chain(chart.from_zero.then_some(0.0)).map(y),
    );
    let mut plot = Plot::new(xs, ys, 300.0);
    let mut numbers = Table::new(["Line", &chart.x, &chart.y, "Interval"]);
    for (index, (name, points)) in chart.lines.iter().enumerate() {
        let line: Vec<[f64; 2]> = points.iter().map(|(at, value)| [x(*at), y(value.value)]).collect();
        plot.line(&line, Series(index));
        plot.dots(&line, Series(index));
        for (at, value) in points {
            if let Some([low, high]) = value.ends() {
                plot.whiskers(&[[x(*at), y(low), y(high)]], Series(index));
            }
            numbers.row([name.clone(), number(*at), number(value.value), interval_cell(value)]);
        }
    }
    let legend = chart.lines.iter().enumerate().map(|(index, (name, _))| (Series(index), name.clone())).collect();
    let drawing = plot.svg(&chart.caption);
    Figure {
        title: chart.title.clone(),
        caption: chart.caption.clone(),
        legend,
        drawing,
        numbers: numbers.without_empty_columns(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no logarithm breaks a line and harms nothing else.
    #[test]
    fn a_page_of_charts() {
        let points = [(1.0, 0.1), (10.0, 0.2), (100.0, 0.0)];
        let line = points.map(|(x, y): (f64, f64)| (x, Estimate::within(y, y - 0.05, y + 0.05)));
        let chart = Chart {
            title: "Falls".into(),
            log_x: true,
            log_y: true,
            lines: vec![("a <line>".into(), line.into())],
            ..Chart::default()
        };
        let page = charts("Charts", "Said first", &[chart, Chart::default()]);
        assert!(page.contains("a &lt;line&gt;") && page.contains("Falls") && !page.contains("NaN"), "{page}");
        assert!(page.matches("<circle").count() >= 2);
        let image = chart_svg(&Chart { title: "<Falls>".into(), ..Chart::default() });
        assert!(
            image.starts_with("<svg xmlns") && image.contains("&lt;Falls&gt;") && !image.contains("NaN"),
            "{image}"
        );
    }
}
