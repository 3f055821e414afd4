//! Figures with a name a row and one numeric axis: dots with whiskers, and bars.

use maud::{Markup, html};

use super::super::data::Estimate;
use super::super::format::{number, shorten};
use super::{Axis, Series, WIDTH, text_width, unit};

/// Rows over one axis.
pub(in super::super) struct Rows {
    axis: Axis,
    rows: Vec<Row>,
    rules: Vec<(f64, String)>,
    has_bars: bool,
    written: fn(f64) -> String,
}

/// One row: a name, and an estimate for each series in it.
pub(in super::super) struct Row {
    /// The name.
    pub name: String,
    /// What is shown in the row, from top to bottom.
    pub marks: Vec<(Series, Estimate)>,
}

const LINE: f64 = 22.0;
/// Names longer than this are cut; the whole name is in the tooltip and in the table.
const LONGEST_NAME: usize = 24;

impl Rows {
    /// Dots with whiskers; the axis spans what they cover, and the rules.
    pub fn dots(label: impl Into<String>, rows: Vec<Row>, rules: Vec<(f64, String)>) -> Self {
        let values = rows.iter().flat_map(|row| &row.marks).flat_map(|mark| mark.1.extent());
        let axis = Axis::fit(label, values.chain(rules.iter().map(|rule| rule.0)));
        Self { axis, rows, rules, has_bars: false, written: number }
    }

    /// Bars from zero, with whiskers.
    pub fn bars(label: impl Into<String>, rows: Vec<Row>) -> Self {
        let values = rows.iter().flat_map(|row| &row.marks).flat_map(|mark| mark.1.extent());
        Self { axis: Axis::with_zero(label, values), rows, rules: Vec::new(), has_bars: true, written: number }
    }

    /// With values written another way than as plain numbers.
    pub fn written(mut self, written: fn(f64) -> String) -> Self {
        self.written = written;
        self
    }

    /// The finished figure; the words describe it to who cannot see it.
    pub fn svg(&self, words: &str) -> Markup {
        let names: Vec<_> = self.rows.iter().map(|row| shorten(&row.name, LONGEST_NAME)).collect();
        let widest = names.iter().map(|name| text_width(name)).fold(40.0, f64::max);
        let values =
            || self.rows.iter().flat_map(|row| &row.marks).map(|mark| text_width(&(self.written)(mark.1.value)));
        let (left, right) = (widest.min(150.0) + 12.0, WIDTH - values().fold(30.0, f64::max).min(80.0) - 10.0);
        let top = 6.0 + 14.0 * self.rules.len() as f64;
        let lines: usize = self.rows.iter().map(|row| row.marks.len().max(1)).sum();
        let bottom = top + LINE * lines as f64 + 4.0;
        let height = bottom + 40.0;
        let x_at = |at: f64| left + at * (right - left);
        let x_of = |value: f64| self.axis.clamp(value).map(x_at);
        let mut line = 0;
        html! {
            svg.plot viewBox={ "0 0 " (unit(WIDTH)) " " (unit(height)) } role="img" aria-label=(words) {
                @for (value, label) in self.axis.ticks(((right - left) / 44.0) as usize) {
                    @if let Some(x) = x_of(value) {
                        path.grid d={ "M" (unit(x)) " " (unit(top)) "V" (unit(bottom)) } {}
                        text.tick x=(unit(x)) y=(unit(bottom + 15.0)) text-anchor="middle" { (label) }
                    }
                }
                text.name x=(unit((left + right) / 2.0)) y=(unit(height - 6.0)) text-anchor="middle" { (self.axis.label) }
                @for (index, (value, words)) in self.rules.iter().enumerate() {
                    @if let Some(x) = x_of(*value) {
                        @let from = 4.0 + 14.0 * index as f64;
                        path.rule d={ "M" (unit(x)) " " (unit(from)) "V" (unit(bottom)) } {}
                        @if x > (left + right) / 2.0 {
                            text.word x=(unit(x - 5.0)) y=(unit(from + 10.0)) text-anchor="end" { (words) }
                        } @else {
                            text.word x=(unit(x + 5.0)) y=(unit(from + 10.0)) { (words) }
                        }
                    }
                }
                @for (row, name) in self.rows.iter().zip(&names) {
                    @let first = top + LINE * line as f64 + LINE / 2.0 + 2.0;
                    @let middle = first + LINE / 2.0 * (row.marks.len().max(1) - 1) as f64;
                    text.tick x=(unit(left - 8.0)) y=(unit(middle + 4.0)) text-anchor="end" {
                        @if *name != row.name { title { (row.name) } }
                        (name)
                    }
                    @for (index, (series, estimate)) in row.marks.iter().enumerate() {
                        @let y = first + LINE * index as f64;
                        (self.mark(*series, estimate, y, left, right))
                        text.value x=(unit(WIDTH - 2.0)) y=(unit(y + 4.0)) text-anchor="end" { ((self.written)(estimate.value)) }
                    }
                    @let () = line += row.marks.len().max(1);
                }
            }
        }
    }

