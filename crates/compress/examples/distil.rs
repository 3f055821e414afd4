//! A student of a run's model.
//!
//! ```text
//! cargo run --release -p kitestring-compress --example distil -- runs/teacher distil.toml runs/student valid
//! ```
//!
//! `distil.toml` holds the keys of [`Distil`]; the student's run goes on where it was killed, and is judged on the split named last.

use kitestring_compress::distil::{Distil, distil};
use kitestring_core::{Error, Result, Seed};
use kitestring_train::evaluate;
use kitestring_train::run::{Existing, Run, RunLock, RunParts, RunWriter};
use kitestring_train::workers::Threads;
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [teacher, how, out, split] = arguments.as_slice() else {
        return Err(Error::config("expected TEACHER DISTIL.toml OUT SPLIT"));
    };
    let text = std::fs::read_to_string(how).map_err(|error| Error::io(error, "could not read the config", how))?;
    let how: Distil =
        toml::from_str(&text).map_err(|error| Error::config("no config of a student").caused_by(error).in_file(how))?;

    let teacher = Run::open(Path::new(teacher))?;
    let (config, model, dataset) = (teacher.config()?, teacher.model()?, teacher.dataset(None)?);
    let mut writer = RunWriter::train(RunLock::create(Some(Path::new(out)))?, RunParts::RANKER, Existing::Resume)?;
    let run = writer.staged();
    run.begin(&how.student(&config)?, dataset.directory(), None, None)?;
    let student = distil(&model, &dataset, &config, &how, run.directory(), true, &mut |_| {})?;
    writer.commit()?;

    let threads = Threads::new(config.train.workers)?;
    let judge = |model, dataset| evaluate::quick(model, dataset, split, &config.evaluate, Seed(config.seed), &threads);
    let fitted = &student.fitted;
    let (of_teacher, of_student) = (judge(&model, &dataset)?, judge(&fitted.model, &student.dataset)?);
    println!("parameters (network, rows): teacher {:?}, student {:?}", model.parameters(), fitted.model.parameters());
    println!("trained at {:.0} samples a second", fitted.samples_per_second);
    for (metric, value) in of_student {
        println!(
            "{metric:>20}: teacher {:.5}, student {value:.5}",
            of_teacher.get(&metric).copied().unwrap_or(f64::NAN)
        );
    }
    Ok(())
}
