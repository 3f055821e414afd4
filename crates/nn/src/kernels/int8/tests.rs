#![allow(clippy::unwrap_used)]
use super::follow::offset;
use super::*;
use crate::quantization::affine::Weights;
use kitestring_core::Seed;

/// The paths of this processor.
fn paths() -> impl Iterator<Item = Int8Path> {
    Int8Path::ALL.into_iter().filter(|path| path.is_available())
}

/// What follows sums, number by number.
fn numbers_of(sums: &[i32], of: Numbers<'_>) -> Vec<f32> {
    let columns = of.row.len();
    let number = |(at, sum): (usize, &i32)| {
        let (column, part) = (at % columns, of.parts.get(at).copied().unwrap_or(0.0));
        of.row[column] + part + (sum - of.offsets[column]) as f32 * of.scales[column]
    };
    let mut numbers: Vec<f32> = sums.iter().enumerate().map(number).collect();
    of.activation.apply(&mut numbers);
    numbers
}

/// The codes of numbers, in rows as far apart as the next layer reads them.
fn codes_of(numbers: &[f32], columns: usize, next: Affine) -> Vec<u8> {
    let rows = numbers.chunks_exact(columns).map(|row| {
        let codes = row.iter().map(|x| offset(next.encode(*x)));
        codes.chain(std::iter::repeat(99)).take(columns.next_multiple_of(GROUP)).collect::<Vec<u8>>()
    });
    rows.flatten().collect()
}

/// What follows a layer while its sums are in registers is what follows it step by step, to the bit: for any number of rows and columns.
#[test]
fn layers_are_what_they_are_step_by_step() {
    let activations = [Activation::None, Activation::Relu, Activation::Sigmoid, Activation::Tanh];
    for (rows, inputs, outputs) in [
        (0, 4, 16),
        (1, 4, 16),
        (9, 32, 64),
        (17, 5, 33),
        (50, 64, 32),
        (23, 7, 3),
        (31, 12, 48),
        (16, 9, 80),
        (4, 1030, 19),
        (3, 8, 30),
    ] {
        let seed = Seed(22).at(outputs as u64);
        let draw = |name: &str, count: usize| -> Vec<f32> {
            (0..count as u64).map(|at| seed.child(name).normal_at(at)).collect()
        };
        let offsets: Vec<i32> = draw("offsets", outputs).iter().map(|x| (x * 500.0) as i32).collect();
        let scales: Vec<f32> = draw("scales", outputs).iter().map(|x| 3e-5 * x.abs()).collect();
        let (row, last, all) = (draw("row", outputs), draw("last", outputs), draw("parts", rows * outputs));
        let next = Affine::of_range(-0.6, 1.1).unwrap();
        let each = activations.into_iter().flat_map(|f| [(f, &all[..]), (f, &[])]);
        for (path, (activation, parts)) in paths().flat_map(|path| each.clone().map(move |each| (path, each))) {
            let Case { x, packed, .. } = Case::new(path, rows, inputs, outputs, Ends::Inside);
            let of = Numbers { offsets: &offsets, scales: &scales, parts, row: &row, activation };
            let (mut sums, mut numbers) = (vec![0; rows * outputs], vec![0.0; rows * outputs]);
            products(&mut sums, &x, &packed);
            let (stride, expected_numbers) = (outputs.next_multiple_of(GROUP), numbers_of(&sums, of));
            let expected = codes_of(&expected_numbers, outputs, next);
            let mut found = vec![99_u8; rows * stride];
            layer(&mut found, &x, &packed, of, next, &mut sums);
            // What is between rows counts for nothing.
            for (found, expected) in found.chunks(stride).zip(expected.chunks(stride)) {
                assert_eq!(
                    found[..outputs],
                    expected[..outputs],
                    "{path:?}, {rows} × {inputs} × {outputs}, {activation:?}"
                );
            }

            if parts.is_empty() {
                let mut found = vec![f32::NAN; rows * outputs];
                dense(&mut found, &x, &packed, of, &mut sums);
                assert_eq!(found, expected_numbers, "{path:?}, {rows} × {inputs} × {outputs}, {activation:?}");
            }
            let (mut expected, mut found) = (vec![0.0; rows], vec![f32::NAN; rows]);
            score_rows(&mut expected, &expected_numbers, &last, 0.3, 0.7);
            last_layers(&mut found, &x, &packed, of, (&last, 0.3, 0.7), (&mut sums, &mut numbers));
            assert_eq!(found, expected, "{path:?}, {rows} × {inputs} × {outputs}, {activation:?}");
        }
    }
}

