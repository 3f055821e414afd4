//! Columns being collected for a file.

use super::number::Numbering;
use super::plan::{Ids, Kind, Plan};
use super::rows::missing;
use super::spill::{f32_at, f64_at, list_at, u32_at, u64_at};
use arrow_array::{ArrayRef, Float32Array, Int64Array, ListArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::Field;
use kitestring_core::fitted::Fitted;
use kitestring_core::schema::{FeatureKind, Of, Which};
use kitestring_core::{Error, Result};
use std::sync::Arc;

/// Whole numbers, as narrow as the largest of them allows once they are written.
#[derive(Debug)]
pub(crate) enum Whole {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Whole {
    pub(crate) fn new(wide: bool) -> Self {
        if wide { Self::Wide(Vec::new()) } else { Self::Narrow(Vec::new()) }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: u64) {
        match self {
            Self::Narrow(values) => values.push(value as u32),
            Self::Wide(values) => values.push(value),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Narrow(values) => values.len(),
            Self::Wide(values) => values.len(),
        }
    }

    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            Self::Wide(values) => Arc::new(UInt64Array::from(values)),
            Self::Narrow(values) => match values.iter().copied().max().unwrap_or(0) {
                0..=0xff => Arc::new(UInt8Array::from_iter_values(values.into_iter().map(|value| value as u8))),
                0x100..=0xffff => Arc::new(UInt16Array::from_iter_values(values.into_iter().map(|value| value as u16))),
                _ => Arc::new(UInt32Array::from(values)),
            },
        }
    }
}

/// Lists being collected, one after the other.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) ends: Vec<i32>,
    pub(crate) values: Whole,
}

impl Lists {
    pub(crate) fn new(wide: bool) -> Self {
        Self { ends: vec![0], values: Whole::new(wide) }
    }

    /// Ends a list of everything pushed since the last one's end.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.values.len() as i32);
    }

    /// The lists, with values of four bytes where `plain`, else as narrow as can be.
    pub(crate) fn finish(self, plain: bool) -> Result<ArrayRef> {
        let values: ArrayRef = match self.values {
            Whole::Narrow(values) if plain => Arc::new(UInt32Array::from(values)),
            values => values.finish(),
        };
        let field = Arc::new(Field::new("item", values.data_type().clone(), false));
        let list = ListArray::try_new(field, OffsetBuffer::new(ScalarBuffer::from(self.ends)), values, None);
        Ok(Arc::new(list.map_err(|cause| Error::internal("lists do not fit together").caused_by(cause))?))
    }
}

/// A column being collected.
#[derive(Debug)]
pub(crate) enum Column {
    Whole(Whole),
    Float(Vec<f32>),
    Integer(Vec<i64>),
    Lists(Lists),
}

impl Column {
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Whole(values) => values.finish(),
            Self::Float(values) => Arc::new(Float32Array::from(values)),
            Self::Integer(values) => Arc::new(Int64Array::from(values)),
            Self::Lists(lists) => lists.finish(false)?,
        })
    }

    /// Elements of lists, which are what may outgrow an offset.
    pub(crate) fn elements(&self) -> usize {
        if let Self::Lists(lists) = self { lists.values.len() } else { 0 }
    }
}

/// What a column is made from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    /// A slot of ids, or of lists of ids.
    Ids(usize),
    /// A slot of numbers and what was fitted to them.
    Number(usize, usize),
    /// Likewise, as buckets.
    Bucket(usize, usize),
    /// The start of a history in its list of events, of at most this many.
    HistoryStart(usize, usize),
    /// Its length.
    HistoryLength(usize, usize),
    /// A slot of four bytes, as it is.
    Float(usize),
    /// Likewise, a whole number.
    Plain(usize),
    /// A slot of provisional numbers, as entries of this vocabulary.
    Entry(usize, usize),
    /// Likewise, as numbers of scenarios.
    Scenario(usize, usize),
    /// The arm of the treatment.
    Arm(usize),
    Time,
    Source,
}

/// Where the history of a row is within its list of events: it ends at `end` and may not start before `base`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) base: u32,
    pub(crate) end: u32,
}

