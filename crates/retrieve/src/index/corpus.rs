//! The items of an index: numbers, vectors and attributes, row by row.

use kitestring_core::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Items as they come in.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    /// The items' numbers in the data set; each once.
    pub ids: &'a [u64],
    /// Their vectors, row-major, `ids.len() ×` the index's dimension; finite.
    pub vectors: &'a [f32],
    /// Their attributes. Every item of an index has all of them.
    pub attributes: &'a [Attribute<'a>],
}

/// A column of small codes, one an item: its category, its language.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its name, by which a filter asks for it.
    pub name: &'a str,
    /// A code an item.
    pub codes: &'a [u32],
}

/// The largest dimension of a vector.
pub const LARGEST_DIMENSION: usize = 4096;

/// Rows never move: a row that was removed is marked, what comes in stands at the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Corpus {
    pub(super) dimension: usize,
    pub(super) ids: Vec<u64>,
    pub(super) vectors: Vec<f32>,
    pub(super) attributes: Vec<(String, Vec<u32>)>,
    pub(super) gone: Vec<bool>,
    /// The row of each item that is there.
    pub(super) rows: HashMap<u64, u32>,
    /// For each attribute the rows of each code, ascending, with those that are gone: what a filter leaves is found without a look at the
    /// rest.
    rows_of_code: Vec<HashMap<u32, Vec<u32>>>,
}

