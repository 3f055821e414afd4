//! The guess as a commented config.

use super::columns::{Column, Values};
use super::roles::{Label, Roles, plain};
use crate::config::{Encoding, Source};
use std::fmt::Write;
use std::path::Path;

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Writes `[data]` and `[schema]`.
pub(super) fn config(folder: &Path, source: &Source, columns: &[Column], roles: &Roles) -> String {
    let mut text = String::from("# A guess from the first rows: check it before you trust it.\n\n");
    // Writing to a `String` cannot fail.
    let _ = write_config(&mut text, folder, source, columns, roles);
    text
}

fn write_config(
    text: &mut String,
    folder: &Path,
    source: &Source,
    columns: &[Column],
    roles: &Roles,
) -> std::fmt::Result {
    writeln!(text, "[data]\n# Where the files are, unless --data says otherwise.")?;
    writeln!(text, "path = {}", quoted(&folder.display().to_string()))?;
    let rows = columns.first().map_or(0, |column| column.values.len());
    let user = roles.user.as_ref().and_then(|name| columns.iter().find(|column| column.name == *name));
    match (user.map(Column::distinct), &roles.time) {
        (Some(users), _) if users > 0 && rows >= 3 * users => {
            writeln!(text, "# The last tenth of each user's rows is the test, the tenth before decides when to stop.")?;
            writeln!(text, "split = {{ by = \"user_fraction\", valid = 0.1, test = 0.1 }}")?;
        }
        (_, Some(_)) => {
            writeln!(text, "# The last tenth of the time is the test, the tenth before decides when to stop.")?;
            writeln!(text, "split = {{ by = \"time\", valid = 0.1, test = 0.1 }}")?;
        }
        _ => {
            writeln!(text, "# A tenth of the rows, drawn, is the test, another one decides when to stop.")?;
            writeln!(text, "split = {{ by = \"random\", valid = 0.1, test = 0.1 }}")?;
        }
    }
    let implicit = roles.labels.is_empty();
    if implicit {
        writeln!(
            text,
            "# No column looks like an outcome, so every row is taken for a positive, with drawn negatives."
        )?;
        if roles.item.is_some() {
            writeln!(
                text,
                "negatives = {{ per_positive = 4, draw = \"uniform\", splits = [\"train\", \"valid\", \"test\"] }}"
            )?;
        }
    }
    writeln!(text, "\n[[data.layouts]]\nname = \"files\"")?;
    if implicit {
        writeln!(text, "derive = [{{ name = {}, as = {{ constant = \"1\" }} }}]", quoted(free(columns)))?;
    }
    writeln!(text, "[data.layouts.samples]\npath = {}", quoted(&source.path))?;
    if let Some(separator) = &source.separator {
        writeln!(text, "separator = {}", quoted(separator))?;
    }
    if source.trim {
        writeln!(text, "trim = true")?;
    }
    if source.encoding == Encoding::Latin1 {
        writeln!(text, "encoding = \"latin-1\"")?;
    }
    if let Some(names) = &source.columns {
        writeln!(text, "# The file has no header; name its columns here.\ncolumns = [")?;
        names.iter().try_for_each(|name| writeln!(text, "    {},", quoted(name)))?;
        writeln!(text, "]")?;
    }
    writeln!(text, "\n[schema]")?;
    for (key, role) in [
        ("user", &roles.user),
        ("item", &roles.item),
        ("time", &roles.time),
        ("position", &roles.position),
        ("treatment", &roles.treatment),
        ("propensity", &roles.propensity),
        ("weight", &roles.weight),
    ] {
        if let Some(column) = role {
            writeln!(text, "{key} = {}", quoted(column))?;
        }
    }
    features(text, columns, roles)?;
    if let Some(scenario) = &roles.scenario {
        writeln!(text, "scenarios = [{{ name = {} }}]", quoted(scenario))?;
    }
    writeln!(text, "tasks = [")?;
    for Label { column, at_least, after } in &roles.labels {
        write!(text, "    {{ name = {}, kind = \"binary\"", quoted(column))?;
        if let Some(at_least) = at_least {
            write!(text, ", at_least = {at_least:?}")?;
        }
        if let Some(after) = after {
            write!(text, ", after = {}", quoted(after))?;
        }
        writeln!(text, " }},")?;
    }
    if implicit {
        writeln!(text, "    {{ name = {}, kind = \"binary\" }},", quoted(free(columns)))?;
    }
    writeln!(text, "]")
}

/// A name for the constant label that no column has.
fn free(columns: &[Column]) -> &'static str {
    let names = ["label", "positive", "every_row_is_positive"];
    names.into_iter().find(|name| columns.iter().all(|column| column.name != *name)).unwrap_or("positive_label")
}

