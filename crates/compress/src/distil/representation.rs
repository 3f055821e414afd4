//! The teacher's representation (FitNets, Romero et al. 2015): what the teacher's logits are made of, from a linear map of what the student's
//! are. The map is learned along and belongs to neither: it is in no model, only in checkpoints.

use kitestring_core::{Error, Result, Seed};
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul, transpose};
use kitestring_nn::optimizer::{Optimizer, Rule};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["representation", "representation.first", "representation.second"];

/// A linear map from the student's representation to the teacher's.
#[derive(Debug)]
pub(super) struct Map {
    widths: [usize; 2],
    weights: Vec<f32>,
    gradient: Vec<f32>,
    optimizer: Optimizer,
    /// The matrix, transposed.
    transposed: Vec<f32>,
    /// What the map makes, and then the gradient of it.
    made: Vec<f32>,
}

impl Map {
    /// A map between representations of these widths.
    ///
    /// # Errors
    /// A config error if a parameter of the rule is out of its range.
    pub(super) fn new(student: usize, teacher: usize, rule: Rule, seed: Seed) -> Result<Self> {
        let mut graph = Graph::new();
        let x = graph.numeric(student);
        graph.linear(x, teacher, Activation::None);
        Ok(Self {
            widths: [student, teacher],
            weights: graph.initial_weights(seed.child("representation")),
            gradient: vec![0.0; graph.weight_count()],
            optimizer: Optimizer::new(rule, 0.0, &graph)?,
            transposed: vec![0.0; student * teacher],
            made: Vec::new(),
        })
    }

    /// The mean over samples and columns of the squared error, where `weights` gives each sample's share of the mean. Overwrites `gradient`
    /// by the gradient by the student's representation, times `factor`, and learns the map by a step of length `rate`.
    pub(super) fn learn(
        &mut self,
        (student, teacher): (&[f32], &[f32]),
        weights: impl Fn(usize) -> f64,
        (factor, rate): (f64, f32),
        gradient: &mut [f32],
    ) -> f64 {
        let [inputs, outputs] = self.widths;
        let rows = student.len() / inputs;
        let matrix = inputs * outputs;
        self.made.resize(rows * outputs, 0.0);
        let (map, bias) = self.weights.split_at(matrix);
        matmul(&mut self.made, Matrix::new(student, rows, inputs), map, outputs, Start::Row(bias));
        let mut loss = 0.0;
        for (row, (made, teacher)) in self.made.chunks_exact_mut(outputs).zip(teacher.chunks_exact(outputs)).enumerate()
        {
            let share = weights(row) / outputs as f64;
            for (made, teacher) in made.iter_mut().zip(teacher) {
                let error = f64::from(*made) - f64::from(*teacher);
                loss += share * error * error;
                *made = (2.0 * factor * share * error) as f32;
            }
        }
        transpose(&mut self.transposed, map, inputs, outputs);
        matmul(gradient, Matrix::new(&self.made, rows, outputs), &self.transposed, inputs, Start::Zero);
        let (of_map, of_bias) = self.gradient.split_at_mut(matrix);
        matmul(of_map, Matrix::new(student, rows, inputs).transposed(), &self.made, outputs, Start::Zero);
        of_bias.fill(0.0);
        for made in self.made.chunks_exact(outputs) {
            of_bias.iter_mut().zip(made).for_each(|(sum, made)| *sum += made);
        }
        self.optimizer.apply(&mut self.weights, &self.gradient, rate);
        loss
    }

    /// What a checkpoint keeps.
    pub(super) fn memory(&self) -> Vec<(String, &[f32])> {
        let (_, first, second) = self.optimizer.memory();
        NAMES.iter().map(|name| (*name).to_owned()).zip([&self.weights, first, second]).collect()
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// The memory of another map.
    pub(super) fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        let [weights, first, second] = NAMES.map(|name| memory.get(name).map_or(&[][..], Vec::as_slice));
        self.optimizer.restore(steps, first, second)?;
        if weights.len() != self.weights.len() {
            return Err(Error::format("the map of representations is that of another student")
                .mend("resume with the config of the run, or start a new one"));
        }
        self.weights.copy_from_slice(weights);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn drawn(name: &str, count: usize) -> Vec<f32> {
        (0..count as u64).map(|at| Seed(4).child(name).normal_at(at)).collect()
    }

    fn loss_at(weights: &[f32], student: &[f32], teacher: &[f32]) -> (f64, Vec<f32>, Vec<f32>) {
        let mut map = Map::new(3, 2, Rule::Sgd { momentum: 0.0 }, Seed(1)).unwrap();
        map.weights.copy_from_slice(weights);
        let mut gradient = vec![f32::NAN; student.len()];
        let loss = map.learn((student, teacher), |row| [0.5, 0.2, 0.3, 0.0][row], (1.5, 0.0), &mut gradient);
        (loss, gradient, map.gradient)
    }

    #[test]
    fn gradients_are_finite_differences() {
        let (student, teacher, weights) = (drawn("student", 12), drawn("teacher", 8), drawn("map", 8));
        let (_, by_student, by_map) = loss_at(&weights, &student, &teacher);
        let step = 1.0 / 128.0;
        let check = |found: &[f32], of: &dyn Fn(usize, f32) -> f64| {
            for (at, found) in found.iter().enumerate() {
                // The loss is quadratic: central differences are exact.
                let expected = 1.5 * (of(at, step) - of(at, -step)) / f64::from(2.0 * step);
                assert!((f64::from(*found) - expected).abs() < 2e-4, "{at}: {found} {expected}");
            }
        };
        let moved = |values: &[f32], at: usize, by: f32| {
            let mut values = values.to_vec();
            values[at] += by;
            values
        };
        check(&by_student, &|at, by| loss_at(&weights, &moved(&student, at, by), &teacher).0);
        check(&by_map, &|at, by| loss_at(&moved(&weights, at, by), &student, &teacher).0);
        assert_eq!(by_student[9..], [0.0; 3], "a sample without weight");
    }

    #[test]
    fn a_linear_teacher_is_found_and_the_way_there_goes_on_from_memory() {
        let student = drawn("student", 60);
        let teacher: Vec<f32> =
            student.chunks_exact(3).flat_map(|x| [x[0] - 2.0 * x[2] + 0.5, 0.3 * x[1] - 1.0]).collect();
        let rule = Rule::default();
        let mut map = Map::new(3, 2, rule, Seed(2)).unwrap();
        let mut gradient = vec![0.0; 60];
        let mut step = |map: &mut Map| map.learn((&student, &teacher), |_| 1.0 / 20.0, (1.0, 0.05), &mut gradient);
        let first = step(&mut map);
        for _ in 1..300 {
            step(&mut map);
        }
        let memory = map.memory().into_iter().map(|(name, values)| (name, values.to_vec())).collect();
        let mut again = Map::new(3, 2, rule, Seed(3)).unwrap();
        again.restore(300, &memory).unwrap();
        let losses = [step(&mut map), step(&mut map)];
        assert_eq!([step(&mut again), step(&mut again)], losses);
        assert!(losses[1] < 1e-3 * first, "{first} {losses:?}");
        assert!(Map::new(2, 2, rule, Seed(3)).unwrap().restore(300, &memory).is_err());
    }
}
