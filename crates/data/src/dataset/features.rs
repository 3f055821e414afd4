//! The features' columns of a table: rows of a split, or items.

use super::column::{Lists, Stored, Whole};
use arrow_buffer::ScalarBuffer;
use kitestring_core::schema::{Feature, Of, Which};
use kitestring_core::{Error, Result};

/// The ids of one sparse feature.
#[derive(Debug, Clone)]
pub(super) enum Sparse {
    /// One a row.
    One(Whole),
    /// A list a row.
    Lists(Lists),
    /// A stretch of a user's list of events, which is in the users' shard; where it is all events, how many are drawn of them.
    History { start: Whole, length: Whole, list: usize, of_all: Option<usize> },
}

/// Whether a feature follows the item when it is exchanged.
pub(super) fn is_item(feature: &Feature) -> bool {
    feature.of == Of::Item && feature.history.is_none()
}

/// Reads the column of a sparse feature.
pub(super) fn sparse(stored: &Stored<'_>, feature: &Feature, list: Option<usize>) -> Result<Sparse> {
    if let Some(list) = list {
        let name = format!("history.{}", feature.name);
        let (start, length) = (stored.whole(&format!("{name}.start"))?, stored.whole(&format!("{name}.length"))?);
        let all = feature.history.as_ref().is_some_and(|history| history.which == Which::All);
        return Ok(Sparse::History { start, length, list, of_all: all.then_some(feature.length) });
    }
    let name = format!("feature.{}", feature.name);
    if feature.is_ragged() { stored.lists(&name).map(Sparse::Lists) } else { stored.whole(&name).map(Sparse::One) }
}

/// Reads the column of a numeric feature.
pub(super) fn numeric(stored: &Stored<'_>, feature: &Feature) -> Result<ScalarBuffer<f32>> {
    stored.floats(&format!("feature.{}", feature.name))
}

/// The error of a row that points past the end of a list.
pub(super) fn dangling(feature: &Feature) -> Error {
    Error::format("a row points past its list").in_field(feature.name.as_str()).mend("prepare the data set again")
}
