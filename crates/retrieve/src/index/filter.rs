//! What a search may return.

use super::corpus::Corpus;
use kitestring_core::{Error, Result};

/// What a search may return: items that are not excluded and have all required attribute values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Items not to return, in ascending order: what the user had already. Items that the index does not know are passed over.
    pub excluded: &'a [u64],
    /// Values that an item must have: one of each attribute named.
    pub required: &'a [Required<'a>],
}

/// Values of an attribute of which an item must have one.
#[derive(Debug, Clone, Copy)]
pub struct Required<'a> {
    /// The attribute's name.
    pub attribute: &'a str,
    /// The codes that are allowed; none allows no item.
    pub codes: &'a [u32],
}

/// A filter whose attributes were found.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    excluded: &'a [u64],
    /// The place of the attribute, and its codes.
    required: Vec<(usize, &'a [u32])>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(filter: &Filter<'a>, corpus: &Corpus) -> Result<Self> {
        if !filter.excluded.is_sorted() {
            return Err(Error::data("the excluded items of a filter do not ascend").mend("sort them"));
        }
        let required = filter.required.iter().map(|required| {
            let place = corpus.attributes.iter().position(|(name, _)| name == required.attribute);
            let names = corpus.attributes.iter().map(|(name, _)| name.as_str());
            let unknown = || {
                let what =
                    format!("a filter requires the attribute `{}`, which no item of the index has", required.attribute);
                Error::data(what).suggest(required.attribute, names)
            };
            Ok((place.ok_or_else(unknown)?, required.codes))
        });
        Ok(Self { excluded: filter.excluded, required: required.collect::<Result<_>>()? })
    }

    /// Lists of the rows that have one of the codes of the attribute that leaves fewest, and how many these are: every row that may be returned
    /// is in one of them. `None` where the filter asks for no attribute.
    pub(super) fn rows<'c>(&self, corpus: &'c Corpus) -> Option<RowLists<'c>> {
        let of_attribute = |(place, codes): &(usize, &[u32])| {
            let distinct = codes.iter().enumerate().filter(|(at, code)| !codes[..*at].contains(code));
            let lists: Vec<&[u32]> = distinct.map(|(_, code)| corpus.rows_of_code(*place, *code)).collect();
            RowLists { count: lists.iter().map(|rows| rows.len()).sum(), lists }
        };
        self.required.iter().map(of_attribute).min_by_key(|rows| rows.count)
    }

    /// Whether a row is there and has the attributes.
    fn has(&self, corpus: &Corpus, row: usize) -> bool {
        !corpus.gone[row]
            && self.required.iter().all(|(place, codes)| codes.contains(&corpus.attributes[*place].1[row]))
    }

    /// The item of a row, if it may be returned.
    pub(super) fn item(&self, corpus: &Corpus, row: usize) -> Option<u64> {
        let item = corpus.ids[row];
        (self.has(corpus, row) && self.excluded.binary_search(&item).is_err()).then_some(item)
    }
}

/// Rows in ascending lists, each row in one of them.
pub(super) struct RowLists<'a> {
    pub(super) lists: Vec<&'a [u32]>,
    /// How many rows there are in all lists.
    pub(super) count: usize,
}