/// The records of a part, and where in them rows are.
pub(crate) struct Records<'a> {
    pub(crate) records: &'a [u8],
    pub(crate) lists: &'a [u8],
    /// The history of each row in each list of events.
    pub(crate) spans: &'a [Vec<Span>],
}

/// The features' columns: those of the item, or all.
fn feature_columns(plan: &Plan, item_only: bool) -> Vec<(String, From)> {
    let mut columns = Vec::new();
    let mut fitted = 0;
    for (index, feature) in plan.schema.features.iter().enumerate() {
        let number = fitted;
        fitted += usize::from(feature.kind == FeatureKind::Numeric);
        if item_only && (feature.of != Of::Item || feature.history.is_some()) {
            continue;
        }
        let name = format!("feature.{}", feature.name);
        match (plan.features[index], plan.histories[index]) {
            (Some(slot), _) if feature.kind != FeatureKind::Numeric => columns.push((name, From::Ids(slot))),
            (Some(slot), _) if feature.is_sparse() => columns.push((name, From::Bucket(slot, number))),
            (Some(slot), _) => columns.push((name, From::Number(slot, number))),
            (None, Some(list)) => {
                let name = format!("history.{}", feature.name);
                let longest = match plan.event_lists[list].which {
                    Which::Earlier => feature.length,
                    Which::All => plan.event_lists[list].longest,
                };
                columns.push((format!("{name}.start"), From::HistoryStart(list, longest)));
                columns.push((format!("{name}.length"), From::HistoryLength(list, longest)));
            }
            (None, None) => {}
        }
    }
    columns
}

/// The columns of an item's features.
pub(crate) fn item_columns(plan: &Plan) -> Vec<(String, From)> {
    feature_columns(plan, true)
}

/// The columns of a row.
pub(crate) fn row_columns(plan: &Plan) -> Vec<(String, From)> {
    let mut columns = feature_columns(plan, false);
    for (level, (slot, vocabulary)) in plan.schema.scenarios.iter().zip(&plan.levels) {
        columns.push((format!("scenario.{}", level.name), From::Scenario(*slot, *vocabulary)));
    }
    for (task, slot) in plan.schema.tasks.iter().zip(&plan.labels) {
        columns.push((format!("label.{}", task.name), From::Float(*slot)));
    }
    let mut special = |name: &str, from: Option<From>| columns.extend(from.map(|from| (name.to_owned(), from)));
    special("user", plan.user.map(|(slot, vocabulary)| From::Entry(slot, vocabulary)));
    special("item", plan.item.map(|(slot, vocabulary)| From::Entry(slot, vocabulary)));
    special("time", plan.schema.time.as_ref().map(|_| From::Time));
    special("position", plan.position.map(From::Plain));
    special("treatment", plan.treatment.map(|(slot, _)| From::Arm(slot)));
    special("propensity", plan.propensity.map(From::Float));
    special("weight", plan.weight.map(From::Float));
    special("source", Some(From::Source));
    columns
}

/// An empty column for what it is made from.
pub(crate) fn empty(plan: &Plan, from: &From) -> Column {
    let is_wide = |slot: &usize| match &plan.slots[*slot].kind {
        Kind::Id(ids) | Kind::List { ids, .. } => ids.is_wide(),
        _ => false,
    };
    match from {
        From::Ids(slot) if matches!(plan.slots[*slot].kind, Kind::List { .. }) => {
            Column::Lists(Lists::new(is_wide(slot)))
        }
        From::Ids(slot) => Column::Whole(Whole::new(is_wide(slot))),
        From::Number(..) | From::Float(_) => Column::Float(Vec::new()),
        From::Time => Column::Integer(Vec::new()),
        From::Source => Column::Whole(Whole::new(true)),
        _ => Column::Whole(Whole::new(false)),
    }
}

/// The id of a slot's value in a record or a list.
#[inline(always)]
pub(crate) fn final_id(ids: Ids, numbering: &Numbering, bytes: &[u8], at: usize) -> u64 {
    match ids {
        Ids::Vocabulary(vocabulary) => u64::from(numbering.id(vocabulary, u32_at(bytes, at))),
        _ => {
            let id = if ids.is_wide() { u64_at(bytes, at) } else { u64::from(u32_at(bytes, at)) };
            if id == missing(ids) { 0 } else { id }
        }
    }
}

