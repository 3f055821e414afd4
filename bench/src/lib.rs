//! What several benchmarks need: a config's data set from their arguments, the speed of this machine, to state a floor against, and
//! experiments from several seeds.

pub mod by_hand;
pub mod seeds;

use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::int8::Int8Path;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::RunConfig;
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// A config and its data set, prepared for the moment.
pub struct Prepared {
    /// The config, with overrides.
    pub config: RunConfig,
    /// The data set.
    pub dataset: Dataset,
    /// The split named in the arguments.
    pub split: String,
    /// Where the data set lies, and where more may.
    pub place: TempDir,
    /// Seconds that preparing took.
    pub seconds: f64,
}

impl Prepared {
    /// Reads the arguments `CONFIG DATA [SPLIT] [key=value …]` and prepares the data. Ends the process where they are too few.
    ///
    /// # Errors
    /// What is wrong with the config or the data.
    pub fn from_arguments(name: &str, split: &str) -> Result<Self> {
        let mut arguments = std::env::args().skip(1);
        let (Some(config), Some(data)) = (arguments.next(), arguments.next()) else {
            eprintln!("usage: {name} CONFIG DATA [SPLIT] [key=value …]");
            std::process::exit(2);
        };
        let split = arguments.next().unwrap_or_else(|| split.into());
        let overrides: Vec<String> = arguments.collect();
        let config = RetrieveConfig::overridden(RunConfig::read_as_written(Path::new(&config))?, &overrides)?;
        let place =
            tempfile::tempdir().map_err(|error| Error::io(error, "could not make a folder", "the temporary folder"))?;
        let out = place.path().join("dataset");
        let start = Instant::now();
        let opened = layout::open(&config.data, Path::new(&data))?;
        let seed = Seed(config.seed).child("prepare");
        prepare_folder(&opened, &config.data, &config.schema, (seed, None), &out, &mut |_| {})?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Self { dataset: Dataset::open(&out)?, config, split, place, seconds })
    }
}

/// The path of a name for products of codes. All other loops of this process are kept from vectors that a processor without a better path would not
/// have, so that what is held against them is what it does there.
///
/// # Errors
/// A name that no path has.
pub fn as_if_fastest(name: &str) -> Result<Int8Path> {
    let path = Int8Path::from_name(name)?;
    #[cfg(target_arch = "x86_64")]
    if path != Int8Path::Avx512Vnni {
        kitestring_nn::kernels::keep_to_avx2();
    }
    Ok(path)
}

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
