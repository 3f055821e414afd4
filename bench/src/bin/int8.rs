//! Layers in eight bits against the same in f32: `cargo run --release -p kitestring-bench --bin int8 [rows=512] [path=avx2]`.
//!
//! A stack of layers 128-256-128-64-1 with rectifiers, one thread: products, biases and rectifiers in f32; and with activations encoded,
//! products summed exactly and decoded before each rectifier. The floor of both is two operations a weight and row, at the rate that the f32
//! product of 512 × 256 × 256 reaches here. Both take turns, and the least of the rounds' medians counts, so that a busy machine counts for little.
//! With a `path` (`avx512-vnni`, `avx-vnni`, `avx2`, `portable`) products of codes are summed that way, and all else does what a processor does
//! that has no better one.

use kitestring_bench::as_if_fastest;
use kitestring_core::Seed;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::kernels::int8::{Int8Path, Packed, decode, encode, products};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_nn::quantization::affine::{Affine, Weights};
use serde_json::json;
use std::time::Instant;

/// Rows that go through all layers together, as the engine has them: what is between layers stays in cache.
const TILE: usize = 64;

const WIDTHS: [usize; 5] = [128, 256, 128, 64, 1];

/// How often each is timed.
const ROUNDS: usize = 30;

struct Layer {
    weights: Vec<f32>,
    bias: Vec<f32>,
    packed: Packed,
    codes: Affine,
    offsets: Vec<i32>,
    scales: Vec<f32>,
    outputs: usize,
}

/// From a layer and what goes into it to what comes out.
type Through<'a> = &'a mut dyn FnMut(&Layer, &[f32], &mut [f32]);

fn main() {
    let (mut rows, mut path) = (512, Int8Path::fastest().unwrap_or(Int8Path::Portable));
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rows", number)) => rows = number.parse().unwrap_or_else(|_| panic!("`{number}` is no number")),
            Some(("path", name)) => path = as_if_fastest(name).unwrap_or_else(|error| panic!("{error}")),
            _ => panic!("`{argument}` is neither rows=N nor path=NAME"),
        }
    }
    let normal = |seed: Seed, count: usize, by: f32| -> Vec<f32> {
        (0..count as u64).map(|at| seed.normal_at(at) * by).collect()
    };
    let x = normal(Seed(1), rows * WIDTHS[0], 1.0);
    let mut layers = Vec::new();
    let mut activations = x.clone();
    for (at, width) in WIDTHS.windows(2).enumerate() {
        let (inputs, outputs) = (width[0], width[1]);
        let weights = normal(Seed(2).at(at as u64), inputs * outputs, (2.0 / inputs as f32).sqrt());
        let (low, high) = activations.iter().fold((0.0_f32, 0.0_f32), |(low, high), x| (low.min(*x), high.max(*x)));
        let codes = Affine::of_range(low, high).unwrap_or_else(|error| panic!("{error}"));
        let coded = Weights::per_column(&weights, outputs).unwrap_or_else(|error| panic!("{error}"));
        let scales = coded.scales.iter().map(|scale| scale * codes.scale).collect();
        let packed = Packed::with_path(&coded, path).unwrap_or_else(|error| panic!("{error}"));
        let offsets = packed.sums().iter().map(|sum| i32::from(codes.zero) * sum).collect();
        let layer = Layer { offsets, weights, bias: normal(Seed(3), outputs, 0.1), packed, codes, scales, outputs };
        let mut out = vec![0.0; rows * outputs];
        in_f32(&layer, &activations, &mut out);
        layers.push(layer);
        activations = out;
    }
    let mut buffers: Vec<Vec<f32>> = layers.iter().map(|layer| vec![0.0; TILE * layer.outputs]).collect();
    let (mut codes, mut sums) = (vec![0_u8; TILE * 256], vec![0_i32; TILE * 256]);
    let (mut expected, mut found) = (vec![0.0; rows], vec![0.0; rows]);
    let mut run = |results: &mut [f32], through: Through<'_>| {
        for (x, results) in x.chunks(TILE * WIDTHS[0]).zip(results.chunks_mut(TILE)) {
            let mut from = x;
            for (layer, out) in layers.iter().zip(&mut buffers) {
                let out = &mut out[..results.len() * layer.outputs];
                through(layer, from, out);
                from = out;
            }
            results.copy_from_slice(from);
        }
    };
    let (mut plain, mut small) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        plain = plain.min(median(|| run(&mut expected, &mut |layer, from, out| in_f32(layer, from, out))));
        let mut in_int8 =
            |layer: &Layer, from: &[f32], out: &mut [f32]| in_int8(layer, from, (&mut codes, &mut sums), out);
        small = small.min(median(|| run(&mut found, &mut in_int8)));
    }
    let off = expected.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    let off = off / expected.iter().map(|x| x * x).sum::<f32>().sqrt();
    let size = 256;
    let (left, right) = (normal(Seed(5), 512 * size, 1.0), normal(Seed(6), size * size, 1.0));
    let mut out = vec![0.0; 512 * size];
    let mut product = || matmul(&mut out, Matrix::new(&left, 512, size), &right, size, Start::Zero);
    let peak = (0..ROUNDS).map(|_| median(&mut product)).fold(f64::INFINITY, f64::min);
    let rate = 2.0 * (512 * size * size) as f64 / peak;
    let work: usize = WIDTHS.windows(2).map(|width| 2 * width[0] * width[1] * rows).sum();
    let floor = work as f64 / rate;
    println!("128-256-128-64-1, {rows} rows, one thread, int8 path {}", path.name());
    println!("floor at {:.0} GFLOP/s: {:8.1} µs", rate / 1e9, floor * 1e6);
    println!("f32:  {:8.1} µs", plain * 1e6);
    println!("int8: {:8.1} µs, {:.2} times as fast, off by {off:.4} of the result", small * 1e6, plain / small);
    println!(
        "{}",
        json!({ "task": "int8", "rows": rows, "path": path.name(), "floor_us": floor * 1e6, "f32_us": plain * 1e6, "int8_us": small * 1e6,
            "ratio": plain / small, "relative_error": off })
    );
}

fn in_f32(layer: &Layer, x: &[f32], out: &mut [f32]) {
    let rows = out.len() / layer.outputs;
    matmul(out, Matrix::new(x, rows, x.len() / rows), &layer.weights, layer.outputs, Start::Zero);
    Activation::Relu.apply_with_bias(out, &layer.bias);
}

fn in_int8(layer: &Layer, x: &[f32], (codes, sums): (&mut [u8], &mut [i32]), out: &mut [f32]) {
    // All widths of inputs here are multiples of four, so rows are side by side.
    encode(&mut codes[..x.len()], x, layer.codes);
    products(&mut sums[..out.len()], &codes[..x.len()], &layer.packed);
    decode(out, &sums[..out.len()], &layer.offsets, &layer.scales);
    Activation::Relu.apply_with_bias(out, &layer.bias);
}

/// The median time of a call.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
