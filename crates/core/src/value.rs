//! One text for a value, however it was written.
//!
//! Ids are texts. The same value comes as `12`, as `12.0` where a column had a missing value and became a column of floats, or as a float of
//! a Parquet file; a truth value comes as `True`, `true` or a bit. Preparation and devices bring all of these to one text before they look an
//! id up. Texts that may mean something else stay as they are: `007`, `1.10` and `1e5` may be codes.

use std::borrow::Cow;

/// The one text of a value that was written as this text; none where it is missing, that is empty or `NaN`.
///
/// - `true`, `True` and `TRUE` are `true`, likewise `false`;
/// - a number with a fraction of zeros is a whole number: `12.0` is `12`, `-0.00` is `0`;
/// - a number with an exponent, and a point or the exponent's sign, is written out: `1.5E3` is `1500`, `1e-05` is `0.00001`;
/// - every other text stays.
#[inline]
pub fn canonical(text: &str) -> Option<Cow<'_, str>> {
    match text.as_bytes() {
        [] | b"NaN" | b"nan" => None,
        b"true" | b"True" | b"TRUE" => Some(Cow::Borrowed("true")),
        b"false" | b"False" | b"FALSE" => Some(Cow::Borrowed("false")),
        [b'0'..=b'9' | b'-', .., b'0'..=b'9'] => Some(written_out(text).unwrap_or(Cow::Borrowed(text))),
        _ => Some(Cow::Borrowed(text)),
    }
}

/// The largest exponent that is written out: a 64-bit float has none beyond.
const LARGEST_EXPONENT: i32 = 330;

/// A number with a point or an exponent without either, as far as [`canonical`] takes it for one.
fn written_out(text: &str) -> Option<Cow<'_, str>> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    // Integers are most of what comes here. A zero in front is part of a code.
    if rest.is_empty() || whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let has_point = !fraction.is_empty();
    let is_zero = |text: &str| text.bytes().all(|digit| digit == b'0');
    if rest.is_empty() {
        return (has_point && is_zero(fraction)).then(|| match whole {
            "0" => Cow::Borrowed("0"),
            _ => Cow::Borrowed(text.get(..text.len() - fraction.len() - 1).unwrap_or(text)),
        });
    }
    let exponent = rest.strip_prefix(['e', 'E'])?;
    let magnitude = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    // `1e5` may be a code of hexadecimal digits.
    if !(has_point || magnitude.len() < exponent.len()) || !(1..=3).contains(&magnitude.len()) {
        return None;
    }
    let magnitude: i32 = Some(magnitude).filter(|text| digits(text) == text.len())?.parse().ok()?;
    let exponent = if exponent.starts_with('-') { -magnitude } else { magnitude };
    if exponent.abs() > LARGEST_EXPONENT {
        return None;
    }
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Cow::Borrowed("0"));
    }
    // Digits in front of the point.
    let point = whole.len() as i32 + exponent - (all.len() - significant.len()) as i32;
    let mut written = String::from(if unsigned.len() < text.len() { "-" } else { "" });
    let before = usize::try_from(point).unwrap_or(0);
    let (front, back) = significant.split_at(before.min(significant.len()));
    written.push_str(if front.is_empty() { "0" } else { front });
    written.extend(std::iter::repeat_n('0', before.saturating_sub(significant.len())));
    let back = back.trim_end_matches('0');
    if !back.is_empty() {
        written.push('.');
        written.extend(std::iter::repeat_n('0', usize::try_from(-point).unwrap_or(0)));
        written.push_str(back);
    }
    Some(Cow::Owned(written))
}

/// Whether a number is one that 32 bits can hold: finite, and not too large.
pub fn fits_f32(number: f64) -> bool {
    (number as f32).is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_text() {
        for (written, text) in [
            ("12", "12"),
            ("12.0", "12"),
            ("-12.000", "-12"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("18446744073709551615.0", "18446744073709551615"),
            ("1.7E+09", "1700000000"),
            ("1.70000000E+09", "1700000000"),
            ("1.0E10", "10000000000"),
            ("1e+16", "10000000000000000"),
            ("1.8446744073709552e+19", "18446744073709552000"),
            ("1e-05", "0.00001"),
            ("-1.50e-07", "-0.00000015"),
            ("12.5e1", "125"),
            ("12.5E0", "12.5"),
            ("0.0e-3", "0"),
            ("0.05e+1", "0.5"),
            ("True", "true"),
            ("FALSE", "false"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(text), "{written}");
            assert_eq!(canonical(text).as_deref(), Some(text), "{text} stays");
        }
        assert_eq!([canonical(""), canonical("nan"), canonical("NaN")], [None, None, None]);
    }

    #[test]
    fn texts_that_may_be_codes_stay() {
        for code in [
            "007", "007.0", "1.10", "10.10.0", "1e5", "12345e67", "683e5420", "1.", ".0", "-", "-x", "1.0x", "1.0e",
            "1.5e+", "1.0e1x", "1.0e9999", "1.0e999", "tRUE", "t", "yes", "Nan", "null", "é0", "1-0", "+5", "1.0-0",
            "--1.0",
        ] {
            assert_eq!(canonical(code).as_deref(), Some(code));
        }
    }

    /// What Rust writes of a float, and what C and Java do, are one text.
    #[test]
    fn floats_of_any_size_are_written_alike() {
        let mut float = 1.234_567_890_123_4e-300_f64;
        while float < 1e300 {
            assert_eq!(
                canonical(&format!("{float:e}").replace('e', "0e")).as_deref(),
                Some(float.to_string().as_str())
            );
            float *= 13.7;
        }
    }
}
