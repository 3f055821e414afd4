//! What rows and schema say against each other: counted while rows are arranged and written, and noted in the manifest.

use super::arrange::Seen;
use super::number::Numbering;
use super::plan::{Ids, Kind, Plan};
use super::spill::{f32_at, f64_at, list_at, u32_at, u64_at};
use kitestring_core::Note;
use kitestring_core::schema::{TaskKind, Which};
use std::collections::BTreeMap;

/// Values of one feature and split from which on it is worth a note that hardly any of them is known.
const FEWEST_UNKNOWN: u64 = 20;

/// The least and the greatest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    least: f64,
    greatest: f64,
}

impl Range {
    const EMPTY: Self = Self { least: f64::INFINITY, greatest: f64::NEG_INFINITY };

    fn add(&mut self, value: f64) {
        // Comparisons with NaN, which is a missing value, are false.
        if value < self.least {
            self.least = value;
        }
        if value > self.greatest {
            self.greatest = value;
        }
    }

    fn is_one_value(self) -> bool {
        self.least == self.greatest
    }

    /// Whether a value is farther outside than the range is wide.
    fn is_far(self, value: f64) -> bool {
        let width = self.greatest - self.least;
        value < self.least - width || value > self.greatest + width
    }
}

/// The values that a slot has in training rows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    None,
    One(u64),
    Several,
}

impl Values {
    fn add(&mut self, value: u64) {
        *self = match *self {
            Self::None => Self::One(value),
            Self::One(one) if one == value => return,
            _ => Self::Several,
        };
    }
}

/// What is counted over the rows of one split.
#[derive(Debug, Clone)]
struct SplitSurvey {
    rows: u64,
    zero_weights: u64,
    /// For each task the rows in which it is positive, and those of them in which the task it comes after is not.
    after: Vec<(u64, u64)>,
    labels: Vec<Range>,
}

/// What is counted over all rows, once each has its split.
#[derive(Debug)]
pub(crate) struct Survey {
    splits: Vec<SplitSurvey>,
    /// By slot, over the split `train`.
    values: Vec<Values>,
    /// By numeric feature, over the split `train`.
    numbers: Vec<Range>,
}

impl Survey {
    pub(crate) fn new(plan: &Plan, splits: usize) -> Self {
        let tasks = plan.labels.len();
        let split =
            SplitSurvey { rows: 0, zero_weights: 0, after: vec![(0, 0); tasks], labels: vec![Range::EMPTY; tasks] };
        Self {
            splits: vec![split; splits],
            values: vec![Values::None; plan.slots.len()],
            numbers: vec![Range::EMPTY; plan.numbers().count()],
        }
    }

    /// Takes in the rows of a part; `train` is the number of the split whose values are looked at.
    pub(crate) fn add(&mut self, plan: &Plan, records: &[u8], train: u8) {
        let each = || records.chunks_exact(plan.stride);
        let split_of = |record: &[u8]| record[plan.given_at + 1];
        let trained = || each().filter(|record| split_of(record) == train);
        let before = befores(plan);
        for record in each() {
            let split = &mut self.splits[usize::from(split_of(record))];
            split.rows += 1;
            if let Some(slot) = plan.weight {
                split.zero_weights += u64::from(f32_at(record, plan.slots[slot].at) == 0.0);
            }
            let label = |task: usize| f32_at(record, plan.slots[plan.labels[task]].at);
            for (task, range) in split.labels.iter_mut().enumerate() {
                range.add(label(task).into());
                if let Some(before) = before[task]
                    && label(task) > 0.0
                {
                    let (positive, contradicted) = &mut split.after[task];
                    *positive += 1;
                    *contradicted += u64::from(label(before) <= 0.0);
                }
            }
        }
        for ((_, slot), range) in plan.numbers().zip(&mut self.numbers) {
            trained().for_each(|record| range.add(f64_at(record, plan.slots[slot].at)));
        }
        for (slot, values) in plan.slots.iter().zip(&mut self.values) {
            match slot.kind {
                Kind::Id(ids) if ids.is_wide() => {
                    trained().for_each(|record| values.add(u64_at(record, slot.at)));
                }
                Kind::Id(_) | Kind::Level(_) => {
                    trained().for_each(|record| values.add(u32_at(record, slot.at).into()));
                }
                // Whether there is any value.
                Kind::List { .. } => {
                    trained().for_each(|record| values.add(u64::from(list_at(record, slot.at).1 > 0)));
                }
                _ => {}
            }
        }
    }

