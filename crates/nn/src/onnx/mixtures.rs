//! Mixtures: experts, what chooses them, and towers that hear each other.

use super::builder::{Attribute, Builder, Tensor};
use crate::graph::Domain;
use crate::ops::experts::Experts;
use crate::ops::noisy_top_k::NoisyTopK;
use crate::ops::select_experts::{Active, SelectExperts};
use crate::ops::softmax::Softmax;
use crate::ops::stitch::Stitch;
use kitestring_core::Result;

/// One of those who listen to conditions: one of them, or whoever is none of them.
struct Listener {
    active: Option<usize>,
    /// Which conditions are there for it.
    heard: Vec<bool>,
}

impl Listener {
    /// How many conditions are there.
    fn count(&self) -> usize {
        self.heard.iter().filter(|heard| **heard).count()
    }

    /// A number for each condition that is there, zero for the others.
    fn share(&self, number: f32) -> Vec<f32> {
        self.heard.iter().map(|heard| if *heard { number } else { 0.0 }).collect()
    }

    /// The mean over the conditions that are there.
    fn mean(&self) -> Vec<f32> {
        self.share(1.0 / self.count().max(1) as f32)
    }

    /// One at one condition.
    fn only(&self, condition: Option<usize>) -> Vec<f32> {
        (0..self.heard.len()).map(|other| f32::from(u8::from(condition == Some(other)))).collect()
    }

    /// Whether there is nothing to tell apart.
    fn is_alone(&self) -> bool {
        self.count() == 1
    }
}

