//! From a data folder to rows of the wanted columns: choose the layout, join, derive, filter.

mod candidates;
mod derive;
mod join;
mod plan;
mod value;

pub use candidates::CandidateRows;

use crate::chunk::Chunk;
use crate::config::{DataConfig, Layout, Source};
use crate::reader::{self, BadRows, Input, files};
use kitestring_core::error::{Error, Result};
use plan::Plan;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A data folder or file whose layout is known.
#[derive(Debug)]
pub struct Opened {
    layout: Layout,
    folder: PathBuf,
    parts: Vec<Part>,
    /// The side tables in the order of the layout's joins.
    sides: Vec<Input>,
    /// The rows read so far that had no partner in each side table.
    alone: Arc<[AtomicU64]>,
}

/// The rows of a split, or all rows.
#[derive(Debug)]
struct Part {
    /// The split given for its rows.
    split: Option<String>,
    /// The split whose rules it follows: also where a single file stands for the layout's.
    rules: Option<String>,
    input: Input,
}

/// Opens the first layout whose files are all in a folder; or a single file, which takes the place of the layout's rows.
///
/// # Errors
/// A config error that lists what each layout misses; what is wrong with the first file of each source.
pub fn open(config: &DataConfig, path: &Path) -> Result<Opened> {
    config.check()?;
    if path.is_dir() {
        let mut missed = Vec::new();
        for layout in &config.layouts {
            let missing = missing(layout, path, true)?;
            if missing.is_empty() {
                return Opened::new(&layout.with_missing(&config.missing), path, None);
            }
            missed.push(format!("`{}` misses {}", layout.name, missing.join(", ")));
        }
        return Err(Error::config(format!("no layout has all its files here: {}", missed.join("; ")))
            .in_file(path.display().to_string())
            .mend("give the folder that holds them with --data"));
    }
    if !path.is_file() {
        return Err(Error::config("there is no such file or folder")
            .in_file(path.display().to_string())
            .mend("give the folder or file of the data with --data"));
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut best: Option<(u32, &Layout, Option<&str>)> = None;
    for layout in &config.layouts {
        if !missing(layout, folder, false)?.is_empty() {
            continue;
        }
        for (split, source) in layout.sources() {
            let likeness = likeness(source, path);
            if best.is_none_or(|(other, ..)| likeness > other) {
                best = Some((likeness, layout, split));
            }
        }
    }
    match best {
        Some((_, layout, split)) => Opened::new(&layout.with_missing(&config.missing), folder, Some((path, split))),
        None => Err(Error::config("the side tables of no layout are beside this file")
            .in_file(path.display().to_string())
            .mend("put them in the same folder, or give the folder with --data")),
    }
}

/// The files of a layout that a folder has not.
fn missing(layout: &Layout, folder: &Path, with_rows: bool) -> Result<Vec<String>> {
    let mut paths: Vec<&str> = layout.joins.iter().map(|join| join.source.path.as_str()).collect();
    if with_rows {
        paths.extend(layout.sources().iter().map(|(_, source)| source.path.as_str()));
        paths.extend(layout.candidates.values().map(|candidates| candidates.path()));
    }
    let mut missing = Vec::new();
    for path in paths {
        if files::find(folder, path)?.is_none() {
            missing.push(path.to_owned());
        }
    }
    Ok(missing)
}

/// How much a file is like the one a source names: the same name, the same extension.
fn likeness(source: &Source, path: &Path) -> u32 {
    let named = Path::new(&source.path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let expected = named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name == expected || (name.starts_with(&format!("{expected}.")) && !expected.is_empty()) {
        return 2;
    }
    u32::from(files::extension(named) == files::extension(path))
}

impl Opened {
    fn new(layout: &Layout, folder: &Path, file: Option<(&Path, Option<&str>)>) -> Result<Self> {
        let sides = layout.joins.iter().map(|join| Input::open(folder, &join.source)).collect::<Result<_>>()?;
        let alone = layout.joins.iter().map(|_| AtomicU64::new(0)).collect();
        let mut parts = Vec::new();
        for (split, source) in layout.sources() {
            let rules = split.map(str::to_owned);
            match file {
                None => parts.push(Part { split: rules.clone(), rules, input: Input::open(folder, source)? }),
                Some((path, of)) if of == split => {
                    let input = Input::of_files(vec![path.to_owned()], source)?;
                    parts.push(Part { split: None, rules, input });
                }
                Some(_) => {}
            }
        }
        Ok(Self { layout: layout.clone(), folder: folder.to_owned(), parts, sides, alone })
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The given splits in the order `train`, `valid`, `test`, others; one `None` where all rows are yet to be split, or
    /// a single file was opened.
    pub fn splits(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().map(|part| part.split.as_deref())
    }

    /// Reads the needed columns of a split's rows, in this order.
    ///
    /// # Errors
    /// A column that is neither in the file, nor joined, nor derived; what is wrong with a side table.
    pub fn read(&self, split: Option<&str>, needed: &[&str], bad: &BadRows) -> Result<Rows> {
        let part = self.parts.iter().find(|part| part.split.as_deref() == split);
        let part = part.ok_or_else(|| Error::internal(format!("the data has no split {split:?}")))?;
        let plan = Plan::new(&self.layout, part.rules.as_deref(), &part.input, &self.sides, needed, bad)?;
        let chunks = part.input.read(&plan.read(), bad)?;
        Ok(Rows { chunks, plan, alone: self.alone.clone(), bad: bad.clone() })
    }

    /// The side tables, and how many of the rows read so far had no partner in each; 0 for one that nobody needed.
    pub fn without_partner(&self) -> Vec<(String, u64)> {
        let counts = self.alone.iter().map(|count| count.load(Ordering::Relaxed));
        self.sides.iter().map(Input::file).zip(counts).collect()
    }

    /// The given candidates of a split.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn candidates(&self, split: &str, bad: &BadRows) -> Result<Option<CandidateRows>> {
        let given = self.layout.candidates.get(split);
        given.map(|given| CandidateRows::open(&self.folder, given, bad)).transpose()
    }
}

/// The rows of a split in chunks; chunks of which no row is kept are left out.
pub struct Rows {
    chunks: reader::Rows,
    plan: Plan,
    alone: Arc<[AtomicU64]>,
    bad: BadRows,
}

impl Iterator for Rows {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let chunk = self.chunks.next()?.and_then(|chunk| self.plan.apply(chunk, &self.alone, &self.bad));
            if !matches!(&chunk, Ok(chunk) if chunk.rows.num_rows() == 0) {
                return Some(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests;
