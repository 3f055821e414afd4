#![allow(clippy::unwrap_used)]
use super::*;
use kitestring_core::Seed;

/// Sums that go on as codes, or as numbers, are what they are step by step.
#[test]
fn sums_go_on_as_they_would_step_by_step() {
    let seed = Seed(21);
    for (rows, columns, with_parts) in [(1, 16, true), (5, 33, false), (7, 3, true), (2, 48, false)] {
        let draw = |name: &str, count: usize| -> Vec<f32> {
            (0..count as u64).map(|at| seed.child(name).at(columns as u64).normal_at(at)).collect()
        };
        let sums: Vec<i32> = draw("sums", rows * columns).iter().map(|x| (x * 9000.0) as i32).collect();
        let offsets: Vec<i32> = draw("offsets", columns).iter().map(|x| (x * 500.0) as i32).collect();
        let scales: Vec<f32> = draw("scales", columns).iter().map(|x| 1e-4 * x.abs()).collect();
        let row = draw("row", columns);
        let parts = if with_parts { draw("parts", rows * columns) } else { Vec::new() };
        let next = Affine::of_range(-0.5, 2.0).unwrap();
        let f = |x: f32| if x < 0.0 { 0.1 * x } else { x };
        let stride = columns.next_multiple_of(GROUP);
        let (mut codes, mut found) = (vec![99_u8; rows * stride], vec![0.0; rows * columns]);
        requantize(&mut codes, &sums, (&offsets, &scales), &parts, &row, next, f);
        activate(&mut found, &sums, (&offsets, &scales), &parts, &row, f);
        for at in 0..rows {
            for column in 0..columns {
                let part = parts.get(at * columns + column).copied().unwrap_or(0.0);
                let sum = sums[at * columns + column] - offsets[column];
                let x = f(row[column] + part + sum as f32 * scales[column]);
                assert_eq!(codes[at * stride + column], offset(next.encode(x)), "{rows} × {columns}");
                assert_eq!(found[at * columns + column], x);
            }
        }
    }
}

/// What follows a layer while its sums are in registers is what follows it step by step, to the bit: for any number of rows and columns.
#[test]
fn layers_are_what_they_are_step_by_step() {
    let activations = [Activation::None, Activation::Relu, Activation::Sigmoid, Activation::Tanh];
    for (rows, inputs, outputs) in
        [(0, 4, 16), (1, 4, 16), (9, 32, 64), (17, 5, 33), (50, 64, 32), (23, 7, 3), (31, 12, 48), (16, 9, 80)]
    {
        let seed = Seed(22).at(outputs as u64);
        let draw = |name: &str, count: usize| -> Vec<f32> {
            (0..count as u64).map(|at| seed.child(name).normal_at(at)).collect()
        };
        let (x, packed, _) = case(rows, inputs, outputs, false);
        let offsets: Vec<i32> = draw("offsets", outputs).iter().map(|x| (x * 500.0) as i32).collect();
        let scales: Vec<f32> = draw("scales", outputs).iter().map(|x| 3e-5 * x.abs()).collect();
        let (row, last, all) = (draw("row", outputs), draw("last", outputs), draw("parts", rows * outputs));
        let next = Affine::of_range(-0.6, 1.1).unwrap();
        for (activation, parts) in activations.into_iter().flat_map(|f| [(f, &all[..]), (f, &[])]) {
            let f = |x: f32| {
                let mut x = [x];
                activation.apply(&mut x);
                x[0]
            };
            let of = Numbers { offsets: &offsets, scales: &scales, parts, row: &row, activation };
            let (mut sums, mut numbers) = (vec![0; rows * outputs], vec![0.0; rows * outputs]);
            products(&mut sums, &x, &packed);
            let stride = outputs.next_multiple_of(GROUP);
            let mut expected = vec![99_u8; rows * stride];
            requantize(&mut expected, &sums, (&offsets, &scales), parts, &row, next, f);
            let mut found = vec![99_u8; rows * stride];
            layer(&mut found, &x, &packed, of, next, &mut sums);
            // What is between rows counts for nothing.
            for (found, expected) in found.chunks(stride).zip(expected.chunks(stride)) {
                assert_eq!(found[..outputs], expected[..outputs], "{rows} × {inputs} × {outputs}, {activation:?}");
            }

            products(&mut sums, &x, &packed);
            activate(&mut numbers, &sums, (&offsets, &scales), parts, &row, f);
            let (mut expected, mut found) = (vec![0.0; rows], vec![f32::NAN; rows]);
            score_rows(&mut expected, &numbers, &last, 0.3, 0.7);
            last_layers(&mut found, &x, &packed, of, (&last, 0.3, 0.7), (&mut sums, &mut numbers));
            assert_eq!(found, expected, "{rows} × {inputs} × {outputs}, {activation:?}");
        }
    }
}

