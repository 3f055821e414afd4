//! Which rows are shipped: a user's own, and of the others the most used.
//!
//! What has no row on a device gets its table's default one, the mean of the rows left out, each as often as it was used: what is likeliest
//! of a value of which only that is known. `kitestring compress --user` adds the rows that a user's own history and samples need.

use crate::candidate::{Candidate, Kept};
use crate::pipeline::Setting;
use kitestring_core::schema::{FeatureKind, Of};
use kitestring_core::{Error, Result, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which rows are shipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rows {
    /// The most rows of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_used: Option<usize>,
    /// As many of the most used rows of each table as this share of its lookups in training needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// The most rows of single tables, by name, in place of `most_used`.
    pub tables: BTreeMap<String, usize>,
    /// Whether a device gets its own user's row alone, and none of other users'.
    pub own: bool,
}

impl Default for Rows {
    fn default() -> Self {
        Self { most_used: None, coverage: None, tables: BTreeMap::new(), own: true }
    }
}

impl Rows {
    pub(super) fn check(&self) -> Result<()> {
        if self.coverage.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return Err(Error::config("a share is above 0 and at most 1").in_field("coverage"));
        }
        Ok(())
    }

    pub(super) fn apply(&self, mut candidate: Candidate, setting: &mut Setting<'_>) -> Result<(Candidate, String)> {
        let names = super::tables(&candidate, self.tables.keys())?;
        let usage = setting.usage()?;
        let mut said = Vec::new();
        for (name, kept) in names.iter().zip(&mut candidate.kept) {
            if self.own && is_of_the_user(&candidate.model.schema, name) {
                *kept = Kept::Own;
                said.push(format!("{name}: its own"));
                continue;
            }
            let ranked = usage.ranked(name);
            let most = self.tables.get(name).copied().or(self.most_used).unwrap_or(usize::MAX);
            let enough = self.coverage.map_or(usize::MAX, |share| covering(&ranked, share));
            let count = most.min(enough);
            if count < ranked.len() {
                let mut ids: Vec<u64> = ranked[..count].iter().map(|(id, _)| *id).collect();
                ids.sort_unstable();
                said.push(format!("{name}: {count} of {}", ranked.len()));
                *kept = Kept::Ids(ids);
            }
        }
        Ok((candidate, if said.is_empty() { "all rows".into() } else { said.join(", ") }))
    }
}

/// Whether a table's ids are users: nobody needs a stranger's.
fn is_of_the_user(schema: &Schema, table: &str) -> bool {
    let mut readers = schema.sparse().filter(|feature| feature.table() == table).peekable();
    let user = schema.user.as_deref();
    readers.peek().is_some()
        && readers.all(|feature| {
            feature.kind == FeatureKind::Categorical && feature.of == Of::User && Some(feature.column()) == user
        })
}

/// How many of the first ids have a share of all lookups.
fn covering(ranked: &[(u64, u64)], share: f64) -> usize {
    let wanted = ranked.iter().map(|(_, count)| count).sum::<u64>() as f64 * share;
    let mut sum = 0;
    let last = ranked.iter().position(|(_, count)| {
        sum += count;
        sum as f64 >= wanted
    });
    last.map_or(ranked.len(), |last| last + 1)
}
