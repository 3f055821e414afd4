//! The guess as a commented config.

use super::columns::{Column, Values};
use super::names::{measures, plain};
use super::roles::{Label, Roles};
use super::sides::{Past, Side, past};
use crate::config::{Encoding, Source};
use std::fmt::Write;
use std::path::Path;

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What a config is written from.
pub(super) struct Writer<'a> {
    pub folder: &'a Path,
    pub source: &'a Source,
    pub columns: &'a [Column],
    pub roles: &'a Roles,
    /// Whether every row is taken for a positive.
    pub implicit: bool,
}

impl Writer<'_> {
    /// Writes `[data]` and `[schema]`.
    pub fn config(&self) -> String {
        let mut text = String::from("# A guess from the first rows: check it before you trust it.\n\n");
        // Writing to a `String` cannot fail.
        let _ = self.data(&mut text).and_then(|()| self.schema(&mut text));
        text
    }

    fn column(&self, name: &Option<String>) -> Option<&Column> {
        name.as_ref().and_then(|name| self.columns.iter().find(|column| column.name == *name))
    }

    fn data(&self, text: &mut String) -> std::fmt::Result {
        let Self { folder, source, columns, roles, implicit } = self;
        writeln!(text, "[data]\n# Where the files are, unless --data says otherwise.")?;
        writeln!(text, "path = {}", quoted(&folder.display().to_string()))?;
        let rows = columns.iter().map(|column| column.values.len()).max().unwrap_or(0);
        match (self.column(&roles.user).map(Column::distinct), &roles.time) {
            (Some(users), _) if users > 0 && rows >= 3 * users => {
                writeln!(
                    text,
                    "# The last tenth of each user's rows is the test, the tenth before decides when to stop."
                )?;
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
        if *implicit {
            writeln!(
                text,
                "# No column looks like an outcome, so every row is taken for a positive, with drawn negatives."
            )?;
            writeln!(
                text,
                "negatives = {{ per_positive = 4, draw = \"uniform\", splits = [\"train\", \"valid\", \"test\"] }}"
            )?;
        }
        writeln!(text, "\n[[data.layouts]]\nname = \"files\"")?;
        let mut derived = Vec::new();
        if *implicit {
            derived.push(format!("{{ name = {}, as = {{ constant = \"1\" }} }}", quoted(free(columns))));
        }
        if let Some(position) = self.position_from_0() {
            derived.push(format!("{{ name = \"{FROM_1}\", from = {}, as = {{ offset = 1 }} }}", quoted(position)));
        }
        if !derived.is_empty() {
            writeln!(text, "derive = [{}]", derived.join(", "))?;
        }
        writeln!(text, "[data.layouts.samples]\npath = {}", quoted(&source.path))?;
        if let Some(separator) = &source.separator {
            writeln!(text, "separator = {}", quoted(separator))?;
        }
        for (key, value) in [("quote", &source.quote), ("escape", &source.escape), ("comment", &source.comment)] {
            if let Some(value) = value {
                writeln!(text, "{key} = {}", quoted(value))?;
            }
        }
        if source.trim {
            writeln!(text, "trim = true")?;
        }
        if source.short_rows {
            writeln!(text, "# Some lines end before the last columns, which have no value there.\nshort_rows = true")?;
        }
        if source.encoding == Encoding::Latin1 {
            writeln!(text, "encoding = \"latin-1\"")?;
        }
        if let Some(names) = &source.columns {
            writeln!(text, "# The file has no header; name its columns here.\ncolumns = [")?;
            names.iter().try_for_each(|name| writeln!(text, "    {},", quoted(name)))?;
            writeln!(text, "]")?;
        }
        self.cells(text)
    }

    /// How cells of some columns are read.
    fn cells(&self, text: &mut String) -> std::fmt::Result {
        let Self { columns, roles, .. } = self;
        let used = |column: &&Column| !roles.left_out.contains_key(&column.name);
        let comma = |column: &&Column| matches!(roles.columns.get(&column.name), Some((Values::Numbers(true), _)));
        let commas: Vec<String> =
            columns.iter().filter(used).filter(comma).map(|column| quoted(&column.name)).collect();
        if !commas.is_empty() {
            writeln!(text, "# Their numbers have a comma for a point.\ndecimal_comma = [{}]", commas.join(", "))?;
        }
        // Where a number is read these texts mean that there is none anyway.
        let number = |column: &Column| matches!(roles.columns.get(&column.name), Some((Values::Numbers(_), _)));
        let label =
            |column: &Column| roles.labels.iter().any(|label| label.column == column.name && label.equals.is_none());
        let missing: Vec<&Column> =
            columns.iter().filter(used).filter(|c| !c.missing.is_empty() && !number(c) && !label(c)).collect();
        if !missing.is_empty() {
            let texts = |column: &Column| column.missing.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
            let of = |column: &&Column| format!("{} = [{}]", quoted(&column.name), texts(column));
            let missing: Vec<String> = missing.iter().map(of).collect();
            writeln!(text, "# Texts that mean \"no value\" here.\nmissing = {{ {} }}", missing.join(", "))?;
        }
        Ok(())
    }

    /// The column of positions, where they are counted from 0: 0 would be missing.
    fn position_from_0(&self) -> Option<&str> {
        let column = self.column(&self.roles.position)?;
        column.numbers().filter(|numbers| numbers.first() == Some(&0.0)).map(|_| column.name.as_str())
    }

    fn schema(&self, text: &mut String) -> std::fmt::Result {
        let Self { columns, roles, implicit, .. } = self;
        writeln!(text, "\n[schema]")?;
        let from_1 = self.position_from_0().map(|_| FROM_1.to_owned());
        for (key, role) in [
            ("user", &roles.user),
            ("item", &roles.item),
            ("time", &roles.time),
            ("position", if from_1.is_some() { &from_1 } else { &roles.position }),
            ("treatment", &roles.treatment),
            ("propensity", &roles.propensity),
            ("weight", &roles.weight),
        ] {
            if let Some(column) = role {
                writeln!(text, "{key} = {}", quoted(column))?;
            }
        }
        self.features(text)?;
        if let Some(scenario) = &roles.scenario {
            writeln!(text, "scenarios = [{{ name = {} }}]", quoted(scenario))?;
        }
        writeln!(text, "tasks = [")?;
        for Label { name, column, at_least, equals, after } in &roles.labels {
            write!(text, "    {{ name = {}, kind = \"binary\"", quoted(name))?;
            if name != column {
                write!(text, ", column = {}", quoted(column))?;
            }
            if let Some(at_least) = at_least {
                write!(text, ", at_least = {at_least:?}")?;
            }
            if let Some(equals) = equals {
                write!(text, ", equals = {}", quoted(equals))?;
            }
            if let Some(after) = after {
                write!(text, ", after = {}", quoted(after))?;
            }
            writeln!(text, " }},")?;
        }
        if *implicit {
            writeln!(text, "    {{ name = {}, kind = \"binary\" }},", quoted(free(columns)))?;
        } else if roles.labels.is_empty() {
            writeln!(text, "    # Name the outcome here: {{ name = \"…\", kind = \"binary\" }}.")?;
        }
        writeln!(text, "]")
    }

    fn features(&self, text: &mut String) -> std::fmt::Result {
        let Self { columns, roles, .. } = self;
        let (user, item) = (self.column(&roles.user), self.column(&roles.item));
        writeln!(text, "features = [")?;
        let mut written = 0;
        for column in *columns {
            if let Some(why) = roles.left_out.get(&column.name) {
                writeln!(text, "    # {} is left out: it {why}.", quoted(&column.name))?;
                continue;
            }
            if roles.labels.iter().any(|label| label.column == column.name) {
                continue;
            }
            let of = match roles.columns.get(&column.name) {
                Some((_, Side::User)) => ", of = \"user\"",
                Some((_, Side::Item)) => ", of = \"item\"",
                _ => "",
            };
            writeln!(text, "    {{ name = {}, kind = {}{of} }},", quoted(&column.name), self.kind(column, item))?;
            written += 1;
        }
        if let (Some(_), Some(item)) = (user, item) {
            let when = roles.labels.first().filter(|_| !roles.by_event);
            let when = when.map(|label| format!(", when = {}", quoted(&label.name))).unwrap_or_default();
            let item = quoted(&item.name);
            let taken = |name: &str| columns.iter().any(|column| column.name == name);
            let name = ["history", "past_items"].into_iter().find(|name| !taken(name)).unwrap_or("earlier_items");
            writeln!(text, "    # What the user had before, oldest first.")?;
            writeln!(
                text,
                "    {{ name = \"{name}\", kind = \"sequence\", of = \"user\", table = {item}, length = 50, \
                 history = {{ of = {item}{when} }} }},"
            )?;
        } else if written == 0
            && let Some(column) = columns.iter().find(|column| {
                roles.labels.iter().all(|label| label.column != column.name)
                    && !matches!(roles.columns.get(&column.name), Some((Values::Unusable(_) | Values::Lists(_), _)))
            })
        {
            writeln!(text, "    {{ name = {}, kind = \"categorical\" }},", quoted(&column.name))?;
        }
        writeln!(text, "]")
    }

    /// A feature's kind and what goes with it.
    fn kind(&self, column: &Column, item: Option<&Column>) -> String {
        let roles = self.roles;
        let is_id =
            [&roles.user, &roles.item, &roles.scenario].into_iter().any(|role| role.as_ref() == Some(&column.name));
        let Some((values, _)) = roles.columns.get(&column.name).filter(|_| !is_id) else {
            return "\"categorical\"".into();
        };
        match values {
            Values::Lists(separator) => {
                let past = past(column, *separator, item);
                let mut kind = if past == Past::Items { "\"sequence\"".to_owned() } else { "\"multi\"".to_owned() };
                let name = plain(&column.name);
                let is_named = ["hist", "seq", "past", "recent", "last"].iter().any(|part| name.contains(part));
                if is_named && past == Past::No {
                    kind = "\"sequence\"".to_owned();
                }
                if let Some(separator) = separator {
                    kind += &format!(", separator = {}", quoted(separator));
                }
                match item {
                    Some(item) if past == Past::Items => kind + &format!(", table = {}", quoted(&item.name)),
                    _ => kind,
                }
            }
            Values::Numbers(_) => numeric(column),
            Values::Integers(distinct) if *distinct > 20 && counts(column) => numeric(column),
            _ => "\"categorical\"".into(),
        }
    }
}

/// The name of positions that are counted from 1.
const FROM_1: &str = "position_from_1";

/// A name for the constant label that no column has.
fn free(columns: &[Column]) -> &'static str {
    let names = ["label", "positive", "every_row_is_positive"];
    names.into_iter().find(|name| columns.iter().all(|column| column.name != *name)).unwrap_or("positive_label")
}

/// Whether integers count or measure something: a word of the name says so, or some are negative. Others are taken for
/// ids, for of those there are more in such logs.
fn counts(column: &Column) -> bool {
    measures(&column.name) || column.numbers().is_some_and(|numbers| numbers.first() < Some(&0.0))
}

/// A number is on a logarithmic scale where its largest value is far above its middle one.
fn numeric(column: &Column) -> String {
    let numbers = column.numbers().unwrap_or_default();
    let middle = numbers.get(numbers.len() / 2).copied().unwrap_or(0.0);
    let (least, most) = (numbers.first().copied().unwrap_or(0.0), numbers.last().copied().unwrap_or(0.0));
    let transform = if least >= 0.0 && most > 20.0 * middle.max(1.0) { "log" } else { "standardize" };
    format!("\"numeric\", transform = \"{transform}\"")
}
