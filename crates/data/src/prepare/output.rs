//! A data set directory in the making: written beside its place, then renamed.

use crate::dataset::manifest::{MANIFEST, Manifest};
use kitestring_core::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory beside its place. Dropped before [`Output::commit`], it is removed.
pub(crate) struct Output {
    place: PathBuf,
    directory: TempDir,
}

impl Output {
    /// # Errors
    /// A place that holds something other than a data set, or cannot be written to.
    pub(crate) fn new(place: &Path) -> Result<Self> {
        let taken = place.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || place.is_file();
        if taken && !place.join(MANIFEST).is_file() {
            return Err(Error::config("there is something here that is not a data set")
                .in_file(place.display().to_string())
                .mend("choose another place for the data set"));
        }
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(|cause| Error::io(cause, "cannot make the folder", parent))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".preparing-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let directory =
            builder.tempdir_in(parent).map_err(|cause| Error::io(cause, "cannot make a folder in", parent))?;
        Ok(Self { place: place.to_owned(), directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the manifest and puts the directory in its place. A data set that was there is replaced.
    pub(crate) fn commit(self, manifest: &Manifest) -> Result<()> {
        let path = self.path().join(MANIFEST);
        let failed = |cause: std::io::Error| Error::io(cause, "cannot write", &path);
        let mut text = serde_json::to_vec_pretty(manifest)
            .map_err(|cause| Error::internal("cannot encode the manifest").caused_by(cause))?;
        text.push(b'\n');
        let mut file = std::fs::File::create(&path).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        drop(file);
        let Self { place, directory } = self;
        let moved = |cause: std::io::Error| Error::io(cause, "cannot put the data set in its place", &place);
        if !place.exists() {
            std::fs::rename(directory.path(), &place).map_err(moved)?;
            let _ = directory.keep();
            return Ok(());
        }
        // A full directory cannot be renamed over: the old one steps aside, and back should the new one fail to come.
        let parent = directory.path().parent().unwrap_or(Path::new("."));
        let aside = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent).map_err(moved)?;
        let old = aside.path().join("old");
        std::fs::rename(&place, &old).map_err(moved)?;
        if let Err(cause) = std::fs::rename(directory.path(), &place) {
            let _ = std::fs::rename(&old, &place);
            return Err(moved(cause));
        }
        let _ = directory.keep();
        Ok(())
    }
}
