//! Times, however they are written: integers and floats of an unknown unit, and moments.

use super::short;
use arrow_array::Int64Array;
use arrow_cast::parse::string_to_timestamp_nanos;
use std::fmt::Write;

/// A cell read as a time, whole and rest: of equal ones the order is that of the rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub(crate) whole: i64,
    /// For a number what is beyond the whole one, in 1e-9; for a moment the nanoseconds beyond the microsecond.
    pub(crate) rest: u32,
}

/// What times are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeKind {
    /// Numbers, of a unit that the column does not tell.
    Number,
    /// Moments, in microseconds since 1970: dates, timestamps, and texts of them.
    Moment,
}

impl TimeKind {
    /// What it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Moment => "a date or a time such as 2023-11-14 22:13:20",
        }
    }
}

/// The unit of a temporal column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Day,
    /// Milliseconds of which a date is said to have none.
    DayInMilliseconds,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

/// A column of dates or timestamps.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) values: Int64Array,
    pub(crate) unit: Unit,
}

/// Years of a log of events. What is outside is a mistake: seconds taken for milliseconds, or a date that stands for "none".
const SECONDS: std::ops::Range<i64> = -2_208_988_800..7_258_118_400;

const OUT_OF_RANGE: &str = "expected a time of the years 1900 to 2199";

impl Moments {
    /// The seconds and nanoseconds since 1970.
    fn parts(&self, row: usize) -> (i64, u32) {
        let value = self.values.value(row);
        let split = |per: i64| (value.div_euclid(per), (value.rem_euclid(per) * (1_000_000_000 / per)) as u32);
        match self.unit {
            // Days of 32 bits fit.
            Unit::Day => (value.saturating_mul(86_400), 0),
            Unit::Second => (value, 0),
            Unit::Millisecond | Unit::DayInMilliseconds => split(1_000),
            Unit::Microsecond => split(1_000_000),
            Unit::Nanosecond => split(1_000_000_000),
        }
    }

    pub(crate) fn time(&self, row: usize) -> Result<Time, String> {
        let (seconds, nanoseconds) = self.parts(row);
        moment(seconds, nanoseconds).ok_or_else(|| {
            let mut text = String::new();
            self.write(row, &mut text);
            format!("{OUT_OF_RANGE}, found {text}")
        })
    }

    /// Seconds since 1970.
    pub(crate) fn number(&self, row: usize) -> f64 {
        let (seconds, nanoseconds) = self.parts(row);
        number(seconds, nanoseconds)
    }

    /// Writes a date as `2023-11-14` and a timestamp as `2023-11-14 22:13:20.5`, in UTC.
    pub(crate) fn write(&self, row: usize, into: &mut String) {
        let (seconds, nanoseconds) = self.parts(row);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        // Writing to a String cannot fail.
        let _ = write!(into, "{year:04}-{month:02}-{day:02}");
        let second = seconds.rem_euclid(86_400);
        if self.unit == Unit::Day || (self.unit == Unit::DayInMilliseconds && second == 0 && nanoseconds == 0) {
            return;
        }
        let _ = write!(into, " {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        if nanoseconds > 0 {
            let fraction = format!("{nanoseconds:09}");
            let _ = write!(into, ".{}", fraction.trim_end_matches('0'));
        }
    }
}

fn moment(seconds: i64, nanoseconds: u32) -> Option<Time> {
    let whole = || seconds * 1_000_000 + i64::from(nanoseconds / 1000);
    SECONDS.contains(&seconds).then(|| Time { whole: whole(), rest: nanoseconds % 1000 })
}

fn number(seconds: i64, nanoseconds: u32) -> f64 {
    // Both are rounded once: a float holds every microsecond of these years exactly.
    match seconds.checked_mul(1_000_000) {
        Some(whole) if nanoseconds.is_multiple_of(1000) => (whole + i64::from(nanoseconds / 1000)) as f64 / 1e6,
        _ => seconds as f64 + f64::from(nanoseconds) / 1e9,
    }
}

/// A number of seconds as a moment; none outside of the years of a log.
pub(crate) fn of_seconds(time: Time) -> Option<Time> {
    moment(time.whole, time.rest)
}

