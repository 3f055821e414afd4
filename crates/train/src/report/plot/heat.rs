//! A grid of shaded cells: one row a thing, one column a thing.

use super::{WIDTH, text_width, unit};
use crate::report::format::{fixed, shorten};
use maud::{Markup, html};

/// Numbers from 0 to 1, the larger the darker.
pub(in super::super) struct Heat {
    /// What the columns are, below them.
    pub label: String,
    /// The names of the columns, and whether each is marked as wanting.
    pub columns: Vec<(String, bool)>,
    /// The name of each row and its numbers.
    pub rows: Vec<(String, Vec<f64>)>,
}

const LINE: f64 = 24.0;
const LONGEST_NAME: usize = 24;

impl Heat {
    /// The finished figure; the words describe it to who cannot see it.
    pub fn svg(&self, words: &str) -> Markup {
        let names: Vec<_> = self.rows.iter().map(|row| shorten(&row.0, LONGEST_NAME)).collect();
        let left = names.iter().map(|name| text_width(name)).fold(40.0, f64::max).min(150.0) + 12.0;
        let cell = (WIDTH - left - 2.0) / self.columns.len().max(1) as f64;
        let bottom = 4.0 + LINE * self.rows.len() as f64;
        // A number is written where it fits; every number is in the table.
        let writes = cell >= 26.0;
        let every = (18.0 / cell).ceil().max(1.0) as usize;
        html! {
            svg.plot viewBox={ "0 0 " (unit(WIDTH)) " " (unit(bottom + 40.0)) } role="img" aria-label=(words) {
                @for (index, ((name, numbers), short)) in self.rows.iter().zip(&names).enumerate() {
                    @let y = 4.0 + LINE * index as f64;
                    text.tick x=(unit(left - 8.0)) y=(unit(y + 16.0)) text-anchor="end" {
                        @if short != name { title { (name) } }
                        (short)
                    }
                    @for (column, number) in numbers.iter().enumerate() {
                        @let x = left + cell * column as f64;
                        @let shade = if number.is_finite() { number.clamp(0.0, 1.0) } else { 0.0 };
                        rect.cell x=(unit(x + 0.5)) y=(unit(y + 0.5)) width=(unit(cell - 1.0)) height=(unit(LINE - 1.0))
                            fill-opacity=(format!("{:.2}", shade.sqrt() * 0.85)) {
                            title { (name) ", " (self.columns.get(column).map_or("", |column| &column.0)) ": " (fixed(*number, 3)) }
                        }
                        @if writes {
                            text.cell-value x=(unit(x + cell / 2.0)) y=(unit(y + 16.0)) text-anchor="middle" { (fixed(*number, 2)) }
                        }
                    }
                }
                @for (column, (name, wanting)) in self.columns.iter().enumerate() {
                    @let x = left + cell * (column as f64 + 0.5);
                    @if *wanting {
                        text.tick.wanting x=(unit(x)) y=(unit(bottom + 14.0)) text-anchor="middle" { title { (name) " is dead" } "✕" }
                    } @else if column % every == 0 {
                        text.tick x=(unit(x)) y=(unit(bottom + 14.0)) text-anchor="middle" { (name) }
                    }
                }
                text.name x=(unit((left + WIDTH) / 2.0)) y=(unit(bottom + 34.0)) text-anchor="middle" { (self.label) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_a_number_and_a_mark_where_one_is_wanting() {
        let heat = Heat {
            label: "expert".into(),
            columns: vec![("1".into(), false), ("2".into(), true)],
            rows: vec![("home".into(), vec![0.97, 0.03]), ("search".into(), vec![1.0, f64::NAN])],
        };
        let svg = heat.svg("two by two").0;
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches("✕").count(), 1);
        assert!(svg.contains(">0.97</text>") && !svg.contains("fill-opacity=\"NaN"), "{svg}");
        let none = Heat { label: String::new(), columns: Vec::new(), rows: Vec::new() };
        assert!(none.svg("nothing").0.starts_with("<svg"));
    }
}
