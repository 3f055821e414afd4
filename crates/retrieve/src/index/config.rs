//! The config section of an index.

use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The `[retrieve.index]` section of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// How vectors are searched. Fewer than [`SMALL`] of them are always scanned exactly in f32.
    pub kind: Kind,
    /// In what numbers the exact scan reads vectors.
    pub precision: Precision,
    /// With `precision = "int8"`: of `rescore × k` items with the best int8 scores the f32 scores are computed, and the best k of these
    /// returned. At least 1.
    pub rescore: usize,
    /// The share of rows that are gone, or that no graph covers yet, past which a change to the index builds it anew; above 0, at most 1.
    pub rebuild: f64,
}

/// How vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Every vector is read for every query.
    Exact {},
    /// A graph of near vectors is walked (Malkov and Yashunin 2016): faster in large corpora, and some of the best may be missed.
    Graph {
        /// Edges that the library gives a vector, `M`, up to twice as many in the end; it gets `2 M` more to those with the largest
        /// products with it. 4 to 128.
        #[serde(default = "connections")]
        connections: usize,
        /// Candidates that are weighed to choose a vector's edges, `ef_construction`. 1 to 10,000.
        #[serde(default = "build_width")]
        build_width: usize,
        /// The share of the exact 100 best that a search is to find: each build looks for the smallest search width that does, over sampled
        /// queries. Above 0, at most 1.
        #[serde(default = "recall")]
        recall: f64,
        /// Candidates that a search keeps, `ef`, in place of what `recall` asks for: more find more and take longer. Never fewer than the
        /// results asked for. 1 to 1,000,000.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        search_width: Option<usize>,
    },
}

fn connections() -> usize {
    16
}

fn build_width() -> usize {
    60
}

/// What is chosen on some queries comes out a little lower on others: 0.95 is what most ask for.
fn recall() -> f64 {
    0.96
}

/// In what numbers the exact scan reads vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they are.
    F32,
    /// As signed bytes, a scale a vector: a quarter of the memory to read, for a copy of a quarter of the vectors' size. Each number is
    /// off by up to 1/254 of its vector's largest magnitude, so that an item near the edge of the best `rescore × k` may be lost;
    /// scores are those of f32.
    Int8,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { kind: Kind::Exact {}, precision: Precision::F32, rescore: 4, rebuild: 0.25 }
    }
}

/// Fewer vectors than this are scanned exactly whatever the kind and the precision: that takes a tenth of a millisecond, and misses none.
pub const SMALL: usize = 4096;

impl IndexConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let bad = |key: &str, what: String| Err(Error::config(what).in_field(format!("retrieve.index.{key}")));
        let within = |key: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            bad(key, format!("{value} is not from {least} to {most}"))
        };
        within("rescore", self.rescore, 1, 1_000_000)?;
        if !(self.rebuild > 0.0 && self.rebuild <= 1.0) {
            return bad("rebuild", format!("{} is not above 0 and at most 1", self.rebuild));
        }
        if let Kind::Graph { connections, build_width, recall, search_width } = self.kind {
            within("kind.connections", connections, 4, 128)?;
            within("kind.build_width", build_width, 1, 10_000)?;
            within("kind.search_width", search_width.unwrap_or(1), 1, 1_000_000)?;
            if !(recall > 0.0 && recall <= 1.0) {
                return bad("kind.recall", format!("{recall} is not above 0 and at most 1"));
            }
            if self.precision == Precision::Int8 {
                let error = Error::config("int8 is a precision of the exact scan, a graph has none");
                return Err(error
                    .in_field("retrieve.index.precision")
                    .mend("take it out, or take `kind.type = \"exact\"`"));
            }
        }
        Ok(())
    }

    /// Whether `rows` vectors are searched by a graph or an int8 copy.
    pub(super) fn approximates(&self, rows: usize) -> bool {
        rows >= SMALL && (matches!(self.kind, Kind::Graph { .. }) || self.precision == Precision::Int8)
    }
}
