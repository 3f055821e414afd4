//! Click data for measuring speed: many categorical fields over a great many ids, and nothing else.
//!
//! Row `r` is drawn from the seed and `r` alone, so any range of rows can be made anywhere in any order, without files.
//! The id of each field is Zipf-distributed over the field's own id space, and the label comes from a logistic model
//! whose weights are known: `P(click) = σ(b + Σ_f w_f[id_f])`.

use super::random::{Alias, Stream, exp, ln, sigmoid};
use kitestring_core::error::{Error, Result};
use kitestring_core::schema::{Feature, FeatureKind, Of, Task};
use kitestring_core::{Batch, Ids, Schema, Seed};
use serde::{Deserialize, Serialize};

/// Click data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClicksConfig {
    /// Decides everything.
    pub seed: u64,
    /// Number of categorical fields.
    pub fields: usize,
    /// Number of ids of all fields together.
    pub ids: u64,
    /// How many times smaller each field's id space is than the one before.
    pub shrink: f64,
    /// Zipf's exponent: the probability of the id of rank `k` is in proportion to `k^−exponent`.
    pub exponent: f32,
    /// Logit of a click where all weights are zero.
    pub bias: f32,
    /// Standard deviation of the weights, times the square root of the number of fields.
    pub spread: f32,
}

impl Default for ClicksConfig {
    fn default() -> Self {
        Self { seed: 1, fields: 26, ids: 10_000_000, shrink: 1.7, exponent: 1.05, bias: -3.0, spread: 1.5 }
    }
}

/// Makes click data.
#[derive(Debug, Clone)]
pub struct Clicks {
    config: ClicksConfig,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    ranks: Zipf,
    /// Turns ranks into ids one to one: `id = rank · factor mod size + 1`, so that frequent ids are no neighbours.
    factor: u64,
    weights: Seed,
}

impl Clicks {
    /// A generator.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(config: &ClicksConfig) -> Result<Self> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        if config.fields == 0 || config.fields > 1_000 {
            return wrong("fields", "there must be 1 to 1000 fields");
        }
        if config.ids < 2 * config.fields as u64 || config.ids > 1 << 32 {
            return wrong("ids", "there must be at least two ids for each field, and at most 2³²");
        }
        if !(1.0..=100.0).contains(&config.shrink) {
            return wrong("shrink", "must be between 1 and 100");
        }
        if !(0.0..=4.0).contains(&config.exponent) {
            return wrong("exponent", "must be between 0 and 4");
        }
        if !(-50.0..=50.0).contains(&config.bias) {
            return wrong("bias", "must be between -50 and 50");
        }
        if !(0.0..=50.0).contains(&config.spread) {
            return wrong("spread", "must be between 0 and 50");
        }
        let seed = Seed(config.seed).child("clicks");
        let fields = sizes(config).into_iter().enumerate().map(|(index, size)| Field {
            ranks: Zipf::new(size, config.exponent),
            factor: coprime(size),
            weights: seed.child("weights").at(index as u64),
        });
        Ok(Self { config: config.clone(), fields: fields.collect() })
    }

    /// The number of ids of each field. The ids are `1..=size`; 0 is left to the unknown.
    pub fn sizes(&self) -> Vec<u64> {
        self.fields.iter().map(|field| field.ranks.size).collect()
    }

    /// A schema of what [`Clicks::batch`] makes: features `field_1` … with a table each, and the task `click`.
    pub fn schema(&self) -> Schema {
        let features = (1..=self.fields.len()).map(|number| Feature {
            of: Of::Context,
            ..Feature::new(format!("field_{number}"), FeatureKind::Categorical)
        });
        Schema { features: features.collect(), tasks: vec![Task::binary("click")], ..Schema::default() }
    }

    /// The weight of an id of a field in the logit of a click.
    #[inline]
    pub fn weight(&self, field: usize, id: u64) -> f32 {
        let deviation = self.config.spread / (self.fields.len() as f32).sqrt();
        deviation * Stream::new(self.fields[field].weights.at(id)).normal()
    }

    /// Fills a batch with `rows` rows from row `first` on, reusing its memory.
    pub fn batch(&self, first: u64, rows: usize, batch: &mut Batch) {
        batch.clear();
        batch.rows = rows;
        batch.sparse.resize_with(self.fields.len(), Ids::default);
        let seed = Seed(self.config.seed).child("clicks").child("rows");
        for row in first..first + rows as u64 {
            let mut stream = Stream::new(seed.at(row));
            let mut logit = self.config.bias;
            for (number, field) in self.fields.iter().enumerate() {
                let id = field.draw(&mut stream);
                logit += self.weight(number, id);
                batch.sparse[number].ids.push(id);
            }
            batch.labels.push(f32::from(u8::from(stream.chance(sigmoid(logit)))));
            batch.index.push(row);
        }
    }

    /// The true probability of a click of each row of a batch.
    pub fn probabilities(&self, batch: &Batch) -> Vec<f32> {
        let logit = |row: usize| {
            let weights = batch.sparse.iter().enumerate().map(|(field, ids)| self.weight(field, ids.ids[row]));
            weights.fold(self.config.bias, |sum, weight| sum + weight)
        };
        (0..batch.rows).map(|row| sigmoid(logit(row))).collect()
    }
}

