//! From a trained ranker to an artifact for a device.

use crate::commands::{create_beside, put, write_beside};
use crate::progress::Progress;
use kitestring_compress::config::CompressConfig;
use kitestring_compress::pipeline::{self, Order, Outcome, Setting};
use kitestring_compress::usage::needs;
use kitestring_core::artifact::{Aligned, Artifact, PublicKey, SecretKey, delta};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_train::assemble::environment;
use kitestring_train::report::{self, Report};
use kitestring_train::run::{Run, RunWriter};
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a run keeps what it ships, the artifact there, and the publisher's key.
pub const DEVICE: &str = "device";
pub const ARTIFACT: &str = "ranker.kite";
pub const KEY: &str = "publisher.key";

/// The device that `run` ships to.
const PHONE: &str = include_str!("../../../configs/device/phone-small.toml");

/// The file of the public key beside that of the secret one, or beside what was signed with it.
pub fn public_file(beside: &Path) -> PathBuf {
    beside.with_extension("pub")
}

/// Makes a key for artifacts: the secret one where only its owner reads, the public one beside it.
///
/// # Errors
/// A file that is there; what the system says.
pub fn make_key(path: &Path) -> Result<SecretKey> {
    if path.exists() {
        let error = Error::config("there is a key already").in_file(path.display().to_string());
        return Err(error.mend("name another file; what was signed with this one needs it"));
    }
    let fail = |error| Error::io(error, "could not write the key", path);
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
    let key = SecretKey::from_bytes(&bytes);
    write_beside(&public_file(path), format!("{}\n", key.public()).as_bytes())?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A temporary file is its owner's alone, and stays so.
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(fail)?;
    file.write_all(key.to_hex().as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(fail)?;
    file.persist_noclobber(path).map_err(|error| fail(error.error))?;
    Ok(key)
}

/// Reads a publisher's key.
///
/// # Errors
/// No such file, or one that is no key.
pub fn read_key(path: &Path) -> Result<SecretKey> {
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let text = text.map_err(|error| {
        Error::io(error, "could not read the key", path)
            .mend(format!("make one with kitestring key {}", path.display()))
    })?;
    SecretKey::from_hex(&text, &path.display().to_string())
}

/// The key of a run: made when it first ships.
///
/// # Errors
/// As [`read_key`] and [`make_key`].
pub fn key_of_run(directory: &Path) -> Result<SecretKey> {
    let path = directory.join(KEY);
    if path.exists() { read_key(&path) } else { make_key(&path) }
}

/// What is shipped, and where to.
pub struct Parcel<'a> {
    /// The device and the passes.
    pub config: &'a CompressConfig,
    /// The split that the ledger measures on; else `valid` where there is one, so that nothing is chosen by a test.
    pub split: Option<&'a str>,
    /// Users whose rows go along.
    pub users: &'a [String],
    /// The file to write.
    pub out: &'a Path,
    /// Where passes that train leave checkpoints, and whether they go on from those that are there.
    pub scratch: (&'a Path, bool),
    /// The publisher's key.
    pub key: &'a SecretKey,
    /// The artifact's release; else one more than that of the artifact that is there, or of the last one there was.
    pub release: Option<u64>,
    /// The release of the last artifact that there was, as far as the run knows.
    pub released: u64,
}

/// Makes an artifact. It is not written; [`write()`] does that where no limit is missed.
///
/// # Errors
/// What is wrong with the config, the data or the disk.
pub fn ship(
    parcel: &Parcel<'_>,
    (run, model, dataset): (&RunConfig, Model, &Dataset),
    progress: &mut Progress,
) -> Result<Outcome> {
    let vocabularies = dataset.vocabularies()?;
    let has = |name: &&str| dataset.splits().iter().any(|split| split.name() == *name);
    let split = parcel.split.or(["valid", "test", "train"].into_iter().find(has)).unwrap_or("train");
    let needs = needs(dataset, parcel.users, Seed(run.seed).child("train"))?;
    let release = parcel.release.unwrap_or_else(|| release_of(parcel.out, parcel.key).max(parcel.released) + 1);
    let order = Order { config: parcel.config, split, needs: &needs, release, key: parcel.key };
    let mut observe = |step: pipeline::Progress<'_>| progress.shipping(step);
    let mut setting = Setting::new((dataset, &vocabularies), run, parcel.scratch, &mut observe);
    pipeline::compress(model, &order, &mut setting)
}

/// The release of the artifact that is there; 0 where there is none of this publisher.
fn release_of(path: &Path, key: &SecretKey) -> u64 {
    open(path, &[key.public()]).map_or(0, |artifact| artifact.manifest().release)
}

/// Opens an artifact.
///
/// # Errors
/// What the file system says; one that a device refuses.
pub fn open(path: &Path, trusted: &[PublicKey]) -> Result<Artifact> {
    kitestring_device::map::open(path, trusted)
}

/// Writes what was shipped: the artifact with its public key beside it, or none where a limit is missed; and its page.
///
/// # Errors
/// What the system says.
pub fn write(out: &Path, outcome: &Outcome, run: &RunConfig, public: &PublicKey) -> Result<PathBuf> {
    if outcome.missed.is_empty() {
        write_beside(out, &outcome.file)?;
        write_beside(&public_file(out), format!("{public}\n").as_bytes())?;
    }
    let page = out.with_extension("html");
    let report = Report {
        title: format!("{} for {}", run.name.as_deref().unwrap_or("a ranker"), outcome.ledger.device),
        seed: Some(run.seed),
        intervals: "95 % bootstrap, 200 draws".into(),
        shipped: Some(outcome.ledger.clone()),
        environment: environment(Threads::new(1)?.count()),
        ..Report::default()
    };
    write_beside(&page, report::html(&report).as_bytes())?;
    Ok(page)
}

/// That an artifact misses limits.
pub fn refusal(missed: &[String]) -> Error {
    let error = Error::data(format!("the artifact is not written, for it misses {}", missed.join(", ")));
    error.in_field("device.limits").mend("add or sharpen a pass, or raise the limit")
}

/// Writes the delta from an older artifact to what was shipped.
///
/// # Errors
/// An older artifact that is none of this publisher's; what the system says.
pub fn write_delta(from: &Path, outcome: &Outcome, key: &SecretKey, out: &Path) -> Result<(u64, delta::Summary)> {
    let trusted = [key.public()];
    let base = open(from, &trusted)?;
    let target = Artifact::open(Box::new(Aligned::from(outcome.file.as_slice())), &trusted)?;
    let (bytes, summary) = delta::make(&base, &target)?;
    let fail = |error| Error::io(error, "could not write the delta", out);
    let mut file = create_beside(out)?;
    file.write_all(&bytes).map_err(fail)?;
    put(file, out)?;
    Ok((bytes.len() as u64, summary))
}

/// Ships the ranker of a run to the phone that `run` knows of, into a folder of the run.
///
/// # Errors
/// What is wrong with the data or the disk. A missed limit is no error: it is in what comes back.
pub fn ship_run(run: &Run, config: &RunConfig, dataset: &Dataset, progress: &mut Progress) -> Result<Outcome> {
    let device = CompressConfig::parse(PHONE, &[])?;
    let folder = run.directory().join(DEVICE);
    std::fs::create_dir_all(&folder).map_err(|error| Error::io(error, "could not make the folder", &folder))?;
    let key = key_of_run(&folder)?;
    let out = folder.join(ARTIFACT);
    let parcel = Parcel {
        config: &device,
        split: None,
        users: &[],
        out: &out,
        scratch: (&folder, false),
        key: &key,
        release: None,
        released: run.origin()?.released,
    };
    let outcome = ship(&parcel, (config, run.model()?, dataset), progress)?;
    write(&out, &outcome, config, &key.public())?;
    if outcome.missed.is_empty() {
        run.note_release(outcome.release)?;
    }
    Ok(outcome)
}

/// Notes in a run in the making what was released before from its place: a device does not go back by itself, and the artifact that says so
/// may go.
///
/// # Errors
/// What the file system says.
pub fn carry_release(writer: &RunWriter) -> Result<()> {
    let folder = writer.place().join(DEVICE);
    let Ok(key) = read_key(&folder.join(KEY)) else { return Ok(()) };
    writer.staged().note_release(release_of(&folder.join(ARTIFACT), &key))
}
