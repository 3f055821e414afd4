//! Leaves: rows looked up from the batch's unique rows, and numbers.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use serde::{Deserialize, Serialize};

/// One feature of an [`Embed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The feature's number among the sparse ones.
    pub feature: usize,
    /// Its table's number.
    pub table: usize,
    /// The width of the table's rows.
    pub width: usize,
}

/// Rows of one or more features, side by side. Rows enter as a leaf: the batch's unique rows are gathered outside, and
/// the gradient of every row that was looked up goes there: it is summed by unique row once all tiles are through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embed {
    /// The features, all of one domain.
    pub lookups: Vec<Lookup>,
    /// One row a sample, or one a list element.
    pub domain: Domain,
}

/// The numeric features, one row a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numeric {
    /// How many there are.
    pub width: usize,
}

impl Graph {
    /// The rows of some features side by side, `domain × Σ widths`.
    pub fn embed(&mut self, lookups: Vec<Lookup>, domain: Domain) -> Value {
        let width = lookups.iter().map(|lookup| lookup.width).sum();
        self.record(super::Op::Embed(Embed { lookups, domain }), &[], domain, width)
    }

    /// The numeric features, `samples × width`.
    pub fn numeric(&mut self, width: usize) -> Value {
        self.record(super::Op::Numeric(Numeric { width }), &[], Domain::Rows, width)
    }
}

impl Embed {
    fn width(&self) -> usize {
        self.lookups.iter().map(|lookup| lookup.width).sum()
    }

    /// Calls `each` with every output row's number and its row of the table, for one feature.
    #[inline(always)]
    fn for_each(&self, cx: &Context<'_>, lookup: &Lookup, mut each: impl FnMut(usize, usize)) {
        let positions = cx.lookup_positions(lookup.feature);
        match self.domain {
            Domain::Rows => {
                let lists = &cx.batch().sparse[lookup.feature].list_of_row;
                if lists.is_empty() {
                    positions[cx.rows.clone()].iter().enumerate().for_each(|(i, at)| each(i, *at as usize));
                } else {
                    let lists = &lists[cx.rows.clone()];
                    lists.iter().enumerate().for_each(|(i, list)| each(i, positions[*list as usize] as usize));
                }
            }
            Domain::Positions(feature) => {
                let range = cx.positions(feature);
                positions[range].iter().enumerate().for_each(|(i, at)| each(i, *at as usize));
            }
        }
    }
}

impl Operation for Embed {
    fn forward(&self, cx: &Context<'_>, _: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let stride = self.width();
        let mut column = 0;
        for lookup in &self.lookups {
            let (rows, width) = (cx.table_rows(lookup.table), lookup.width);
            self.for_each(cx, lookup, |i, at| {
                let into = i * stride + column;
                out[into..into + width].copy_from_slice(&rows[at * width..(at + 1) * width]);
            });
            column += width;
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, pass: Backward<'_>) {
        pass.rows.leave(cx, self, pass.out_grad);
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: 0, bytes: 4 * (out_rows * self.width()) as u64 }
    }
}

impl Operation for Numeric {
    fn forward(&self, cx: &Context<'_>, _: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let rows = &cx.rows;
        out.copy_from_slice(&cx.batch().numeric[rows.start * self.width..rows.end * self.width]);
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, _: Backward<'_>) {}

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}
