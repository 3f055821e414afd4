//! What a sample's scenario hears from the towers of all scenarios: the task weights of HMoE (Li et al. 2020).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use serde::{Deserialize, Serialize};

/// `y_t = Σ_j a_j z_{j,t}` over the scenarios j of a level, for each task t. The gradient of a sample reaches `z_j` only of the sample's own
/// scenario, and `a` whole: others are heard, and not taught. For a scenario that was not seen in training (number 0) every term is one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioMix {
    /// The level.
    pub level: usize,
    /// How many scenarios were seen in training.
    pub scenarios: usize,
    /// How many tasks.
    pub tasks: usize,
}

impl Graph {
    /// Mixtures of `z`, whose columns are the tasks of the first scenario, of the second and so on, by `weights`, one a scenario:
    /// `rows × tasks`.
    ///
    /// # Panics
    /// If `z` is no multiple of the weights: a defect of the calling slot.
    pub fn scenario_mix(&mut self, weights: Value, z: Value, level: usize) -> Value {
        let scenarios = self.width(weights);
        let tasks = self.width(z) / scenarios.max(1);
        assert_eq!(self.width(z), scenarios * tasks, "one column a scenario and task");
        let op = ScenarioMix { level, scenarios, tasks };
        self.record(super::Op::ScenarioMix(op), &[weights, z], Domain::Rows, tasks)
    }
}

impl Operation for ScenarioMix {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let (weights, z) = (inputs.get(0).chunks_exact(self.scenarios), inputs.get(1));
        let rows = weights.zip(z.chunks_exact(self.scenarios * self.tasks));
        for (out, (weights, z)) in out.chunks_exact_mut(self.tasks).zip(rows) {
            out.fill(0.0);
            for (weight, z) in weights.iter().zip(z.chunks_exact(self.tasks)) {
                out.iter_mut().zip(z).for_each(|(out, z)| *out += weight * z);
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (tasks, scenarios) = (self.tasks, self.scenarios);
        let (weights, z) = (pass.inputs.get(0), pass.inputs.get(1));
        let out_grad = std::mem::take(&mut pass.out_grad);
        if let Some((grad, add)) = pass.input_grad(0) {
            let rows = grad.chunks_exact_mut(scenarios).zip(z.chunks_exact(scenarios * tasks));
            for ((grad, z), g) in rows.zip(out_grad.chunks_exact(tasks)) {
                for (grad, z) in grad.iter_mut().zip(z.chunks_exact(tasks)) {
                    let sum: f32 = g.iter().zip(z).map(|(g, z)| g * z).sum();
                    *grad = if add { *grad + sum } else { sum };
                }
            }
        }
        let Some(grad) = pass.input_grad_to_add(1) else { return };
        let rows = grad.chunks_exact_mut(scenarios * tasks).zip(weights.chunks_exact(scenarios));
        for (row, ((grad, weights), g)) in rows.zip(out_grad.chunks_exact(tasks)).enumerate() {
            let active = cx.seen_scenario(self.level, row, scenarios);
            for (scenario, (grad, weight)) in grad.chunks_exact_mut(tasks).zip(weights).enumerate() {
                if active.is_none_or(|active| active == scenario) {
                    grad.iter_mut().zip(g).for_each(|(grad, g)| *grad += weight * g);
                }
            }
        }
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (2 * out_rows * self.scenarios * self.tasks) as u64, bytes: 0 }
    }
}
