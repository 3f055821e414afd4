//! Figures with two numeric axes.

use maud::{Markup, html};

use super::{Axis, Series, WIDTH, text_width, unit};

/// Marks over a pair of axes, drawn in the order in which they were added.
pub(in super::super) struct Plot {
    x: Axis,
    y: Axis,
    height: f64,
    frame: Frame,
    rules: Vec<(f64, String)>,
    marks: Vec<Markup>,
    /// Where words stand, so that no others are drawn over them: left, right and base line.
    taken: Vec<[f64; 3]>,
}

/// The rectangle that the axes span.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

const Y_TICKS: usize = 6;
/// Height of a line of words above the frame.
const RULE_WORDS: f64 = 15.0;

impl Plot {
    /// An empty figure; its height is in units of which it is 400 wide.
    pub fn new(x: Axis, y: Axis, height: f64) -> Self {
        let widest = y.ticks(Y_TICKS).iter().map(|tick| text_width(&tick.1)).fold(24.0, f64::max);
        let frame = Frame { left: widest + 10.0, right: WIDTH - 16.0, top: 24.0, bottom: height - 40.0 };
        Self { x, y, height, frame, rules: Vec::new(), marks: Vec::new(), taken: Vec::new() }
    }

    /// With upright lines whose words stand above the frame. To be called before any mark is added.
    pub fn with_rules(mut self, rules: Vec<(f64, String)>) -> Self {
        self.frame.top += RULE_WORDS * rules.len() as f64;
        self.height += RULE_WORDS * rules.len() as f64;
        self.frame.bottom = self.height - 40.0;
        self.rules = rules;
        self
    }

    fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let Frame { left, right, top, bottom } = self.frame;
        let (x, y) = (self.x.place(x)?, self.y.place(y)?);
        Some((left + x * (right - left), bottom - y * (bottom - top)))
    }

    fn clamped(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let within = |axis: &Axis, value: f64| (!value.is_nan()).then(|| value.clamp(axis.low(), axis.high()));
        self.at(within(&self.x, x)?, within(&self.y, y)?)
    }

    /// A line through points. A point that is not finite, or outside, breaks it; one left alone becomes a dot.
    pub fn line(&mut self, points: &[[f64; 2]], series: Series) {
        let mut path = String::new();
        let mut alone = Vec::new();
        for part in points.split(|point| self.at(point[0], point[1]).is_none()) {
            if let [point] = part {
                alone.push(*point);
            }
            for (index, point) in part.iter().enumerate() {
                if let Some((x, y)) = self.at(point[0], point[1]).filter(|_| part.len() > 1) {
                    path.push_str(&format!("{}{} {}", if index == 0 { 'M' } else { 'L' }, unit(x), unit(y)));
                }
            }
        }
        if !path.is_empty() {
            self.marks.push(html! { path class={ "line " (series.class()) } d=(path) {} });
        }
        self.dots(&alone, series);
    }

    /// A line in pieces from edge to edge: the outline of a histogram. Needs one edge more than heights.
    pub fn steps(&mut self, edges: &[f64], heights: &[f64], series: Series) {
        let points: Vec<_> =
            edges.windows(2).zip(heights).flat_map(|(ends, &height)| ends.iter().map(move |&x| [x, height])).collect();
        let outline: Vec<_> = points.iter().filter_map(|point| self.clamped(point[0], point[1])).collect();
        if let (Some(first), Some(last)) = (outline.first(), outline.last()) {
            let base = self.clamped(self.x.low(), 0.0).map_or(self.frame.bottom, |at| at.1);
            let mut path = format!("M{} {}", unit(first.0), unit(base));
            for (x, y) in &outline {
                path.push_str(&format!("L{} {}", unit(*x), unit(*y)));
            }
            path.push_str(&format!("L{} {}Z", unit(last.0), unit(base)));
            self.marks.push(html! { path class={ "area " (series.class()) } d=(path) {} });
        }
    }

    /// A shaded band; points are (x, low, high).
    pub fn band(&mut self, points: &[[f64; 3]], series: Series) {
        let ends = points.iter().filter_map(|&[x, low, high]| self.clamped(x, low).zip(self.clamped(x, high)));
        let (low, high): (Vec<_>, Vec<_>) = ends.unzip();
        if low.len() > 1 {
            let around: Vec<_> =
                low.iter().chain(high.iter().rev()).map(|(x, y)| format!("{} {}", unit(*x), unit(*y))).collect();
            let path = format!("M{}Z", around.join("L"));
            self.marks.push(html! { path class={ "band " (series.class()) } d=(path) {} });
        }
    }

    /// A dot at each point.
    pub fn dots(&mut self, points: &[[f64; 2]], series: Series) {
        let places: Vec<_> = points.iter().filter_map(|point| self.at(point[0], point[1])).collect();
        for (x, y) in places {
            self.marks.push(html! { circle class={ "dot " (series.class()) } cx=(unit(x)) cy=(unit(y)) r="3.5" {} });
        }
    }

    /// An upright line from low to high at each x; points are (x, low, high).
    pub fn whiskers(&mut self, points: &[[f64; 3]], series: Series) {
        for &[x, low, high] in points {
            if let Some((low, high)) = self.clamped(x, low).zip(self.clamped(x, high)) {
                let path = format!("M{} {}V{}", unit(low.0), unit(low.1), unit(high.1));
                self.marks.push(html! { path class={ "whisker " (series.class()) } d=(path) {} });
            }
        }
    }

    /// A level line from low to high at each y; points are (y, low, high).
    pub fn beams(&mut self, points: &[[f64; 3]], series: Series) {
        for &[y, low, high] in points {
            if let Some((low, high)) = self.clamped(low, y).zip(self.clamped(high, y)) {
                let path = format!("M{} {}H{}", unit(low.0), unit(low.1), unit(high.0));
                self.marks.push(html! { path class={ "whisker " (series.class()) } d=(path) {} });
            }
        }
    }

    /// Words next to a point: on its right or left, above or below, wherever they cover no other words. Where there is no such place they
    /// are left out; the figure's table names the point.
    pub fn words(&mut self, x: f64, y: f64, words: &str) {
        let Some((x, y)) = self.at(x, y) else { return };
        let width = super::text_width(words);
        let places = [-6.0, 15.0, -19.0, 28.0]
            .into_iter()
            .flat_map(|below| [(x + 6.0, y + below, "start", x + 6.0), (x - 6.0, y + below, "end", x - 6.0 - width)]);
        let free = |left: f64, base: f64| {
            let inside = left >= 0.0 && left + width <= WIDTH && base >= 12.0 && base <= self.frame.bottom;
            let covers = |[from, to, line]: &[f64; 3]| left < *to && left + width > *from && (base - line).abs() < 13.0;
            inside && !self.taken.iter().any(covers)
        };
        let place = places.into_iter().find(|(_, base, _, left)| free(*left, *base));
        if let Some((at, base, anchor, left)) = place {
            self.taken.push([left, left + width, base]);
            self.marks.push(html! { text.word x=(unit(at)) y=(unit(base)) text-anchor=(anchor) { (words) } });
        }
    }

    /// A heat map; shades run from 0 (left blank) to 1, and shade `[i][j]` fills the i-th step of x and the j-th of y.
    pub fn cells(&mut self, x_edges: &[f64], y_edges: &[f64], shades: &[Vec<f64>]) {
        for (x, column) in x_edges.windows(2).zip(shades) {
            for (y, &shade) in y_edges.windows(2).zip(column).filter(|cell| *cell.1 > 0.0) {
                let corners = self.clamped(x[0], y[0]).zip(self.clamped(x[1], y[1]));
                if let Some(((left, bottom), (right, top))) = corners {
                    self.marks.push(html! {
                        rect.cell x=(unit(left)) y=(unit(top)) width=(unit(right - left)) height=(unit(bottom - top))
                            fill-opacity=(format!("{:.2}", shade.clamp(0.04, 1.0))) {}
                    });
                }
            }
        }
    }

    /// A thin line from the low corner to the high one, for "both are equal" on axes with one range.
    pub fn diagonal(&mut self) {
        let (low, high) = (self.x.low().max(self.y.low()), self.x.high().min(self.y.high()));
        if let Some((from, to)) = self.at(low, low).zip(self.at(high, high)) {
            let path = format!("M{} {}L{} {}", unit(from.0), unit(from.1), unit(to.0), unit(to.1));
            self.marks.push(html! { path.rule d=(path) {} });
        }
    }

    /// The finished figure; the words describe it to who cannot see it.
    pub fn svg(&self, words: &str) -> Markup {
        let Frame { left, right, top, bottom } = self.frame;
        let y_at = |value: f64| self.y.place(value).map(|at| bottom - at * (bottom - top));
        let x_at = |value: f64| self.x.place(value).map(|at| left + at * (right - left));
        html! {
            svg.plot viewBox={ "0 0 " (unit(WIDTH)) " " (unit(self.height)) } role="img" aria-label=(words) {
                @for (value, label) in self.y.ticks(Y_TICKS.min(2 + (self.height / 60.0) as usize)) {
                    @if let Some(y) = y_at(value) {
                        path.grid d={ "M" (unit(left)) " " (unit(y)) "H" (unit(right)) } {}
                        text.tick x=(unit(left - 6.0)) y=(unit(y + 4.0)) text-anchor="end" { (label) }
                    }
                }
                @for (value, label) in self.x.ticks(6) {
                    @if let Some(x) = x_at(value) {
                        path.axis d={ "M" (unit(x)) " " (unit(bottom)) "v4" } {}
                        text.tick x=(unit(x)) y=(unit(bottom + 17.0)) text-anchor="middle" { (label) }
                    }
                }
                path.axis d={ "M" (unit(left)) " " (unit(bottom)) "H" (unit(right)) } {}
                text.name x="2" y="12" { (self.y.label) }
                text.name x=(unit((left + right) / 2.0)) y=(unit(self.height - 6.0)) text-anchor="middle" { (self.x.label) }
                @for (index, (value, words)) in self.rules.iter().enumerate() {
                    @if let Some(x) = x_at(*value) {
                        @let y = 20.0 + RULE_WORDS * index as f64;
                        @let (anchor, shift) = if x > (left + right) / 2.0 { ("end", -5.0) } else { ("start", 5.0) };
                        path.rule d={ "M" (unit(x)) " " (unit(y)) "V" (unit(bottom)) } {}
                        text.word x=(unit(x + shift)) y=(unit(y + 9.0)) text-anchor=(anchor) { (words) }
                    }
                }
                @for mark in &self.marks { (mark) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot::new(Axis::between("x", 0.0, 1.0), Axis::between("y", 0.0, 1.0), 200.0)
    }

    fn drawn(plot: &Plot) -> String {
        plot.marks.iter().map(|mark| mark.0.as_str()).collect()
    }

    #[test]
    fn a_line_breaks_where_a_value_is_missing() {
        let mut plot = plot();
        plot.line(&[[0.0, 0.1], [0.2, 0.2], [0.4, f64::NAN], [0.6, 0.3], [0.8, 0.4], [0.9, 7.0]], Series(0));
        let svg = drawn(&plot);
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert_eq!(svg.matches('L').count(), 2, "{svg}");
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn one_point_is_a_dot_and_none_is_nothing() {
        let mut plot = plot();
        plot.line(&[[0.5, 0.5]], Series(1));
        assert!(drawn(&plot).contains("<circle"));
        let mut plot = self::plot();
        plot.line(&[], Series(0));
        plot.band(&[], Series(0));
        plot.band(&[[0.5, 0.1, 0.2]], Series(0));
        plot.steps(&[], &[], Series(0));
        plot.steps(&[0.3], &[], Series(0));
        plot.whiskers(&[[0.5, f64::NAN, 0.2]], Series(0));
        plot.cells(&[0.0, 1.0], &[0.0, 1.0], &[vec![f64::NAN]]);
        assert_eq!(drawn(&plot), "");
    }

    #[test]
    fn marks_stay_inside_the_frame() {
        let mut plot = plot();
        plot.whiskers(&[[0.5, -9.0, 9.0]], Series(0));
        let Frame { top, bottom, .. } = plot.frame;
        let svg = drawn(&plot);
        assert!(svg.contains(&format!(" {}V{}", unit(bottom), unit(top))), "{svg}");
    }

    #[test]
    fn a_rule_stands_where_its_value_is_or_nowhere() {
        let words = |at: f64| plot().with_rules(vec![(at, "here".into())]).svg("ruled").0.contains(">here</text>");
        assert!(words(0.5) && !words(f64::NAN) && !words(2.0));
    }

    #[test]
    fn words_do_not_cover_each_other() {
        let mut plot = plot();
        for name in ["trained", "distilled", "rows", "quantized"] {
            plot.words(0.5, 0.5, name);
        }
        assert_eq!(drawn(&plot).matches("<text").count(), 4);
        let covers = |a: &[f64; 3], b: &[f64; 3]| a[0] < b[1] && a[1] > b[0] && (a[2] - b[2]).abs() < 13.0;
        for (number, one) in plot.taken.iter().enumerate() {
            assert!(plot.taken.iter().skip(number + 1).all(|other| !covers(one, other)), "{:?}", plot.taken);
        }
        (0..40).for_each(|_| plot.words(0.5, 0.5, "crowd"));
        assert!(drawn(&plot).matches("<text").count() <= 8);
    }

    #[test]
    fn constant_data_is_drawn() {
        let points = [[1.0, 0.5], [2.0, 0.5]];
        let mut plot = Plot::new(Axis::fit("x", [1.0, 2.0]), Axis::fit("y", [0.5, 0.5]), 200.0);
        plot.line(&points, Series(0));
        assert!(drawn(&plot).contains("<path"));
        assert!(!plot.svg("flat").0.contains("NaN"));
    }
}
