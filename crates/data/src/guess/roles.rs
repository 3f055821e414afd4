//! What columns are for, by name and values.

use super::columns::{Column, Values, Yes};
use super::events::Events;
use super::names::{self, id_of, is_one_of, leak, rank};
use super::sides::{Past, Side, past, side};
use std::collections::BTreeMap;

/// A task: its name, its column, and what makes a label of it.
pub(super) struct Label {
    pub name: String,
    pub column: String,
    pub at_least: Option<f64>,
    pub equals: Option<String>,
    /// The task that comes before.
    pub after: Option<String>,
}

impl Label {
    /// A column of yes and no.
    fn binary(column: &str, yes: &Yes) -> Self {
        let (at_least, equals) = match yes {
            Yes::Plain => (None, None),
            Yes::One => (Some(1.0), None),
            Yes::Text(text) => (None, Some(text.clone())),
        };
        Self { name: column.to_owned(), column: column.to_owned(), at_least, equals, after: None }
    }
}

/// What columns are for.
#[derive(Default)]
pub(super) struct Roles {
    pub user: Option<String>,
    pub item: Option<String>,
    pub time: Option<String>,
    pub position: Option<String>,
    pub treatment: Option<String>,
    pub propensity: Option<String>,
    pub weight: Option<String>,
    pub scenario: Option<String>,
    pub labels: Vec<Label>,
    /// Whether the tasks are kinds of events, each row one.
    pub by_event: bool,
    /// Columns whose names say that they are an outcome, where none of them can be one as it is.
    pub unclear: Vec<String>,
    /// Columns that are no features, and why.
    pub left_out: BTreeMap<String, String>,
    /// What each column's values are, and whose they are.
    pub columns: BTreeMap<String, (Values, Side)>,
}

/// What the columns of a file are for; `comma` says that its fields are not separated by commas.
pub(super) fn roles(columns: &[Column], comma: bool) -> Roles {
    let kinds: Vec<Values> = columns.iter().map(|column| column.kind(comma)).collect();
    let all = || columns.iter().zip(&kinds);
    let named = |names: &[&str], fits: &dyn Fn(&Values) -> bool| {
        let found =
            all().filter(|(_, kind)| fits(kind)).filter_map(|(column, _)| Some((rank(&column.name, names)?, column)));
        found.min_by_key(|(rank, _)| *rank).map(|(_, column)| column.name.clone())
    };
    let id = |kind: &Values| matches!(kind, Values::Integers(_) | Values::Texts(_) | Values::Binary(_));
    // Ids of texts that hardly come twice are prose to the eye.
    let key = |kind: &Values, column: &Column| id(kind) || !column.present().any(|text| text.contains(' '));
    let who = |words: &[&str]| {
        let usable =
            |kind: &Values| !matches!(kind, Values::Constant | Values::Lists(_) | Values::Times | Values::Numbers(_));
        let found = all().filter(|(column, kind)| column.unread.is_none() && usable(kind) && key(kind, column));
        let found = found.filter_map(|(column, _)| Some((id_of(&column.name, words)?, column)));
        found.min_by_key(|(rank, _)| *rank).map(|(_, column)| column.name.clone())
    };
    let number =
        |kind: &Values| matches!(kind, Values::Integers(_) | Values::Numbers(false) | Values::Binary(Yes::Plain));
    let mut roles = Roles {
        user: who(&names::USERS),
        item: who(&names::ITEMS),
        time: time(columns, &kinds),
        position: named(&names::POSITIONS, &|kind| matches!(kind, Values::Integers(_))),
        treatment: named(&names::TREATMENTS, &id),
        propensity: named(&names::PROPENSITIES, &number),
        weight: named(&names::WEIGHTS, &number),
        scenario: named(&names::SCENARIOS, &id),
        ..Roles::default()
    };
    roles.find_labels(columns, &kinds);
    let get = |name: &Option<String>| name.as_ref().and_then(|name| columns.iter().find(|column| column.name == *name));
    let (user, item) = (get(&roles.user), get(&roles.item));
    for (column, kind) in all() {
        if let Some(why) = roles.why_not(column, kind, item) {
            roles.left_out.insert(column.name.clone(), why);
        }
        roles.columns.insert(column.name.clone(), (kind.clone(), side(column, user, item)));
    }
    roles
}

