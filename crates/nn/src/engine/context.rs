//! What an operation sees of the batch while it works on one tile.

use crate::engine::occurrences::Occurrences;
use crate::graph::{Domain, Graph, Value};
use crate::quantization::affine::Affine;
use crate::quantization::product::{Codes, Product};
use kitestring_core::batch::Ids;
use kitestring_core::{Batch, Error, Result, Seed};
use std::ops::Range;

/// A batch with its rows: what enters a graph.
#[derive(Debug, Clone, Copy)]
pub struct BatchInputs<'a> {
    /// The samples.
    pub batch: &'a Batch,
    /// For each sparse feature, parallel to its ids: the number of the id's row among its table's unique rows.
    pub lookups: &'a [Vec<u32>],
    /// For each table its unique rows, `unique × width`, row-major.
    pub rows: &'a [Vec<f32>],
    /// For each table where the batch looks its unique rows up, which only training reads. A loader finds that ahead; where it is empty, a
    /// step does.
    pub occurrences: &'a [Occurrences],
}

impl BatchInputs<'_> {
    /// Checks that the batch has what the graph reads, in sizes that fit.
    ///
    /// # Errors
    /// A data error that names the feature's number.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        let wrong = |what: String| Err(Error::internal(what));
        for node in graph.nodes() {
            if let crate::ops::Op::Numeric(numeric) = node.op
                && self.batch.numeric.len() != self.batch.rows * numeric.width
            {
                return wrong(format!("the batch does not have {} numbers a sample", numeric.width));
            }
            if !self.has_scenarios(&node.op) {
                return wrong("the batch does not have the scenario levels the ranker reads".into());
            }
            let crate::ops::Op::Embed(embed) = &node.op else { continue };
            for lookup in &embed.lookups {
                let feature = lookup.feature;
                let (Some(ids), Some(lookups)) = (self.batch.sparse.get(feature), self.lookups.get(feature)) else {
                    return wrong(format!("the batch has no sparse feature {feature}"));
                };
                if ids.ids.len() != lookups.len() {
                    return wrong(format!("sparse feature {feature} has ids without rows"));
                }
                let ragged = matches!(embed.domain, Domain::Positions(_));
                let rows = if ids.list_of_row.is_empty() { ids.lists() } else { ids.list_of_row.len() };
                if ragged != ids.is_ragged() || rows != self.batch.rows {
                    return wrong(format!("sparse feature {feature} does not have one entry a sample"));
                }
                let sound =
                    ids.offsets.is_sorted() && ids.offsets.last().is_none_or(|end| *end as usize == ids.ids.len());
                if !sound || ids.list_of_row.last().is_some_and(|list| *list as usize >= ids.lists()) {
                    return wrong(format!("sparse feature {feature} has lists past its ids"));
                }
                if ids.list_of_row.windows(2).any(|pair| pair[0] > pair[1]) {
                    return wrong(format!("samples that share lists of feature {feature} must stand together"));
                }
                let same = |other: &Ids| (&other.offsets, &other.list_of_row) == (&ids.offsets, &ids.list_of_row);
                if let Domain::Positions(group) = embed.domain
                    && !self.batch.sparse.get(group).is_some_and(same)
                {
                    return Err(Error::data(format!(
                        "sparse features {group} and {feature} are read together but differ in length"
                    )));
                }
                let unique = self.rows.get(lookup.table).map_or(0, |rows| rows.len() / lookup.width.max(1));
                if lookups.iter().any(|at| *at as usize >= unique) {
                    return wrong(format!("sparse feature {feature} points past its table's rows"));
                }
            }
        }
        Ok(())
    }

    fn has_scenarios(&self, op: &crate::ops::Op) -> bool {
        use crate::ops::{Op, select_experts::Active};
        let level = match op {
            Op::Scenario(scenario) => scenario.level,
            Op::PartitionedNorm(norm) => norm.level,
            Op::StarLinear(star) => star.level,
            Op::ScenarioMix(mix) => mix.level,
            Op::SelectExperts(select) => match select.active {
                Active::Scenario(level) => level,
                Active::Always(_) => return true,
            },
            _ => return true,
        };
        let (rows, all) = (self.batch.rows, self.batch.scenarios.len());
        rows == 0 || (all.is_multiple_of(rows) && level < all / rows)
    }

    /// Checks that the batch has what only training reads: the labels that losses compare with, weights, positions.
    #[cfg(feature = "train")]
    pub(crate) fn check_training(&self, graph: &Graph) -> Result<()> {
        let Batch { rows, labels, weight, position, .. } = self.batch;
        let tasks = labels.len() / (*rows).max(1);
        let compared = graph.nodes().iter().filter_map(|node| match &node.op {
            crate::ops::Op::Loss(loss) => Some(loss.task),
            crate::ops::Op::SpreadLoss(loss) => Some(loss.task),
            crate::ops::Op::TaskWeight(weight) => Some(weight.task),
            _ => None,
        });
        let counted = graph.losses().iter().flat_map(|loss| loss.task.into_iter().chain(loss.space));
        let needed = counted.chain(compared).max().map_or(0, |task| task + 1);
        if labels.len() != rows * tasks || (*rows > 0 && tasks < needed) {
            return Err(Error::internal(format!("the batch has no {needed} labels a sample")));
        }
        if !weight.is_empty() && weight.len() != *rows {
            return Err(Error::internal("the batch does not have one weight a sample"));
        }
        let reads_position = graph.nodes().iter().any(|node| matches!(node.op, crate::ops::Op::PositionBias(_)));
        if reads_position && position.len() != *rows {
            return Err(Error::internal("the batch does not have one display position a sample"));
        }
        Ok(())
    }
}

