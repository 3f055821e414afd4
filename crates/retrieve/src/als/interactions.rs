//! Who interacted with what, by users and by items.

use kitestring_core::{Error, Result};
use std::ops::Range;

/// A user and an item, counted from zero, and the pair's weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The user.
    pub user: u32,
    /// The item.
    pub item: u32,
    /// What a product that is not one costs; 1 where pairs have no weight of their own.
    pub weight: f32,
}

impl From<(u32, u32)> for Pair {
    fn from((user, item): (u32, u32)) -> Self {
        Self { user, item, weight: 1.0 }
    }
}

/// Weighted pairs of users and items, sorted both ways. A pair that comes several times has the sum of its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Interactions {
    /// A row a user.
    pub(super) users: Rows,
    /// A row an item.
    pub(super) items: Rows,
}

impl Interactions {
    /// Sorts pairs.
    ///
    /// # Errors
    /// A data error where there is no pair, or one names a user or an item past the last, or has a weight that is not positive.
    pub fn new<P: Into<Pair>>(users: usize, items: usize, pairs: impl IntoIterator<Item = P>) -> Result<Self> {
        let pairs: Vec<Pair> = pairs.into_iter().map(Into::into).collect();
        if pairs.is_empty() {
            return Err(Error::data("there is no interaction").mend("give at least one pair of a user and an item"));
        }
        let past = |name, id: u32, count: usize, at| {
            Error::data(format!("interaction {at} is of {name} {id}, and there are {count}"))
                .mend("number them from zero without gaps, or tell how many there are")
        };
        for (at, pair) in pairs.iter().enumerate() {
            if pair.user as usize >= users {
                return Err(past("user", pair.user, users, at));
            }
            if pair.item as usize >= items {
                return Err(past("item", pair.item, items, at));
            }
            check_weight(pair.weight).map_err(|error| error.in_field(format!("weight of interaction {at}")))?;
        }
        // Two stable counting sorts leave a user's items in order, and the same items side by side in the order they came in.
        let by_item = Rows::counted(items, pairs.iter().map(|pair| (pair.item, pair.user, pair.weight)));
        let mut by_user = by_item.transposed(users);
        by_user.merge()?;
        Ok(Self { items: by_user.transposed(items), users: by_user })
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.count()
    }

    /// How many items there are.
    pub fn items(&self) -> usize {
        self.items.count()
    }

    /// How many different pairs there are.
    pub fn pairs(&self) -> usize {
        self.users.columns.len()
    }

    /// A user's items in order and the pairs' weights; `None` past the last user.
    pub fn of_user(&self, user: u32) -> Option<(&[u32], &[f32])> {
        ((user as usize) < self.users()).then(|| self.users.row(user as usize))
    }
}

/// Refuses a pair's weight that is not a positive number.
pub(super) fn check_weight(weight: f32) -> Result<()> {
    if weight > 0.0 && weight.is_finite() {
        return Ok(());
    }
    Err(Error::data(format!("{weight} is not a positive number")).mend("leave out pairs that weigh nothing"))
}

/// A sparse matrix by rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    /// Where each row begins; one more for the end of the last.
    offsets: Vec<usize>,
    /// The other side's numbers.
    pub(super) columns: Vec<u32>,
    /// The weights.
    pub(super) weights: Vec<f32>,
}

impl Rows {
    /// Sorts `(row, column, weight)` by row, in the order they come in within each. Rows must be below `count`.
    fn counted(count: usize, entries: impl ExactSizeIterator<Item = (u32, u32, f32)> + Clone) -> Self {
        let mut offsets = vec![0; count + 1];
        for (row, ..) in entries.clone() {
            offsets[row as usize + 1] += 1;
        }
        for row in 0..count {
            offsets[row + 1] += offsets[row];
        }
        let (mut columns, mut weights) = (vec![0; entries.len()], vec![0.0; entries.len()]);
        let mut next = offsets.clone();
        for (row, column, weight) in entries {
            let at = &mut next[row as usize];
            (columns[*at], weights[*at]) = (column, weight);
            *at += 1;
        }
        Self { offsets, columns, weights }
    }

    /// By columns, of which there are so many.
    fn transposed(&self, count: usize) -> Self {
        let mut rows = Vec::with_capacity(self.columns.len());
        (0..self.count()).for_each(|row| rows.extend(std::iter::repeat_n(row as u32, self.len(row))));
        let entries = self.columns.iter().zip(rows).zip(&self.weights);
        let entries: Vec<_> = entries.map(|((column, row), weight)| (*column, row, *weight)).collect();
        Self::counted(count, entries.iter().copied())
    }

    /// Sums the weights of the same column of a row, which must lie side by side.
    fn merge(&mut self) -> Result<()> {
        let mut kept = 0;
        for row in 0..self.count() {
            let range = self.range(row);
            let first = kept;
            for at in range {
                if kept > first && self.columns[kept - 1] == self.columns[at] {
                    self.weights[kept - 1] += self.weights[at];
                } else {
                    (self.columns[kept], self.weights[kept]) = (self.columns[at], self.weights[at]);
                    kept += 1;
                }
            }
            self.offsets[row] = first;
        }
        if let Some(last) = self.offsets.last_mut() {
            *last = kept;
        }
        self.columns.truncate(kept);
        self.weights.truncate(kept);
        if self.weights.iter().all(|weight| weight.is_finite()) {
            Ok(())
        } else {
            Err(Error::data("the weights of a pair that comes several times sum to infinity"))
        }
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Where a row lies in the columns and weights.
    pub(super) fn range(&self, row: usize) -> Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    /// Where several rows lie.
    pub(super) fn range_of(&self, rows: Range<usize>) -> Range<usize> {
        self.offsets[rows.start]..self.offsets[rows.end]
    }

    /// How many columns a row has.
    pub(super) fn len(&self, row: usize) -> usize {
        self.range(row).len()
    }

    /// A row's columns and weights.
    pub(super) fn row(&self, row: usize) -> (&[u32], &[f32]) {
        (&self.columns[self.range(row)], &self.weights[self.range(row)])
    }
}