/// The year, month and day of a number of days since 1970 (E. G. Richards, "Mapping Time", 1998, with the year taken to begin in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A text as a time.
pub(crate) fn parse(text: &str) -> Result<(TimeKind, Time), String> {
    if let Some(whole) = super::short_integer(text.as_bytes()) {
        return Ok((TimeKind::Number, Time { whole, rest: 0 }));
    }
    let text = text.trim();
    if matches!(text, "" | "NaN" | "nan") {
        return Err("expected a number or a time such as 2023-11-14 22:13:20, found nothing".into());
    }
    if let Some(number) = parse_number(text)? {
        return Ok((TimeKind::Number, number));
    }
    Ok((TimeKind::Moment, parse_moment(text)?))
}

/// A number with or without a point and an exponent, to the 1e-9; none where the text is no number.
fn parse_number(text: &str) -> Result<Option<Time>, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if exponent.abs() < 64 => (mantissa, exponent),
            _ => return Ok(None),
        },
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
        return Ok(None);
    }
    let digits = [whole, fraction].concat();
    let point = whole.len() as i64 + i64::from(exponent);
    let digit =
        |at: i64| usize::try_from(at).ok().and_then(|at| digits.as_bytes().get(at)).map_or(0, |digit| digit - b'0');
    let mut value = 0i64;
    for at in 0..point.max(0) {
        let next = value.checked_mul(10).and_then(|value| value.checked_add(digit(at).into()));
        value = next.ok_or_else(|| format!("expected a time that 64 bits can hold, found `{}`", short(text)))?;
    }
    let rest = (0..9).fold(0, |rest, place| rest * 10 + u32::from(digit(point + place)));
    Ok(Some(match (negative, rest) {
        (false, _) => Time { whole: value, rest },
        (true, 0) => Time { whole: -value, rest },
        (true, _) => Time { whole: -value - 1, rest: 1_000_000_000 - rest },
    }))
}

/// A date, or a date and a time, in UTC where it names no other zone: `2023-11-14`, `2023-11-14 22:13:20 UTC`, `2023-11-14T22:13:20.5+0200`.
pub(crate) fn parse_moment(text: &str) -> Result<Time, String> {
    let wrong = || format!("expected a number or a time such as 2023-11-14 22:13:20, found `{}`", short(text));
    let plain = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")).map_or(text, str::trim_end);
    let mut plain = plain.to_owned();
    if plain.as_bytes().get(4) == Some(&b'/') && plain.as_bytes().get(7) == Some(&b'/') {
        plain = plain.replacen('/', "-", 2);
    }
    // Minutes without seconds.
    if plain.len() == 16 && plain.as_bytes().get(13) == Some(&b':') {
        plain.push_str(":00");
    }
    if let Ok(nanoseconds) = string_to_timestamp_nanos(&plain) {
        let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000) as u32);
        return moment(seconds, rest).ok_or_else(|| format!("{OUT_OF_RANGE}, found `{}`", short(text)));
    }
    // What 64 bits of nanoseconds do not hold is a date all the same.
    let is_date = plain.len() >= 10
        && plain.bytes().take(10).enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let year = || plain.get(..4).and_then(|year| year.parse::<u16>().ok()).unwrap_or(0);
    Err(if is_date && !(1900..2200).contains(&year()) {
        format!("{OUT_OF_RANGE}, found `{}`", short(text))
    } else {
        wrong()
    })
}

