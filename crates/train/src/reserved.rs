//! The rows that stand for missing and for unknown values, where training never reads them.
//!
//! A row that no training sample reads is what it started as, and that is noise. What is likeliest of a value of which only that is known is
//! the mean of all others, each as often as training has it (as for what a device has no row of). So at the end of every epoch the row of
//! unknown values becomes that mean, unless training rows have unknown values (those below `min_count`) and it learned from them; and that of
//! missing values becomes the row of unknown ones, unless training rows have missing values.

use kitestring_core::{Error, Result};
use kitestring_data::dataset::manifest::{MISSING, VocabularyInfo};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_table::{Route, Table};

/// Rows read at once.
const ROWS: u64 = 4096;

/// Which rows of reserved ids training leaves as they start, and how often it reads the others.
pub struct ReservedRows {
    vocabularies: Vocabularies,
    tables: Vec<ReservedRow>,
}

/// The reserved ids of one table.
struct ReservedRow {
    table: String,
    vocabulary: usize,
    missing: bool,
    unknown: bool,
}

impl ReservedRows {
    /// The rows of a data set. `hides` says of a table by its name that training takes ids of it for unknown ones now and then.
    ///
    /// # Errors
    /// A missing or damaged file of a vocabulary.
    pub fn new(dataset: &Dataset, hides: impl Fn(&str) -> bool) -> Result<Self> {
        let manifest = dataset.manifest();
        let mut tables = Vec::new();
        for info in &manifest.tables {
            let Some(vocabulary) = info.vocabulary else { continue };
            let Some(VocabularyInfo { missing, unknown, .. }) = manifest.vocabularies.get(vocabulary) else {
                return Err(Error::internal(format!("the data set has no vocabulary {vocabulary}")));
            };
            let unknown = *unknown == 0 && !hides(&info.name);
            if unknown || *missing == 0 {
                tables.push(ReservedRow { table: info.name.clone(), vocabulary, missing: *missing == 0, unknown });
            }
        }
        Ok(Self { vocabularies: dataset.vocabularies()?, tables })
    }

    /// Fills these rows of a model's tables.
    ///
    /// # Errors
    /// A table that is not the data set's.
    pub fn fill(&self, tables: &[Table]) -> Result<()> {
        let unknown_id = self.vocabularies.manifest().unknown_id();
        for row in &self.tables {
            let Some(table) = tables.iter().find(|table| table.name() == row.table) else { continue };
            if row.unknown
                && let Some(mean) = self.mean(table, row.vocabulary)?
            {
                assign(table, unknown_id, &mean)?;
            }
            if row.missing {
                let unknown = rows_of(table, &[unknown_id])?;
                assign(table, MISSING, &unknown)?;
            }
        }
        Ok(())
    }

    /// The mean of the rows of all values, each as often as training has it; none without a value.
    fn mean(&self, table: &Table, vocabulary: usize) -> Result<Option<Vec<f32>>> {
        let (mut sum, mut total) = (vec![0.0_f64; table.dim()], 0.0);
        let (first, end) = (self.vocabularies.manifest().unknown_id() + 1, table.len());
        for start in (first..end).step_by(ROWS as usize) {
            let ids: Vec<u64> = (start..end.min(start + ROWS)).collect();
            for (row, id) in rows_of(table, &ids)?.chunks_exact(table.dim()).zip(&ids) {
                let count = f64::from(self.vocabularies.count(vocabulary, id + 1 - first));
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += count * f64::from(*value));
                total += count;
            }
        }
        Ok((total > 0.0).then(|| sum.iter().map(|sum| (sum / total) as f32).collect()))
    }
}

fn rows_of(table: &Table, ids: &[u64]) -> Result<Vec<f32>> {
    let (mut route, mut rows) = (Route::new(), vec![0.0; ids.len() * table.dim()]);
    table.route(ids, &mut route)?;
    table.gather(&mut route, &mut rows)?;
    Ok(rows)
}

