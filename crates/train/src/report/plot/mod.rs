//! Small figures as inline SVG, coloured by the page's style sheet so that they follow its light and dark themes.
//!
//! All figures are drawn 400 units wide: about the width of a phone, where a unit is then a pixel and text stays
//! readable; wider screens set figures side by side.

mod axis;
mod heat;
mod rows;
mod xy;

pub(super) use axis::Axis;
pub(super) use heat::Heat;
pub(super) use rows::{Row, Rows};
pub(super) use xy::Plot;

use maud::{Markup, html};

/// The width of every figure.
const WIDTH: f64 = 400.0;

/// Which of several things shown together a mark belongs to; decides its colour and dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Series(pub usize);

impl Series {
    /// Six colours; the seventh thing is dashed in the first colour, and so on, so that none looks like another.
    pub(super) fn class(self) -> String {
        format!("s{} d{}", self.0 % 6, (self.0 / 6) % 3)
    }
}

/// The words for each series, above a figure.
pub(super) fn legend(entries: &[(Series, String)]) -> Markup {
    html! {
        @if !entries.is_empty() {
            ul.legend {
                @for (series, text) in entries {
                    li {
                        svg.key width="22" height="12" viewBox="0 0 22 12" aria-hidden="true" {
                            path class={ "line " (series.class()) } d="M1 6H21" {}
                            circle class={ "dot " (series.class()) } cx="11" cy="6" r="3.5" {}
                        }
                        (text)
                    }
                }
            }
        }
    }
}

/// A coordinate: a tenth of a unit is finer than the eye.
fn unit(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

/// About how wide a text is at the figures' size, in units.
fn text_width(text: &str) -> f64 {
    text.chars().map(|letter| if letter.is_ascii() { 6.8 } else { 8.0 }).sum()
}
