//! One score from the predictions of several tasks.

use crate::config::EvaluateConfig;
use kitestring_core::Schema;

/// `Π_t ŷ_t^{w_t}` (Zhao et al. 2019, section 4.1): what candidates are ranked by. A prediction that is not positive counts as the smallest
/// one, so that a task cannot turn the order of the others around.
#[derive(Debug, Clone, PartialEq)]
pub struct Combine {
    powers: Vec<(usize, f32)>,
}

impl Combine {
    /// The score a config asks for; `alone` is the task that stands for itself where it asks for none.
    pub fn new(schema: &Schema, config: &EvaluateConfig, alone: usize) -> Self {
        let powers = config.score.iter().filter_map(|(task, power)| Some((schema.task(task)?, *power)));
        let powers: Vec<_> = powers.collect();
        Self { powers: if powers.is_empty() { vec![(alone, 1.0)] } else { powers } }
    }

    /// The score of a sample; `prediction` gives that of a task.
    pub fn score(&self, prediction: impl Fn(usize) -> f32) -> f32 {
        match self.powers.as_slice() {
            // To the bit what the task predicts.
            [(task, 1.0)] => prediction(*task),
            powers => {
                powers.iter().map(|(task, power)| prediction(*task).max(f32::MIN_POSITIVE).powf(*power)).product()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::schema::Task;

    #[test]
    fn products_of_powers() {
        let schema = Schema { tasks: ["click", "buy", "stay"].map(Task::binary).into(), ..Schema::default() };
        let mut config = EvaluateConfig::default();
        let predictions = [0.25_f32, 0.5, -1.0];
        let score = |config: &EvaluateConfig| Combine::new(&schema, config, 1).score(|task| predictions[task]);
        assert_eq!(score(&config), 0.5);
        config.score = [("click".to_owned(), 0.5), ("buy".to_owned(), 2.0)].into();
        assert!((score(&config) - 0.5 * 0.25).abs() < 1e-7);
        config.score = [("stay".to_owned(), 1.0), ("click".to_owned(), 1.0)].into();
        assert!(score(&config) >= 0.0 && score(&config) < 1e-30);
    }
}