/// The column that orders events: one that is called a time, the likelier names first, else the only one of dates.
fn time(columns: &[Column], kinds: &[Values]) -> Option<String> {
    const NAMED: [&str; 14] = [
        "timestamp",
        "time",
        "timems",
        "ts",
        "eventtime",
        "eventtimestamp",
        "datetime",
        "createdat",
        "unixreviewtime",
        "clicktime",
        "exposuretime",
        "date",
        "hour",
        "day",
    ];
    let usable = |kind: &Values| matches!(kind, Values::Times | Values::Integers(_));
    let all = || columns.iter().zip(kinds).filter(|(_, kind)| usable(kind));
    let exact = all().filter(|(column, kind)| **kind == Values::Times || orders(column));
    let exact = exact.filter_map(|(column, _)| Some((rank(&column.name, &NAMED)?, column)));
    if let Some((_, column)) = exact.min_by_key(|(rank, _)| *rank) {
        return Some(column.name.clone());
    }
    let called = |column: &Column| names::has_word(&column.name, &names::TIMES);
    let found = all().filter(|(column, kind)| {
        (**kind == Values::Times || is_epoch(column)) && called(column) && leak(&column.name).is_none()
    });
    // Of several the one that tells moments best apart.
    let best = found.max_by_key(|(column, _)| (column.distinct(), std::cmp::Reverse(&column.name)));
    let dates = || columns.iter().zip(kinds).filter(|(_, kind)| **kind == Values::Times);
    let only = || dates().next().filter(|_| dates().count() == 1);
    best.or_else(only).map(|(column, _)| column.name.clone())
}

/// Whether integers may order events: not hours of a day or days of a week, which come round again.
fn orders(column: &Column) -> bool {
    let short = is_one_of(&column.name, &["hour", "day", "date"]);
    column.numbers().is_some_and(|numbers| !short || numbers.last().is_some_and(|last| *last > 1_000_000.0))
}

/// Whether integers are seconds since 1970, or milli-, micro- or nanoseconds, of this century's years.
fn is_epoch(column: &Column) -> bool {
    let years = |number: f64| (9.0e8..4.1e9).contains(&number);
    let unit = |numbers: &[f64], unit: f64| numbers.iter().all(|number| years(number / unit));
    column
        .numbers()
        .is_some_and(|numbers| !numbers.is_empty() && [1.0, 1e3, 1e6, 1e9].iter().any(|by| unit(&numbers, *by)))
}

