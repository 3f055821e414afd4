//! Parts of a run exchanged together: all of them, or none.
//!
//! What a command makes lies in a directory of its own within the run (the staged parts). When all is there, a list of what is to come and
//! what is to go is written beside it, and the directory is renamed to `.swap`: from that moment on the run *is* the new one. Then each part
//! is moved to its place. Whoever opens a run and finds a `.swap`, for its process was killed, moves what is left of it first; a part that is
//! no longer there was moved. Renames and removals need no space, so a full disk is met before the one rename that decides, never after.

use super::files::remove;
use super::lock;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// Where staged parts lie once they are the run's.
pub(super) const SWAP: &str = ".swap";
/// What is to come and to go, among them.
const LIST: &str = "swap.json";
/// Where old parts wait to be removed.
pub(super) const OLD: &str = ".old";

/// What is exchanged: paths relative to the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exchange {
    /// Parts that take the place of the run's, or are new.
    pub(super) put: Vec<PathBuf>,
    /// Parts of the run that go.
    pub(super) remove: Vec<PathBuf>,
}

/// Called after each step with its name; an error stops there, as a kill would. Tests stop, nobody else.
pub(super) type AfterStep<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Makes staged parts the run's.
///
/// # Errors
/// What the file system says, or `after_step`. Before the rename to `.swap` the run is what it was, after it what was staged.
pub(super) fn commit(place: &Path, staged: &Path, exchange: &Exchange, after_step: AfterStep<'_>) -> Result<()> {
    let list = staged.join(LIST);
    let text = serde_json::to_vec(exchange).map_err(|error| Error::internal("a list of parts").caused_by(error))?;
    std::fs::write(&list, text).map_err(|error| Error::io(error, "could not write the file", &list))?;
    sync(staged)?;
    after_step("listed")?;
    let alone = lock::exchange(place)?;
    let swap = place.join(SWAP);
    std::fs::rename(staged, &swap).map_err(|error| Error::io(error, "could not exchange the run's parts", &swap))?;
    after_step("decided")?;
    finish(place, after_step)?;
    drop(alone);
    // What nobody can see any more goes last, when nobody waits.
    let _ = remove(&place.join(OLD));
    Ok(())
}

/// Moves what a killed process left to be moved.
///
/// # Errors
/// What the file system says.
pub(super) fn recover(place: &Path) -> Result<()> {
    if place.join(SWAP).exists() {
        let _alone = lock::exchange(place)?;
        finish(place, &mut |_| Ok(()))?;
    }
    Ok(())
}

/// Moves the parts that are not in their places yet. Doing it twice is doing it once.
fn finish(place: &Path, after_step: AfterStep<'_>) -> Result<()> {
    let swap = place.join(SWAP);
    let fail = |error: std::io::Error, path: &Path| Error::io(error, "could not exchange the run's parts", path);
    let text = match std::fs::read(swap.join(LIST)) {
        // All parts are in their places, and only what is empty is left.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return remove(&swap).map_err(|error| fail(error, &swap));
        }
        text => text.map_err(|error| fail(error, &swap))?,
    };
    let damaged = || Error::format("a damaged list of parts").in_file(swap.join(LIST).display().to_string());
    let exchange: Exchange = serde_json::from_slice(&text).map_err(|error| damaged().caused_by(error))?;
    let parts = || exchange.put.iter().chain(&exchange.remove);
    let inside = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    if !parts().all(inside) {
        return Err(damaged());
    }
    for (number, part) in parts().enumerate() {
        let (new, target) = (swap.join(part), place.join(part));
        let comes = number < exchange.put.len();
        if comes && !new.exists() {
            continue;
        }
        if target.symlink_metadata().is_ok() {
            let old = place.join(OLD);
            std::fs::create_dir_all(&old).map_err(|error| fail(error, &old))?;
            let aside = old.join(number.to_string());
            remove(&aside).map_err(|error| fail(error, &aside))?;
            std::fs::rename(&target, &aside).map_err(|error| fail(error, &target))?;
            after_step("an old part went")?;
        }
        if comes {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(|error| fail(error, parent))?;
            }
            std::fs::rename(&new, &target).map_err(|error| fail(error, &target))?;
            after_step("a new part came")?;
        }
    }
    remove(&swap.join(LIST)).map_err(|error| fail(error, &swap))?;
    after_step("all parts came")?;
    remove(&swap).map_err(|error| fail(error, &swap))
}

