//! Items that come after a data set was prepared, and items that go.

use super::arrange::Seen;
use super::items::ItemRecords;
use super::notes::Survey;
use super::number::{Numbering, Stored};
use super::plan::{Kind, Plan};
use super::rows::{Needed, RowEncoder, missing};
use super::sides::SideCheck;
use super::spill::{f64_at, list_at, u32_at, u64_at};
use crate::config::Source;
use crate::dataset::Vocabularies;
use crate::dataset::items::NAMES;
use crate::reader::{BadRows, Input};
use arrow_array::{ArrayRef, LargeStringArray};
use kitestring_core::schema::{Feature, Of};
use kitestring_core::{Error, Result, Schema};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// What changes: first items go, then items come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// A file, or a folder of files, with the column of the item and those of its features, a line an item.
    pub add: Option<&'a Path>,
    /// The numbers of items.
    pub remove: &'a [u32],
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The numbers of the items that were given, in the order of the file.
    pub items: Vec<u32>,
    /// How many of them have no value for any of their features.
    pub featureless: u64,
    /// Tables of which the items have values that training had not, and how many of those: they are the unknown id.
    pub unknown: Vec<(String, u64)>,
}

/// Writes the items of a data set, changed, to the file `out`: [`Vocabularies::with_items`] reads it. An item that is there already has the
/// features of the file from now on; one that is not gets a number behind all others, and the unknown id for its own.
///
/// A value that is missing is met as in [`prepare`](super::prepare): the unknown id, an empty list, the mean of a number.
///
/// # Errors
/// A schema without features of items; a column that the file has not; an item given twice, a number that is not finite, or another malformed
/// row past what `bad_rows` tolerates; a full disk.
pub fn change_items(
    vocabularies: &Vocabularies,
    change: Change<'_>,
    bad_rows: &BadRows,
    out: &Path,
) -> Result<Changed> {
    let manifest = vocabularies.manifest();
    let plan = Plan::new(&manifest.schema)?;
    let (Some((item, vocabulary)), Some(stored)) = (plan.item, vocabularies.items()) else {
        return Err(Error::config("the data do not know the item of a row").in_field("schema.item"));
    };
    let mut encoder = RowEncoder::new(&plan);
    encoder.needed = Needed::Items;
    encoder.interners = vocabularies.interners()?;
    let mut rows: Vec<u32> = (0..stored.count() as u32).map(|item| stored.rows(item)).collect();
    for item in change.remove {
        if let Some(rows) = rows.get_mut(*item as usize) {
            *rows = 0;
        }
    }
    let mut records = ItemRecords::new(&plan);
    let mut changed = Changed::default();
    if let Some(path) = change.add {
        let columns = item_columns(&manifest.schema)?;
        let mut read = Reading { plan: &plan, item, records: &mut records, changed: &mut changed };
        read.file(path, &columns, &mut encoder, bad_rows)?;
    }
    rows.resize(encoder.interners[vocabulary].len(), 0);
    changed.items.iter().for_each(|item| rows[*item as usize] = rows[*item as usize].max(1));
    for (info, interner) in manifest.vocabularies.iter().zip(&encoder.interners) {
        let new = interner.len() as u64 - u64::from(info.entries);
        if new > 0 && info.name != manifest.vocabularies[vocabulary].name {
            changed.unknown.push((info.name.clone(), new));
        }
    }
    let seen = Seen {
        counts: encoder.interners.iter().map(|interner| vec![0; interner.len()]).collect(),
        user_rows: Vec::new(),
        item_train: (0..rows.len() as u32).map(|item| stored.popularity(item)).collect(),
        item_rows: rows,
        fits: Vec::new(),
        rows: Vec::new(),
        labels: Vec::new(),
        time: None,
        survey: Survey::new(&plan, 0),
        sides: SideCheck::new(&plan, Of::User),
    };
    let sizes: Vec<Stored> = manifest.vocabularies.iter().map(|info| Stored::new(info, false)).collect();
    let numbering = Numbering::new(&plan, &encoder.interners, &seen, (Some(&sizes), manifest.unknown_id()));
    let texts = &encoder.interners[vocabulary];
    let names = numbering.values[vocabulary].iter().map(|value| texts.text(*value));
    let names: ArrayRef = Arc::new(LargeStringArray::from_iter_values(names));
    let mut columns = vec![(NAMES.to_owned(), names)];
    columns.extend(records.columns(&plan, &numbering, &seen, &manifest.fitted, (texts, Some(stored)))?);
    crate::dataset::file::write(out, columns)?;
    Ok(changed)
}