    /// The range of each numeric feature in training, by name.
    pub(crate) fn ranges(&self, plan: &Plan) -> BTreeMap<String, [f64; 2]> {
        let ranges = plan.numbers().zip(&self.numbers);
        let given = ranges.filter(|(_, range)| range.least <= range.greatest);
        given.map(|((feature, _), range)| (feature.name.clone(), [range.least, range.greatest])).collect()
    }

    /// What the counts say against the schema. With `trains`, the first split is one to learn from.
    pub(crate) fn notes(&self, plan: &Plan, splits: &[String], trains: bool, drawn: &[String]) -> Vec<Note> {
        let mut notes = Vec::new();
        for (number, (name, split)) in splits.iter().zip(&self.splits).enumerate() {
            let training = trains && number == 0;
            self.note_weights(plan, (name, split), training, &mut notes);
            if trains {
                note_labels(plan, (name, split), training, drawn.contains(name), &mut notes);
            }
        }
        self.note_chains(plan, &mut notes);
        if trains {
            self.note_constants(plan, &mut notes);
            note_leaks(plan, &mut notes);
        }
        notes
    }

    fn note_weights(&self, plan: &Plan, (name, split): (&str, &SplitSurvey), training: bool, notes: &mut Vec<Note>) {
        let Some(column) = &plan.schema.weight else { return };
        let (zero, rows) = (split.zero_weights, split.rows);
        if zero > 0 && zero == rows {
            let then = if training { ", so nothing is learned" } else { "" };
            notes.push(
                Note::new(format!("all {rows} weights of `{name}` are 0{then}"))
                    .hint("give weights above 0, or leave schema.weight out")
                    .in_field(column)
                    .counting(zero),
            );
        } else if training && 2 * zero > rows {
            notes.push(
                Note::new(format!("{zero} of {rows} training rows have weight 0 and teach nothing"))
                    .hint("check the weights, or leave such rows out with data.layouts.filters")
                    .in_field(column)
                    .counting(zero),
            );
        }
    }

    fn note_chains(&self, plan: &Plan, notes: &mut Vec<Note>) {
        for (task, before) in befores(plan).into_iter().enumerate() {
            let Some(before) = before else { continue };
            let of_splits = self.splits.iter().map(|split| split.after[task]);
            let (positive, contradicted) =
                of_splits.fold((0, 0), |(positive, count), split| (positive + split.0, count + split.1));
            if contradicted == 0 {
                continue;
            }
            let [name, before] = [task, before].map(|task| plan.schema.tasks[task].name.as_str());
            notes.push(
                Note::new(format!(
                    "{contradicted} of {positive} rows in which `{name}` is positive have `{before}` not positive, and `{name}` comes after `{before}`"
                ))
                .hint(format!("check both columns, or take after = \"{before}\" out of the task"))
                .in_field(name)
                .counting(contradicted),
            );
        }
    }

    /// Features, scenario levels and treatments that have one value in all training rows, or none.
    fn note_constants(&self, plan: &Plan, notes: &mut Vec<Note>) {
        let rows = self.splits.first().map_or(0, |split| split.rows);
        if rows < 2 {
            return;
        }
        let mut constant = |column: &str, missing: bool| {
            let text = match missing {
                true => format!("it is missing in all {rows} training rows, so nothing is learned from it"),
                false => format!("it has one value in all {rows} training rows, so nothing is learned from it"),
            };
            let hint = "check the column, or leave it out of the schema";
            notes.push(Note::new(text).hint(hint).in_field(column).counting(rows));
        };
        for (slot, values) in plan.slots.iter().zip(&self.values) {
            let Values::One(value) = *values else { continue };
            let missing = match slot.kind {
                Kind::Id(ids) => value == super::rows::missing(ids),
                Kind::Level(_) => value == 0,
                Kind::List { .. } if value == 0 => true,
                _ => continue,
            };
            constant(&plan.columns[slot.column], missing);
        }
        for ((_, slot), range) in plan.numbers().zip(&self.numbers) {
            if range.is_one_value() {
                constant(&plan.columns[plan.slots[slot].column], false);
            }
        }
    }
}

/// For each task the number of the one it comes after.
fn befores(plan: &Plan) -> Vec<Option<usize>> {
    let tasks = plan.schema.tasks.iter();
    tasks.map(|task| task.after.as_ref().and_then(|after| plan.schema.task(after))).collect()
}

