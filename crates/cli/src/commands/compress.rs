//! `kitestring compress`: from a run to an artifact for a device.

use crate::arguments::{DatasetPlace, OutputArgs};
use crate::shipping::{self, ARTIFACT, DEVICE, Parcel};
use clap::Args;
use kitestring_compress::config::CompressConfig;
use kitestring_core::{Error, Result};
use kitestring_train::report::ledger_text;
use kitestring_train::run::{RunLock, RunWriter};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Make a trained ranker small enough for a device: an artifact, and a ledger of what each pass saved and cost
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring compress runs/din --for configs/device/phone-small.toml --out ranker.kite
  kitestring compress runs/din --for configs/device/phone-small.toml --out mine.kite --user 42
  kitestring compress runs/later --for configs/device/phone-small.toml --delta-from ranker.kite")]
pub struct Compress {
    /// The run directory
    run: PathBuf,
    /// What the device can carry, and the passes
    #[arg(long = "for", value_name = "CONFIG")]
    device: PathBuf,
    /// The artifact to write; device/ranker.kite of the run when absent. Its page is beside it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The publisher's key, from `kitestring key`; one of the run's own when absent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Send the rows that this user needs along; may be repeated
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// Measure on this split; valid when absent, else test
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// The artifact's release; one more than that of the file in its place when absent
    #[arg(long, value_name = "N")]
    release: Option<u64>,
    /// Write also what this older artifact does not have, into a file beside --out with the ending .delta
    #[arg(long, value_name = "FILE")]
    delta_from: Option<PathBuf>,
    /// Go on with a pass that trains where it was killed
    #[arg(long)]
    resume: bool,
    /// Override a key of the device's config; may be repeated. A pass is named by its number from 0
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    output: OutputArgs,
}

impl Compress {
    /// # Errors
    /// A directory that is no finished run, what is wrong with the config or the disk; an artifact that misses a limit.
    pub fn execute(self) -> Result<()> {
        let device = CompressConfig::read(&self.device, &self.set)?;
        let mut writer = RunWriter::update(RunLock::open(&self.run, Duration::ZERO)?)?;
        let run = writer.run().ok_or_else(|| Error::internal("a run was opened that is none"))?;
        let (config, model) = (run.config()?, run.model()?);
        let dataset = run.dataset(self.dataset.given())?;
        let folder = run.directory().join(DEVICE);
        std::fs::create_dir_all(&folder).map_err(|error| Error::io(error, "could not make the folder", &folder))?;
        let key = match &self.key {
            Some(path) => shipping::read_key(path)?,
            None => shipping::key_of_run(&folder)?,
        };
        let out = self.out.clone().unwrap_or_else(|| folder.join(ARTIFACT));
        let real = |path: &Path| path.canonicalize().ok();
        // The run's own artifact takes the place of the one before with its page, its key and its delta.
        let own = out.parent().and_then(real).is_some_and(|parent| real(&folder) == Some(parent));
        if own {
            let staged = writer.staged().directory().join(DEVICE);
            std::fs::create_dir_all(&staged).map_err(|error| Error::io(error, "could not make the folder", &staged))?;
        }
        let mut progress = self.output.progress()?;
        let parcel = Parcel {
            config: &device,
            split: self.split.as_deref(),
            users: &self.user,
            out: &out,
            scratch: (&folder, self.resume),
            key: &key,
            release: self.release,
            released: if own { run.origin()?.released } else { 0 },
        };
        let outcome = shipping::ship(&parcel, (&config, model, &dataset), &mut progress)?;
        let (delta, page) = (out.with_extension("delta"), out.with_extension("html"));
        let staged = |path: &Path| match path.file_name() {
            Some(name) if own => writer.staged().directory().join(DEVICE).join(name),
            _ => path.to_owned(),
        };
        let changes = match &self.delta_from {
            Some(from) if outcome.missed.is_empty() => {
                Some(shipping::write_delta(from, &outcome, &key, &staged(&delta))?)
            }
            _ => None,
        };
        shipping::write(&staged(&out), &outcome, &config, &key.public())?;
        if own {
            if outcome.missed.is_empty() {
                writer.staged().note_release(outcome.release)?;
            }
            writer.commit()?;
        }
        drop(progress);
        self.output.text(&ledger_text(&outcome.ledger))?;
        self.output.line(&format!("page: {}", page.display()))?;
        if !outcome.missed.is_empty() {
            return Err(shipping::refusal(&outcome.missed).in_file(self.device.display().to_string()));
        }
        self.output.line(&format!(
            "artifact: {}, {} bytes, signed by {}",
            out.display(),
            outcome.file.len(),
            key.public()
        ))?;
        if let Some((bytes, found)) = &changes {
            let rows = format!("{} rows added, {} changed, {} evicted", found.added, found.changed, found.evicted);
            self.output.line(&format!("delta: {}, {bytes} bytes: {} pages, {rows}", delta.display(), found.pages))?;
        }
        self.output.object(&json!({
            "artifact": out,
            "page": page,
            "public_key": key.public().to_string(),
            "bytes": outcome.file.len(),
            "delta": changes.as_ref().map(|(bytes, found)| json!({
                "file": delta,
                "bytes": bytes,
                "pages": found.pages,
                "rows_added": found.added,
                "rows_changed": found.changed,
                "rows_evicted": found.evicted,
            })),
            "ledger": outcome.ledger,
        }))
    }
}
