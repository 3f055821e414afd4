//! A table as a file: safetensors, streamed, so that neither saving nor loading holds a second copy of the rows.
//!
//! The header's metadata has one entry, `kitestring_table`, a JSON object with the format number, the config and the step.
//! Rows stand in the order of their ids (direct space) or by stripe and id (open space), which makes a file a function
//! of the table's contents alone.

mod load;
mod save;

use crate::config::{Config, Rule, Space};
use kitestring_core::Seed;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const KEY: &str = "kitestring_table";
const BUFFER: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    name: String,
    config: Config,
    seed: Seed,
    step: u64,
    contents: Contents,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Contents {
    /// Everything training goes on from.
    All,
    /// What inference reads.
    Rows,
}

/// One tensor of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    Ids,
    WaitingIds,
    Shrinkage,
    /// Numbers of each row from a place on.
    Part {
        name: &'static str,
        start: usize,
        width: usize,
        flat: bool,
    },
    Stamps,
    Updates,
    LastSeen,
    Sightings,
    WaitingLastSeen,
    WaitingSightings,
}

/// How many of what.
struct Counts {
    rows: usize,
    waiting: usize,
    shrinkage: usize,
}

impl Column {
    /// The columns of a file, those of eight bytes first, which keeps all aligned.
    fn all(config: &Config, contents: Contents) -> Vec<Self> {
        let open = matches!(config.space, Space::Open(_));
        let whole = contents == Contents::All;
        let (dim, optimizer) = (config.dim, &config.optimizer);
        let part = |name, start| Self::Part { name, start, width: dim, flat: false };
        let mut columns = Vec::new();
        let mut add = |when: bool, new: &[Self]| {
            if when {
                columns.extend_from_slice(new);
            }
        };
        add(open, &[Self::Ids]);
        add(open && whole, &[Self::WaitingIds]);
        add(whole && optimizer.shrinks_lazily(), &[Self::Shrinkage]);
        add(true, &[part("rows", 0)]);
        if whole {
            match optimizer.rule {
                Rule::Sgd {} => {}
                Rule::Adagrad { row_wise: true, .. } => {
                    add(true, &[Self::Part { name: "squares", start: dim, width: 1, flat: true }]);
                }
                Rule::Adagrad { .. } => add(true, &[part("squares", dim)]),
                Rule::Adam { .. } => add(true, &[part("first_moments", dim), part("second_moments", 2 * dim)]),
            }
        }
        add(whole && optimizer.shrinks_lazily(), &[Self::Stamps]);
        add(whole && optimizer.counts_updates(), &[Self::Updates]);
        let waiting = [Self::LastSeen, Self::Sightings, Self::WaitingLastSeen, Self::WaitingSightings];
        add(open && whole, &waiting);
        columns
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ids => "ids",
            Self::WaitingIds => "waiting_ids",
            Self::Shrinkage => "shrinkage",
            Self::Part { name, .. } => name,
            Self::Stamps => "current_steps",
            Self::Updates => "updates",
            Self::LastSeen => "last_steps",
            Self::Sightings => "sightings",
            Self::WaitingLastSeen => "waiting_last_steps",
            Self::WaitingSightings => "waiting_sightings",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::Ids | Self::WaitingIds => Dtype::U64,
            Self::Shrinkage => Dtype::F64,
            Self::Part { .. } => Dtype::F32,
            _ => Dtype::U32,
        }
    }

    fn shape(self, counts: &Counts) -> Vec<usize> {
        match self {
            Self::Part { width, flat: false, .. } => vec![counts.rows, width],
            Self::WaitingIds | Self::WaitingLastSeen | Self::WaitingSightings => vec![counts.waiting],
            Self::Shrinkage => vec![counts.shrinkage],
            _ => vec![counts.rows],
        }
    }
}