/// Labels of a split that are all alike. That a binary label of training is, is an error; so is one without a value there.
fn note_labels(plan: &Plan, (name, split): (&str, &SplitSurvey), training: bool, drawn: bool, notes: &mut Vec<Note>) {
    for (task, range) in plan.schema.tasks.iter().zip(&split.labels) {
        let rows = split.rows;
        let (what, then) = match task.kind {
            _ if range.least > range.greatest => ("has no label".to_owned(), "it is not measured there"),
            TaskKind::Binary if training => continue,
            TaskKind::Binary if range.greatest <= 0.0 => ("is never positive".to_owned(), "it has no AUC there"),
            TaskKind::Binary if range.least > 0.0 && !drawn => ("is never negative".to_owned(), "it has no AUC there"),
            TaskKind::Regression | TaskKind::Count if range.is_one_value() && rows > 1 => {
                let then = if training { "there is nothing to learn" } else { "an error there says little" };
                (format!("is always {}", range.least), then)
            }
            _ => continue,
        };
        notes.push(
            Note::new(format!("the task {what} in the {rows} rows of `{name}`: {then}"))
                .hint("check its column and the split")
                .in_field(task.name.as_str())
                .counting(rows),
        );
    }
}

/// Features that are a task's label.
fn note_leaks(plan: &Plan, notes: &mut Vec<Note>) {
    let read = plan.schema.features.iter().filter(|feature| feature.history.is_none());
    for feature in read {
        if let Some(task) = plan.schema.tasks.iter().find(|task| task.column() == feature.column()) {
            notes.push(
                Note::new(format!(
                    "the feature reads the column of the task `{}`: the model is told its answer",
                    task.name
                ))
                .hint("leave the feature out")
                .in_field(feature.name.as_str()),
            );
        }
    }
}

/// What only the finished counts tell: vocabularies that lose most of their values, positions that start from 0, times that are all one.
pub(crate) fn notes_of_counts(
    plan: &Plan,
    (seen, numbering): (&Seen, &Numbering),
    zero_positions: u64,
    trains: bool,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let rows: u64 = seen.rows.iter().sum();
    if let Some(position) = plan.schema.position.as_ref().filter(|_| zero_positions > 0) {
        notes.push(
            Note::new(format!(
                "{zero_positions} of {rows} rows have position 0, which means missing, for positions count from 1"
            ))
            .hint(format!(
                "if 0 is the first place, add one: derive = [{{ name = \"place\", from = \"{position}\", as = {{ offset = 1 }} }}] in \
                 the layout, and schema.position = \"place\""
            ))
            .in_field(position)
            .counting(zero_positions),
        );
    }
    if !trains {
        return notes;
    }
    for (vocabulary, rule) in plan.vocabularies.iter().enumerate() {
        let Some(least) = rule.min_count.filter(|least| *least > 1) else { continue };
        // Number 0 is what is missing.
        let counts = || seen.counts[vocabulary].iter().enumerate().skip(1).filter(|(_, count)| **count > 0);
        let gone = |number: usize| numbering.is_unknown(vocabulary, number as u32);
        let (values, dropped) = (counts().count(), counts().filter(|(number, _)| gone(*number)).count());
        let all: u64 = counts().map(|(_, count)| u64::from(*count)).sum();
        let lost: u64 = counts().filter(|(number, _)| gone(*number)).map(|(_, count)| u64::from(*count)).sum();
        if 2 * lost <= all {
            continue;
        }
        let text = match dropped == values {
            true => format!("min_count = {least} leaves none of {values} values, so all share the unknown row"),
            false => {
                format!(
                    "min_count = {least} leaves {} of {values} values, and {lost} of {all} look-ups share the unknown row",
                    values - dropped
                )
            }
        };
        let field = format!("schema.tables.{}", rule.name);
        notes.push(Note::new(text).hint("lower min_count").in_field(field).counting(dropped as u64));
    }
    let earlier = plan.event_lists.iter().any(|list| list.which == Which::Earlier);
    if let (Some(time), Some((first, last, _))) = (&plan.schema.time, seen.time)
        && first == last
        && rows > 1
    {
        let then = if earlier { ", so no history has an event" } else { "" };
        notes.push(
            Note::new(format!("all {rows} rows have one time, {first}{then}"))
                .hint("check the column, or leave schema.time out")
                .in_field(time)
                .counting(rows),
        );
    } else if earlier && rows > 1 && seen.user_rows.iter().all(|rows| *rows <= 1) {
        notes.push(
            Note::new(format!("every one of {rows} users has one row, so no history has an event"))
                .hint("check schema.user, or leave the histories out")
                .in_field("schema.user")
                .counting(rows),
        );
    }
    notes
}