impl Field {
    #[inline]
    fn draw(&self, stream: &mut Stream) -> u64 {
        // Both factors are below 2³².
        (self.ranks.draw(stream) - 1) * self.factor % self.ranks.size + 1
    }
}

/// Sizes that shrink geometrically and sum to the number of ids. None is smaller than two.
fn sizes(config: &ClicksConfig) -> Vec<u64> {
    let mut weights = vec![1.0_f64];
    while weights.len() < config.fields {
        weights.push(weights[weights.len() - 1] / config.shrink);
    }
    let total: f64 = weights.iter().sum();
    let spare = config.ids - 2 * config.fields as u64;
    let mut sizes: Vec<u64> = weights.iter().map(|weight| 2 + (spare as f64 * weight / total) as u64).collect();
    sizes[0] += config.ids - sizes.iter().sum::<u64>();
    sizes
}

/// A number that shares no divisor with `size` and spreads consecutive ranks far apart.
fn coprime(size: u64) -> u64 {
    let common = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // The golden section of the size (Knuth's multiplicative hashing).
    let start = ((size as f64 * 0.618_033_988_749_894_9) as u64).max(1);
    (start..).find(|factor| common(*factor, size) == 1).unwrap_or(1)
}

/// Draws ranks `1..=size` with probability in proportion to `rank^−exponent`, exactly, without a table of the size.
///
/// Rejection by octaves: an octave `[2ᵏ, 2ᵏ⁺¹)` is drawn by the mass it would have if all its ranks were as frequent as
/// the first, a rank in it uniformly, and the rank is kept with probability `(rank / 2ᵏ)^−exponent`.
#[derive(Debug, Clone)]
struct Zipf {
    size: u64,
    exponent: f32,
    octaves: Alias,
}

impl Zipf {
    fn new(size: u64, exponent: f32) -> Self {
        let octaves: Vec<f64> = (0..=size.ilog2())
            .map(|octave| {
                let start = 1u64 << octave;
                let ranks = start.min(size - start + 1);
                ranks as f64 * f64::from(exp(-exponent * octave as f32 * std::f32::consts::LN_2))
            })
            .collect();
        Self { size, exponent, octaves: Alias::new(&octaves) }
    }

