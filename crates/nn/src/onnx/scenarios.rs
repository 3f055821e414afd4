//! What depends on a sample's scenario: rows of tables that hold one for each seen scenario, and one for all others.

use super::builder::{Attribute, Builder, Key, Tensor};
use crate::graph::Weight;
use crate::ops::partitioned_norm::PartitionedNorm;
use crate::ops::star_linear::StarLinear;
use kitestring_core::Result;

impl Builder<'_> {
    /// For each sample the row of its scenario in a table that has one for the unseen scenario and then one for each of `seen`.
    pub(super) fn scenario(&mut self, level: usize, seen: usize) -> Tensor {
        let all = self.scenarios();
        self.once(Key::Scenario(level, seen), |b| {
            let (level, last, unseen) = (b.whole(level as i64), b.whole(seen as i64), b.whole(0));
            let scenario = b.op_with("Gather", &[all, level], &[("axis", Attribute::Int(1))]);
            let known = b.op("LessOrEqual", &[scenario, last]);
            let scenario = b.op("Where", &[known, scenario, unseen]);
            b.op("Max", &[scenario, unseen])
        })
    }

    /// The row of each sample's scenario in a weight that has one for each of a level's seen scenarios. `unseen` fills that of others.
    pub(super) fn of_scenario(&mut self, table: Tensor, weight: Weight, unseen: f32, level: usize) -> Result<Tensor> {
        let row = self.floats("unseen", &[1, weight.columns as i64], &vec![unseen; weight.columns]);
        let table = self.op_with("Concat", &[row, table], &[("axis", Attribute::Int(0))]);
        let index = self.scenario(level, weight.rows);
        Ok(self.op("Gather", &[table, index]))
    }

    pub(super) fn partitioned_norm(&mut self, op: &PartitionedNorm, x: Tensor) -> Result<Tensor> {
        let [gamma, beta] = [self.weight(op.shared[0])?, self.weight(op.shared[1])?];
        let [own_gamma, own_beta] = [self.weight(op.own[0])?, self.weight(op.own[1])?];
        // What stands in for an unseen scenario does not depend on the batch.
        self.state_numbers(op.running, 2 * op.domains * op.width)?;
        self.state_numbers(op.heard, op.domains)?;
        let (mut mean, mut variance) = (vec![0.0; op.width], vec![0.0; op.width]);
        op.pool_moments(&self.network.state, &mut mean, &mut variance);
        let moments = |b: &mut Self, offset: usize, unseen: &[f32]| -> Result<Tensor> {
            let seen = b.state(offset)?;
            let unseen = b.floats("unseen", &[1, op.width as i64], unseen);
            let table = b.op_with("Concat", &[unseen, seen], &[("axis", Attribute::Int(0))]);
            let index = b.scenario(op.level, op.domains);
            Ok(b.op("Gather", &[table, index]))
        };
        let mean = moments(self, op.running, &mean)?;
        let variance = moments(self, op.running + op.domains * op.width, &variance)?;
        let own_gamma = self.of_scenario(own_gamma, op.own[0], 1.0, op.level)?;
        let own_beta = self.of_scenario(own_beta, op.own[1], 0.0, op.level)?;
        let centred = self.op("Sub", &[x, mean]);
        let deviation = self.deviation(variance, op.epsilon);
        let normal = self.op("Div", &[centred, deviation]);
        let gamma = self.op("Mul", &[gamma, own_gamma]);
        let scaled = self.op("Mul", &[normal, gamma]);
        let beta = self.op("Add", &[beta, own_beta]);
        Ok(self.op("Add", &[scaled, beta]))
    }

    /// Each sample reads the matrix of its own scenario: the one that a runtime can pick without knowing how samples are spread.
    pub(super) fn star_linear(&mut self, op: &StarLinear, x: Tensor) -> Result<Tensor> {
        let ((weight, bias), (own, own_bias)) = (op.shared, op.own);
        let [shared, bias] = [self.weight(weight)?, self.weight(bias)?];
        let [factors, own_biases] = [self.weight(own)?, self.weight(own_bias)?];
        let (k, n) = (weight.rows as i64, weight.columns as i64);
        let factors = self.reshape(factors, &[-1, k, n]);
        let products = self.op("Mul", &[factors, shared]);
        let unseen = self.unsqueeze(shared, &[0]);
        let table = self.op_with("Concat", &[unseen, products], &[("axis", Attribute::Int(0))]);
        let index = self.scenario(op.level, op.domains);
        let matrices = self.op("Gather", &[table, index]);
        let x = self.unsqueeze(x, &[1]);
        let y = self.op("MatMul", &[x, matrices]);
        let y = self.squeeze(y, 1);
        let own_bias = self.of_scenario(own_biases, own_bias, 0.0, op.level)?;
        let bias = self.op("Add", &[bias, own_bias]);
        let y = self.op("Add", &[y, bias]);
        Ok(self.activation(op.activation, y))
    }
}
