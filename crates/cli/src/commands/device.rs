//! `kitestring device`: what a device does with an artifact.

use crate::arguments::{OutputArgs, Trust};
use crate::commands::write_beside;
use crate::output::{columns, say_line};
use crate::shipping;
use clap::{Args, Subcommand};
use kitestring_compress::measure::median;
use kitestring_core::artifact::delta;
use kitestring_core::schema::Of;
use kitestring_core::{Batch, Error, Ids, Result, Seed};
use kitestring_nn::kernels::int8::Int8Path;
use kitestring_nn::package::Runtime;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// What a device does with an artifact: open it, time it, bring it up to date
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring device show ranker.kite
  kitestring device bench ranker.kite
  kitestring device update ranker.kite next.delta --out next.kite")]
pub struct Device {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check an artifact and say what is in it
    Show(Show),
    /// Open, check and time an artifact on one core
    Bench(Bench),
    /// Make the newer artifact of an older one and a delta
    Update(Update),
}

#[derive(Debug, Args)]
struct Show {
    /// The artifact
    artifact: PathBuf,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct Bench {
    /// The artifact
    artifact: PathBuf,
    #[command(flatten)]
    trust: Trust,
    /// Candidates of a request; may be repeated
    #[arg(long, value_name = "N", default_values_t = [1, 100, 512])]
    candidates: Vec<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct Update {
    /// The older artifact
    artifact: PathBuf,
    /// The delta
    delta: PathBuf,
    /// The newer artifact to write; in the place of the older one when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

impl Device {
    /// # Errors
    /// An artifact that a device refuses; what the system says.
    pub fn execute(self) -> Result<()> {
        match self.command {
            Command::Show(command) => command.execute(),
            Command::Bench(command) => command.execute(),
            Command::Update(command) => command.execute(),
        }
    }
}

impl Show {
    fn execute(self) -> Result<()> {
        let artifact = shipping::open(&self.artifact, &[self.trust.key(&self.artifact)?])?;
        let manifest = artifact.manifest();
        self.output.line(&format!(
            "release {} of model {}, signed by {}",
            manifest.release,
            manifest.version,
            artifact.publisher()
        ))?;
        let features: Vec<&str> = manifest.schema.features.iter().map(|feature| feature.name.as_str()).collect();
        self.output.line(&format!("reads {}", features.join(", ")))?;
        let mut rows = vec![["table", "rows", "bytes a row"].map(String::from).to_vec()];
        for table in &manifest.tables {
            rows.push(vec![table.name.clone(), table.rows.to_string(), table.row_bytes.to_string()]);
        }
        self.output.text(&columns(&rows))?;
        let weights = manifest.pages.iter().filter_map(|page| Some((page.name.strip_prefix("weights/")?, page.length)));
        let weights = weights.map(|(name, bytes)| vec![name.to_owned(), bytes.to_string()]);
        let head = std::iter::once(["weight", "bytes"].map(String::from).to_vec());
        self.output.text(&columns(&head.chain(weights).collect::<Vec<_>>()))?;
        let network: u64 =
            manifest.pages.iter().filter(|page| !page.name.starts_with("rows/")).map(|page| page.length).sum();
        self.output.line(&format!("network {network} bytes, {} bytes in all", artifact.bytes().len()))?;
        self.output.object(manifest)
    }
}

impl Update {
    fn execute(self) -> Result<()> {
        let trusted = [self.trust.key(&self.artifact)?];
        let base = shipping::open(&self.artifact, &trusted)?;
        let fail = |error| Error::io(error, "could not read the delta", &self.delta);
        let changes = std::fs::read(&self.delta).map_err(fail)?;
        let made =
            delta::apply(&base, &changes, &trusted).map_err(|error| error.in_file(self.delta.display().to_string()))?;
        let out = self.out.as_deref().unwrap_or(&self.artifact);
        write_beside(out, made.bytes())?;
        write_beside(&shipping::public_file(out), format!("{}\n", made.publisher()).as_bytes())?;
        say_line(&format!("artifact: {}, release {}", out.display(), made.manifest().release))
    }
}

impl Bench {
    fn execute(self) -> Result<()> {
        let trusted = [self.trust.key(&self.artifact)?];
        if self.candidates.contains(&0) {
            return Err(Error::config("a request brings at least one candidate").in_field("--candidates"));
        }
        let start = Instant::now();
        let artifact = shipping::open(&self.artifact, &trusted)?;
        let opened = start.elapsed().as_secs_f64();
        let mut runtime = Runtime::open(artifact)?;
        let mut scores = Vec::new();
        runtime.score(&request(&runtime, 1)?, &mut scores)?;
        let first = start.elapsed().as_secs_f64();
        let mut rows = vec![["candidates", "µs a request", "µs a candidate"].map(String::from).to_vec()];
        let mut told = Vec::new();
        for count in &self.candidates {
            let request = request(&runtime, *count)?;
            let seconds = median(0.33, || runtime.score(&request, &mut scores))?;
            let (all, one) = (1e6 * seconds, 1e6 * seconds / *count as f64);
            rows.push(vec![count.to_string(), format!("{all:.1}"), format!("{one:.2}")]);
            told.push(json!({ "candidates": count, "microseconds": all }));
        }
        let resident = runtime.artifact().bytes().len() + runtime.memory();
        self.output.line(&format!(
            "opened and checked in {:.2} ms, first score after {:.2} ms",
            1e3 * opened,
            1e3 * first
        ))?;
        self.output
            .line(&format!("{resident} bytes resident, {} of them the file", runtime.artifact().bytes().len()))?;
        let path = runtime.packaged().codes.path().map(Int8Path::name);
        self.output.line(&match path {
            Some(path) => format!("products in int8: {path}"),
            None => "products in f32".into(),
        })?;
        self.output.text(&columns(&rows))?;
        self.output.object(&json!({
            "open_seconds": opened,
            "first_score_seconds": first,
            "resident_bytes": resident,
            "int8_path": path,
            "requests": told,
        }))
    }
}

/// Candidates of one user with rows that the artifact has, and lists as long as they may be.
fn request(runtime: &Runtime, candidates: usize) -> Result<Batch> {
    let artifact = runtime.artifact();
    let schema = &artifact.manifest().schema;
    let names = schema.table_names();
    let mut batch = Batch { rows: candidates, ..Batch::default() };
    for feature in schema.sparse() {
        let table = names.iter().position(|name| *name == feature.table()).unwrap_or_default();
        let keys = artifact.rows(table)?.keys;
        let seed = Seed(1).child(&feature.name);
        let draw = |at: usize| keys.get(seed.bits_at(at as u64) as usize % keys.len().max(1)).copied().unwrap_or(1);
        let shared = feature.of != Of::Item;
        // Lists that are read together have the same length in a real request, too.
        let length = if feature.is_ragged() { feature.length.min(50) } else { 1 };
        let lists = if shared { 1 } else { candidates };
        let offsets = (0..=lists as u32).map(|list| list * length as u32);
        batch.sparse.push(Ids {
            ids: (0..lists * length).map(draw).collect(),
            offsets: if feature.is_ragged() { offsets.collect() } else { Vec::new() },
            list_of_row: if shared { vec![0; candidates] } else { Vec::new() },
        });
    }
    batch.numeric = vec![0.5; candidates * schema.numeric().count()];
    batch.scenarios = vec![0; candidates * schema.scenarios.len()];
    Ok(batch)
}