/// Numbers that are none, or beyond all codes, go the same way.
#[test]
fn ends_of_codes_are_the_same_in_a_layer() {
    let (offsets, scales) = (vec![0; 16], vec![1e-3; 16]);
    let ends = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 3e9, -3e9, 0.0];
    let row: Vec<f32> = ends.into_iter().cycle().take(16).collect();
    let next = Affine::of_range(-0.6, 1.1).unwrap();
    for (path, activation) in paths().flat_map(|path| [Activation::None, Activation::Relu].map(|f| (path, f))) {
        let Case { x, packed, .. } = Case::new(path, 2, 4, 16, Ends::Inside);
        let of = Numbers { offsets: &offsets, scales: &scales, parts: &[], row: &row, activation };
        let (mut sums, mut found) = (vec![0; 32], vec![9; 32]);
        products(&mut sums, &x, &packed);
        let expected = codes_of(&numbers_of(&sums, of), 16, next);
        layer(&mut found, &x, &packed, of, next, &mut sums);
        assert_eq!(found, expected, "{path:?}, {activation:?}");
    }
}

fn codes(seed: Seed, count: usize, least: i64) -> Vec<i8> {
    let span = (128 - least) as u64;
    (0..count as u64).map(|at| (least + (seed.bits_at(at) % span) as i64) as i8).collect()
}

/// Which codes a case has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    /// Any.
    Inside,
    /// All activations and all weights at one end each.
    Of(i8, i8),
    /// At either end, as it comes.
    Mixed,
}

const ENDS: [Ends; 6] =
    [Ends::Inside, Ends::Of(-128, -127), Ends::Of(-128, 127), Ends::Of(127, -127), Ends::Of(127, 127), Ends::Mixed];

/// Codes of activations as they are kept, weights, and the sums of their products in 64 bits.
struct Case {
    x: Vec<u8>,
    weights: Vec<i8>,
    packed: Packed,
    expected: Vec<i32>,
}

impl Case {
    fn new(path: Int8Path, rows: usize, inputs: usize, outputs: usize, ends: Ends) -> Self {
        let seed = Seed(1).at((rows * 1_000_003 + inputs * 1009 + outputs) as u64);
        let draw = |name: &str, count: usize, least: i8, of: fn((i8, i8)) -> i8| match ends {
            Ends::Inside => codes(seed.child(name), count, i64::from(least)),
            Ends::Of(x, w) => vec![of((x, w)); count],
            Ends::Mixed => {
                let end = |at| if seed.child(name).bits_at(at).is_multiple_of(2) { least } else { 127 };
                (0..count as u64).map(end).collect()
            }
        };
        let (weights, x) = (draw("w", inputs * outputs, -127, |of| of.1), draw("x", rows * inputs, -128, |of| of.0));
        let packed = Packed::with_path(&Weights { codes: weights.clone(), scales: vec![1.0; outputs] }, path).unwrap();
        // What is between rows counts for nothing.
        let mut apart = vec![77_u8; rows * packed.stride()];
        let mut expected = vec![0; rows * outputs];
        for row in 0..rows {
            let into = apart[row * packed.stride()..].iter_mut().zip(&x[row * inputs..][..inputs]);
            into.for_each(|(into, code)| *into = offset(*code));
            for output in 0..outputs {
                let products =
                    (0..inputs).map(|k| i64::from(x[row * inputs + k]) * i64::from(weights[k * outputs + output]));
                expected[row * outputs + output] = products.sum::<i64>() as i32;
            }
        }
        Self { x: apart, weights, packed, expected }
    }
}

