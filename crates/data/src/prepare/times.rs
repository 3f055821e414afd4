//! What the times of all rows are together: of one unit, and where they are seconds with fractions, moments.

use super::plan::Plan;
use super::rows::RowEncoder;
use super::spill::{Parts, u64_at};
use crate::cells::time::{Time, TimeKind, of_seconds};
use crate::config::TimeBorder;
use crate::dataset::manifest::TimeScale;
use kitestring_core::{Error, Result};

/// From this number of seconds on (1973), numbers are taken for times since 1970 in some unit.
const LEAST: i64 = 100_000_000;

/// No log in one unit has a last time as large as this many of its first.
const MOST: i64 = 500;

/// Says what times are to be, where the data set is already there that rows are encoded for.
pub(crate) fn expect(encoder: &mut RowEncoder, scale: TimeScale) {
    encoder.times = Some(if scale == TimeScale::Moment { TimeKind::Moment } else { TimeKind::Number });
    encoder.whole_times = scale == TimeScale::Own;
}

/// What the times of the rows read are.
pub(crate) fn found(encoder: &RowEncoder) -> TimeScale {
    match encoder.times {
        Some(TimeKind::Moment) => TimeScale::Moment,
        // A fraction is one of a second: the other units are whole in every log.
        Some(TimeKind::Number) if encoder.has_fractions => TimeScale::Seconds,
        _ => TimeScale::Own,
    }
}

/// Makes numbers of seconds moments.
///
/// # Errors
/// A row whose number is no second of the years of a log.
pub(crate) fn to_moments(plan: &Plan, encoder: &RowEncoder, parts: &mut Parts) -> Result<()> {
    let at = plan.slots[plan.time].at;
    for index in 0..parts.len() {
        let mut part = parts.take(index)?;
        for record in part.records.chunks_exact_mut(plan.stride) {
            let (whole, rest) = plan.time_of(record);
            let moment = of_seconds(Time { whole, rest }).ok_or_else(|| {
                let what = "expected seconds since 1970 of the years 1900 to 2199, for other times have fractions";
                let error = Error::data(format!("{what}, found {whole}"));
                at_source(error, plan, encoder, u64_at(record, plan.source_at)).mend("write all times in one unit")
            })?;
            record[at..at + 8].copy_from_slice(&moment.whole.to_le_bytes());
            record[at + 8..at + 12].copy_from_slice(&moment.rest.to_le_bytes());
        }
        parts.put(index, part)?;
    }
    Ok(())
}

/// A border in the unit of stored times.
///
/// # Errors
/// A date where times are numbers of an unknown unit; a number too large for its unit.
pub(crate) fn border(border: TimeBorder, scale: TimeScale) -> Result<i64> {
    let wrong = |what: &str| Error::config(what).in_field("data.split");
    match (border, scale) {
        (TimeBorder::Number(number), TimeScale::Own) => Ok(number),
        (TimeBorder::Moment(_), TimeScale::Own) => {
            Err(wrong("the border is a date, and the time column holds whole numbers")
                .mend("give the border as a number in the unit of the column"))
        }
        (TimeBorder::Moment(micros), _) => Ok(micros),
        (TimeBorder::Number(number), _) => {
            let micros = if scale == TimeScale::Moment { 1_000 } else { 1_000_000 };
            number.checked_mul(micros).ok_or_else(|| {
                wrong("the border is too large for a time").mend("give it as a date, such as \"2023-11-14 22:13:20\"")
            })
        }
    }
}

/// Checks that whole numbers are of one unit: where seconds stand beside milliseconds, half of the log would come after all of the other.
/// `range` is of the first and last time, `last` the source of the last one.
pub(crate) fn check_unit(plan: &Plan, encoder: &RowEncoder, (first, end): (i64, i64), last: u64) -> Result<()> {
    if first < LEAST || end / first < MOST {
        return Ok(());
    }
    let error = Error::data(format!("times from {first} to {end} cannot be of one unit"));
    Err(at_source(error, plan, encoder, last).mend(
        "write all times in one unit, or as timestamps: seconds seem to stand beside milliseconds or microseconds",
    ))
}

/// Adds the place of a row to an error about its time.
fn at_source(error: Error, plan: &Plan, encoder: &RowEncoder, source: u64) -> Error {
    let file = encoder.files.get((source >> 40) as usize).map_or("", |file| file);
    let column = plan.schema.time.as_deref().unwrap_or_default();
    error.in_file(file).at_line(source & ((1 << 40) - 1)).in_field(column)
}
