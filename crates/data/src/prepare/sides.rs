//! Whether what a schema declares as the item's, or as the user's, is: one value for all rows of an item, and of a user.

use super::plan::{Kind, Plan};
use super::spill::list_at;
use kitestring_core::Note;
use kitestring_core::schema::Of;

/// A feature that is compared between rows.
#[derive(Debug)]
struct Compared {
    name: String,
    /// Where its slot is in a record, how many bytes it has, and the bytes of an element where it points to a list.
    at: usize,
    width: usize,
    element: Option<usize>,
    differing: u64,
}

/// Counts the rows in which features of one side differ from another row of the same item or user.
#[derive(Debug)]
pub(crate) struct SideCheck {
    side: Of,
    features: Vec<Compared>,
    rows: u64,
}

/// A record and the lists that its pointers lead to.
pub(crate) type Row<'a> = (&'a [u8], &'a [u8]);

impl SideCheck {
    /// The features of a side but for its id, and for what the user's rows have in another length each anyway: sequences.
    pub(crate) fn new(plan: &Plan, side: Of) -> Self {
        let own = if side == Of::Item { &plan.schema.item } else { &plan.schema.user };
        let mut features = Vec::new();
        for (feature, slot) in plan.schema.features.iter().zip(&plan.features) {
            let Some(slot) = slot.filter(|_| feature.of == side && own.as_deref() != Some(feature.column())) else {
                continue;
            };
            let slot = &plan.slots[slot];
            let (width, element) = match &slot.kind {
                Kind::List { last: true, .. } => continue,
                Kind::List { ids, .. } => (12, Some(if ids.is_wide() { 8 } else { 4 })),
                Kind::Id(ids) => (if ids.is_wide() { 8 } else { 4 }, None),
                Kind::Number => (8, None),
                _ => continue,
            };
            features.push(Compared { name: feature.name.clone(), at: slot.at, width, element, differing: 0 });
        }
        Self { side, features, rows: 0 }
    }

    /// Compares two rows of one item or user.
    #[inline]
    pub(crate) fn add(&mut self, (first, of_first): Row<'_>, (second, of_second): Row<'_>) {
        self.rows += 1;
        for Compared { at, width, element, differing, .. } in &mut self.features {
            let same = match element {
                None => first[*at..*at + *width] == second[*at..*at + *width],
                Some(element) => {
                    let ((from, count), (other, others)) = (list_at(first, *at), list_at(second, *at));
                    count == others
                        && of_first[from..from + count * *element] == of_second[other..other + count * *element]
                }
            };
            *differing += u64::from(!same);
        }
    }

    /// What the counts say against the schema.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let rows = self.rows;
        let differing = self.features.iter().filter(|feature| feature.differing > 0);
        let note = |Compared { name, differing: count, .. }: &Compared| {
            match self.side {
            Of::Item => Note::new(format!(
                "it is declared the item's, but in {count} of {rows} rows it is another than in the item's first row, which is the one that \
                 candidates get"
            ))
            .hint("take of = \"item\" out of the feature, or give an item one value")
            .in_field(name.as_str())
            .counting(*count),
            _ => Note::new(format!("it is declared the user's, but in {count} of {rows} rows it is another than in the user's row before"))
                .hint("take of = \"user\" out of the feature unless it changes with time alone")
                .in_field(name.as_str())
                .counting(*count),
        }
        };
        differing.map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::{Source, Split};
    use crate::prepare::{Input, Options, prepare};
    use crate::reader::{self, BadRows};
    use kitestring_core::schema::{Feature, FeatureKind, Of, Task};
    use kitestring_core::{Schema, Seed};
    use std::path::Path;

    #[test]
    fn rows_that_differ_from_what_is_declared_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let feature = |name: &str, kind: FeatureKind, of: Of| Feature { of, ..Feature::new(name, kind) };
        let schema = Schema {
            user: Some("user".into()),
            item: Some("item".into()),
            features: vec![
                feature("item", FeatureKind::Categorical, Of::Item),
                feature("brand", FeatureKind::Categorical, Of::Item),
                Feature { separator: Some("|".into()), ..feature("tags", FeatureKind::Multi, Of::Item) },
                feature("price", FeatureKind::Numeric, Of::Item),
                feature("age", FeatureKind::Categorical, Of::User),
                feature("city", FeatureKind::Categorical, Of::User),
                Feature { separator: Some("|".into()), ..feature("past", FeatureKind::Sequence, Of::User) },
            ],
            tasks: vec![Task::binary("like")],
            ..Schema::default()
        };
        // Three users in turn, four items in turn; of item 0 the tags change in one row, of item 1 the price in every other.
        let mut text = String::from("user,item,brand,tags,price,age,city,past,like\n");
        for row in 0..48 {
            let (user, item) = (row % 3, row % 4);
            let tags = if row == 24 { "t0|other" } else { ["t0|a", "t1", "", "t3"][item] };
            let price = if item == 1 && row % 8 == 5 { "2.5" } else { ["1", "2", "", "4"][item] };
            let age = 20 + row / 24;
            text += &format!(
                "u{user},i{item},b{},{tags},{price},{age},c{user},i{}|i{item},{}\n",
                item % 2,
                row % 5,
                row % 2
            );
        }
        std::fs::write(folder.path().join("log.csv"), text).unwrap();
        let bad = BadRows::default();
        let rows = reader::Input::open(folder.path(), &Source::new("log.csv")).unwrap();
        let columns = ["user", "item", "brand", "tags", "price", "age", "city", "past", "like"];
        let inputs = vec![Input::new("train", rows.read(&columns, &bad).unwrap())];
        let split = Some(Split::UserFraction { valid: 0.0, test: 0.2 });
        let options = Options {
            schema: &schema,
            split,
            ties: Default::default(),
            negatives: None,
            like: None,
            seed: Seed(1),
            bad_rows: &bad,
        };
        let manifest =
            prepare(inputs, Vec::new(), &options, &Path::new(folder.path()).join("set"), &mut |_| {}).unwrap();
        let found: Vec<(&str, u64)> = manifest
            .notes
            .iter()
            .filter(|note| note.text.contains("it is declared"))
            .map(|note| (note.field.as_deref().unwrap(), note.count.unwrap()))
            .collect();
        // Each user's age changes once.
        assert_eq!(found, [("tags", 1), ("price", 6), ("age", 3)]);
        let note = manifest.notes.iter().find(|note| note.field.as_deref() == Some("price")).unwrap().to_string();
        assert!(note.contains("in 6 of 44 rows it is another than in the item's first row"), "{note}");
        assert!(note.ends_with("take of = \"item\" out of the feature, or give an item one value"), "{note}");
    }
}
