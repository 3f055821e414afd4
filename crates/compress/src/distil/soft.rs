//! Soft targets: what a student's logit loses against the teacher's, and the derivative by the student's logit (Hinton, Vinyals and Dean
//! 2015).
//!
//! With probabilities softened by a temperature `T` the loss is `T² KL(σ(z_t / T) ‖ σ(z_s / T))`: the factor keeps the gradient's size, which
//! falls with `T²`. As `T → ∞` the gradient becomes `(z_s − z_t) / 4`, a match of logits; at `T = 1` it is that of the cross-entropy with the
//! teacher's probability as the label, and with the share α of it that of the label `(1 − α) y + α σ(z_t)`. The loss is 0 where both agree.

use kitestring_core::schema::TaskKind;

/// A loss and its derivative by the student's logit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Soft {
    /// The loss, not negative.
    pub loss: f64,
    /// Its derivative.
    pub slope: f64,
}

/// The loss of a task's logit. A regression's is half the squared error; a count's the divergence of Poisson distributions with the rates
/// `e^z`, `e^{z_s} − e^{z_t} + e^{z_t} (z_t − z_s)`. The temperature is that of binary tasks.
pub fn soft(kind: TaskKind, teacher: f32, student: f32, temperature: f64) -> Soft {
    let (t, s) = (f64::from(teacher), f64::from(student));
    match kind {
        TaskKind::Binary => {
            let (t, s) = (t / temperature, s / temperature);
            let (p, q) = (sigmoid(t), sigmoid(s));
            // ln(1 + e^s) − s p is the cross-entropy.
            let divergence = softplus(s) - softplus(t) + p * (t - s);
            Soft { loss: temperature * temperature * divergence.max(0.0), slope: temperature * (q - p) }
        }
        TaskKind::Regression => Soft { loss: 0.5 * (s - t) * (s - t), slope: s - t },
        TaskKind::Count => {
            let (rate, own) = (t.exp(), s.exp());
            Soft { loss: (own - rate + rate * (t - s)).max(0.0), slope: own - rate }
        }
    }
}