impl Builder<'_> {
    /// For each sample the numbers of its listener, one or one a condition: `N × 1 × …`, or one row where all samples have the same.
    fn of_listener(
        &mut self,
        listeners: &[Listener],
        index: Option<Tensor>,
        axes: &[i64],
        numbers: impl Fn(&Listener) -> Vec<f32>,
    ) -> Tensor {
        let numbers: Vec<f32> = listeners.iter().flat_map(numbers).collect();
        let dims: Vec<i64> = [listeners.len() as i64].iter().chain(axes).copied().collect();
        let table = self.floats("listeners", &dims, &numbers);
        index.map_or(table, |index| self.op("Gather", &[table, index]))
    }

    /// The listeners of a statistic that has a row for each of some conditions and one for whoever is none of them; or just one of them.
    fn listeners(&self, start: usize, conditions: usize, active: Option<usize>) -> Result<Vec<Listener>> {
        let listener = |active: Option<usize>| {
            let row = start + active.unwrap_or(conditions) * conditions;
            let heard = self.state_numbers(row, conditions)?;
            Ok(Listener { active, heard: heard.iter().map(|heard| *heard != 0.0).collect() })
        };
        match active {
            Some(active) => Ok(vec![listener(Some(active))?]),
            None => std::iter::once(None).chain((0..conditions).map(Some)).map(listener).collect(),
        }
    }

    pub(super) fn softmax(&mut self, op: &Softmax, x: Tensor) -> Result<Tensor> {
        let listeners = match op.heard {
            None => Vec::new(),
            Some(heard) => self.listeners(heard.start, op.width, heard.level.is_none().then_some(0))?,
        };
        if listeners.iter().flat_map(|listener| &listener.heard).all(|heard| *heard) {
            return Ok(self.op_with("Softmax", &[x], &[("axis", Attribute::Int(-1))]));
        }
        let index = op.heard.and_then(|heard| heard.level).map(|level| self.scenario(level, op.width));
        let heard = self.of_listener(&listeners, index, &[op.width as i64], |listener| listener.share(1.0));
        let heard = self.is_positive(heard);
        Ok(self.masked_softmax(x, heard, -1))
    }

    /// Every expert is computed for every sample: what a sample does not choose is multiplied by zero.
    pub(super) fn experts(&mut self, op: &Experts, x: Tensor, gates: Tensor) -> Result<Tensor> {
        let count = op.experts.len() as i64;
        let mut results = Vec::with_capacity(op.experts.len());
        for layers in &op.experts {
            let mut y = x;
            for (weight, bias) in layers {
                y = self.linear(y, *weight, Some(*bias), op.activation)?;
            }
            results.push(y);
        }
        let width = op.experts.first().and_then(|layers| layers.last()).map_or(0, |(weight, _)| weight.columns) as i64;
        let results = self.beside(&results);
        let results = self.reshape(results, &[0, count, width]);
        let gates = self.reshape(gates, &[0, op.mixtures as i64, count]);
        let mixed = self.op("MatMul", &[gates, results]);
        Ok(self.reshape(mixed, &[0, op.mixtures as i64 * width]))
    }

    /// The softmax of the largest logits: without noise those of the noise are not read.
    pub(super) fn top_k_softmax(&mut self, op: &NoisyTopK, clean: Tensor) -> Tensor {
        let chosen = self.extremes(clean, op.chosen, op.experts, true);
        let chosen = self.is_positive(chosen);
        self.masked_softmax(clean, chosen, -1)
    }

    /// The weights of the selected experts. With `z = ln Σ_j e^G[j, k]`, divergences are compared by `z − G[active, k]` and `z − mean_j G[j, k]`.
    pub(super) fn select_experts(&mut self, op: &SelectExperts, gates: Tensor) -> Result<Tensor> {
        let (m, n) = (op.conditions as i64, op.experts as i64);
        let (listeners, index) = match op.active {
            Active::Always(condition) => (self.listeners(op.heard, op.conditions, Some(condition))?, None),
            Active::Scenario(level) => {
                (self.listeners(op.heard, op.conditions, None)?, Some(self.scenario(level, op.conditions)))
            }
        };
        let relevance = self.reshape(gates, &[0, m, n]);
        // The sum over conditions, `N × experts`, of what each gives, with a factor for each.
        let weighted = |b: &mut Self, of: Tensor, factors: &dyn Fn(&Listener) -> Vec<f32>| {
            let factors = b.of_listener(&listeners, index, &[m, 1], factors);
            let product = b.op("Mul", &[of, factors]);
            b.reduce_sum(product, 1, false)
        };
        let (some_alone, all_alone) =
            (listeners.iter().any(Listener::is_alone), listeners.iter().all(Listener::is_alone));
        // Who is alone has no divergence to compare, and takes what is most relevant.
        let own = weighted(self, relevance, &|listener| {
            listener.only(listener.heard.iter().position(|heard| *heard).filter(|_| listener.is_alone()))
        });
        let own = self.op("Neg", &[own]);
        let [to_own, to_all] = if all_alone {
            [own, own]
        } else {
            let heard = self.of_listener(&listeners, index, &[m, 1], |listener| listener.share(1.0));
            let (is_heard, zero, least) = (self.is_positive(heard), self.float(0.0), self.float(f32::NEG_INFINITY));
            let there = self.op("Where", &[is_heard, relevance, least]);
            let highest = self.reduce_max(there, 1, true);
            let g = self.op("Sub", &[relevance, highest]);
            let g = self.op("Where", &[is_heard, g, zero]);
            let powers = self.op("Exp", &[g]);
            let powers = self.op("Mul", &[powers, heard]);
            let sum = self.reduce_sum(powers, 1, false);
            let z = self.op("Log", &[sum]);
            let of_active = weighted(self, g, &|listener| listener.only(listener.active));
            let of_all = weighted(self, g, &Listener::mean);
            [of_active, of_all].map(|part| {
                let divergence = self.op("Sub", &[z, part]);
                if !some_alone {
                    return divergence;
                }
                let alone = self.alone(&listeners, index);
                self.op("Where", &[alone, own, divergence])
            })
        };
        let [specific, shared] = op.places();
        let mut selected = None;
        if specific > 0 {
            let mut chosen = self.extremes(to_own, specific, op.experts, false);
            if listeners.iter().any(|listener| listener.active.is_none() && !listener.is_alone()) {
                // Who is no condition has no experts of its own.
                let has_own = |listener: &Listener| listener.active.is_some() || listener.is_alone();
                let known = self.of_listener(&listeners, index, &[1], |l| vec![f32::from(u8::from(has_own(l)))]);
                chosen = self.op("Mul", &[chosen, known]);
            }
            selected = Some(chosen);
        }
        if shared > 0 {
            let mut key = to_all;
            if let Some(chosen) = selected.filter(|_| some_alone) {
                // Who is alone takes others than it has.
                let (alone, most) = (self.alone(&listeners, index), self.float(f32::INFINITY));
                let taken = self.is_positive(chosen);
                let taken = self.op("And", &[alone, taken]);
                key = self.op("Where", &[taken, most, key]);
            }
            let chosen = self.extremes(key, shared, op.experts, false);
            selected = Some(selected.map_or(chosen, |other| self.op("Add", &[other, chosen])));
        }
        let logit = weighted(self, relevance, &|listener| match listener.active {
            Some(_) => listener.only(listener.active),
            None => listener.mean(),
        });
        match selected {
            Some(selected) => {
                let selected = self.is_positive(selected);
                Ok(self.masked_softmax(logit, selected, -1))
            }
            None => {
                let zero = self.float(0.0);
                Ok(self.op("Mul", &[logit, zero]))
            }
        }
    }

    /// Whether a sample's listener is alone, `N × 1`.
    fn alone(&mut self, listeners: &[Listener], index: Option<Tensor>) -> Tensor {
        let alone = self.of_listener(listeners, index, &[1], |l| vec![f32::from(u8::from(l.is_alone()))]);
        self.is_positive(alone)
    }

    /// Towers one below the other, times the matrix of who hears whom.
    pub(super) fn stitch(&mut self, op: &Stitch, towers: &[Tensor], domain: Domain) -> Result<Tensor> {
        let (count, width) = (op.weight.rows as i64, op.width as i64);
        // Zeros are axes that stay as they are.
        let shape = |axes: &[i64]| match domain {
            Domain::Rows => [&[0], axes].concat(),
            Domain::Positions(_) => [&[0, 0], axes].concat(),
        };
        let factors = self.weight(op.weight)?;
        let towers = self.beside(towers);
        let mixed = if op.weight.columns == op.weight.rows {
            let towers = self.reshape(towers, &shape(&[count, width]));
            self.op("MatMul", &[factors, towers])
        } else {
            let towers = self.reshape(towers, &shape(&[1, count, width]));
            let factors = self.reshape(factors, &[count, count, width]);
            let products = self.op("Mul", &[towers, factors]);
            self.reduce_sum(products, -2, false)
        };
        Ok(self.reshape(mixed, &shape(&[count * width])))
    }
}