/// How many values of a feature each split has, and how many of them training did not have.
struct UnknownValues {
    slot: usize,
    vocabulary: usize,
    counts: Vec<(u64, u64)>,
}

/// Counts, while rows are written, values that training has not prepared the model for.
pub(crate) struct Strangers {
    /// The range of each numeric feature in training, where it is known.
    ranges: Vec<Option<Range>>,
    /// For each numeric feature and split: values, and those far outside of training's range.
    far: Vec<Vec<(u64, u64)>>,
    /// Of each feature with a vocabulary.
    unknown: Vec<UnknownValues>,
}

impl Strangers {
    pub(crate) fn new(plan: &Plan, ranges: &BTreeMap<String, [f64; 2]>, splits: usize) -> Self {
        let range = |name: &str| ranges.get(name).map(|[least, greatest]| Range { least: *least, greatest: *greatest });
        let ids = plan.slots.iter().enumerate().filter_map(|(slot, of)| match of.kind {
            Kind::Id(Ids::Vocabulary(vocabulary)) if plan.features.contains(&Some(slot)) => {
                Some(UnknownValues { slot, vocabulary, counts: vec![(0, 0); splits] })
            }
            _ => None,
        });
        Self {
            ranges: plan.numbers().map(|(feature, _)| range(&feature.name)).collect(),
            far: vec![vec![(0, 0); splits]; plan.numbers().count()],
            unknown: ids.collect(),
        }
    }

    /// Takes in the rows of a part.
    pub(crate) fn add(&mut self, plan: &Plan, numbering: &Numbering, records: &[u8]) {
        for record in records.chunks_exact(plan.stride) {
            let split = usize::from(record[plan.given_at + 1]);
            for (((_, slot), range), far) in plan.numbers().zip(&self.ranges).zip(&mut self.far) {
                let value = f64_at(record, plan.slots[slot].at);
                let Some(range) = range.filter(|_| !value.is_nan()) else { continue };
                far[split].0 += 1;
                far[split].1 += u64::from(range.is_far(value));
            }
            for UnknownValues { slot, vocabulary, counts } in &mut self.unknown {
                let value = u32_at(record, plan.slots[*slot].at);
                if value != 0 {
                    counts[split].0 += 1;
                    counts[split].1 += u64::from(numbering.is_unknown(*vocabulary, value));
                }
            }
        }
    }

    /// What was counted in the splits that are not learned from. `by_user` says that splits part users, so that other users are no wonder.
    pub(crate) fn notes(&self, plan: &Plan, splits: &[String], trains: bool, by_user: bool) -> Vec<Note> {
        let mut notes = Vec::new();
        for (number, split) in splits.iter().enumerate().skip(usize::from(trains)) {
            for (((_, slot), range), far) in plan.numbers().zip(&self.ranges).zip(&self.far) {
                let (Some(range), (values, far)) = (range, far[number]) else { continue };
                if far > 0 {
                    let Range { least, greatest } = range;
                    notes.push(
                        Note::new(format!(
                            "{far} of {values} values in `{split}` are far outside of training's range, {least} to {greatest}"
                        ))
                        .hint("check the unit of the column, or give the feature a transform")
                        .in_field(plan.columns[plan.slots[slot].column].as_str())
                        .counting(far),
                    );
                }
            }
            for UnknownValues { slot, counts, .. } in &self.unknown {
                let (values, unknown) = counts[number];
                let expected = by_user && plan.user.is_some_and(|(user, _)| user == *slot);
                if !expected && unknown >= FEWEST_UNKNOWN && 10 * unknown >= 9 * values {
                    notes.push(
                        Note::new(format!(
                            "{unknown} of {values} values in `{split}` are in no training row, or in too few"
                        ))
                        .hint("check that they are written as in training")
                        .in_field(plan.columns[plan.slots[*slot].column].as_str())
                        .counting(unknown),
                    );
                }
            }
        }
        notes
    }
}