/// `T² KL(softmax(z_t / T) ‖ softmax(z_s / T))` over classes; adds its gradient to `gradient`, which is as long as both. A binary task is the
/// case of the two classes `(z, 0)`.
pub fn soft_classes(teacher: &[f32], student: &[f32], temperature: f64, gradient: &mut [f64]) -> f64 {
    let normalizer = |logits: &[f32]| {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, z| largest.max(f64::from(*z) / temperature));
        let sum: f64 = logits.iter().map(|z| (f64::from(*z) / temperature - largest).exp()).sum();
        largest + sum.ln()
    };
    let (of_teacher, of_student) = (normalizer(teacher), normalizer(student));
    let mut divergence = 0.0;
    for ((t, s), gradient) in teacher.iter().zip(student).zip(gradient) {
        let (t, s) = (f64::from(*t) / temperature - of_teacher, f64::from(*s) / temperature - of_student);
        divergence += t.exp() * (t - s);
        *gradient += temperature * (s.exp() - t.exp());
    }
    temperature * temperature * divergence.max(0.0)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [TaskKind; 3] = [TaskKind::Binary, TaskKind::Regression, TaskKind::Count];

    #[test]
    fn classes_golden() {
        let mut gradient = [0.0; 3];
        let loss = soft_classes(&[2.0, 1.0, 0.0], &[1.0, 1.0, 1.0], 2.0, &mut gradient);
        assert!((loss - 0.313_683_8).abs() < 1e-7 && (loss / 4.0 - 0.078_421_0).abs() < 1e-7, "{loss}");
        assert!(gradient.iter().sum::<f64>().abs() < 1e-12);
        // Hinton's loss of a label of class 0: the share of it that is not soft is the cross-entropy ln 3.
        let alpha = 0.3;
        let hinton = (1.0 - alpha) * 3.0_f64.ln() + alpha * loss;
        assert!((hinton - 0.863_133_7).abs() < 1e-6, "{hinton}");
    }

    #[test]
    fn slopes_are_finite_differences() {
        for kind in KINDS {
            for (t, s, temperature) in [(0.7_f32, -0.4_f32, 1.0), (-2.0, 1.5, 3.0), (3.0, 2.0, 0.5)] {
                let step = 1.0 / 1024.0;
                let of = |s: f32| soft(kind, t, s, temperature).loss;
                let found = soft(kind, t, s, temperature).slope;
                let expected = (of(s + step) - of(s - step)) / f64::from(2.0 * step);
                assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{kind:?} {found} {expected}");
            }
        }
        let (teacher, student, step) = ([0.3_f32, -1.0, 2.0, 0.1], [1.0_f32, 0.5, -0.7, 0.0], 1.0 / 1024.0);
        let mut gradient = [0.0; 4];
        soft_classes(&teacher, &student, 1.7, &mut gradient);
        for class in 0..4 {
            let of = |by: f32| {
                let mut moved = student;
                moved[class] += by;
                soft_classes(&teacher, &moved, 1.7, &mut [0.0; 4])
            };
            let expected = (of(step) - of(-step)) / f64::from(2.0 * step);
            assert!((gradient[class] - expected).abs() < 1e-5, "{} {expected}", gradient[class]);
        }
    }

    #[test]
    fn a_binary_task_is_two_classes() {
        for (t, s, temperature) in [(0.7_f32, -0.4_f32, 1.0), (-2.0, 5.0, 4.0), (30.0, -20.0, 1.0)] {
            let mut gradient = [0.0; 2];
            let loss = soft_classes(&[t, 0.0], &[s, 0.0], temperature, &mut gradient);
            let found = soft(TaskKind::Binary, t, s, temperature);
            assert!((found.loss - loss).abs() < 1e-9 * loss.max(1.0) && (found.slope - gradient[0]).abs() < 1e-12);
        }
    }

    /// At T = 1 labels and teacher mix into one label.
    #[test]
    fn mixed_labels() {
        for (y, t, s) in [(1.0, 0.4_f32, -0.3_f32), (0.0, -3.0, 2.0), (1.0, 6.0, 0.1)] {
            let alpha = 0.35;
            let cross_entropy = |label: f64| softplus(f64::from(s)) - label * f64::from(s);
            let p = sigmoid(f64::from(t));
            let entropy = softplus(f64::from(t)) - p * f64::from(t);
            let found = soft(TaskKind::Binary, t, s, 1.0);
            let loss = (1.0 - alpha) * cross_entropy(y) + alpha * found.loss;
            let mixed = (1.0 - alpha) * y + alpha * p;
            assert!((loss - (cross_entropy(mixed) - alpha * entropy)).abs() < 1e-12);
            let slope = (1.0 - alpha) * (sigmoid(f64::from(s)) - y) + alpha * found.slope;
            assert!((slope - (sigmoid(f64::from(s)) - mixed)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_high_temperature_matches_logits() {
        let found = soft(TaskKind::Binary, 1.25, -0.5, 1e4);
        assert!((found.slope - (-0.5 - 1.25) / 4.0).abs() < 1e-6, "{}", found.slope);
        assert!((found.loss - 1.75 * 1.75 / 8.0).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn agreement_loses_nothing_and_extremes_stay_finite() {
        for kind in KINDS {
            for z in [-40.0_f32, -1.3, 0.0, 0.2, 40.0] {
                assert_eq!(soft(kind, z, z, 2.5), Soft::default(), "{kind:?} {z}");
            }
            let far = soft(kind, -80.0, 80.0, 1.0);
            assert!(far.loss.is_finite() && far.loss > 0.0 && far.slope.is_finite());
        }
        let (z, mut gradient) = ([0.3_f32, -2.0, 9.0], [0.0; 3]);
        assert_eq!(soft_classes(&z, &z, 3.0, &mut gradient), 0.0);
        assert_eq!(gradient, [0.0; 3]);
    }
}
