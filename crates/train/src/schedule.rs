//! The learning rate at a step.

use crate::config::Schedule;

impl Schedule {
    /// The factor of the learning rate at a step, counted from 0, of a run of `total` steps.
    pub fn factor(self, step: u64, total: u64) -> f32 {
        let up = |warmup: u64| (step + 1) as f32 / warmup as f32;
        match self {
            Self::Constant | Self::Plateau { .. } => 1.0,
            Self::Warmup { steps } if step < steps => up(steps),
            Self::Warmup { .. } => 1.0,
            Self::Cosine { warmup } if step < warmup => up(warmup),
            Self::Cosine { warmup } => {
                let done = (step - warmup) as f32 / total.saturating_sub(warmup).max(1) as f32;
                0.5 * (1.0 + (std::f32::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        assert_eq!(Schedule::Constant.factor(5, 10), 1.0);
        assert_eq!(Schedule::Warmup { steps: 4 }.factor(0, 10), 0.25);
        assert_eq!(Schedule::Warmup { steps: 4 }.factor(4, 10), 1.0);
        let cosine = Schedule::Cosine { warmup: 2 };
        assert_eq!(cosine.factor(1, 12), 1.0);
        assert!((cosine.factor(7, 12) - 0.5).abs() < 1e-6);
        assert!(cosine.factor(12, 12) < 1e-6);
        assert!(Schedule::Cosine { warmup: 20 }.factor(3, 10).is_finite());
    }
}
