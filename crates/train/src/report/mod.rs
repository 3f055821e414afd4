//! What a run found, as one HTML file that needs neither network nor script.
//!
//! The caller fills a [`Report`], plain data in which every part may be empty, and [`html`] draws what is there.
//! [`Comparison`] sets several reports side by side. Each figure has a sentence that says what to see in it, and its numbers
//! in a table below; colours follow the reader's light or dark theme, and the page can be read on a phone and printed.
//!
//! ```
//! use kitestring_train::report::{self, Estimate, Metric, Report};
//!
//! let report = Report {
//!     title: "first try".into(),
//!     metrics: vec![Metric {
//!         split: "test".into(),
//!         task: Some("click".into()),
//!         name: "AUC".into(),
//!         estimate: Estimate::within(0.741, 0.736, 0.746),
//!         chance: Some(0.5),
//!         headline: true,
//!         ..Metric::default()
//!     }],
//!     ..Report::default()
//! };
//! assert!(report::html(&report).contains("0.7410"));
//! ```

mod chart;
mod compare;
mod comparison;
mod data;
mod format;
pub(crate) mod null;
mod page;
mod plot;
mod sections;
mod sweep;
mod thin;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use chart::{Chart, chart_svg, charts};
pub use compare::{compare, compare_text};
pub use comparison::{ComparedMetric, Comparison};
pub use data::*;
pub use sweep::*;

/// A ledger as a table for a terminal, with what each pass did below.
pub fn ledger_text(shipped: &Shipped) -> String {
    let said = shipped.passes.iter().map(|pass| format!("{}: {}\n", pass.pass, pass.said));
    sections::shipped::ledger(shipped).text() + &said.collect::<String>()
}

/// The report as one self-contained HTML file.
pub fn html(report: &Report) -> String {
    let title = if report.title.is_empty() { "Run" } else { &report.title };
    page::page(title, sections::headline::lead(report), &sections::all(report))
}
