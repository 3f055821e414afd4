//! Real data sets, prepared by their presets and held against figures computed elsewhere. Set `KITESTRING_DATA` to a
//! folder with one folder a data set.
#![allow(clippy::unwrap_used)]

use kitestring_core::{Batch, Schema, Seed};
use kitestring_data::config::{DataConfig, Split};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout::open;
use kitestring_data::prepare::prepare_folder;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> Option<PathBuf> {
    let Ok(data) = std::env::var("KITESTRING_DATA") else {
        let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        assert!(!(is("CI", "true") && is("KITESTRING_REQUIRE_DATA", "1")), "KITESTRING_DATA is not set");
        println!("skipped: {name} was not prepared, for KITESTRING_DATA is not set");
        return None;
    };
    let folder = Path::new(&data).join(name);
    if !folder.is_dir() {
        println!("skipped: {name} was not prepared, for {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// Prepares a folder by a preset.
fn prepared(config: &str, name: &str) -> Option<(tempfile::TempDir, Dataset)> {
    prepared_with(config, name, None)
}

/// Prepares a folder by a preset whose `data.split` is another one.
fn prepared_with(config: &str, name: &str, split: Option<Split>) -> Option<(tempfile::TempDir, Dataset)> {
    let folder = folder(name)?;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(config);
    let mut table: toml::Table = toml::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let mut data: DataConfig = table.remove("data").unwrap().try_into().unwrap();
    data.split = split.or(data.split);
    let schema: Schema = table.remove("schema").unwrap().try_into().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    prepare_folder(&open(&data, &folder).unwrap(), &data, &schema, (Seed(1), None), &out, &mut |_| {}).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    Some((directory, dataset))
}

/// Reads every sample of a split in a shuffled order.
fn each(dataset: &Dataset, split: &str, mut visit: impl FnMut(&Batch, usize)) {
    let split = dataset.split(split).unwrap();
    let order: Vec<u64> = split.order(Seed(1), 0).iter().collect();
    let mut batch = Batch::default();
    for indices in order.chunks(2048) {
        split.read(indices, Seed(2), &mut batch).unwrap();
        (0..batch.rows).for_each(|row| visit(&batch, row));
    }
}

/// The figures are those of NumPy over the same samples: label `rating >= 4`, history of the last 50 earlier positive
/// movies by rank, each user's last tenth the test, movies with fewer than five ratings left out.
#[test]
fn movielens_1m_has_the_samples_numpy_makes() {
    let Some((_directory, dataset)) = prepared("movielens-1m.toml", "ml-1m") else { return };
    let vocabularies = dataset.vocabularies().unwrap();
    let movies: Vec<u64> = (0..dataset.table_size("movie_id").unwrap().unwrap())
        .map(|id| vocabularies.value("movie_id", id).map_or(0, |text| text.parse().unwrap()))
        .collect();
    let history = dataset.schema().sparse().position(|feature| feature.name == "history").unwrap();
    let mut figures = [[0u64; 6]; 2];
    for (split, figures) in ["train", "test"].iter().zip(&mut figures) {
        each(&dataset, split, |batch, row| {
            let listed = batch.sparse[history].of_row(row);
            let movies = |weight: &dyn Fn(u64) -> u64| -> u64 {
                (1..).zip(listed).map(|(place, id)| weight(place) * movies[*id as usize]).sum()
            };
            figures[0] += 1;
            figures[1] += batch.labels[row] as u64;
            figures[2] += listed.len() as u64;
            figures[3] += movies(&|_| 1);
            // The place of every movie counts too.
            figures[4] += movies(&|place| place);
            figures[5] += vocabularies.item(batch.item[row]).parse::<u64>().unwrap();
        });
    }
    assert_eq!(figures[1], [97_312, 49_850, 4_632_711, 8_560_651_278, 214_792_418_406, 192_866_814]);
    let both: Vec<u64> = (0..5).map(|figure| figures[0][figure] + figures[1][figure]).collect();
    assert_eq!(both, [999_611, 575_066, 38_853_057, 69_957_746_682, 1_637_203_840_976]);
    let labels = &dataset.manifest().splits[1].labels[0];
    assert_eq!((labels.given, labels.positive), (97_312, 49_850));
    assert_eq!(dataset.table_size("gender").unwrap(), Some(4));
    assert_eq!(dataset.table_size("age").unwrap(), Some(9));
    assert_eq!(dataset.table_size("occupation").unwrap(), Some(23));
    assert_eq!(dataset.table_size("user_id").unwrap(), Some(6042));
    assert_eq!(dataset.table_size("genre").unwrap(), Some(20));
}

#[test]
fn movielens_1m_keeps_the_candidates_of_ncf() {
    let Some((_directory, dataset)) = prepared("movielens-1m-ncf.toml", "ml-1m") else { return };
    let manifest = dataset.manifest();
    let stored: Vec<u64> = manifest.splits.iter().map(|split| split.stored).collect();
    assert_eq!(stored, [1_000_209 - 2 * 6040, 6040, 6040]);
    let rows: Vec<u64> = manifest.splits.iter().map(|split| split.rows).collect();
    assert_eq!(rows, [5 * stored[0], 5 * 6040, 6040]);
    assert_eq!(manifest.splits[2].unknown_candidates, 0);
    let candidates = dataset.split("test").unwrap().candidates().unwrap();
    assert_eq!(candidates.len(), 6040);
    let (mut seen, mut themselves) = (0, 0);
    each(&dataset, "test", |batch, row| {
        let of_row = candidates.of(batch.user[row], batch.item[row]).unwrap();
        // The published lists name 156 positives among their own negatives, where they count once, and nothing else the user had.
        themselves += u64::from(of_row.len() == 98);
        assert!((98..=99).contains(&of_row.len()), "{}", of_row.len());
        let had = |split: &str| dataset.user_items(batch.user[row], split).unwrap();
        for item in of_row {
            assert!(["train", "valid", "test"].iter().all(|split| had(split).binary_search(item).is_err()));
        }
        // The held-out rating is the user's last, so the history is what came just before.
        assert_eq!(batch.sparse[2].of_row(row).len(), had("train").len().min(49) + 1);
        seen += 1;
    });
    assert_eq!((seen, themselves), (6040, 156));
    let vocabularies = dataset.vocabularies().unwrap();
    let user = vocabularies.entry(manifest.user.unwrap(), "0").into();
    let item = vocabularies.entry(manifest.item.unwrap(), "25").into();
    let first: Vec<&str> =
        candidates.of(user, item).unwrap()[..4].iter().map(|item| vocabularies.item((*item).into())).collect();
    assert_eq!(first, ["1064", "174", "2791", "3373"]);
}

#[test]
fn frappe_has_its_rows_and_labels() {
    let Some((_directory, dataset)) = prepared("frappe-dnn.toml", "frappe") else { return };
    let rows: Vec<(String, u64)> =
        dataset.manifest().splits.iter().map(|split| (split.name.clone(), split.rows)).collect();
    assert_eq!(rows, [("train".into(), 202_005), ("valid".into(), 57_722)]);
    // The third of the rows that are positive, as published.
    assert_eq!(dataset.manifest().splits[0].labels[0].positive, 67_598);
    assert_eq!(dataset.schema().sparse().count(), 10);
}

#[test]
fn gowalla_has_the_rows_of_its_lists() {
    // The preset learns from all training visits; here some are held out, as its comment says.
    let held_out = Some(Split::Random { valid: 0.1, test: 0.0 });
    let Some((_directory, dataset)) = prepared_with("gowalla.toml", "gowalla", held_out) else { return };
    let splits = &dataset.manifest().splits;
    let stored: Vec<u64> = splits.iter().map(|split| split.stored).collect();
    assert_eq!((stored[0] + stored[1], stored[2]), (810_128, 217_242));
    // A random tenth: 270 is the standard deviation.
    assert!(stored[1].abs_diff(81_013) < 1000, "{stored:?}");
    let vocabularies = dataset.vocabularies().unwrap();
    let manifest = dataset.manifest();
    // Entry 0 is no user and no item.
    let entries = |vocabulary: Option<usize>| manifest.vocabularies[vocabulary.unwrap()].entries - 1;
    assert_eq!((entries(manifest.user), entries(manifest.item)), (29_858, 40_981));
    assert_eq!(dataset.items().unwrap().seen().len(), 40_981);
    // The first line of train.txt is user 0 with places 0 to 126, of test.txt the same with others; no visit is in both, and
    // every user has some in the test.
    let user = vocabularies.entry(manifest.user.unwrap(), "0").into();
    let had = |split: &str| -> Vec<u64> {
        let items = dataset.user_items(user, split).unwrap();
        items.iter().map(|item| vocabularies.item((*item).into()).parse().unwrap()).collect()
    };
    let mut known = [had("train"), had("valid")].concat();
    known.sort_unstable();
    assert_eq!(known, (0..127).collect::<Vec<_>>());
    // Drawn one by one, not from the end of the line.
    assert!(had("valid").iter().any(|place| *place < 64) && had("valid").iter().any(|place| *place >= 64));
    for user in 1..=29_858 {
        let test = dataset.user_items(user, "test").unwrap();
        let known = |item: &u32| {
            ["train", "valid"].iter().any(|split| dataset.user_items(user, split).unwrap().binary_search(item).is_ok())
        };
        assert!(!test.is_empty() && !test.iter().any(known), "user {user}");
    }
}

/// The figures are those of Python over the lines of the files.
#[test]
fn wikispeedia_has_its_links_categories_and_words() {
    let Some((_directory, dataset)) = prepared("wikispeedia.toml", "wikispeedia") else { return };
    let manifest = dataset.manifest();
    let stored: Vec<u64> = manifest.splits.iter().map(|split| split.stored).collect();
    assert_eq!(stored.iter().sum::<u64>(), 119_879);
    assert!(stored[1..].iter().all(|rows| rows.abs_diff(11_988) < 400), "{stored:?}");
    let vocabularies = dataset.vocabularies().unwrap();
    let (user, item) = (manifest.user.unwrap(), manifest.item.unwrap());
    assert_eq!(user, item, "an article has one number on both sides");
    assert_eq!(manifest.vocabularies[user].entries - 1, 4_589);
    assert_eq!(dataset.items().unwrap().seen().len(), 4_133);
    assert_eq!(dataset.table_size("category").unwrap(), Some(129 + 2));
    let of = |feature: &str| dataset.schema().sparse().position(|other| other.name == feature).unwrap();
    let text = |batch: &Batch, row: usize, feature: &str, table: &str| -> Vec<String> {
        let ids = batch.sparse[of(feature)].of_row(row).iter();
        ids.map(|id| vocabularies.value(table, *id).unwrap_or("?").to_owned()).collect()
    };
    let (mut from, mut to) = (0, 0);
    each(&dataset, "train", |batch, row| {
        if vocabularies.user(batch.user[row]) == "%C3%81ed%C3%A1n_mac_Gabr%C3%A1in" {
            from += 1;
            assert_eq!(text(batch, row, "source_title", "word"), ["Áedán", "mac", "Gabráin"]);
            let categories = text(batch, row, "source_category", "category");
            assert_eq!(categories.len(), 2);
            assert_eq!(categories[1], "subject.People.Historical_figures");
        }
        if vocabularies.item(batch.item[row]) == "Africa" && batch.labels[row] > 0.5 {
            to += 1;
            assert_eq!(text(batch, row, "target_title", "word"), ["Africa"]);
        }
    });
    assert!(from > 0 && to > 100, "{from} {to}");
}
