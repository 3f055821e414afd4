//! The first pass: rows of chunks become records of fixed size.

use super::intern::Interner;
use super::plan::{Ids, Kind, Plan, Slot, unknown_column};
use crate::cells::time::{Time, TimeKind};
use crate::cells::{Cells, Number, raw};
use crate::chunk::Chunk;
use crate::reader::BadRows;
use arrow_array::ArrayRef;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::{Task, TaskKind};
use kitestring_core::value::{canonical, fits_f32};
use kitestring_core::{Error, Result};
use std::sync::Arc;

/// Joins the values of a scenario path.
pub(crate) const PATH: char = '\u{1f}';

/// The ids of a dictionary's values, kept while chunks share the dictionary.
struct Translated {
    source: ArrayRef,
    ids: Vec<Option<u64>>,
}

/// What a file must have columns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Everything that the schema speaks of.
    All,
    /// All but labels and logged facts: rows to be scored.
    Unlabelled,
    /// The item and its features.
    Items,
}

/// Turns rows into records as [`Plan`] lays them out.
pub(crate) struct RowEncoder {
    pub(crate) needed: Needed,
    pub(crate) interners: Vec<Interner>,
    pub(crate) files: Vec<Arc<str>>,
    pub(crate) rows: u64,
    /// Rows that give 0 as their position.
    pub(crate) zero_positions: u64,
    /// What times are: of rows before, or of the data set that rows are encoded for. None until the first one.
    pub(crate) times: Option<TimeKind>,
    /// Whether some time was a number that is not whole.
    pub(crate) has_fractions: bool,
    /// Whether such a time is malformed: those of the data set are whole.
    pub(crate) whole_times: bool,
    /// The source of the last row, and which row of its line it was.
    last: Option<(u64, u32)>,
    translated: Vec<Option<Translated>>,
    records: Vec<u8>,
    lists: Vec<u8>,
    bad: Vec<bool>,
}

/// The records of a chunk being filled.
struct Filling<'a> {
    chunk: &'a Chunk,
    stride: usize,
    records: &'a mut [u8],
    lists: &'a mut Vec<u8>,
    bad: &'a mut [bool],
    on_bad: &'a BadRows,
}

impl Filling<'_> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, row: usize, at: usize, bytes: [u8; N]) {
        let at = row * self.stride + at;
        self.records[at..at + N].copy_from_slice(&bytes);
    }

    fn refuse(&mut self, row: usize, column: &str, what: String) -> Result<()> {
        // A row is bad once, however many of its columns are.
        if std::mem::replace(&mut self.bad[row], true) {
            return Ok(());
        }
        self.on_bad.tolerate(self.chunk.blame(Error::data(what), row, column))
    }
}

/// Takes the record of a row, and what is of variable length in it.
type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

