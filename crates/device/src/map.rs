//! Artifacts used where they lie on disk.
#![allow(unsafe_code)]

use kitestring_core::artifact::{Artifact, PublicKey};
use kitestring_core::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Maps an artifact into memory and checks all of it.
///
/// # Errors
/// What the file system says; a file that a device must refuse.
pub fn open(path: &Path, trusted: &[PublicKey]) -> Result<Artifact> {
    let file = File::open(path).map_err(|error| Error::io(error, "could not open the artifact", path))?;
    // SAFETY: a mapped file must not be changed while it is used. The shelf never writes into an artifact: it puts a new file in its place,
    // and the map keeps the old one. An app that lets others write into its files has lost more than this.
    let map = unsafe { memmap2::Mmap::map(&file) };
    let map = map.map_err(|error| Error::io(error, "could not map the artifact", path))?;
    Artifact::open(Box::new(map), trusted).map_err(|error| error.in_file(path.display().to_string()))
}