    fn mark(&self, series: Series, estimate: &Estimate, y: f64, left: f64, right: f64) -> Markup {
        let x_of = |value: f64| self.axis.clamp(value).map(|at| left + at * (right - left));
        let class = series.class();
        html! {
            @if let (true, Some(zero), Some(end)) = (self.has_bars, x_of(0.0), x_of(estimate.value)) {
                rect class={ "bar " (class) } x=(unit(zero.min(end))) y=(unit(y - 7.0))
                    width=(unit((end - zero).abs().max(0.5))) height="14" {}
            }
            @if let Some([low, high]) = estimate.ends() {
                @if let Some((low, high)) = x_of(low).zip(x_of(high)) {
                    path class={ "whisker " @if self.has_bars { "on-bar" } @else { (class) } }
                        d={ "M" (unit(low)) " " (unit(y)) "H" (unit(high)) } {}
                }
            }
            @if let (false, Some(x)) = (self.has_bars, x_of(estimate.value)) {
                circle class={ "dot " (class) } cx=(unit(x)) cy=(unit(y)) r="4.5" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, estimates: &[Estimate]) -> Row {
        Row { name: name.into(), marks: estimates.iter().map(|estimate| (Series(0), *estimate)).collect() }
    }

    #[test]
    fn an_undefined_value_keeps_its_row_without_a_mark() {
        let rows = Rows::dots("AUC", vec![row("a", &[0.7.into()]), row("b", &[f64::NAN.into()])], Vec::new());
        let svg = rows.svg("two rows").0;
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains(">b</text>") && svg.contains(">undefined</text>") && !svg.contains("NaN"));
    }

    #[test]
    fn bars_begin_at_zero_on_both_sides() {
        let rows = Rows::bars("drop", vec![row("a", &[0.5.into()]), row("b", &[Estimate::within(-0.5, -0.6, -0.4)])]);
        let svg = rows.svg("two bars").0;
        assert_eq!(svg.matches("<rect").count(), 2);
        assert_eq!(svg.matches("class=\"whisker on-bar\"").count(), 1);
    }

    #[test]
    fn nothing_at_all_is_still_a_figure() {
        for rows in [Rows::bars("x", Vec::new()), Rows::dots("x", vec![row("a", &[])], Vec::new())] {
            assert!(rows.svg("empty").0.starts_with("<svg"));
        }
    }

    #[test]
    fn a_long_name_is_cut_and_kept_whole_in_its_title() {
        let name = "a feature with a very long name indeed";
        let svg = Rows::bars("x", vec![row(name, &[1.0.into()])]).svg("one bar").0;
        assert!(svg.contains(&format!("<title>{name}</title>")) && svg.contains("…</text>"));
    }
}
