//! Each pair's item against other items: in-batch and sampled softmax, cosine contrast.
//!
//! The columns are the step's distinct items. For a softmax, item `j` came up `n_j` times, of `e_j` to be expected (`B f_j` in a batch
//! of B pairs, f the item's share of training pairs; `M d_j` in M draws), so its column counts for `n_j` items and is corrected by
//! `e_j`: logits are `⟨u, v_j⟩ / τ + ln n_j − c ln e_j`. The pair's own item counts once, however often it came up. For cosine contrast
//! a column's weight is that of others by its share of the draws, `w n_j / M`, and the pair's own item is none of the others.
//!
//! Other items that the pair's user has in training are none of the others either: they are what the user's other pairs pull up, and to push
//! them down here would be to learn the contrary of what the log says. So a softmax is over the pair's own item and the items that its user
//! has in no training pair. What the user has in later splits alone is held against the pair like any other item.

use super::config::{Contrastive, Softmax};
use super::pairs::{Gradients, Pairs};
use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::contrast::{contrast, hinge};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul, transpose};
use kitestring_nn::kernels::reduce::add;
use std::sync::{Mutex, PoisonError};

/// Rows of scores that a worker holds at once: few enough for a few thousand columns to stay in its cache.
const ROWS: usize = 32;

/// How an item is held against others.
#[derive(Debug)]
pub(super) enum Against {
    Softmax(Softmax),
    Contrastive(Contrastive),
}

/// An objective over a step's items, with its workspace. A warm step allocates nothing that grows with the batch.
#[derive(Debug)]
pub(super) struct Others {
    against: Against,
    /// Of a softmax `ln n_j − c ln e_j`, minus infinity where the item came up for no pair to be held against; else `w n_j / M`.
    columns: Vec<f32>,
    /// `−c ln e_j` of a softmax, for the pair's own item.
    own: Vec<f32>,
    transposed: Vec<f32>,
    workers: Vec<Mutex<Worker>>,
}

#[derive(Debug, Default)]
struct Worker {
    scores: Vec<f32>,
    item_gradients: Vec<f32>,
    loss: f64,
}

impl Others {
    pub fn new(against: Against) -> Self {
        Self { against, columns: Vec::new(), own: Vec::new(), transposed: Vec::new(), workers: Vec::new() }
    }

    /// The loss's name.
    pub fn names(&self) -> &'static [&'static str] {
        match self.against {
            Against::Softmax(_) => &["softmax"],
            Against::Contrastive(_) => &["contrast"],
        }
    }

    /// The mean loss of the pairs, and its gradients.
    pub fn gradients(&mut self, pairs: &Pairs<'_>, gradients: &mut Gradients<'_>, workers: &dyn Workers) -> f64 {
        let (k, items, count) = (pairs.dimension, pairs.links.items(), pairs.len());
        self.weigh(pairs);
        self.transposed.resize(k * items, 0.0);
        transpose(&mut self.transposed, pairs.items, items, k);
        self.workers.resize_with(workers.count(), Mutex::default);
        let size = count.div_ceil(workers.count()).max(1);
        let parts: Vec<Mutex<&mut [f32]>> = gradients.queries.chunks_mut(size * k).map(Mutex::new).collect();
        let this = &*self;
        workers.run(&|number| {
            let Some(worker) = this.workers.get(number) else { return };
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            let Worker { scores, item_gradients, loss } = &mut *worker;
            *loss = 0.0;
            item_gradients.clear();
            item_gradients.resize(items * k, 0.0);
            let Some(part) = parts.get(number) else { return };
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            for (block, into) in part.chunks_mut(ROWS * k).enumerate() {
                let (first, rows) = (number * size + block * ROWS, into.len() / k);
                let queries = &pairs.queries[first * k..(first + rows) * k];
                scores.resize(rows * items, 0.0);
                matmul(scores, Matrix::new(queries, rows, k), &this.transposed, items, Start::Zero);
                for (row, scores) in scores.chunks_exact_mut(items).enumerate() {
                    let own = pairs.links.item_of()[first + row] as usize;
                    for item in pairs.positives.of_pair(first + row).iter().map(|item| *item as usize) {
                        if item != own {
                            scores[item] = f32::NEG_INFINITY;
                        }
                    }
                    *loss += f64::from(this.compare(scores, own));
                    let share = 1.0 / count as f32;
                    scores.iter_mut().for_each(|gradient| *gradient *= share);
                }
                matmul(into, Matrix::new(scores, rows, items), pairs.items, k, Start::Zero);
                matmul(item_gradients, Matrix::new(scores, rows, items).transposed(), queries, k, Start::Existing);
            }
        });
        drop(parts);
        gradients.items.fill(0.0);
        let mut loss = 0.0;
        for worker in &mut self.workers {
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            add(gradients.items, &worker.item_gradients);
            loss += worker.loss;
        }
        loss / count.max(1) as f64
    }

    /// From a pair's scores to their gradients, in place; the pair's loss.
    fn compare(&self, scores: &mut [f32], own: usize) -> f32 {
        match &self.against {
            Against::Softmax(softmax) => contrast(scores, &self.columns, 1.0 / softmax.temperature, own, self.own[own]),
            Against::Contrastive(contrastive) => hinge(scores, &self.columns, contrastive.margin, own),
        }
    }

    fn weigh(&mut self, pairs: &Pairs<'_>) {
        let drawn: u32 = pairs.drawn.iter().sum();
        let (batch, drawn) = (pairs.len() as f32, drawn as f32);
        self.columns.clear();
        self.own.clear();
        for item in 0..pairs.links.items() {
            let mut came = pairs.drawn.get(item).copied().unwrap_or(0) as f32;
            match &self.against {
                Against::Softmax(softmax) => {
                    let mut expected = drawn * pairs.draw_probability.get(item).copied().unwrap_or(0.0);
                    if softmax.in_batch {
                        came += pairs.links.of_item(item).len() as f32;
                        expected += batch * pairs.frequency[item];
                    }
                    // What can never come up is only ever a pair's own item.
                    let own = if expected > 0.0 { -softmax.correction * expected.ln() } else { 0.0 };
                    self.own.push(own);
                    self.columns.push(if came > 0.0 { came.ln() + own } else { f32::NEG_INFINITY });
                }
                Against::Contrastive(contrastive) => {
                    self.columns.push(contrastive.negative_weight * came / drawn.max(1.0));
                }
            }
        }
    }
}
