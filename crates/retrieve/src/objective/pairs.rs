//! The vectors of a step's pairs.

use kitestring_core::{Error, Result};
use kitestring_nn::engine::{Workers, each_piece};

/// Which item each pair of a step has, and the pairs of each item: a batch's distinct items have one vector each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// For each pair the row of its item.
    item_of: Vec<u32>,
    /// Where the pairs of each item start in `pairs`, and one past the last.
    starts: Vec<u32>,
    /// The pairs, item by item.
    pairs: Vec<u32>,
}

impl Links {
    /// The links of pairs with `items` item rows. A workspace: a warm one allocates nothing.
    ///
    /// # Errors
    /// A row there is not.
    pub fn set(&mut self, item_of: &[u32], items: usize) -> Result<()> {
        if item_of.iter().any(|item| *item as usize >= items) {
            return Err(Error::internal("a pair's item has no vector"));
        }
        self.item_of.clear();
        self.item_of.extend_from_slice(item_of);
        self.starts.clear();
        self.starts.resize(items + 1, 0);
        item_of.iter().for_each(|item| self.starts[*item as usize + 1] += 1);
        (0..items).for_each(|item| self.starts[item + 1] += self.starts[item]);
        self.pairs.clear();
        self.pairs.resize(item_of.len(), 0);
        // Each start moves to its end, which is the next one's start; so they are moved back afterwards.
        for (pair, item) in item_of.iter().enumerate() {
            let at = &mut self.starts[*item as usize];
            self.pairs[*at as usize] = pair as u32;
            *at += 1;
        }
        self.starts.copy_within(0..items, 1);
        self.starts[0] = 0;
        Ok(())
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.item_of.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.item_of.is_empty()
    }

    /// The number of item rows.
    pub fn items(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The row of each pair's item.
    pub fn item_of(&self) -> &[u32] {
        &self.item_of
    }

    /// The pairs of an item row, ascending.
    pub fn of_item(&self, item: usize) -> &[u32] {
        &self.pairs[self.starts[item] as usize..self.starts[item + 1] as usize]
    }
}

/// The item rows of a step that each pair's user has in training: they are no negatives of the pair. Pairs of a user share one list; without
/// known users there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPositives {
    /// For each pair its list.
    list_of: Vec<u32>,
    /// Where each list starts in `rows`, and one past the last.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl UserPositives {
    /// Forgets all lists and keeps their memory.
    pub fn clear(&mut self) {
        self.list_of.clear();
        self.starts.clear();
        self.starts.push(0);
        self.rows.clear();
    }

    /// Adds a list of item rows and returns its number, for [`Self::push_pair`].
    pub fn push_list(&mut self, rows: impl Iterator<Item = u32>) -> u32 {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.rows.extend(rows);
        self.starts.push(self.rows.len() as u32);
        self.starts.len() as u32 - 2
    }

    /// Gives the next pair a list.
    pub fn push_pair(&mut self, list: u32) {
        self.list_of.push(list);
    }

    /// The item rows that a pair's user has in training, the pair's own among them; empty where the user is not known.
    #[inline(always)]
    pub fn of_pair(&self, pair: usize) -> &[u32] {
        let Some(list) = self.list_of.get(pair) else { return &[] };
        &self.rows[self.starts[*list as usize] as usize..self.starts[*list as usize + 1] as usize]
    }
}

/// What an objective sees of a step.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// The dimension of vectors, k.
    pub dimension: usize,
    /// The query vector of each pair, `pairs × k`, row-major.
    pub queries: &'a [f32],
    /// The vectors of the step's distinct items, `items × k`: those of the pairs and, where the objective draws negatives, drawn ones.
    pub items: &'a [f32],
    /// Which item each pair has.
    pub links: &'a Links,
    /// Which items each pair's user has in training.
    pub positives: &'a UserPositives,
    /// What each pair's inner product should be; 1 where something happened.
    pub labels: &'a [f32],
    /// The number of each pair among all training pairs.
    pub numbers: &'a [u64],
    /// For each pair the weight of its query in the average over all queries; empty for 1.
    pub query_weights: &'a [f32],
    /// For each item row the weight of its vector in the average over all items; empty for 1.
    pub item_weights: &'a [f32],
    /// For each item row how often it was drawn as a negative for this step; empty where none are drawn.
    pub drawn: &'a [u32],
    /// For each item row the share of training pairs that have it.
    pub frequency: &'a [f32],
    /// For each item row the probability of each draw to give it; empty where none are drawn.
    pub draw_probability: &'a [f32],
}

impl<'a> Pairs<'a> {
    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// A pair's query vector.
    #[inline(always)]
    pub fn query(&self, pair: usize) -> &'a [f32] {
        &self.queries[pair * self.dimension..(pair + 1) * self.dimension]
    }

    /// An item row's vector.
    #[inline(always)]
    pub fn item(&self, item: usize) -> &'a [f32] {
        &self.items[item * self.dimension..(item + 1) * self.dimension]
    }

    /// The weight of a pair's query in averages.
    #[inline(always)]
    pub fn query_weight(&self, pair: usize) -> f32 {
        self.query_weights.get(pair).copied().unwrap_or(1.0)
    }

    /// The weight of an item row in averages over pairs: its weight times its pairs.
    #[inline(always)]
    pub fn item_weight(&self, item: usize) -> f32 {
        self.item_weights.get(item).copied().unwrap_or(1.0) * self.links.of_item(item).len() as f32
    }
}

/// The gradients of a step's vectors, to be written.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the query vectors, `pairs × k`.
    pub queries: &'a mut [f32],
    /// Of the item vectors, `items × k`.
    pub items: &'a mut [f32],
}

/// Deals the rows of a matrix to workers in parts, and calls `body` with each part's first row and its numbers. What a body does must not
/// depend on how rows are dealt.
pub(crate) fn each_part(
    workers: &dyn Workers,
    matrix: &mut [f32],
    width: usize,
    body: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let rows = matrix.len() / width.max(1);
    let size = rows.div_ceil(workers.count()).max(1);
    let parts = matrix.chunks_mut(size * width.max(1)).enumerate();
    each_piece(workers, parts, || (), |(), (number, part)| body(number * size, part));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_both_ways() {
        let mut links = Links::default();
        for _ in 0..2 {
            links.set(&[2, 0, 2, 3, 2], 5).unwrap();
            assert_eq!((links.len(), links.items()), (5, 5));
            let of: Vec<&[u32]> = (0..5).map(|item| links.of_item(item)).collect();
            assert_eq!(of, [&[1][..], &[], &[0, 2, 4], &[3], &[]]);
        }
        links.set(&[], 0).unwrap();
        assert!(links.is_empty());
        assert!(links.set(&[1], 1).is_err());
    }

    #[test]
    fn pairs_of_a_user_share_a_list() {
        let mut positives = UserPositives::default();
        assert_eq!(positives.of_pair(0), [0; 0]);
        for _ in 0..2 {
            let lists = [positives.push_list([3, 1].into_iter()), positives.push_list([].into_iter())];
            [lists[0], lists[1], lists[0]].into_iter().for_each(|list| positives.push_pair(list));
            assert_eq!([0, 1, 2, 3].map(|pair| positives.of_pair(pair)), [&[3, 1][..], &[], &[3, 1], &[]]);
            positives.clear();
        }
    }
}