fn assign(table: &Table, id: u64, row: &[f32]) -> Result<()> {
    let mut route = Route::new();
    table.route(&[id], &mut route)?;
    table.assign(&mut route, row)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::RunConfig;
    use crate::fit::fit;
    use crate::fixture::prepared;
    use crate::inputs::Prepared;
    use crate::model::Model;
    use crate::predictor::Predictor;
    use crate::workers::Threads;
    use kitestring_core::Seed;

    const CONFIG: &str = r#"
[data]
split = { by = "random", test = 0.1 }
[[data.layouts]]
name = "rows"
samples = { path = "rows.csv" }
[schema]
user = "user"
item = "item"
features = [{ name = "user", kind = "categorical" }, { name = "city", kind = "categorical" }]
tasks = [{ name = "click" }]
[model]
dimension = 4
encoder = { type = "pool" }
body = { type = "mlp", units = [8] }
[train]
batch_size = 64
epochs = 4
learning_rate = 0.02
workers = 1
"#;

    /// Rows without a city are clicked nearly always, others one time in five to three in five.
    fn model(config: &str, missing: bool) -> (tempfile::TempDir, Dataset, Model) {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = "user,item,city,click\n".to_owned();
        for row in 0..3000 {
            let draw = Seed(3).at(row);
            let (city, unit) = (draw.bits_at(0) % 12, draw.unit_at(1));
            let (city, rate) = match city {
                0..4 if missing => (String::new(), 0.95),
                city => (format!("c{city}"), 0.2 + 0.4 * (city % 2) as f32),
            };
            rows += &format!("u{},i{},{city},{}\n", draw.bits_at(2) % 20, row % 5, u8::from(unit < rate));
        }
        std::fs::write(folder.path().join("rows.csv"), rows).unwrap();
        let config = RunConfig::parse(config, "c.toml", &[]).unwrap();
        let dataset = prepared(&config, folder.path());
        let fitted = fit(&config, &dataset, &folder.path().join("run"), false, &mut |_| {}).unwrap();
        (folder, dataset, fitted.model)
    }

    /// The prediction for each city.
    fn clicks(dataset: &Dataset, model: &Model, cities: &[&str]) -> Vec<f32> {
        let (vocabularies, threads) = (dataset.vocabularies().unwrap(), Threads::new(1).unwrap());
        let (mut predictor, mut prepared, mut scores) = (Predictor::new(model, 1), Prepared::default(), vec![]);
        let rows: Vec<u64> = (0..200).collect();
        let mean = |city: &&str| {
            dataset.split("train").unwrap().read(&rows, Seed(0), &mut prepared.batch).unwrap();
            prepared.batch.sparse[1].ids.fill(vocabularies.id("city", city));
            predictor.score(&mut prepared, &threads, &mut scores).unwrap();
            scores.iter().sum::<f32>() / scores.len() as f32
        };
        cities.iter().map(mean).collect()
    }

    fn rows(model: &Model, ids: &[u64]) -> Vec<f32> {
        rows_of(model.tables.iter().find(|table| table.name() == "city").unwrap(), ids).unwrap()
    }

    /// A city never seen is like the cities there are, and not like none.
    #[test]
    fn what_is_new_is_not_what_is_missing() {
        let (_folder, dataset, model) = model(CONFIG, true);
        let [missing, low, high, new] = clicks(&dataset, &model, &["", "c4", "c5", "nowhere"])[..] else { panic!() };
        assert!(missing > 0.9 && low < 0.3 && high > 0.5, "{missing} {low} {high}");
        assert!((0.2..0.55).contains(&new), "{new}");
        let vocabulary = &dataset.manifest().vocabularies[dataset.manifest().tables[1].vocabulary.unwrap()];
        assert!(vocabulary.missing > 800 && vocabulary.unknown == 0, "{vocabulary:?}");
    }

    /// Without a missing city in training, one that is missing is like one that is new. What no row trained is not noise.
    #[test]
    fn rows_that_training_never_reads_are_means() {
        let (_folder, dataset, model) = model(CONFIG, false);
        assert_eq!(rows(&model, &[0]), rows(&model, &[1]));
        let table = model.tables.iter().find(|table| table.name() == "city").unwrap();
        let vocabularies = dataset.vocabularies().unwrap();
        let (vocabulary, _) = vocabularies.entry_of("city", 2).unwrap();
        let ids: Vec<u64> = (2..table.len()).collect();
        assert_eq!(ids.len(), 12);
        let counts: Vec<f64> = ids.iter().map(|id| f64::from(vocabularies.count(vocabulary, id - 1))).collect();
        let known = rows(&model, &ids);
        for (column, found) in rows(&model, &[1]).iter().enumerate() {
            let sum: f64 = counts.iter().enumerate().map(|(at, n)| n * f64::from(known[4 * at + column])).sum();
            assert!((f64::from(*found) - sum / counts.iter().sum::<f64>()).abs() < 1e-6);
        }
    }

    /// Values below the least count train the row that stands for them.
    #[test]
    fn rare_values_train_the_unknown_row() {
        let rule = "tables = [{ name = \"city\", vocabulary = { known = { min_count = 400 } } }]\n[model]";
        let (_folder, dataset, model) = model(&CONFIG.replace("[model]", rule), true);
        let vocabulary = &dataset.manifest().vocabularies[dataset.manifest().tables[1].vocabulary.unwrap()];
        assert!(vocabulary.unknown > 1500 && vocabulary.ids == 1, "{vocabulary:?}");
        let [missing, rare, new] = clicks(&dataset, &model, &["", "c4", "nowhere"])[..] else { panic!() };
        assert!(missing > 0.9 && rare == new && (0.3..0.5).contains(&new), "{missing} {rare} {new}");
    }
}
