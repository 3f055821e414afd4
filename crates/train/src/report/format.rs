//! Numbers as a reader sees them.

use super::data::Estimate;

/// What stands for a number that is not defined.
const UNDEFINED: &str = "undefined";

/// A percent sign that stays on the line of its number.
const PERCENT: &str = "\u{a0}%";

/// A number with a fixed count of decimals.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return UNDEFINED.into();
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|digit| matches!(digit, b'0' | b'.')) => digits.into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// A number with four decimals below ten and fewer above; small ones keep two digits that count.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if (1e15..f64::INFINITY).contains(&size) => format!("{value:.1e}").replace('-', "−"),
        size if (10_000.0..1e15).contains(&size) => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(size.round() as u64))
        }
        size if size >= 100.0 => fixed(value, 1),
        size if size >= 10.0 => fixed(value, 2),
        size if size > 0.0 && size < 1e-5 => format!("{value:.1e}").replace('-', "−"),
        size if size > 0.0 && size < 1e-4 => fixed(value, 6),
        size if size > 0.0 && size < 1e-3 => fixed(value, 5),
        _ => fixed(value, 4),
    }
}

/// A whole number with separated thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "3 samples", "1 sample".
pub(super) fn counted(value: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(value), if value == 1 { "" } else { "s" })
}

/// A share of one as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent.abs() {
        size if !size.is_finite() => UNDEFINED.into(),
        size if size > 0.0 && size < 0.005 => format!("under 0.01{PERCENT}"),
        size if size > 0.0 && size < 0.95 => format!("{}{PERCENT}", fixed(percent, 2)),
        _ => format!("{}{PERCENT}", fixed(percent, 1)),
    }
}

/// A part of a whole as a percentage.
pub(super) fn share(part: u64, whole: u64) -> String {
    percent(part as f64 / whole as f64)
}

/// "0.8123 to 0.8145".
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    format!("{} to {}", number(low), number(high))
}

/// A value and its interval in a sentence: "0.8134 (0.8123 to 0.8145)".
pub(super) fn estimate(estimate: &Estimate) -> String {
    match estimate.ends() {
        Some(ends) => format!("{} ({})", number(estimate.value), interval(ends)),
        None => number(estimate.value),
    }
}

/// The interval of an estimate for a table's cell, empty if there is none.
pub(super) fn interval_cell(estimate: &Estimate) -> String {
    estimate.ends().map(interval).unwrap_or_default()
}

/// A length of time.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => UNDEFINED.into(),
        s if s < 0.00995 => format!("{} ms", fixed(s * 1000.0, 2)),
        s if s < 0.9995 => format!("{} ms", fixed(s * 1000.0, 0)),
        s if s < 99.95 => format!("{} s", fixed(s, 1)),
        s if s < 6000.0 => format!("{} min {} s", (s.round() as u64) / 60, (s.round() as u64) % 60),
        s => format!("{} h {} min", (s / 60.0).round() as u64 / 60, (s / 60.0).round() as u64 % 60),
    }
}

/// A moment in UTC to the minute, from seconds since 1970.
///
/// Days become a civil date as in E. G. Richards, "Mapping Time" (1998), with the year taken to begin in March, so that
/// the leap day is a year's last.
pub(super) fn moment(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let minutes = seconds.rem_euclid(86_400) / 60;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

/// At most so many characters, the last an ellipsis if some were left out.
pub(super) fn shorten(text: &str, at_most: usize) -> String {
    if text.chars().count() <= at_most {
        return text.into();
    }
    let mut short: String = text.chars().take(at_most.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// "a, b and c".
pub(super) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The text with its first letter large, to begin a sentence or a heading.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0.81234, "0.8123"),
            (-0.5, "−0.5000"),
            (-0.000_001, "−1.0e−6"),
            (0.000_04, "0.000040"),
            (0.000_4, "0.00040"),
            (0.0, "0.0000"),
            (12.345, "12.35"),
            (1234.56, "1234.6"),
            (-1_234_567.0, "−1,234,567"),
            (-1e300, "−1.0e300"),
            (f64::NAN, "undefined"),
            (f64::INFINITY, "undefined"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(fixed(-0.001, 1), "0.0");
        assert_eq!(fixed(f64::MAX, 0).len(), 309);
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(999), "999");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(percent(0.1234), "12.3\u{a0}%");
        assert_eq!(percent(0.001_234), "0.12\u{a0}%");
        assert_eq!(percent(0.000_006), "under 0.01\u{a0}%");
        assert_eq!(share(0, 0), "undefined");
        assert_eq!(estimate(&Estimate::within(0.5, 0.4, 0.6)), "0.5000 (0.4000 to 0.6000)");
        assert_eq!(estimate(&Estimate::within(0.5, f64::NAN, 0.6)), "0.5000");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(0.9999), "1.0 s");
        assert_eq!(duration(75.4), "75.4 s");
        assert_eq!(duration(99.96), "1 min 40 s");
        assert_eq!(duration(7_260.0), "2 h 1 min");
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00");
        assert_eq!(moment(1_709_251_199), "2024-02-29 23:59");
        assert_eq!(moment(-1), "1969-12-31 23:59");
    }

    #[test]
    fn words_read_well() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abc def", 5), "abc…");
        assert_eq!(shorten("日本語日本語", 3), "日本…");
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(capital("éa"), "Éa");
    }
}