/// Every path gives the sums of 64-bit integers: at shapes around its blocks, for any codes and for those at the ends.
#[test]
fn products_are_exact() {
    let shapes = [0, 1, 3, 4, 17, 64]
        .into_iter()
        .flat_map(|inputs| [1, 8, 15, 16, 17, 33, 48, 65].map(|outputs| (inputs, outputs)));
    // Past what is widened at a time.
    for (inputs, outputs) in shapes.chain([(509, 9), (1023, 24), (1024, 16), (1025, 33), (2051, 5)]) {
        for rows in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17] {
            for (path, ends) in paths().flat_map(|path| ENDS.map(|ends| (path, ends))) {
                let Case { x, packed, expected, .. } = Case::new(path, rows, inputs, outputs, ends);
                let mut found = vec![-1; rows * outputs];
                products(&mut found, &x, &packed);
                assert_eq!(found, expected, "{path:?}, {rows} × {inputs} × {outputs}, {ends:?}");
            }
        }
    }
    let refused = |codes: Vec<i8>| assert!(Packed::new(&Weights { codes, scales: vec![1.0] }).is_err());
    refused(vec![0; MOST_INPUTS + 1]);
    refused(vec![i8::MIN]);
}

/// A name is a path's, and what no processor has at once is refused.
#[test]
fn paths_have_names() {
    for path in Int8Path::ALL {
        assert_eq!(Int8Path::from_name(path.name()).unwrap(), path);
        let weights = Weights { codes: vec![1; 4], scales: vec![1.0] };
        assert_eq!(Packed::with_path(&weights, path).is_ok(), path.is_available(), "{path:?}");
    }
    assert!(Int8Path::from_name("avx").is_err());
    assert!(Int8Path::fastest().is_none_or(|path| path.is_available() && path != Int8Path::Portable));
}

/// With activations that have a zero of their own, the products of what the codes stand for.
#[test]
fn zeros_are_taken_out() {
    let (rows, inputs, outputs, zero, scale) = (3, 9, 5, -64, 0.02_f32);
    let Case { x, packed, weights, .. } = Case::new(Int8Path::Portable, rows, inputs, outputs, Ends::Inside);
    let scales: Vec<f32> = (0..outputs).map(|at| 0.01 * (at + 1) as f32).collect();
    let (mut sums, mut found) = (vec![0; rows * outputs], vec![0.0; rows * outputs]);
    products(&mut sums, &x, &packed);
    let both: Vec<f32> = scales.iter().map(|of_weights| of_weights * scale).collect();
    let offsets: Vec<i32> = packed.sums().iter().map(|sum| zero * sum).collect();
    decode(&mut found, &sums, &offsets, &both);
    for row in 0..rows {
        for (output, of_weights) in scales.iter().enumerate() {
            let products = (0..inputs).map(|k| {
                let code = i32::from(x[row * packed.stride() + k]) - i32::from(OFFSET) - zero;
                code as f32 * scale * f32::from(weights[k * outputs + output]) * of_weights
            });
            let expected: f32 = products.sum();
            assert!((found[row * outputs + output] - expected).abs() < 1e-4 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn codes_of_activations() {
    let x = [-1.0, 0.0, 1.0, 3.0, -9.0, 9.0, f32::NAN];
    let mut found = [0; 7];
    encode(&mut found, &x, Affine::of_range(-1.0, 3.0).unwrap());
    assert_eq!(found.map(|code| code ^ OFFSET ^ 128), [0, 64, 128, 255, 0, 255, 0]);
}