/// The columns of a file of items.
fn item_columns(schema: &Schema) -> Result<Vec<&str>> {
    let own = schema.item.as_deref();
    let features = || schema.features.iter().filter(|feature| feature.of == Of::Item && feature.history.is_none());
    if features().all(|feature| own == Some(feature.column())) {
        return Err(Error::config("items have no feature but their id, which says nothing of an item never seen")
            .in_field("schema.features")
            .mend("declare a feature with of = \"item\", prepare and train again"));
    }
    let mut columns: Vec<&str> = Vec::new();
    for column in own.into_iter().chain(features().map(Feature::column)) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// A file of items being read.
struct Reading<'a> {
    plan: &'a Plan,
    /// The slot of the item.
    item: usize,
    records: &'a mut ItemRecords,
    changed: &'a mut Changed,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, columns: &[&str], encoder: &mut RowEncoder, bad_rows: &BadRows) -> Result<()> {
        let source = Source { path: path.to_string_lossy().into_owned(), ..Source::default() };
        // Where each item was given first.
        let mut first: HashMap<u32, u64> = HashMap::new();
        let mut twice: Vec<(u32, u64)> = Vec::new();
        let (plan, at) = (self.plan, self.plan.slots[self.item].at);
        for chunk in Input::open(Path::new(""), &source)?.read(columns, bad_rows)? {
            encoder.encode(plan, &chunk?, 0, bad_rows, &mut |record, lists| {
                let (item, place) = (u32_at(record, at), u64_at(record, plan.source_at));
                match first.entry(item) {
                    Entry::Occupied(_) => twice.push((item, place)),
                    Entry::Vacant(entry) => {
                        entry.insert(place);
                        self.records.add(item, record, lists);
                        self.changed.items.push(item);
                        self.changed.featureless += u64::from(self.is_featureless(record));
                    }
                }
                Ok(())
            })?;
            for (item, place) in twice.drain(..) {
                bad_rows.tolerate(self.given_twice(encoder, item, (first[&item], place)))?;
            }
        }
        Ok(())
    }

    fn given_twice(&self, encoder: &RowEncoder, item: u32, (first, place): (u64, u64)) -> Error {
        let line = |place: u64| place & ((1 << 40) - 1);
        let file = |place: u64| encoder.files.get((place >> 40) as usize).map_or("", |file| file);
        let Kind::Id(super::plan::Ids::Vocabulary(vocabulary)) = self.plan.slots[self.item].kind else {
            return Error::internal("an item's number is not of a vocabulary");
        };
        let name = encoder.interners[vocabulary].text(item);
        let before = if file(first) == file(place) { String::new() } else { format!("{} ", file(first)) };
        let what = format!("item `{name}` is given twice, first in {before}line {}", line(first));
        let column = self.plan.columns.get(self.plan.slots[self.item].column).map_or("", String::as_str);
        Error::data(what).in_file(file(place)).at_line(line(place)).in_field(column)
    }

    /// Whether a record holds no value of the item but its name.
    fn is_featureless(&self, record: &[u8]) -> bool {
        let plan = self.plan;
        let own = plan.slots[self.item].column;
        plan.slots.iter().filter(|slot| slot.at < plan.item_stride && slot.column != own).all(|slot| match slot.kind {
            Kind::Id(ids) if ids.is_wide() => u64_at(record, slot.at) == missing(ids),
            Kind::Id(ids) => u64::from(u32_at(record, slot.at)) == missing(ids),
            Kind::List { .. } => list_at(record, slot.at).1 == 0,
            Kind::Number => f64_at(record, slot.at).is_nan(),
            _ => true,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::Dataset;
    use crate::prepare::{Input, Options, prepare};
    use kitestring_core::schema::{FeatureKind, Task, Transform};
    use kitestring_core::{Batch, Seed};
    use tempfile::TempDir;

    fn schema() -> Schema {
        let feature = |name: &str, kind: FeatureKind, of: Of| Feature { of, ..Feature::new(name, kind) };
        Schema {
            user: Some("user".into()),
            item: Some("item".into()),
            features: vec![
                feature("user", FeatureKind::Categorical, Of::User),
                feature("item", FeatureKind::Categorical, Of::Item),
                feature("brand", FeatureKind::Categorical, Of::Item),
                Feature { separator: Some("|".into()), ..feature("tags", FeatureKind::Multi, Of::Item) },
                Feature { transform: Transform::Standardize, ..feature("price", FeatureKind::Numeric, Of::Item) },
            ],
            tasks: vec![Task::binary("like")],
            ..Schema::default()
        }
    }

    struct Shop(TempDir);

    impl Shop {
        fn new(schema: &Schema) -> Self {
            Self::named(schema, "i")
        }

        /// Four items of two brands, prepared.
        fn named(schema: &Schema, name: &str) -> Self {
            let shop = Self(tempfile::tempdir().unwrap());
            let mut log = String::from("user,item,brand,tags,price,like\n");
            for row in 0..40 {
                let item = row % 4;
                log += &format!("u{},{name}{item},b{},t{item}|t,{item},{}\n", row % 7, item % 2, row % 3 / 2);
            }
            shop.write("log.csv", &log);
            let source = Source { path: shop.path("log.csv").display().to_string(), ..Source::default() };
            let bad = BadRows::default();
            let rows = crate::reader::Input::open(Path::new(""), &source).unwrap();
            let columns = ["user", "item", "brand", "tags", "price", "like"];
            let inputs = vec![Input::new("train", rows.read(&columns, &bad).unwrap())];
            let options = Options {
                schema,
                split: None,
                ties: Default::default(),
                negatives: None,
                like: None,
                seed: Seed(1),
                bad_rows: &bad,
            };
            prepare(inputs, Vec::new(), &options, &shop.path("set"), &mut |_| {}).unwrap();
            shop
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn vocabularies(&self) -> Vocabularies {
            Vocabularies::open(self.path("set")).unwrap()
        }

        fn change(&self, known: &Vocabularies, text: &str, remove: &[u32], allowed: u64) -> Result<Changed> {
            self.write("new.csv", text);
            let add = (!text.is_empty()).then(|| self.path("new.csv"));
            let change = Change { add: add.as_deref(), remove };
            change_items(known, change, &BadRows::new(allowed), &self.path("items.arrow"))
        }
    }

    /// Brand and tags as texts, and the number, of an item by name.
    fn features(known: &Vocabularies, name: &str) -> (Option<String>, Vec<String>, f32) {
        let table = known.items().unwrap();
        let number = known.entry(known.manifest().item.unwrap(), name);
        assert!(number > 0, "{name}");
        let mut batch = Batch::default();
        table.put(&[number], &mut batch).unwrap();
        let text = |table: &str, id: u64| known.value(table, id).map(str::to_owned);
        let tags = batch.sparse[3].ids.iter().filter_map(|id| text("tags", *id)).collect();
        (text("brand", batch.sparse[2].ids[0]), tags, batch.numeric[0])
    }

    #[test]
    fn items_come_change_and_go() {
        let shop = Shop::new(&schema());
        let known = shop.vocabularies();
        let item = known.manifest().item.unwrap();
        let before = features(&known, "i2");
        let fitted = known.manifest().fitted[0].clone();
        // Columns come in any order, and others are of no account.
        let text = "price,more,item,brand,tags\n2.5,x,n1,b1,t3|nix\n,x,i0,b1,\n7,y,n2,b9,t1|t2\n,,bare,,\n";
        let changed = shop.change(&known, text, &[known.entry(item, "i3")], 0).unwrap();
        assert_eq!(changed.featureless, 1);
        assert_eq!(changed.unknown, [("brand".to_owned(), 1), ("tags".to_owned(), 1)]);
        let now = shop.vocabularies().with_items(&shop.path("items.arrow")).unwrap();
        let named: Vec<&str> = changed.items.iter().map(|item| now.item(u64::from(*item))).collect();
        assert_eq!(named, ["n1", "i0", "n2", "bare"]);
        let there: Vec<&str> = now.items().unwrap().seen().iter().map(|item| now.item(u64::from(*item))).collect();
        assert_eq!(there, ["i0", "i1", "i2", "n1", "n2", "bare"]);
        assert_eq!(features(&now, "n1"), (Some("b1".into()), vec!["t3".into()], fitted.number(2.5)));
        assert_eq!(features(&now, "i0"), (Some("b1".into()), vec![], 0.0));
        assert_eq!(features(&now, "n2"), (None, vec!["t1".into(), "t2".into()], fitted.number(7.0)));
        assert_eq!(features(&now, "bare"), (None, vec![], 0.0));
        assert_eq!(features(&now, "i2"), before);
        // What was an id still is, what is new is the unknown one.
        assert_eq!((now.id("item", "i0"), now.id("item", "n1")), (known.id("item", "i0"), 1));
        assert_eq!(now.items().unwrap().popularity(now.entry(item, "i0")), 10);

        // The next change goes on from there.
        let changed = shop.change(&now, "item,brand,tags,price\nn2,b0,t,1\nlate,b0,t,1\n", &[], 0).unwrap();
        assert_eq!(changed.items[0], now.entry(item, "n2"));
        let later = shop.vocabularies().with_items(&shop.path("items.arrow")).unwrap();
        assert_eq!(features(&later, "n1"), features(&now, "n1"));
        assert_eq!(features(&later, "n2"), (Some("b0".into()), vec!["t".into()], fitted.number(1.0)));
        let there: Vec<&str> = later.items().unwrap().seen().iter().map(|item| later.item(u64::from(*item))).collect();
        assert_eq!(there, ["i0", "i1", "i2", "n1", "n2", "bare", "late"]);
        // The data set itself is as it was.
        assert_eq!(Dataset::open(shop.path("set")).unwrap().items().unwrap().seen().len(), 4);
    }

    #[test]
    fn malformed_files_name_the_place() {
        let shop = Shop::new(&schema());
        let known = shop.vocabularies();
        let refused = |text: &str, expected: &[&str]| {
            let error = shop.change(&known, text, &[], 0).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{error}");
            assert!(!shop.path("items.arrow").exists());
        };
        refused("item,brnd,tags,price\nn,b,t,1\n", &["new.csv", "`brand`", "did you mean `brnd`?"]);
        refused("name,brand,tags,price\nn,b,t,1\n", &["new.csv", "`item`"]);
        refused("item,brand,tags,price\nn,b,t,1\nm,b,t,inf\n", &["new.csv:3: `price`", "finite number, found inf"]);
        refused("item,brand,tags,price\nn,b,t,cheap\n", &["new.csv:2: `price`", "`cheap`"]);
        refused("item,brand,tags,price\n,b,t,1\n", &["new.csv:2: `item`: the item is missing"]);
        refused("item,brand,tags,price\nn,b\n", &["new.csv:2"]);
        let twice = "item,brand,tags,price\nn,b0,t,1\nm,b0,t,1\nn,b1,t,1\n";
        refused(twice, &["new.csv:4: `item`: item `n` is given twice, first in line 2", "--max-bad-rows"]);
        assert_eq!(shop.change(&known, twice, &[], 1).unwrap().items.len(), 2);
        let now = shop.vocabularies().with_items(&shop.path("items.arrow")).unwrap();
        assert_eq!(features(&now, "n").0.as_deref(), Some("b0"), "the first one counts");
        let nowhere = Change { add: Some(Path::new("nowhere.csv")), remove: &[] };
        let error = change_items(&known, nowhere, &BadRows::default(), &shop.path("x")).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("nowhere.csv"), "{error}");

        // Items of another data set are not taken for this one's.
        let file = shop.path("items.arrow");
        let stranger = Shop::named(&schema(), "j").vocabularies();
        let error = stranger.with_items(&file).err().unwrap().to_string();
        assert!(error.contains("not the items of the data set") && error.contains("retrieve index"), "{error}");
        std::fs::write(&file, "no table").unwrap();
        let error = shop.vocabularies().with_items(&file).err().unwrap().to_string();
        assert!(error.contains("items.arrow") && error.contains("retrieve index"), "{error}");
        let mut other = schema();
        other.features.retain(|feature| feature.of != Of::Item || feature.name == "item");
        let bare = Shop::new(&other);
        let error = bare.change(&bare.vocabularies(), "item\nn\n", &[], 0).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("schema.features"), "{error}");
    }
}