impl Roles {
    fn find_labels(&mut self, columns: &[Column], kinds: &[Values]) {
        let all = || columns.iter().zip(kinds);
        let binary = |kind: &Values| match kind {
            Values::Binary(yes) => Some(yes.clone()),
            _ => None,
        };
        let mut outcomes: Vec<(usize, &Column, Yes)> = all()
            .filter_map(|(column, kind)| Some((rank(&column.name, &names::OUTCOMES)?, column, binary(kind)?)))
            .collect();
        outcomes.sort_by_key(|(rank, ..)| *rank);
        if outcomes.is_empty() {
            // `has_clicked`, `user_responded`.
            let said = |column: &Column| {
                names::has_word(&column.name, &names::OUTCOMES[..]) || is_one_of(&column.name, &names::GRADED)
            };
            let found =
                all().filter(|(column, _)| said(column)).find_map(|(column, kind)| Some((column, binary(kind)?)));
            outcomes.extend(found.map(|(column, yes)| (usize::MAX, column, yes)));
        }
        if let Some((first, column, yes)) = outcomes.first() {
            self.labels.push(Label::binary(&column.name, yes));
            let is_click = names::OUTCOMES.get(*first).is_some_and(|name| name.contains("click") || *name == "clk");
            let then =
                outcomes.iter().skip(1).find(|(_, other, _)| is_click && is_one_of(&other.name, &names::AFTER_CLICK));
            if let Some((_, then, yes)) = then {
                self.labels.push(Label { after: Some(column.name.clone()), ..Label::binary(&then.name, yes) });
            }
            return;
        }
        let graded = all().filter_map(|(column, kind)| Some((rank(&column.name, &names::GRADED)?, column, kind)));
        let graded = graded.filter(|(.., kind)| !matches!(kind, Values::Constant)).min_by_key(|(rank, ..)| *rank);
        if let Some((_, column, _)) = graded
            && let Some(numbers) = column.numbers()
            && let (Some(least), Some(most)) = (numbers.first(), numbers.last())
        {
            // Upper two of five stars; the upper half of other scales.
            let at_least = if *most == 5.0 { 4.0 } else { (least + most) / 2.0 };
            self.labels.push(Label { at_least: Some(at_least), ..Label::binary(&column.name, &Yes::Plain) });
            return;
        }
        if let Some(Events { column, tasks }) = Events::find(columns, kinds) {
            self.by_event = true;
            self.labels.extend(tasks.into_iter().map(|(name, value)| Label {
                name,
                equals: Some(value),
                ..Label::binary(&column, &Yes::Plain)
            }));
            return;
        }
        let lists = [&names::OUTCOMES[..], &names::GRADED, &names::EVENT_KINDS];
        let said = |column: &Column| lists.iter().any(|list| is_one_of(&column.name, list));
        // An outcome that is always there is what a log of positives has.
        let unclear = all().filter(|(column, kind)| said(column) && **kind != Values::Constant);
        self.unclear = unclear.map(|(column, _)| column.name.clone()).collect();
        // Without names the label is the first column as a rule.
        if let (Some(column), Some(Values::Binary(yes))) = (columns.first(), kinds.first())
            && column.name == "column_1"
        {
            self.labels.push(Label::binary(&column.name, yes));
        }
    }

    /// Why a column is no feature; `None` where it is one, or has a role of an id.
    fn why_not(&self, column: &Column, kind: &Values, item: Option<&Column>) -> Option<String> {
        let name = &column.name;
        let known = |role: &Option<String>| role.as_ref() == Some(name);
        if self.labels.iter().any(|label| label.column == *name && !self.by_event) {
            return None;
        }
        if known(&self.user) || known(&self.item) || known(&self.scenario) {
            return None;
        }
        let rows = column.values.len();
        let distinct = column.distinct();
        let own = [&self.position, &self.treatment, &self.propensity, &self.weight];
        let numbered = names::is_row_number(name) && distinct == rows;
        let other_time = *kind == Values::Times
            || (matches!(kind, Values::Integers(_)) && is_epoch(column) && names::has_word(name, &names::TIMES));
        let why = match kind {
            _ if self.labels.iter().any(|label| label.column == *name) => {
                "tells the events apart, of which tasks are made"
            }
            _ if known(&self.time) => "is the time",
            _ if own.into_iter().any(known) => "has a role of its own",
            _ if numbered || column.counts_rows() => "numbers the rows",
            Values::Unusable(why) => why,
            Values::Constant => "has one value in the rows looked at",
            _ if is_one_of(name, &names::POSITIONS) => "is a position, which is known only once something is shown",
            _ if names::is_passing_id(name) => "names a row or a visit, which does not come again",
            _ if other_time => "is another time",
            _ if rows >= 50 && 10 * distinct > 9 * rows && Self::is_id(column, kind) => {
                "has another value in nearly every row"
            }
            Values::Lists(separator) if past(column, *separator, item) == Past::OwnItem => {
                "lists items, the row's own among them, which tells the outcome"
            }
            _ => return leak(name).map(str::to_owned),
        };
        Some(why.to_owned())
    }

    /// Whether values that are all different are ids, not measures.
    fn is_id(column: &Column, kind: &Values) -> bool {
        match kind {
            Values::Texts(_) => true,
            Values::Integers(_) => {
                !names::measures(&column.name) && column.numbers().is_some_and(|n| n.first() >= Some(&0.0))
            }
            _ => false,
        }
    }
}