/// What an operation sees of the batch while it works on one tile of samples.
#[derive(Debug)]
pub struct Context<'a> {
    /// All weights.
    pub weights: &'a [f32],
    /// All running statistics.
    pub state: &'a [f32],
    /// The tile's samples.
    pub rows: Range<usize>,
    pub(crate) inputs: &'a BatchInputs<'a>,
    /// Decides what drops out; `None` drops nothing.
    pub(crate) dropout: Option<Seed>,
    pub(crate) recording: Option<Recording<'a>>,
    /// The products that are done in codes.
    pub(crate) codes: Option<&'a Codes>,
}

/// What only a recording pass has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recording<'a> {
    /// The batch's finished statistics.
    pub statistics: &'a [f32],
    /// All weights, each matrix transposed, where its weight is.
    #[cfg(feature = "train")]
    pub transposed: &'a [f32],
    /// How many steps were done before this one.
    pub step: u64,
    /// What training rounds, where it does.
    #[cfg(feature = "train")]
    pub rounding: Option<&'a crate::quantization::rounding::Rounding>,
}

impl<'a> Context<'a> {
    /// The whole batch.
    pub fn batch(&self) -> &'a Batch {
        self.inputs.batch
    }

    /// Whether what the backward pass needs must be saved.
    pub fn records(&self) -> bool {
        cfg!(feature = "train") && self.recording.is_some()
    }

    /// The product with a matrix of weights, where it is done in codes.
    pub(crate) fn product(&self, weight: crate::graph::Weight) -> Option<&'a Product> {
        self.codes?.get(weight)
    }

    /// How what enters the product with a matrix of weights is rounded, where training does that.
    #[cfg(feature = "train")]
    pub(crate) fn rounding(&self, weight: crate::graph::Weight) -> Option<Affine> {
        self.recording?.rounding?.of(weight)
    }

    /// Inference rounds nothing.
    #[cfg(not(feature = "train"))]
    #[inline(always)]
    pub(crate) fn rounding(&self, _: crate::graph::Weight) -> Option<Affine> {
        None
    }

    pub(crate) fn statistics(&self) -> &'a [f32] {
        self.recording.map_or(&[], |recording| recording.statistics)
    }

    /// A weight's transpose, in a recording pass.
    #[cfg(feature = "train")]
    pub(crate) fn transposed(&self, weight: crate::graph::Weight) -> &'a [f32] {
        // That of a row lies as the row does, and is not made.
        if weight.rows == 1 {
            return weight.of(self.weights);
        }
        self.recording.map_or(&[], |recording| weight.of(recording.transposed))
    }

    /// Decides what drops out: in training, and where a score is drawn.
    pub(crate) fn dropout_seed(&self) -> Option<Seed> {
        // Said at compile time, so that what draws is left out of a runtime.
        self.dropout.filter(|_| cfg!(feature = "train"))
    }

    /// Decides what else training draws: noise that explores, inputs that go missing. A score has none of it.
    pub(crate) fn noise_seed(&self) -> Option<Seed> {
        self.recording.and(self.dropout_seed())
    }

    /// How many steps were done before this one.
    pub(crate) fn step(&self) -> u64 {
        self.recording.map_or(0, |recording| recording.step)
    }

    pub(crate) fn lookup_positions(&self, feature: usize) -> &'a [u32] {
        &self.inputs.lookups[feature]
    }

    pub(crate) fn table_rows(&self, table: usize) -> &'a [f32] {
        &self.inputs.rows[table]
    }

    fn list(&self, feature: usize, row: usize) -> usize {
        self.batch().sparse[feature].list_of_row.get(row).map_or(row, |list| *list as usize)
    }

    /// The tile's elements of a ragged feature: those of the lists of its first to its last sample.
    pub fn positions(&self, feature: usize) -> Range<usize> {
        match self.lists(feature) {
            [first, .., last] => *first as usize..*last as usize,
            _ => 0..0,
        }
    }

    /// Where the tile's lists of a ragged feature start among the batch's elements, and where the last one ends: the lists of its first to
    /// its last sample. Empty without samples.
    pub fn lists(&self, feature: usize) -> &'a [u32] {
        if self.rows.is_empty() {
            return &[];
        }
        let (first, last) = (self.list(feature, self.rows.start), self.list(feature, self.rows.end - 1));
        &self.inputs.batch.sparse[feature].offsets[first..last + 2]
    }

    /// Which of [`Self::lists`] is that of the tile's sample `row`.
    pub fn list_of(&self, feature: usize, row: usize) -> usize {
        self.list(feature, self.rows.start + row) - self.list(feature, self.rows.start)
    }

    /// The list of the tile's sample `row`, within the tile's elements.
    #[inline(always)]
    pub fn segment(&self, feature: usize, row: usize) -> Range<usize> {
        let offsets = &self.batch().sparse[feature].offsets;
        let base = offsets[self.list(feature, self.rows.start)];
        let list = self.list(feature, self.rows.start + row);
        (offsets[list] - base) as usize..(offsets[list + 1] - base) as usize
    }

    /// The scenario of a level for one of the tile's samples: 0 where it was not seen in training.
    pub fn scenario(&self, level: usize, row: usize) -> usize {
        let batch = self.batch();
        let levels = batch.scenarios.len() / batch.rows.max(1);
        batch.scenarios[(self.rows.start + row) * levels + level] as usize
    }

    /// The number of a sample's scenario among the `count` that were seen in training, from 0. None where it was not.
    pub(crate) fn seen_scenario(&self, level: usize, row: usize, count: usize) -> Option<usize> {
        self.scenario(level, row).checked_sub(1).filter(|scenario| *scenario < count)
    }

    /// [`Self::scenario`] of all of them.
    pub fn scenarios(&self, level: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.rows.len()).map(move |row| self.scenario(level, row))
    }

    /// The labels of a task for the tile's samples; NaN where missing.
    pub fn labels(&self, task: usize) -> impl Iterator<Item = f32> + '_ {
        let batch = self.batch();
        let tasks = batch.labels.len() / batch.rows.max(1);
        self.rows.clone().map(move |row| batch.labels[row * tasks + task])
    }

    /// How many rows a value of a domain has in this tile.
    pub(crate) fn len(&self, domain: Domain) -> usize {
        match domain {
            Domain::Rows => self.rows.len(),
            Domain::Positions(feature) => self.positions(feature).len(),
        }
    }
}

/// What an operation reads: values made before it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub(crate) buffers: &'a [Vec<f32>],
    /// The buffer of each value, where it is not the one of its number.
    pub(crate) buffer_of: Option<&'a [u32]>,
    pub(crate) values: &'a [Value],
}

impl<'a> Inputs<'a> {
    /// The numbers of an input.
    #[inline]
    pub fn get(&self, input: usize) -> &'a [f32] {
        let index = self.values[input].index();
        &self.buffers[self.buffer_of.map_or(index, |of| of[index] as usize)]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    #[cfg(feature = "train")]
    pub(crate) fn value(&self, input: usize) -> Value {
        self.values[input]
    }
}
