//! Where a run's data are, so that a run which was moved finds them.

use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// Where a run's data came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The format number of the run directory.
    pub(super) format: u32,
    /// The prepared data set.
    pub(super) dataset: StoredPath,
    /// The folder or file it was prepared from, where this run prepared it.
    pub(super) raw: Option<StoredPath>,
    /// The run whose model it started from, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<StoredPath>,
    /// The release of the last artifact made from the runs in this place, so that the next one counts on; 0 where there was none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A path as a run directory stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum StoredPath {
    /// Within the run, relative to it. Absolute in runs of format 1.
    Inside(PathBuf),
    /// Outside of the run.
    Outside {
        absolute: PathBuf,
        /// From the run.
        relative: PathBuf,
    },
}

impl StoredPath {
    /// A path as it is to be stored by the run in `place` whose parts are staged in `staged`.
    pub(super) fn new(path: &Path, staged: &Path, place: &Path) -> Self {
        let (path, staged, place) = (real(path), real(staged), real(place));
        for root in [&staged, &place] {
            if let Ok(inside) = path.strip_prefix(root) {
                return Self::Inside(inside.to_owned());
            }
        }
        Self::Outside { relative: relative(&path, &place), absolute: path }
    }

    /// Where it may be: of a run with parts in `directory` that is, or will be, in `place`; the likeliest first.
    pub(super) fn candidates(&self, directory: &Path, place: &Path) -> Vec<PathBuf> {
        match self {
            // Runs of format 1 did not say that their own data set moves along with them.
            Self::Inside(path) if path.is_absolute() => {
                std::iter::once(path.clone()).chain(path.file_name().map(|name| place.join(name))).collect()
            }
            Self::Inside(path) if directory == place => vec![place.join(path)],
            Self::Inside(path) => vec![directory.join(path), place.join(path)],
            Self::Outside { absolute, relative } => vec![absolute.clone(), place.join(relative)],
        }
    }

    /// Where it is, or was.
    pub(super) fn found(&self, directory: &Path, place: &Path) -> PathBuf {
        let mut candidates = self.candidates(directory, place);
        let there = candidates.iter().position(|path| path.exists()).unwrap_or(0);
        candidates.swap_remove(there)
    }
}

/// A path without links, where it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// The way from a directory to a path, both absolute.
fn relative(path: &Path, from: &Path) -> PathBuf {
    let common = path.components().zip(from.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_move_along_with_what_they_are_stored_in() {
        let stored = |path: &str| StoredPath::new(Path::new(path), Path::new("/p/run/unfinished"), Path::new("/p/run"));
        let at = |stored: &StoredPath, place: &str| stored.candidates(Path::new(place), Path::new(place));
        let inside = stored("/p/run/unfinished/dataset");
        assert_eq!(at(&inside, "/q/run"), [PathBuf::from("/q/run/dataset")]);
        assert_eq!(stored("/p/run/dataset"), inside);
        let outside = stored("/p/data/prepared");
        assert_eq!(at(&outside, "/q/run"), ["/p/data/prepared", "/q/run/../data/prepared"].map(PathBuf::from));
        // Format 1 knew absolute paths alone.
        let old: StoredPath = serde_json::from_str("\"/p/run/dataset\"").unwrap();
        assert_eq!(at(&old, "/q/run"), ["/p/run/dataset", "/q/run/dataset"].map(PathBuf::from));
    }
}
