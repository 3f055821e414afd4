//! The artifact that an app uses, in a folder of its own: what is new is checked before it takes the place of what is there, and a kill or a
//! full disk at any moment leaves one of them whole.

use crate::map;
use kitestring_core::artifact::{Aligned, Artifact, PublicKey, delta};
use kitestring_core::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The artifact in use, and what is being written.
const CURRENT: &str = "ranker.kite";
const NEXT: &str = "ranker.next";

/// A folder with the artifact that is in use.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    trusted: Vec<PublicKey>,
}

impl Shelf {
    /// A shelf in a folder, which is made where it is not there. `trusted` are the keys of those who may publish. What a killed update left
    /// half-written goes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(folder: &Path, trusted: &[PublicKey]) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(error, "could not make the folder", folder))?;
        match std::fs::remove_file(folder.join(NEXT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(error, "could not remove a half-written artifact", folder.join(NEXT)));
            }
            _ => {}
        }
        Ok(Self { folder: folder.to_owned(), trusted: trusted.to_vec() })
    }

    /// The artifact in use, mapped into memory; none before the first one.
    ///
    /// # Errors
    /// What the file system says; an artifact that was changed on disk.
    pub fn current(&self) -> Result<Option<Artifact>> {
        let path = self.folder.join(CURRENT);
        if path.exists() { map::open(&path, &self.trusted).map(Some) } else { Ok(None) }
    }

    /// Puts an artifact in the place of the one in use.
    ///
    /// # Errors
    /// One that cannot be trusted, is older than that in use, or reads features that `provided` does not name; what the file system says. The
    /// one in use stays then.
    pub fn install(&self, file: &[u8], provided: &[&str]) -> Result<Artifact> {
        let artifact = Artifact::open(Box::new(Aligned::from(file)), &self.trusted)?;
        self.put(&artifact, provided)
    }

    /// Makes the newer artifact of the one in use and a delta, and puts it in its place.
    ///
    /// # Errors
    /// As [`Self::install`]; nothing in use, or a delta for another artifact.
    pub fn update(&self, delta: &[u8], provided: &[&str]) -> Result<Artifact> {
        let current = self.current()?.ok_or_else(|| {
            Error::data("there is no artifact that the delta could change").mend("get the whole artifact")
        })?;
        self.put(&delta::apply(&current, delta, &self.trusted)?, provided)
    }

    fn put(&self, artifact: &Artifact, provided: &[&str]) -> Result<Artifact> {
        let manifest = artifact.manifest();
        if let Some(missing) = manifest.schema.features.iter().find(|of| !provided.contains(&of.name.as_str())) {
            let error = Error::data("the artifact reads a feature that the app does not provide");
            return Err(error.in_field(&missing.name).mend("update the app, or make the artifact without it"));
        }
        if let Some(before) = self.current().ok().flatten()
            && before.manifest().release > manifest.release
        {
            let (now, new) = (before.manifest().release, manifest.release);
            return Err(Error::data(format!("release {new} is older than release {now}, which is in use")));
        }
        let (next, place) = (self.folder.join(NEXT), self.folder.join(CURRENT));
        let fail = |error| Error::io(error, "could not write the artifact", &next);
        let written = File::create(&next).and_then(|mut file| {
            file.write_all(artifact.bytes())?;
            file.sync_all()
        });
        if let Err(error) = written {
            // A full disk has to give back what it took.
            let _ = std::fs::remove_file(&next);
            return Err(fail(error));
        }
        std::fs::rename(&next, &place).map_err(fail)?;
        // The name is on disk when the folder is; where a folder cannot be synced, the file system does it in its own time.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        map::open(&place, &self.trusted)
    }
}
