//! Whose a column is: what always comes with one value of the user's, or of the item's, is theirs.

use super::columns::{BETWEEN, Column};
use super::names::words;
use hashbrown::{HashMap, HashSet};

/// Whose a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    User,
    Item,
    Context,
}

/// How often a value of a key came again, and with another value of a column.
struct Dependence {
    again: usize,
    different: usize,
    keys: usize,
}

impl Dependence {
    fn new(column: &Column, key: &Column) -> Self {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        let (mut again, mut different) = (0, 0);
        for (key, value) in key.values.iter().zip(&column.values).filter(|(key, _)| !key.is_empty()) {
            match seen.insert(key, value) {
                None => {}
                Some(before) => {
                    again += 1;
                    different += usize::from(before != &**value);
                }
            }
        }
        Self { again, different, keys: seen.len() }
    }

    /// Whether the values nearly always are the same for a key, and keys come again often enough to tell.
    fn holds(&self) -> bool {
        self.again >= 10 && self.again * 5 >= self.keys && self.different * 200 <= self.again
    }

    /// Whether nothing speaks against it, where keys hardly ever come again.
    fn may_hold(&self) -> bool {
        self.different * 200 <= self.again
    }

    fn share(&self) -> f64 {
        self.different as f64 / self.again.max(1) as f64
    }
}

/// Whose a column is, given those of the user and the item.
pub(super) fn side(column: &Column, user: Option<&Column>, item: Option<&Column>) -> Side {
    let is = |key: Option<&Column>| key.is_some_and(|key| key.name == column.name);
    if is(user) || is(item) {
        return if is(user) { Side::User } else { Side::Item };
    }
    let of = |key: Option<&Column>| key.map(|key| Dependence::new(column, key));
    let (user, item) = (of(user), of(item));
    let holds = |found: &Option<Dependence>| found.as_ref().filter(|found| found.holds()).map(Dependence::share);
    match (holds(&user), holds(&item)) {
        // What follows both, as where a user has a row, is whose it follows more closely.
        (Some(of_user), Some(of_item)) => match (of_user <= of_item, said(column)) {
            (_, Some(side)) if of_user == of_item => side,
            (true, _) => Side::User,
            (false, _) => Side::Item,
        },
        (Some(_), None) => Side::User,
        (None, Some(_)) => Side::Item,
        // Where too little comes again to tell, the name may.
        (None, None) => match said(column) {
            Some(Side::User) if user.is_some_and(|found| found.may_hold() && found.again < 10) => Side::User,
            Some(Side::Item) if item.is_some_and(|found| found.may_hold() && found.again < 10) => Side::Item,
            _ => Side::Context,
        },
    }
}

/// Whose a column is by its name: `item_category`, `user_age`.
fn said(column: &Column) -> Option<Side> {
    let words = words(&column.name);
    let one_of = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    match () {
        () if one_of(&["user", "customer", "member", "viewer", "visitor"]) => Some(Side::User),
        () if one_of(&["item", "product", "movie", "article", "video", "book", "song", "track", "ad", "news"]) => {
            Some(Side::Item)
        }
        () => None,
    }
}

/// What a list says of the user's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// Nothing: it is no list of items.
    No,
    /// It lists items.
    Items,
    /// It lists items, and the row's own among them.
    OwnItem,
}

/// Whether a column of lists, separated so, lists items.
pub(super) fn past(column: &Column, separator: Option<&str>, item: Option<&Column>) -> Past {
    let Some(item) = item.filter(|item| item.name != column.name) else { return Past::No };
    let items: HashSet<&str> = item.present().map(str::trim).collect();
    let parts = |text: &'_ str| -> Vec<String> {
        let parts: Vec<&str> = match separator {
            Some(separator) => text.split(separator).collect(),
            None => text.split(BETWEEN).collect(),
        };
        parts.into_iter().map(|part| part.trim().to_owned()).collect()
    };
    let (mut elements, mut known, mut rows, mut own) = (0, 0, 0, 0);
    for (list, item) in column.values.iter().zip(&item.values).filter(|(list, _)| !list.is_empty()) {
        let parts = parts(list);
        elements += parts.len();
        known += parts.iter().filter(|part| items.contains(part.as_str())).count();
        rows += 1;
        own += usize::from(parts.iter().any(|part| *part == item.trim()));
    }
    match () {
        () if elements == 0 || 10 * known < 6 * elements => Past::No,
        () if 2 * own > rows => Past::OwnItem,
        () => Past::Items,
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::column;
    use super::*;

    fn texts(name: &str, value: impl Fn(usize) -> String) -> Column {
        column(name, &(0..60).map(value).collect::<Vec<_>>())
    }

    #[test]
    fn what_follows_what() {
        let users = texts("user", |row| (row % 7).to_string());
        let items = texts("item", |row| (row * 31 % 11).to_string());
        let (user, item) = (Some(&users), Some(&items));
        assert_eq!(side(&texts("age", |row| (20 + row % 7 / 2).to_string()), user, item), Side::User);
        assert_eq!(side(&texts("tags", |row| format!("a|{}", row * 31 % 11 / 3)), user, item), Side::Item);
        assert_eq!(side(&texts("hour", |row| (row % 24).to_string()), user, item), Side::Context);
        assert_eq!(side(&items, user, item), Side::Item);
        // Nothing comes again: the name tells.
        let each = texts("item", |row| row.to_string());
        assert_eq!(side(&texts("item_brand", |row| (row % 3).to_string()), user, Some(&each)), Side::Item);
        assert_eq!(side(&texts("brand", |row| (row % 3).to_string()), user, Some(&each)), Side::Context);
    }

    #[test]
    fn lists_of_items_are_the_past_unless_the_own_one_is_in_them() {
        let items = texts("item", |row| (row % 11).to_string());
        let past_of = |list: Column| past(&list, Some(","), Some(&items));
        assert_eq!(past_of(texts("seen", |row| format!("{},{}", (row + 3) % 11, (row + 5) % 11))), Past::Items);
        assert_eq!(past_of(texts("seen", |row| format!("{},{}", (row + 3) % 11, row % 11))), Past::OwnItem);
        assert_eq!(past_of(texts("tags", |row| format!("t{},u", row % 3))), Past::No);
    }
}
