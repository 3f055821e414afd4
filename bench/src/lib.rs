//! What several benchmarks need: the speed of this machine, to state a floor against.

use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use std::time::Instant;

/// Floating-point operations a second of a large product (512 × 512 matrices) on each worker at once.
pub fn peak(workers: &dyn Workers) -> f64 {
    let n = 512;
    let a = vec![0.5_f32; n * n];
    let repeats = 20;
    let start = Instant::now();
    workers.run(&|_| {
        let mut out = vec![0.0; n * n];
        for _ in 0..repeats {
            matmul(&mut out, Matrix::new(&a, n, n), &a, n, Start::Zero);
        }
    });
    (2 * n * n * n * repeats * workers.count()) as f64 / start.elapsed().as_secs_f64()
}
