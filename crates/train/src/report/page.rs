//! The page around the figures: one file with its style inside, nothing fetched and no script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::{Series, legend};

/// A part of the page under one heading.
pub(super) struct Section {
    /// The heading.
    pub title: &'static str,
    /// What stands below it.
    pub body: Markup,
}

/// A picture with a sentence that says what to see in it, and its numbers.
pub(super) struct Figure {
    /// What it shows.
    pub title: String,
    /// What to see in it, in a sentence or a few.
    pub caption: String,
    /// The words for each series.
    pub legend: Vec<(Series, String)>,
    /// The picture.
    pub drawing: Markup,
    /// The numbers behind it.
    pub numbers: Table,
}

/// A table; the first column names its rows.
#[derive(Default)]
pub(super) struct Table {
    /// Column headings.
    pub head: Vec<String>,
    /// Rows, as long as the head.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(String::from).into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table without those columns, the first apart, that are empty in every row.
    pub fn without_empty_columns(self) -> Self {
        let is_kept = |column: usize| {
            column == 0 || self.rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
        };
        let keep = |cells: &[String]| {
            cells.iter().enumerate().filter(|cell| is_kept(cell.0)).map(|cell| cell.1.clone()).collect()
        };
        Self { head: keep(&self.head), rows: self.rows.iter().map(|row| keep(row)).collect() }
    }

    /// Columns are words, set left, if any of their cells begins with a letter; numbers are set right.
    fn is_words(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        column == 0 || cells.any(|cell| cell != "undefined" && cell.starts_with(char::is_alphabetic))
    }

    /// The table for a terminal, a line a row.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..self.head.len()).map(|column| (width(column), self.is_words(column))).collect();
        let mut text = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, &(width, is_words))| {
                if is_words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// The table as HTML, in a box that scrolls sideways on narrow screens.
    pub fn html(&self) -> Markup {
        let class = |column: usize| if self.is_words(column) { "words" } else { "number" };
        html! {
            // A box that scrolls must be reachable by keyboard.
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for (column, head) in self.head.iter().enumerate() {
                        th scope="col" class=(class(column)) { (head) }
                    } } }
                    tbody { @for row in &self.rows { tr { @for (column, cell) in row.iter().enumerate() {
                        @if column == 0 { th.words scope="row" { (cell) } } @else { td class=(class(column)) { (cell) } }
                    } } } }
                }
            }
        }
    }
}

impl Figure {
    /// The figure as HTML.
    pub fn html(&self) -> Markup {
        html! {
            figure {
                figcaption { h3 { (self.title) } p { (self.caption) } }
                (legend(&self.legend))
                (self.drawing)
                @if !self.numbers.rows.is_empty() {
                    details.numbers { summary { "The numbers" } (self.numbers.html()) }
                }
            }
        }
    }
}

/// Figures side by side where there is room.
pub(super) fn figures(figures: &[Figure]) -> Markup {
    html! { div.figures { @for figure in figures { (figure.html()) } } }
}

/// A few facts as (name, value), those without a value left out.
pub(super) fn facts(facts: &[(&str, String)]) -> Markup {
    html! { dl.facts { @for (name, value) in facts.iter().filter(|fact| !fact.1.is_empty()) {
        div { dt { (name) } dd { (value) } }
    } } }
}

/// The whole file.
pub(super) fn page(title: &str, lead: Markup, sections: &[Section]) -> String {
    let anchor =
        |section: &Section| section.title.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), "-");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Whatever a name in the data contains, the page can neither fetch nor run anything.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header { p.maker { "Kitestring" } h1 { (title) } (lead) }
                nav aria-label="Sections" { ul { @for section in sections {
                    li { a href={ "#" (anchor(section)) } { (section.title) } }
                } } }
                main { @for section in sections {
                    section id=(anchor(section)) { h2 { (section.title) } (section.body) }
                } }
            }
        }
    };
    page.into_string()
}