impl Corpus {
    /// No items, of a dimension and attributes.
    pub(super) fn new<'a>(dimension: usize, attributes: impl Iterator<Item = &'a str>) -> Result<Self> {
        if !(1..=LARGEST_DIMENSION).contains(&dimension) {
            return Err(Error::config(format!("vectors of dimension {dimension}, expected 1 to {LARGEST_DIMENSION}")));
        }
        let mut known: Vec<(String, Vec<u32>)> = Vec::new();
        for name in attributes {
            if known.iter().any(|(other, _)| other == name) {
                return Err(Error::data(format!("two attributes of items are named `{name}`")));
            }
            known.push((name.to_owned(), Vec::new()));
        }
        let rows_of_code = vec![HashMap::new(); known.len()];
        Ok(Self { dimension, attributes: known, rows_of_code, ..Self::default() })
    }

    /// How many rows there are, with those that are gone.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn gone(&self) -> usize {
        self.len() - self.rows.len()
    }

    /// The rows that have a code of an attribute, by the attribute's place; some of them may be gone.
    pub(super) fn rows_of_code(&self, attribute: usize, code: u32) -> &[u32] {
        self.rows_of_code.get(attribute).and_then(|rows| rows.get(&code)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dimension..][..self.dimension]
    }

    /// Fails if items cannot be appended, whatever is there already.
    pub(super) fn check(&self, items: &Items<'_>) -> Result<()> {
        self.check_rows(items)?;
        let mut seen = HashSet::with_capacity(items.ids.len());
        match items.ids.iter().find(|item| !seen.insert(**item)) {
            Some(item) => Err(Error::data(format!("item {item} is given twice"))),
            None => Ok(()),
        }
    }

    fn check_rows(&self, items: &Items<'_>) -> Result<()> {
        let count = items.ids.len();
        if count.checked_mul(self.dimension) != Some(items.vectors.len()) {
            let (numbers, dimension) = (items.vectors.len(), self.dimension);
            let what = format!("{count} items of dimension {dimension} have {numbers} numbers in their vectors");
            return Err(Error::data(what).mend("give every item one vector of the index's dimension"));
        }
        if self.len() + count > u32::MAX as usize {
            return Err(Error::data(format!("an index holds up to {} items", u32::MAX)));
        }
        for (item, vector) in items.ids.iter().zip(items.vectors.chunks_exact(self.dimension)) {
            if let Some(place) = vector.iter().position(|number| !number.is_finite()) {
                let what = format!("the vector of item {item} has {} at place {place}", vector[place]);
                return Err(Error::data(what).mend("train the model again: its item tower diverged"));
            }
        }
        for (name, _) in &self.attributes {
            let Some(attribute) = items.attributes.iter().find(|attribute| attribute.name == name) else {
                return Err(Error::data(format!("the items have no attribute `{name}`, those of the index do")));
            };
            if attribute.codes.len() != count {
                let found = attribute.codes.len();
                return Err(Error::data(format!("{count} items have {found} codes of the attribute `{name}`")));
            }
        }
        if items.attributes.len() != self.attributes.len() {
            let known = |name: &str| self.attributes.iter().any(|(known, _)| known == name);
            let extra = items.attributes.iter().find(|attribute| !known(attribute.name));
            let name = extra.map_or("one twice", |attribute| attribute.name);
            return Err(Error::data(format!("the items have attributes that the index does not: {name}")));
        }
        Ok(())
    }

    /// Appends items that were checked and of which none is there.
    pub(super) fn append(&mut self, items: &Items<'_>) {
        let first = self.len() as u32;
        self.rows.extend(items.ids.iter().zip(first..).map(|(item, row)| (*item, row)));
        self.ids.extend_from_slice(items.ids);
        self.vectors.extend_from_slice(items.vectors);
        self.gone.resize(self.ids.len(), false);
        for ((name, codes), rows_of_code) in self.attributes.iter_mut().zip(&mut self.rows_of_code) {
            if let Some(attribute) = items.attributes.iter().find(|attribute| attribute.name == name) {
                codes.extend_from_slice(attribute.codes);
                index_codes(attribute.codes, first, rows_of_code);
            }
        }
    }

    /// Appends rows as they were stored, some of them gone: an item that came back stands in two rows, of which one is gone.
    pub(super) fn restore(&mut self, items: &Items<'_>, gone: &[u8]) -> Result<()> {
        self.check_rows(items)?;
        self.append(items);
        self.gone = gone.iter().map(|gone| *gone != 0).collect();
        self.rows.clear();
        for (row, item) in (0..).zip(&self.ids) {
            if !self.gone[row as usize] && self.rows.insert(*item, row).is_some() {
                return Err(Error::format(format!("item {item} stands in two rows")));
            }
        }
        Ok(())
    }

    /// Marks an item as gone.
    pub(super) fn remove(&mut self, item: u64) {
        if let Some(row) = self.rows.remove(&item) {
            self.gone[row as usize] = true;
        }
    }

    /// The rows from one on, with those that are gone and without attributes.
    pub(super) fn tail(&self, first: usize) -> Self {
        let rows = (0..).zip(&self.ids[first..]).zip(&self.gone[first..]);
        Self {
            dimension: self.dimension,
            ids: self.ids[first..].to_vec(),
            vectors: self.vectors[first * self.dimension..].to_vec(),
            gone: self.gone[first..].to_vec(),
            rows: rows.filter(|(_, gone)| !**gone).map(|((row, item), _)| (*item, row)).collect(),
            ..Self::default()
        }
    }

    /// The same without the rows that are gone.
    pub(super) fn compact(&self) -> Self {
        let there: Vec<usize> = (0..self.len()).filter(|row| !self.gone[*row]).collect();
        let mut vectors = Vec::with_capacity(there.len() * self.dimension);
        there.iter().for_each(|row| vectors.extend_from_slice(self.row(*row)));
        let attributes: Vec<(String, Vec<u32>)> = self
            .attributes
            .iter()
            .map(|(name, codes)| (name.clone(), there.iter().map(|row| codes[*row]).collect()))
            .collect();
        let rows_of_code = attributes.iter().map(|(_, codes)| {
            let mut rows_of_code = HashMap::new();
            index_codes(codes, 0, &mut rows_of_code);
            rows_of_code
        });
        Self {
            dimension: self.dimension,
            ids: there.iter().map(|row| self.ids[*row]).collect(),
            vectors,
            rows_of_code: rows_of_code.collect(),
            attributes,
            gone: vec![false; there.len()],
            rows: there.iter().zip(0..).map(|(row, new)| (self.ids[*row], new)).collect(),
        }
    }
}

/// Notes the rows of codes, which are those from `first` on.
fn index_codes(codes: &[u32], first: u32, rows_of_code: &mut HashMap<u32, Vec<u32>>) {
    codes.iter().zip(first..).for_each(|(code, row)| rows_of_code.entry(*code).or_default().push(row));
}