/// Has the system write a directory's files to the disk, so that the rename after it does not come before them.
fn sync(directory: &Path) -> Result<()> {
    let fail = |error| Error::io(error, "could not write the directory", directory);
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            let path = entry.path();
            let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|error| Error::io(error, "could not write the file", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    /// The files below a directory, but for locks and what waits to be removed.
    fn files(directory: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![directory.to_owned()];
        while let Some(place) = open.pop() {
            for path in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
                let name = path.strip_prefix(directory).unwrap().display().to_string();
                if path.is_dir() && name != OLD {
                    open.push(path);
                } else if path.is_file() && name != lock::READING {
                    found.insert(name, std::fs::read_to_string(path).unwrap());
                }
            }
        }
        found
    }

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// A kill after every single step, and after every step of the repair: the run is all old or all new.
    #[test]
    fn a_kill_at_any_step_leaves_the_old_run_or_the_new_one() {
        let exchange = Exchange {
            put: ["model", "config.toml", "retriever/index", "new"].map(PathBuf::from).into(),
            remove: ["report.html", "device", "never.there"].map(PathBuf::from).into(),
        };
        let old = [
            ("model/a", "old"),
            ("model/gone", "old"),
            ("config.toml", "old"),
            ("retriever/index/i", "old"),
            ("retriever/model/m", "stays"),
            ("report.html", "old"),
            ("device/x", "old"),
            ("notes.txt", "the user's"),
        ];
        let new = [("model/a", "new"), ("config.toml", "new"), ("retriever/index/i", "new"), ("new/n", "new")];
        let expected_old: BTreeMap<String, String> =
            old.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let kept = [("retriever/model/m", "stays"), ("notes.txt", "the user's")];
        let expected_new: BTreeMap<String, String> =
            new.iter().chain(&kept).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut decided = 0;
        for kill in 0.. {
            let run = tempfile::tempdir().unwrap();
            let staged = run.path().join("staged");
            write(run.path(), &old);
            write(&staged, &new);
            let stop_after = |steps: usize| {
                let mut left = steps;
                move |_: &str| {
                    left = left.checked_sub(1).ok_or_else(|| Error::internal("killed"))?;
                    Ok(())
                }
            };
            let done = commit(run.path(), &staged, &exchange, &mut stop_after(kill)).is_ok();
            if run.path().join(SWAP).exists() {
                decided += 1;
                // The repair is killed, too, a step further each time.
                for steps in 0..3 {
                    let _ = finish(run.path(), &mut stop_after(steps));
                }
                recover(run.path()).unwrap();
            }
            let found = files(run.path());
            if kill == 0 {
                // Listed, not decided: the staged parts are still staged.
                assert!(staged.exists());
                std::fs::remove_dir_all(&staged).unwrap();
                assert_eq!(files(run.path()), expected_old);
            } else {
                assert_eq!(found, expected_new, "killed after {kill} steps");
                assert!(!run.path().join(SWAP).exists());
            }
            if done {
                assert!(!run.path().join(OLD).exists());
                break;
            }
        }
        assert!(decided > 8, "{decided} kills came after the rename");
    }

    #[test]
    fn a_list_that_leads_out_of_the_run_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let place = run.path().join("run");
        write(run.path(), &[("thesis.tex", "x"), ("run/.swap/swap.json", r#"{"put":[],"remove":["../thesis.tex"]}"#)]);
        assert!(recover(&place).is_err());
        assert!(run.path().join("thesis.tex").exists());
    }
}
