//! Columns that say what kind of event a row is: each kind but the weakest is a task.

use super::columns::{Column, Values};
use super::names::{EVENTS, plain, rank};
use std::collections::BTreeMap;

/// What events are called, by how much they say: shown, looked at, liked, put in the cart, bought.
const STRENGTHS: [&[&str]; 6] = [
    &[
        "impression",
        "impressions",
        "view",
        "viewitem",
        "viewed",
        "productview",
        "itemview",
        "show",
        "shown",
        "exposure",
        "pv",
        "pageview",
        "display",
        "detail",
        "detailview",
        "search",
    ],
    &["click", "clicked", "clk", "tap", "open", "selectitem", "productclick", "itemclick", "play", "watch"],
    &[
        "like",
        "fav",
        "favorite",
        "favourite",
        "bookmark",
        "save",
        "wishlist",
        "addtowishlist",
        "follow",
        "share",
        "comment",
        "rate",
        "rating",
        "collect",
    ],
    &["cart", "addtocart", "basket", "addtobasket"],
    &["checkout", "begincheckout", "reserve"],
    &[
        "purchase",
        "buy",
        "bought",
        "transaction",
        "order",
        "conversion",
        "payment",
        "install",
        "subscribe",
        "book",
        "booking",
    ],
];

/// The most tasks made of one column, and the most kinds of events it may have.
const MOST: usize = 4;
const KINDS: usize = 12;

/// Tasks made of a column of events.
pub(super) struct Events {
    pub column: String,
    /// Their names and the values that are positive, the weakest first.
    pub tasks: Vec<(String, String)>,
}

fn strength(value: &str) -> Option<usize> {
    let value = plain(value);
    STRENGTHS.iter().position(|words| words.contains(&value.as_str()))
}

impl Events {
    /// Finds a column whose name says that it holds kinds of events, and whose values do.
    pub fn find(columns: &[Column], kinds: &[Values]) -> Option<Self> {
        let mut found: Vec<(usize, &Column)> = columns
            .iter()
            .zip(kinds)
            .filter(|(_, kind)| matches!(kind, Values::Texts(2..=KINDS) | Values::Binary(_)))
            .filter_map(|(column, _)| Some((rank(&column.name, &EVENTS)?, column)))
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().find_map(|(_, column)| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            column.present().for_each(|value| *counts.entry(value).or_default() += 1);
            let mut known: Vec<(usize, &str)> =
                counts.keys().filter_map(|value| Some((strength(value)?, *value))).collect();
            known.sort_unstable();
            let weakest = known.first()?.0;
            // What happens once in a thousand rows is too little to learn from.
            let often =
                |value: &str| counts.get(value).is_some_and(|count| *count >= 5 && 1000 * count >= column.values.len());
            let tasks = known.iter().filter(|(strength, value)| *strength > weakest && often(value));
            let tasks: Vec<(String, String)> =
                tasks.map(|(_, value)| ((*value).to_owned(), (*value).to_owned())).take(MOST).collect();
            (!tasks.is_empty()).then(|| Self { column: column.name.clone(), tasks })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::columns::tests::column;
    use super::*;

    fn tasks(name: &str, values: &[&str]) -> Option<Vec<String>> {
        let values: Vec<&str> = (0..60).map(|row| values[row % values.len()]).collect();
        let columns = [column(name, &values)];
        let kinds: Vec<Values> = columns.iter().map(|column| column.kind(false)).collect();
        Events::find(&columns, &kinds).map(|events| events.tasks.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn kinds_of_events_become_tasks_from_the_weakest_on() {
        assert_eq!(tasks("event_type", &["purchase", "view", "view", "cart"]).unwrap(), ["cart", "purchase"]);
        assert_eq!(tasks("behavior", &["pv", "fav", "buy"]).unwrap(), ["fav", "buy"]);
        assert_eq!(tasks("payload.event_name", &["view_item", "add_to_cart"]).unwrap(), ["add_to_cart"]);
        assert_eq!(tasks("type", &["movie", "series"]), None);
        assert_eq!(tasks("colour", &["view", "buy"]), None);
    }
}