/// Numbers that are none, or beyond all codes, go the same way.
#[test]
fn ends_of_codes_are_the_same_in_a_layer() {
    let (x, packed, _) = case(2, 4, 16, false);
    let (offsets, scales) = (vec![0; 16], vec![1e-3; 16]);
    let ends = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 3e9, -3e9, 0.0];
    let row: Vec<f32> = ends.into_iter().cycle().take(16).collect();
    let next = Affine::of_range(-0.6, 1.1).unwrap();
    for activation in [Activation::None, Activation::Relu] {
        let of = Numbers { offsets: &offsets, scales: &scales, parts: &[], row: &row, activation };
        let (mut sums, mut found, mut expected) = (vec![0; 32], vec![9; 32], vec![9; 32]);
        products(&mut sums, &x, &packed);
        match activation {
            Activation::Relu => requantize(&mut expected, &sums, (&offsets, &scales), &[], &row, next, relu),
            _ => requantize(&mut expected, &sums, (&offsets, &scales), &[], &row, next, |x| x),
        }
        layer(&mut found, &x, &packed, of, next, &mut sums);
        assert_eq!(found, expected, "{activation:?}");
    }
}

fn codes(seed: Seed, count: usize, least: i64) -> Vec<i8> {
    let span = (128 - least) as u64;
    (0..count as u64).map(|at| (least + (seed.bits_at(at) % span) as i64) as i8).collect()
}

fn case(rows: usize, inputs: usize, outputs: usize, extreme: bool) -> (Vec<u8>, Packed, Vec<i32>) {
    let seed = Seed(1).at((rows * 1_000_003 + inputs * 1009 + outputs) as u64);
    let weights = if extreme { vec![-127; inputs * outputs] } else { codes(seed.child("w"), inputs * outputs, -127) };
    let x = if extreme { vec![-128; rows * inputs] } else { codes(seed.child("x"), rows * inputs, -128) };
    let packed = Packed::new(&Weights { codes: weights.clone(), scales: vec![1.0; outputs] }).unwrap();
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
    (apart, packed, expected)
}

/// Every path gives the sums of 64-bit integers, at any shape and at the ends of the codes.
#[test]
fn products_are_exact() {
    for rows in [0, 1, 2, 6, 7, 13] {
        for inputs in [0, 1, 3, 4, 17, 64] {
            for outputs in [1, 15, 16, 17, 33, 48, 65] {
                for extreme in [false, true] {
                    let (x, packed, expected) = case(rows, inputs, outputs, extreme);
                    let mut found = vec![-1; rows * outputs];
                    products(&mut found, &x, &packed);
                    assert_eq!(found, expected, "{rows} × {inputs} × {outputs}");
                    if inputs > 0 {
                        found.fill(-1);
                        portable(&mut found, &x, &packed.codes, &packed.sums, packed.stride());
                        assert_eq!(found, expected, "portable, {rows} × {inputs} × {outputs}");
                    }
                }
            }
        }
    }
    assert!(Packed::new(&Weights { codes: vec![0; MOST_INPUTS + 1], scales: vec![1.0] }).is_err());
}

/// With activations that have a zero of their own, the products of what the codes stand for.
#[test]
fn zeros_are_taken_out() {
    let (rows, inputs, outputs, zero, scale) = (3, 9, 5, -64, 0.02_f32);
    let (x, packed, _) = case(rows, inputs, outputs, false);
    let scales: Vec<f32> = (0..outputs).map(|at| 0.01 * (at + 1) as f32).collect();
    let (mut sums, mut found) = (vec![0; rows * outputs], vec![0.0; rows * outputs]);
    products(&mut sums, &x, &packed);
    let both: Vec<f32> = scales.iter().map(|of_weights| of_weights * scale).collect();
    let offsets: Vec<i32> = packed.sums().iter().map(|sum| zero * sum).collect();
    decode(&mut found, &sums, &offsets, &both);
    for row in 0..rows {
        for (output, of_weights) in scales.iter().enumerate() {
            let expected: f32 = (0..inputs)
                .map(|k| {
                    let weight = packed.codes[((output / LANES * packed.stride() / GROUP + k / GROUP) * LANES
                        + output % LANES)
                        * GROUP
                        + k % GROUP];
                    (i32::from(x[row * packed.stride() + k]) - 128 - zero) as f32
                        * scale
                        * f32::from(weight)
                        * of_weights
                })
                .sum();
            assert!((found[row * outputs + output] - expected).abs() < 1e-4 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn codes_of_activations() {
    let x = [-1.0, 0.0, 1.0, 3.0, -9.0, 9.0, f32::NAN];
    let mut found = [0; 7];
    encode(&mut found, &x, Affine::of_range(-1.0, 3.0).unwrap());
    assert_eq!(found, [0, 64, 128, 255, 0, 255, 0]);
}