fn features(text: &mut String, columns: &[Column], roles: &Roles) -> std::fmt::Result {
    let role =
        |role: &Option<String>| role.as_ref().and_then(|name| columns.iter().find(|column| column.name == *name));
    let (user, item) = (role(&roles.user), role(&roles.item));
    writeln!(text, "features = [")?;
    let mut written = 0;
    for column in columns {
        if roles.labels.iter().any(|label| label.column == column.name) {
            continue;
        }
        if let Some(why) = roles.left_out.get(&column.name) {
            writeln!(text, "    # {} is left out: it {why}.", quoted(&column.name))?;
            continue;
        }
        let of = match () {
            () if user.is_some_and(|user| user.name == column.name || column.follows(user)) => ", of = \"user\"",
            () if item.is_some_and(|item| item.name == column.name || column.follows(item)) => ", of = \"item\"",
            () => "",
        };
        let id =
            [&roles.user, &roles.item, &roles.scenario].into_iter().any(|role| role.as_ref() == Some(&column.name));
        let kind = kind(column, id, roles.item.as_deref());
        writeln!(text, "    {{ name = {}, kind = {kind}{of} }},", quoted(&column.name))?;
        written += 1;
    }
    if let (Some(_), Some(item)) = (user, item) {
        let when = roles.labels.first().map(|label| format!(", when = {}", quoted(&label.column))).unwrap_or_default();
        let item = quoted(&item.name);
        let name = if columns.iter().any(|column| column.name == "history") { "past_items" } else { "history" };
        writeln!(text, "    # What the user had before, oldest first.")?;
        writeln!(
            text,
            "    {{ name = \"{name}\", kind = \"sequence\", of = \"user\", table = {item}, length = 50, \
             history = {{ of = {item}{when} }} }},"
        )?;
    } else if written == 0
        && let Some(column) = columns.iter().find(|column| roles.labels.iter().all(|label| label.column != column.name))
    {
        writeln!(text, "    {{ name = {}, kind = \"categorical\" }},", quoted(&column.name))?;
    }
    writeln!(text, "]")
}

/// A feature's kind and what goes with it.
fn kind(column: &Column, is_id: bool, item: Option<&str>) -> String {
    let name = plain(&column.name);
    match column.kind() {
        _ if is_id => "\"categorical\"".into(),
        Values::Lists(separator) => {
            let is_sequence = ["hist", "seq", "past", "recent", "last"].iter().any(|part| name.contains(part));
            let mut kind = if is_sequence { "\"sequence\"".to_owned() } else { "\"multi\"".to_owned() };
            if let Some(separator) = separator {
                kind += &format!(", separator = {}", quoted(separator));
            }
            match item {
                Some(item) if is_sequence => kind + &format!(", table = {}", quoted(item)),
                _ => kind,
            }
        }
        Values::Numbers => numeric(column),
        Values::Integers(distinct) if distinct > 20 && counts(column) => numeric(column),
        _ => "\"categorical\"".into(),
    }
}

/// Whether integers count or measure something: a word of the name says so, or some are negative. Others are taken for
/// ids, for of those there are more in such logs.
fn counts(column: &Column) -> bool {
    const MEASURES: [&str; 18] = [
        "price", "age", "count", "num", "amount", "duration", "days", "length", "size", "spend", "total", "quantity",
        "views", "ms", "hours", "weeks", "income", "value",
    ];
    let named = words(&column.name).iter().any(|word| MEASURES.contains(&word.as_str()));
    named || column.numbers().is_some_and(|numbers| numbers.first() < Some(&0.0))
}

/// The words of a name, in lower case: `playTime` and `play_time` are `play` and `time`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if (letter.is_uppercase() && was_lower) || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// A number is on a logarithmic scale where its largest value is far above its middle one.
fn numeric(column: &Column) -> String {
    let numbers = column.numbers().unwrap_or_default();
    let middle = numbers.get(numbers.len() / 2).copied().unwrap_or(0.0);
    let (least, most) = (numbers.first().copied().unwrap_or(0.0), numbers.last().copied().unwrap_or(0.0));
    let transform = if least >= 0.0 && most > 20.0 * middle.max(1.0) { "log" } else { "standardize" };
    format!("\"numeric\", transform = \"{transform}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_words() {
        assert_eq!(words("priceUSD"), ["price", "usd"]);
        assert_eq!(words("D_101"), ["d", "101"]);
        assert_eq!(words("country"), ["country"]);
    }
}