impl RowEncoder {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            needed: Needed::All,
            interners: plan.vocabularies.iter().map(|_| Interner::default()).collect(),
            files: Vec::new(),
            rows: 0,
            zero_positions: 0,
            times: None,
            has_fractions: false,
            whole_times: false,
            last: None,
            translated: plan.slots.iter().map(|_| None).collect(),
            records: Vec::new(),
            lists: Vec::new(),
            bad: Vec::new(),
        }
    }

    /// Encodes the rows of a chunk and hands each good one, with the lists its pointers lead to, to `sink`.
    ///
    /// # Errors
    /// A column that is not there or cannot be read, or a malformed row past what `on_bad` tolerates.
    pub(crate) fn encode(
        &mut self,
        plan: &Plan,
        chunk: &Chunk,
        given: u8,
        on_bad: &BadRows,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let rows = chunk.rows.num_rows();
        let columns = self.columns(plan, chunk)?;
        if self.files.last().is_none_or(|file| *file != chunk.file) {
            self.files.push(chunk.file.clone());
        }
        let file = (self.files.len() as u64 - 1) << 40;
        let stride = plan.stride;
        let mut records = std::mem::take(&mut self.records);
        let mut lists = std::mem::take(&mut self.lists);
        let mut bad = std::mem::take(&mut self.bad);
        records.clear();
        records.resize(rows * stride, 0);
        lists.clear();
        bad.clear();
        bad.resize(rows, false);
        let mut to = Filling { chunk, stride, records: &mut records, lists: &mut lists, bad: &mut bad, on_bad };
        for index in 0..plan.slots.len() {
            self.fill(plan, index, &columns, &mut to)?;
        }
        for row in 0..rows {
            let source = file | chunk.lines.of(row).min((1 << 40) - 1);
            let place = self.last.filter(|(last, _)| *last == source).map_or(0, |(_, place)| place.wrapping_add(1));
            self.last = Some((source, place));
            to.put(row, plan.source_at, source.to_le_bytes());
            to.put(row, plan.place_at, place.to_le_bytes());
            to.put(row, plan.given_at, [given, given]);
        }
        for (record, bad) in records.chunks_exact(stride).zip(&bad) {
            if !bad {
                sink(record, &lists)?;
            }
        }
        self.rows += rows as u64;
        (self.records, self.lists, self.bad) = (records, lists, bad);
        Ok(())
    }

    fn columns(&self, plan: &Plan, chunk: &Chunk) -> Result<Vec<Option<Cells>>> {
        let schema = chunk.rows.schema();
        let mut columns = Vec::with_capacity(plan.columns.len());
        for (index, name) in plan.columns.iter().enumerate() {
            let Some(array) = chunk.rows.column_by_name(name) else {
                if plan.slots.iter().filter(|slot| slot.column == index).all(|slot| self.may_be_absent(plan, slot)) {
                    columns.push(None);
                    continue;
                }
                let present = schema.fields().iter().map(|field| field.name().as_str());
                return Err(unknown_column(name, present).in_file(&*chunk.file));
            };
            let cells = Cells::new(array).map_err(|error| error.in_file(&*chunk.file).in_field(name))?;
            columns.push(Some(cells));
        }
        Ok(columns)
    }

    /// Whether rows may come without what a slot holds.
    fn may_be_absent(&self, plan: &Plan, slot: &Slot) -> bool {
        let column = |key: Option<(usize, usize)>| key.map(|(slot, _)| plan.slots[slot].column);
        match self.needed {
            Needed::All => false,
            Needed::Unlabelled => {
                matches!(slot.kind, Kind::Label(_) | Kind::Position | Kind::Propensity | Kind::Weight)
                    || column(plan.treatment) == Some(slot.column)
            }
            Needed::Items => slot.at >= plan.item_stride && column(plan.item) != Some(slot.column),
        }
    }

    fn fill(&mut self, plan: &Plan, index: usize, columns: &[Option<Cells>], to: &mut Filling<'_>) -> Result<()> {
        let slot = &plan.slots[index];
        let rows = to.bad.len();
        let name = plan.columns.get(slot.column).map_or("", String::as_str);
        let Some(cells) = columns.get(slot.column).and_then(Option::as_ref) else {
            for row in 0..rows {
                match slot.kind {
                    Kind::Time => to.put(row, slot.at, (self.rows + row as u64).to_le_bytes()),
                    Kind::Label(_) => to.put(row, slot.at, f32::NAN.to_le_bytes()),
                    Kind::Propensity | Kind::Weight => to.put(row, slot.at, 1f32.to_le_bytes()),
                    _ => {}
                }
            }
            return Ok(());
        };
        match &slot.kind {
            Kind::Id(_) | Kind::Level(_) if cells.holds_lists() => {
                return Err(Error::config("the column holds lists where one value is expected")
                    .in_file(&*to.chunk.file)
                    .in_field(name)
                    .mend("read it by a feature of kind multi"));
            }
            Kind::Id(ids) => {
                self.fill_ids(index, slot, *ids, cells, to);
                let user = plan.user.is_some_and(|(user, _)| user == index);
                let item = plan.item.is_some_and(|(item, _)| item == index);
                let treatment = plan.treatment.is_some_and(|(treatment, _)| treatment == index);
                let needed = [(user, "user"), (item, "item"), (treatment, "treatment")];
                for (_, what) in needed.iter().filter(|(needed, _)| *needed) {
                    for row in 0..rows {
                        if super::spill::u32_at(to.records, row * to.stride + slot.at) == 0 {
                            to.refuse(row, name, format!("the {what} is missing"))?;
                        }
                    }
                }
            }
            Kind::List { ids, separator, length, last } => {
                let how = (separator.as_deref(), *length, *last);
                self.fill_lists(slot, *ids, how, cells, to)
                    .map_err(|error| error.in_file(&*to.chunk.file).in_field(name))?;
            }
            Kind::Level(level) => self.fill_level(plan, *level, columns, to),
            Kind::Label(task) => {
                let task = &plan.schema.tasks[*task];
                for row in 0..rows {
                    match label(task, cells, row) {
                        Ok(value) => to.put(row, slot.at, value.to_le_bytes()),
                        Err(what) => to.refuse(row, name, what)?,
                    }
                }
            }
            Kind::Time => {
                for row in 0..rows {
                    match cells.time(row).and_then(|(kind, time)| self.time(kind, time)) {
                        Ok(Time { whole, rest }) => {
                            to.put(row, slot.at, whole.to_le_bytes());
                            to.put(row, slot.at + 8, rest.to_le_bytes());
                        }
                        Err(what) => to.refuse(row, name, what)?,
                    }
                }
            }
            Kind::Number | Kind::Position | Kind::Propensity | Kind::Weight => {
                if slot.kind == Kind::Position {
                    let zeros = (0..rows).filter(|row| matches!(cells.number(*row), Number::Value(0.0)));
                    self.zero_positions += zeros.count() as u64;
                }
                for row in 0..rows {
                    match (number(&slot.kind, cells.number(row)), &slot.kind) {
                        (Ok(value), Kind::Number) => to.put(row, slot.at, value.to_le_bytes()),
                        (Ok(value), Kind::Position) => to.put(row, slot.at, (value as u32).to_le_bytes()),
                        (Ok(value), _) => to.put(row, slot.at, (value as f32).to_le_bytes()),
                        (Err(what), _) => to.refuse(row, name, what)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that a time is of the kind of all others: numbers and moments beside each other have no order.
    fn time(&mut self, kind: TimeKind, time: Time) -> Result<Time, String> {
        let known = *self.times.get_or_insert(kind);
        if known != kind {
            return Err(format!("expected {} as the time, as rows before have, found {}", known.name(), kind.name()));
        }
        if kind == TimeKind::Number && time.rest > 0 {
            if self.whole_times {
                return Err(
                    "expected a whole number as the time, as the data set has, found one with a fraction".into()
                );
            }
            self.has_fractions = true;
        }
        Ok(time)
    }

    fn fill_ids(&mut self, index: usize, slot: &Slot, ids: Ids, cells: &Cells, to: &mut Filling<'_>) {
        let rows = to.bad.len();
        let wide = ids.is_wide();
        let missing = missing(ids);
        let interners = &mut self.interners;
        let mut put = |row: usize, id: u64| {
            if wide {
                to.put(row, slot.at, id.to_le_bytes());
            } else {
                to.put(row, slot.at, (id as u32).to_le_bytes());
            }
        };
        let mut scratch = String::new();
        match cells {
            Cells::Dictionary { keys, values, source } if source.len() <= 4 * rows.max(1 << 16) => {
                let translated = &mut self.translated[index];
                if translated.as_ref().is_none_or(|known| !Arc::ptr_eq(&known.source, source)) {
                    *translated = Some(Translated { source: source.clone(), ids: vec![None; source.len()] });
                }
                let Some(translated) = translated else { return };
                for row in 0..rows {
                    let key = cells_key(keys, row);
                    let id = key.map_or(missing, |key| {
                        *translated.ids[key].get_or_insert_with(|| {
                            values.text(key, &mut scratch).map_or(missing, |text| id(interners, ids, text))
                        })
                    });
                    put(row, id);
                }
            }
            Cells::Text(array) => {
                // Neighbouring rows are often of one user.
                let (mut last, mut last_id) = ("", missing);
                for row in 0..rows {
                    let text = raw(array, row);
                    if text != last {
                        last = text;
                        last_id = canonical(text).map_or(missing, |text| id(interners, ids, &text));
                    }
                    put(row, last_id);
                }
            }
            _ => {
                for row in 0..rows {
                    put(row, cells.text(row, &mut scratch).map_or(missing, |text| id(interners, ids, text)));
                }
            }
        }
    }

    fn fill_lists(
        &mut self,
        slot: &Slot,
        ids: Ids,
        (separator, length, last): (Option<&str>, usize, bool),
        cells: &Cells,
        to: &mut Filling<'_>,
    ) -> Result<()> {
        let mut scratch = String::new();
        let mut found: Vec<u64> = Vec::new();
        for row in 0..to.bad.len() {
            found.clear();
            if let Some((values, range)) = cells.list(row) {
                if range.clone().any(|element| values.is_fraction(element)) {
                    return Err(Error::config("the column holds vectors of numbers, which are no ids")
                        .mend("leave the feature out: no kind of feature reads them"));
                }
                for element in range {
                    if let Some(text) = values.text(element, &mut scratch) {
                        found.push(id(&mut self.interners, ids, text));
                    }
                }
            } else {
                // A column without any value has no type.
                if let Some(text) = cells.raw(row, &mut scratch) {
                    let separator = separator.ok_or_else(|| {
                        Error::config("a column of several values needs a list type or a separator")
                            .mend("set `separator` for the feature")
                    })?;
                    let parts = text.split(separator).filter_map(|part| canonical(part.trim()));
                    found.extend(parts.map(|part| id(&mut self.interners, ids, &part)));
                }
            }
            let kept =
                if last { &found[found.len().saturating_sub(length)..] } else { &found[..found.len().min(length)] };
            to.put(row, slot.at, (to.lists.len() as u64).to_le_bytes());
            to.put(row, slot.at + 8, (kept.len() as u32).to_le_bytes());
            for id in kept {
                if ids.is_wide() {
                    to.lists.extend_from_slice(&id.to_le_bytes());
                } else {
                    to.lists.extend_from_slice(&(*id as u32).to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// A scenario is the path of values down to its level: a tab of one country is not the tab of another.
    fn fill_level(&mut self, plan: &Plan, level: usize, columns: &[Option<Cells>], to: &mut Filling<'_>) {
        let (slot, vocabulary) = plan.levels[level];
        let interner = &mut self.interners[vocabulary];
        let (mut path, mut last, mut last_id) = (String::new(), String::new(), 0);
        let mut scratch = String::new();
        for row in 0..to.bad.len() {
            path.clear();
            let mut present = false;
            for (depth, (slot, _)) in plan.levels[..=level].iter().enumerate() {
                let cells = columns.get(plan.slots[*slot].column).and_then(Option::as_ref);
                let text = cells.and_then(|cells| cells.text(row, &mut scratch));
                present = text.is_some();
                if depth > 0 {
                    path.push(PATH);
                }
                path.push_str(text.unwrap_or_default());
            }
            if path != last {
                std::mem::swap(&mut path, &mut last);
                last_id = if present { interner.intern(&last) } else { 0 };
            }
            to.put(row, plan.slots[slot].at, last_id.to_le_bytes());
        }
    }
}

fn cells_key(keys: &arrow_array::Int32Array, row: usize) -> Option<usize> {
    use arrow_array::Array;
    keys.is_valid(row).then(|| keys.value(row) as usize)
}

/// What a record holds where there is no value.
pub(crate) fn missing(ids: Ids) -> u64 {
    match ids {
        Ids::Vocabulary(_) => 0,
        _ if ids.is_wide() => u64::MAX,
        _ => u64::from(u32::MAX),
    }
}

#[inline]
fn id(interners: &mut [Interner], ids: Ids, text: &str) -> u64 {
    match ids {
        Ids::Vocabulary(vocabulary) => u64::from(interners[vocabulary].intern(text)),
        Ids::Buckets(buckets) => stable_hash(text) % buckets,
        Ids::Open => stable_hash(text),
    }
}

fn label(task: &Task, cells: &Cells, row: usize) -> Result<f32, String> {
    if let Some(expected) = &task.equals {
        let mut scratch = String::new();
        return Ok(cells.is(row, expected, &mut scratch).map_or(f32::NAN, |is| f32::from(u8::from(is))));
    }
    let value = match cells.number(row) {
        Number::Missing => return Ok(f32::NAN),
        Number::Value(value) => value,
        Number::Wrong(found) => {
            return Err(format!("expected a number as the label of `{}`, found {found}", task.name));
        }
    };
    match task.kind {
        TaskKind::Binary => match task.at_least {
            Some(least) => Ok(f32::from(u8::from(value >= least))),
            None if value == 0.0 || value == 1.0 => Ok(value as f32),
            None => Err(format!("expected 0 or 1 as the label of `{}`, found {value}", task.name)),
        },
        TaskKind::Count if value < 0.0 || value.fract() != 0.0 => {
            Err(format!("expected a count as the label of `{}`, found {value}", task.name))
        }
        TaskKind::Count | TaskKind::Regression if !fits_f32(value) => {
            Err(format!("expected a number that 32 bits can hold as the label of `{}`, found {value:e}", task.name))
        }
        TaskKind::Count | TaskKind::Regression => Ok(value as f32),
    }
}

fn number(kind: &Kind, found: Number) -> Result<f64, String> {
    let value = match found {
        Number::Value(value) => value,
        Number::Wrong(found) => return Err(format!("expected a finite number, found {found}")),
        Number::Missing => {
            return match kind {
                Kind::Number => Ok(f64::NAN),
                Kind::Position => Ok(0.0),
                Kind::Weight => Ok(1.0),
                _ => Err("expected a probability in (0, 1], found nothing".into()),
            };
        }
    };
    match kind {
        Kind::Position if value < 0.0 || value.fract() != 0.0 || value > f64::from(u32::MAX) => {
            Err(format!("expected a position counted from 1, found {value}"))
        }
        Kind::Propensity if !(value > 0.0 && value <= 1.0) => {
            Err(format!("expected a probability in (0, 1], found {value}"))
        }
        Kind::Weight if value < 0.0 => Err(format!("expected a weight of at least 0, found {value}")),
        // A propensity or a weight that becomes 0 would be another one; a feature so small is as good as 0.
        Kind::Propensity | Kind::Weight if value > 0.0 && value as f32 == 0.0 => Err(not_of_32_bits(value)),
        _ if !fits_f32(value) => Err(not_of_32_bits(value)),
        _ => Ok(value),
    }
}

fn not_of_32_bits(value: f64) -> String {
    format!("expected a number that 32 bits can hold, found {value:e}")
}