/// A text that is a moment as a number, in seconds since 1970.
pub(crate) fn moment_as_number(text: &str) -> Option<f64> {
    // A date begins with its year; what does not is not looked at any further.
    let is_date = text.len() >= 10 && matches!(text.as_bytes().get(4), Some(b'-' | b'/'));
    let time = is_date.then(|| parse_moment(text).ok()).flatten()?;
    let nanoseconds = time.whole.rem_euclid(1_000_000) as u32 * 1000 + time.rest;
    Some(number(time.whole.div_euclid(1_000_000), nanoseconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn number_of(text: &str) -> (i64, u32) {
        let (kind, time) = parse(text).unwrap();
        assert_eq!(kind, TimeKind::Number, "{text}");
        (time.whole, time.rest)
    }

    #[test]
    fn numbers_with_a_point_or_an_exponent() {
        for text in [
            "1700000000",
            "1700000000.0",
            "1.70000000E+09",
            "1.7e9",
            "17e8",
            "+1700000000",
            " 1700000000. ",
            "1700000000000e-3",
        ] {
            assert_eq!(number_of(text), (1_700_000_000, 0), "{text}");
        }
        assert_eq!(number_of("1700000000.25"), (1_700_000_000, 250_000_000));
        assert_eq!(number_of("1.70000000025E9"), (1_700_000_000, 250_000_000));
        assert_eq!(number_of("-1.5"), (-2, 500_000_000));
        assert_eq!(number_of("-5"), (-5, 0));
        assert_eq!(number_of("1700000000123456789"), (1_700_000_000_123_456_789, 0));
        assert!(parse("18446744073709551615").unwrap_err().contains("64 bits"));
        assert!(parse("1e40").unwrap_err().contains("64 bits"));
        for wrong in ["yesterday", "1e", "e5", ".", "1.2.3", "0x10", "inf"] {
            assert!(parse(wrong).unwrap_err().contains(&format!("found `{wrong}`")), "{wrong}");
        }
        assert!(parse("").unwrap_err().ends_with("found nothing"));
    }

    #[test]
    fn moments_in_microseconds_whatever_is_left_out() {
        let micros = 1_700_000_000_000_000;
        for (text, whole, rest) in [
            ("2023-11-14T22:13:20Z", micros, 0),
            ("2023-11-14 22:13:20", micros, 0),
            ("2023-11-14 22:13:20 UTC", micros, 0),
            ("2023-11-14 22:13:20UTC", micros, 0),
            ("2023-11-15T00:13:20+0200", micros, 0),
            ("2023-11-15 00:13:20+02:00", micros, 0),
            ("2023-11-15 00:13:20 +02", micros, 0),
            ("2023-11-14 22:13:20.5", micros + 500_000, 0),
            ("2023-11-14 22:13:20.000000001 UTC", micros, 1),
            ("2023-11-14 22:13", micros - 20_000_000, 0),
            ("2023/11/14 22:13:20", micros, 0),
            ("2023-11-14", 1_699_920_000_000_000, 0),
            ("1969-12-31 23:59:59.9999995", -1, 500),
        ] {
            assert_eq!(parse(text), Ok((TimeKind::Moment, Time { whole, rest })), "{text}");
        }
        for text in ["0001-01-01", "1899-12-31 23:59:59", "2200-01-01", "9999-12-31 00:00:00"] {
            assert!(parse(text).unwrap_err().contains("years 1900 to 2199"), "{text}");
        }
        assert!(parse("2023-13-14").unwrap_err().contains("found `2023-13-14`"));
        assert_eq!(moment_as_number("2023-11-14 22:13:20.25"), Some(1_700_000_000.25));
    }

    #[test]
    fn a_unit_is_no_part_of_a_moment() {
        let seconds = 1_700_000_000;
        for (unit, per) in [
            (Unit::Second, 1),
            (Unit::Millisecond, 1_000),
            (Unit::Microsecond, 1_000_000),
            (Unit::Nanosecond, 1_000_000_000),
        ] {
            let values = Int64Array::from(vec![seconds * per, -1 - 86_400 * per, 1 << 40]);
            let moments = Moments { values, unit };
            assert_eq!(moments.time(0), Ok(Time { whole: seconds * 1_000_000, rest: 0 }));
            assert_eq!(moments.number(0), seconds as f64);
            let mut text = String::new();
            moments.write(0, &mut text);
            assert_eq!(text, "2023-11-14 22:13:20");
            assert_eq!(moments.number(1), -86_400.0 - 1.0 / per as f64);
            assert!(unit != Unit::Second || moments.time(2).unwrap_err().contains("years 1900 to 2199"));
        }
        let days = Moments { values: vec![19_675, -1, 11_016].into(), unit: Unit::Day };
        let text = |row| {
            let mut text = String::new();
            days.write(row, &mut text);
            text
        };
        assert_eq!([0, 1, 2].map(text), ["2023-11-14", "1969-12-31", "2000-02-29"]);
        assert_eq!(days.time(0), parse("2023-11-14").map(|(_, time)| time));
    }
}
