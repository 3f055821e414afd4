//! What columns are for, by name and values.

use super::columns::{Column, Values};
use std::collections::BTreeMap;

const USER: [&str; 14] = [
    "userid",
    "user",
    "uid",
    "visitorid",
    "customerid",
    "customer",
    "memberid",
    "reviewerid",
    "accountid",
    "clientid",
    "viewerid",
    "deviceid",
    "sessionid",
    "msno",
];
const ITEM: [&str; 24] = [
    "itemid",
    "item",
    "iid",
    "movieid",
    "videoid",
    "productid",
    "newsid",
    "articleid",
    "songid",
    "trackid",
    "bookid",
    "gameid",
    "appid",
    "postid",
    "photoid",
    "asin",
    "sku",
    "goodsid",
    "adid",
    "creativeid",
    "businessid",
    "docid",
    "documentid",
    "parentasin",
];
const TIME: [&str; 11] = [
    "timestamp",
    "time",
    "timems",
    "ts",
    "eventtime",
    "datetime",
    "createdat",
    "unixreviewtime",
    "clicktime",
    "exposuretime",
    "date",
];
/// Outcomes of 0 and 1, the ones that come first in a chain first.
const BINARY: [&str; 20] = [
    "click",
    "clicked",
    "isclick",
    "label",
    "target",
    "y",
    "longview",
    "like",
    "liked",
    "islike",
    "cart",
    "addtocart",
    "conversion",
    "converted",
    "purchase",
    "purchased",
    "buy",
    "bought",
    "order",
    "install",
];
/// Those that follow a click.
const AFTER_CLICK: [&str; 10] =
    ["cart", "addtocart", "conversion", "converted", "purchase", "purchased", "buy", "bought", "order", "install"];
const GRADED: [&str; 5] = ["rating", "stars", "score", "overall", "grade"];
const POSITION: [&str; 4] = ["position", "displayposition", "pos", "rank"];
const TREATMENT: [&str; 3] = ["treatment", "arm", "variant"];
const PROPENSITY: [&str; 2] = ["propensity", "propensityscore"];
const WEIGHT: [&str; 2] = ["weight", "sampleweight"];
const SCENARIO: [&str; 5] = ["scenario", "scene", "domain", "tab", "surface"];
/// Parts of names of what is only known afterwards.
const AFTERWARDS: [&str; 11] = [
    "playtime",
    "watchtime",
    "dwell",
    "staytime",
    "iscomment",
    "isforward",
    "isfollow",
    "ishate",
    "isprofileenter",
    "visit",
    "spend",
];

/// A task: its name, its column, and what makes a label of it.
pub(super) struct Label {
    pub column: String,
    pub at_least: Option<f64>,
    /// The column of the task that comes before.
    pub after: Option<String>,
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
    /// Columns that are no features, and why.
    pub left_out: BTreeMap<String, &'static str>,
}

/// A name without its type, its case and what is between its words.
pub(super) fn plain(name: &str) -> String {
    let name = name.split(':').next().unwrap_or(name);
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

impl Roles {
    pub fn of(columns: &[Column]) -> Self {
        let kinds: Vec<Values> = columns.iter().map(Column::kind).collect();
        let find = |names: &[&str], fits: &dyn Fn(Values) -> bool| {
            names.iter().find_map(|wanted| {
                let mut found = columns.iter().zip(&kinds);
                found.find(|(column, kind)| plain(&column.name) == *wanted && fits(**kind)).map(|(c, _)| c.name.clone())
            })
        };
        let any = |_: Values| true;
        let id = |kind: Values| matches!(kind, Values::Integers(_) | Values::Texts(_) | Values::Prose | Values::Binary);
        let number = |kind: Values| matches!(kind, Values::Integers(_) | Values::Numbers | Values::Binary);
        let mut roles = Self {
            user: find(&USER, &id),
            item: find(&ITEM, &id),
            // An RFC 3339 time is a text that hardly comes twice.
            time: find(&TIME, &any).filter(|name| columns.iter().any(|column| column.name == *name && orders(column))),
            position: find(&POSITION, &number),
            treatment: find(&TREATMENT, &any),
            propensity: find(&PROPENSITY, &number),
            weight: find(&WEIGHT, &number),
            scenario: find(&SCENARIO, &id),
            ..Self::default()
        };
        roles.find_labels(columns, &kinds);
        for (column, kind) in columns.iter().zip(&kinds) {
            let name = plain(&column.name);
            let known = |role: &Option<String>| role.as_ref() == Some(&column.name);
            let why = match () {
                () if roles.labels.iter().any(|label| label.column == column.name) => continue,
                () if known(&roles.user) || known(&roles.item) || known(&roles.scenario) => continue,
                () if known(&roles.time) => "is the time",
                () if known(&roles.position) || known(&roles.treatment) => "has a role of its own",
                () if known(&roles.propensity) || known(&roles.weight) => "has a role of its own",
                () if BINARY.contains(&name.as_str()) || GRADED.contains(&name.as_str()) => {
                    "looks like another outcome"
                }
                () if AFTERWARDS.iter().any(|part| name.contains(part)) => "looks like what is known only afterwards",
                () if TIME.contains(&name.as_str()) => "looks like another time",
                () if *kind == Values::Constant => "has one value in the rows looked at",
                () if *kind == Values::Prose => "is a text that hardly ever comes twice",
                () => continue,
            };
            roles.left_out.insert(column.name.clone(), why);
        }
        roles
    }

    fn find_labels(&mut self, columns: &[Column], kinds: &[Values]) {
        let by_name = |wanted: &str| columns.iter().zip(kinds).find(|(column, _)| plain(&column.name) == wanted);
        let binary: Vec<(&str, &Column)> = BINARY
            .iter()
            .filter_map(|wanted| {
                by_name(wanted).filter(|(_, kind)| **kind == Values::Binary).map(|(c, _)| (*wanted, c))
            })
            .collect();
        if let Some((first, column)) = binary.first() {
            self.labels.push(Label { column: column.name.clone(), at_least: None, after: None });
            let is_click = first.contains("click");
            let then = binary.iter().skip(1).find(|(name, _)| is_click && AFTER_CLICK.contains(name));
            if let Some((_, then)) = then {
                self.labels.push(Label { column: then.name.clone(), at_least: None, after: Some(column.name.clone()) });
            }
            return;
        }
        let graded =
            GRADED.iter().find_map(|wanted| by_name(wanted)).and_then(|(column, _)| Some((column, column.numbers()?)));
        if let Some((column, numbers)) = graded
            && let (Some(least), Some(most)) = (numbers.first(), numbers.last())
        {
            // Upper two of five stars; the upper half of other scales.
            let at_least = if *most == 5.0 { 4.0 } else { (least + most) / 2.0 };
            self.labels.push(Label { column: column.name.clone(), at_least: Some(at_least), after: None });
            return;
        }
        // Without names the label is the first column as a rule.
        if let (Some(column), Some(Values::Binary)) = (columns.first(), kinds.first()) {
            self.labels.push(Label { column: column.name.clone(), at_least: None, after: None });
        }
    }
}

/// Whether values order events: integers, or times as RFC 3339 writes them.
fn orders(column: &Column) -> bool {
    let integer = |text: &str| text.trim().parse::<i64>().is_ok();
    let rfc_3339 = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-' && b"Tt ".contains(&bytes[10]) && bytes[13] == b':'
    };
    column.present().next().is_some() && column.present().all(|text| integer(text) || rfc_3339(text))
}
