//! Every path of int8 products that a processor has, against sums of 64-bit integers: what `kitestring-paths` prints on it, under an emulator of
//! another one, or in node.

use kitestring_core::{Error, Result, Seed};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::kernels::int8::{Int8Path, Numbers, OFFSET, Packed, layer, products};
use kitestring_nn::quantization::affine::{Affine, Weights};

/// Numbers of inputs and outputs: around the blocks of all paths, and past what one of them widens at a time.
const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (3, 17),
    (4, 16),
    (7, 15),
    (8, 33),
    (9, 64),
    (16, 48),
    (17, 5),
    (64, 32),
    (100, 31),
    (1024, 16),
    (1030, 9),
];

/// Which codes there are: any of them, or those at either end.
const KINDS: [Kind; 6] =
    [Kind::Any, Kind::Ends, Kind::All(-128, -127), Kind::All(-128, 127), Kind::All(127, -127), Kind::All(127, 127)];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Ends,
    All(i8, i8),
}

/// The paths of this processor, each with the number of products that were the same; the one that is chosen first.
///
/// # Errors
/// A product that is another one.
pub fn check() -> Result<Vec<(Int8Path, usize)>> {
    let chosen = Int8Path::fastest();
    let mut paths: Vec<Int8Path> = Int8Path::ALL.into_iter().filter(|path| path.is_available()).collect();
    paths.sort_by_key(|path| Some(*path) != chosen);
    paths.into_iter().map(|path| Ok((path, check_path(path)?))).collect()
}

fn check_path(path: Int8Path) -> Result<usize> {
    let mut same = 0;
    for (inputs, outputs) in SHAPES {
        for (rows, kind) in [1, 2, 3, 6, 7, 13].into_iter().flat_map(|rows| KINDS.map(|kind| (rows, kind))) {
            let seed = Seed(1).at((rows * 1_000_003 + inputs * 1009 + outputs) as u64);
            let x = codes(seed.child("x"), rows * inputs, i8::MIN, kind);
            let w = codes(seed.child("w"), inputs * outputs, -127, kind);
            let sum = |row: usize, output: usize| -> i64 {
                (0..inputs).map(|k| i64::from(x[row * inputs + k]) * i64::from(w[k * outputs + output])).sum()
            };
            let expected: Vec<i64> = (0..rows * outputs).map(|at| sum(at / outputs, at % outputs)).collect();
            let weights = Weights { codes: w.clone(), scales: vec![1.0; outputs] };
            let packed = Packed::with_path(&weights, path)?;
            // What is between rows counts for nothing.
            let mut kept = vec![77; rows * packed.stride()];
            for (kept, x) in kept.chunks_exact_mut(packed.stride()).zip(x.chunks_exact(inputs)) {
                kept.iter_mut().zip(x).for_each(|(kept, code)| *kept = code.cast_unsigned() ^ OFFSET);
            }
            let mut sums = vec![-1; rows * outputs];
            products(&mut sums, &kept, &packed);
            let differs = |what: &str| {
                Error::internal(format!("{what} of {rows} × {inputs} × {outputs}, {kind:?}, by {}", path.name()))
            };
            if sums.iter().zip(&expected).any(|(sum, expected)| i64::from(*sum) != *expected) {
                return Err(differs("products"));
            }
            check_layer((&packed, &kept, outputs), &expected, seed).ok_or_else(|| differs("codes"))?;
            same += sums.len();
        }
    }
    Ok(same)
}

/// Whether the codes of the next layer are those of the sums.
fn check_layer((packed, kept, outputs): (&Packed, &[u8], usize), expected: &[i64], seed: Seed) -> Option<()> {
    let next = Affine::of_range(-0.6, 1.1).ok()?;
    let draw = |name: &str| (0..outputs as u64).map(|at| seed.child(name).normal_at(at)).collect::<Vec<f32>>();
    let (row, scales) = (draw("row"), draw("scales").iter().map(|x| 3e-5 * x.abs()).collect::<Vec<f32>>());
    let offsets: Vec<i32> = draw("offsets").iter().map(|x| (x * 500.0) as i32).collect();
    let of = Numbers { offsets: &offsets, scales: &scales, parts: &[], row: &row, activation: Activation::Relu };
    let rows = expected.len() / outputs;
    // Rows of codes are as far apart as the next layer's weights say.
    let next_weights = Packed::new(&Weights { codes: vec![0; outputs], scales: vec![1.0] }).ok()?;
    let (mut codes, mut sums) = (vec![0; rows * next_weights.stride()], vec![0; expected.len()]);
    layer(&mut codes, kept, packed, of, next, &mut sums);
    let found = codes.chunks_exact(next_weights.stride()).flat_map(|row| &row[..outputs]);
    let same = found.zip(expected).enumerate().all(|(at, (code, sum))| {
        let column = at % outputs;
        let number = row[column] + (*sum as i32 - offsets[column]) as f32 * scales[column];
        *code == next.encode(number.max(0.0)).cast_unsigned() ^ OFFSET
    });
    same.then_some(())
}

fn codes(seed: Seed, count: usize, least: i8, kind: Kind) -> Vec<i8> {
    let span = (128 - i64::from(least)) as u64;
    let code = |bits: u64| match kind {
        Kind::Any => (i64::from(least) + (bits % span) as i64) as i8,
        Kind::Ends if bits.is_multiple_of(2) => least,
        Kind::Ends => 127,
        Kind::All(x, w) => {
            if least == i8::MIN {
                x
            } else {
                w
            }
        }
    };
    (0..count as u64).map(|at| code(seed.bits_at(at))).collect()
}

/// What a module in node says: a bit for each path that is as it should be, by its number in [`Int8Path::ALL`], and −1 where one is not.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)] // A name for node. Nothing else has it.
#[unsafe(no_mangle)]
pub extern "C" fn paths() -> i32 {
    let Ok(found) = check() else { return -1 };
    found
        .iter()
        .filter_map(|(path, _)| Int8Path::ALL.iter().position(|other| other == path))
        .fold(0, |bits, at| bits | 1 << at)
}