    #[inline]
    fn draw(&self, stream: &mut Stream) -> u64 {
        loop {
            let start = 1u64 << self.octaves.draw(stream);
            let ranks = start.min(self.size - start + 1);
            let bits = stream.bits();
            let offset = ((u128::from(bits) * u128::from(ranks)) >> 64) as u64;
            let keep = exp(-self.exponent * ln(1.0 + offset as f32 / start as f32));
            if stream.chance(keep) {
                return start + offset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn small() -> Clicks {
        Clicks::new(&ClicksConfig { ids: 20_000, ..ClicksConfig::default() }).unwrap()
    }

    #[test]
    fn any_range_of_rows_can_be_made_alone() {
        let clicks = small();
        let (mut whole, mut part) = (Batch::default(), Batch::default());
        clicks.batch(0, 100, &mut whole);
        clicks.batch(40, 10, &mut part);
        for (a, b) in whole.sparse.iter().zip(&part.sparse) {
            assert_eq!(a.ids[40..50], b.ids);
        }
        assert_eq!(whole.labels[40..50], part.labels);
        assert_eq!(part.index, (40..50).collect::<Vec<u64>>());
        let other = Clicks::new(&ClicksConfig { seed: 2, ids: 20_000, ..ClicksConfig::default() }).unwrap();
        other.batch(40, 10, &mut part);
        assert_ne!(whole.sparse[0].ids[40..50], part.sparse[0].ids);
    }

    #[test]
    fn the_default_has_26_fields_and_ten_million_ids() {
        let clicks = Clicks::new(&ClicksConfig::default()).unwrap();
        let sizes = clicks.sizes();
        assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (26, 10_000_000));
        assert!(sizes.iter().all(|size| *size >= 2));
        clicks.schema().check().unwrap();
        let mut batch = Batch::default();
        clicks.batch(1 << 40, 4_000, &mut batch);
        for (ids, size) in batch.sparse.iter().zip(sizes) {
            assert!(ids.ids.iter().all(|id| (1..=size).contains(id)));
        }
        assert_eq!(batch.sparse.len(), clicks.schema().sparse().count());
    }

    #[test]
    fn ranks_have_zipfs_frequencies() {
        for (size, exponent) in [(1, 1.0), (13, 0.0), (100, 1.05), (70, 2.0)] {
            let zipf = Zipf::new(size, exponent);
            let mut stream = Stream::new(Seed(9));
            let draws = 300_000;
            let mut counts = vec![0u32; size as usize];
            (0..draws).for_each(|_| counts[zipf.draw(&mut stream) as usize - 1] += 1);
            let mass: f64 = (1..=size).map(|rank| (rank as f64).powf(-f64::from(exponent))).sum();
            for (rank, count) in (1..=size).zip(counts) {
                let p = (rank as f64).powf(-f64::from(exponent)) / mass;
                let error = (p * (1.0 - p) / f64::from(draws)).sqrt();
                assert!(
                    (f64::from(count) / f64::from(draws) - p).abs() < 5.0 * error + 1e-9,
                    "{size} {exponent} {rank}"
                );
            }
        }
    }

    #[test]
    fn ranks_turn_into_ids_one_to_one() {
        for size in [1, 2, 3, 10, 999, 1_000] {
            let factor = coprime(size);
            let mut ids: Vec<u64> = (0..size).map(|rank| rank * factor % size).collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn labels_follow_the_known_weights() {
        let clicks = small();
        let mut batch = Batch::default();
        clicks.batch(0, 40_000, &mut batch);
        let probabilities = clicks.probabilities(&batch);
        let expected: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
        let clicked: f64 = batch.labels.iter().map(|label| f64::from(*label)).sum();
        assert!((clicked - expected).abs() < 4.0 * expected.sqrt());
        assert!((0.02..0.3).contains(&(expected / 40_000.0)), "{expected}");
        let mean = |wanted: f32| {
            let chosen = probabilities.iter().zip(&batch.labels).filter(|(_, label)| **label == wanted);
            chosen.clone().map(|(p, _)| f64::from(*p)).sum::<f64>() / chosen.count() as f64
        };
        assert!(mean(1.0) > 2.0 * mean(0.0));
    }

    #[test]
    fn wrong_numbers_are_named() {
        let refused = |config: ClicksConfig| Clicks::new(&config).unwrap_err().to_string();
        assert!(refused(ClicksConfig { fields: 0, ..Default::default() }).contains("`fields`"));
        assert!(refused(ClicksConfig { ids: 30, ..Default::default() }).contains("`ids`"));
        assert!(refused(ClicksConfig { bias: f32::NAN, ..Default::default() }).contains("`bias`"));
        assert!(refused(ClicksConfig { exponent: -1.0, ..Default::default() }).contains("`exponent`"));
        assert!(toml::from_str::<ClicksConfig>("field = 3").is_err());
    }
}
