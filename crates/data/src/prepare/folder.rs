//! The short way from an opened data folder to a data set.

use super::{GivenCandidates, Input, Options, Progress, columns, prepare};
use crate::config::DataConfig;
use crate::dataset::{Manifest, Vocabularies};
use crate::layout::Opened;
use crate::reader::BadRows;
use kitestring_core::{Result, Schema, Seed};
use std::path::Path;

/// Prepares the rows of an opened folder or file as its config says, in the directory `out`. `like` are vocabularies to go on with.
///
/// # Errors
/// What is wrong with the layout or a file, and as [`prepare`].
pub fn prepare_folder(
    opened: &Opened,
    config: &DataConfig,
    schema: &Schema,
    (seed, like): (Seed, Option<&Vocabularies>),
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Manifest> {
    let bad_rows = BadRows::new(config.max_bad_rows);
    let needed = columns(schema);
    let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
    let mut inputs = Vec::new();
    for split in opened.splits() {
        inputs.push(Input::new(split.unwrap_or("train"), opened.read(split, &needed, &bad_rows)?));
    }
    let mut candidates = Vec::new();
    for split in opened.layout().candidates.keys() {
        if let Some(rows) = opened.candidates(split, &bad_rows)? {
            let separator = rows.separator.clone();
            candidates.push(GivenCandidates { split: split.clone(), chunks: Box::new(rows), separator });
        }
    }
    let options = Options {
        schema,
        split: config.split_of(opened.layout()),
        ties: config.ties,
        negatives: config.negatives.as_ref(),
        like,
        seed,
        bad_rows: &bad_rows,
    };
    prepare(inputs, candidates, &options, out, progress)
}