/// Appends the values of rows to a column.
///
/// # Errors
/// A number that 32 bits cannot hold once it is transformed.
pub(crate) fn append(
    plan: &Plan,
    numbering: &Numbering,
    fitted: &[Fitted],
    from: &From,
    of: &Records<'_>,
    (rows, stride): (&[u32], usize),
    column: &mut Column,
) -> Result<()> {
    let at = |slot: usize| plan.slots[slot].at;
    let each = |place: usize| rows.iter().map(move |row| *row as usize * stride + place);
    match (from, column) {
        (From::Ids(slot), Column::Whole(values)) => {
            let Kind::Id(ids) = plan.slots[*slot].kind else { return Ok(()) };
            each(at(*slot)).for_each(|at| values.push(final_id(ids, numbering, of.records, at)));
        }
        (From::Ids(slot), Column::Lists(lists)) => {
            let Kind::List { ids, .. } = plan.slots[*slot].kind else { return Ok(()) };
            let element = if ids.is_wide() { 8 } else { 4 };
            for place in each(at(*slot)) {
                let (from, count) = list_at(of.records, place);
                let of_list = (0..count).map(|index| final_id(ids, numbering, of.lists, from + index * element));
                of_list.for_each(|id| lists.values.push(id));
                lists.end();
            }
        }
        (From::Number(slot, number), Column::Float(values)) => {
            let fitted = &fitted[*number];
            for at in each(at(*slot)) {
                let (found, value) = (f64_at(of.records, at), fitted.number(f64_at(of.records, at)));
                if !value.is_finite() {
                    let what = format!("{found:e} is more than 32 bits can hold once it is standardized");
                    let error = Error::data(what).in_field(fitted.feature.as_str());
                    return Err(error.mend("its values in training are all but equal: leave the feature out"));
                }
                values.push(value);
            }
        }
        (From::Bucket(slot, number), Column::Whole(values)) => {
            each(at(*slot)).for_each(|at| values.push(fitted[*number].bucket(f64_at(of.records, at)).into()));
        }
        (From::HistoryStart(list, longest), Column::Whole(values)) => {
            let start = |span: Span| span.base.max(span.end.saturating_sub(*longest as u32));
            rows.iter().for_each(|row| values.push(start(of.spans[*list][*row as usize]).into()));
        }
        (From::HistoryLength(list, longest), Column::Whole(values)) => {
            let length = |span: Span| (span.end - span.base).min(*longest as u32);
            rows.iter().for_each(|row| values.push(length(of.spans[*list][*row as usize]).into()));
        }
        (From::Float(slot), Column::Float(values)) => {
            values.extend(each(at(*slot)).map(|at| f32_at(of.records, at)));
        }
        (From::Plain(slot), Column::Whole(values)) => {
            each(at(*slot)).for_each(|at| values.push(u32_at(of.records, at).into()));
        }
        (From::Entry(slot, vocabulary), Column::Whole(values)) => {
            each(at(*slot)).for_each(|at| values.push(numbering.entry(*vocabulary, u32_at(of.records, at)).into()));
        }
        (From::Scenario(slot, vocabulary), Column::Whole(values)) => {
            let number = |at: usize| numbering.trained_entry(*vocabulary, u32_at(of.records, at));
            each(at(*slot)).for_each(|at| values.push(number(at).into()));
        }
        (From::Arm(slot), Column::Whole(values)) => {
            each(at(*slot)).for_each(|at| values.push(numbering.arms[u32_at(of.records, at) as usize].into()));
        }
        (From::Time, Column::Integer(values)) => {
            values.extend(each(at(plan.time)).map(|at| u64_at(of.records, at) as i64));
        }
        (From::Source, Column::Whole(values)) => {
            each(plan.source_at).for_each(|at| values.push(u64_at(of.records, at)));
        }
        // `empty` made the column for what it is made from.
        _ => {}
    }
    Ok(())
}
