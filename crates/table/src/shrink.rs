//! L2 on rows that are not touched: how much they have shrunk since they were last brought up to date.

/// The running sum of ln(1 − learning rate · λ) over the steps. A row brought up to date at step a has, at step b, shrunk by
/// the factor exp(sum(b) − sum(a)).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shrinkage {
    /// `sums[s]` is the sum over the steps 1 to s.
    pub(crate) sums: Vec<f64>,
}

impl Shrinkage {
    /// Enters a step. Steps that were never announced count with the same learning rate.
    pub(crate) fn enter(&mut self, step: usize, amount: f32) {
        if self.sums.is_empty() {
            self.sums.push(0.0);
        }
        while self.sums.len() <= step {
            let sum = self.sums.last().copied().unwrap_or(0.0) + (-f64::from(amount)).ln_1p();
            self.sums.push(sum);
        }
    }

    /// The last step entered.
    pub(crate) fn step(&self) -> u32 {
        self.sums.len().saturating_sub(1) as u32
    }

    /// The factor from one step's end to another's.
    #[inline(always)]
    pub(crate) fn factor(&self, from: u32, to: u32) -> f32 {
        if from >= to {
            return 1.0;
        }
        match (self.sums.get(from as usize), self.sums.get(to as usize)) {
            (Some(from), Some(to)) => (to - from).exp() as f32,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_product() {
        let mut shrinkage = Shrinkage::default();
        let amounts = [0.1f32, 0.02, 0.3, 0.0];
        for (index, amount) in amounts.iter().enumerate() {
            shrinkage.enter(index + 1, *amount);
        }
        assert_eq!(shrinkage.step(), 4);
        let product = (1.0 - 0.02) * (1.0 - 0.3);
        assert!((shrinkage.factor(1, 4) - product).abs() < 1e-7);
        assert_eq!(shrinkage.factor(3, 3), 1.0);
        assert_eq!(shrinkage.factor(0, 0), 1.0);
    }
}
