//! Where a log lies: five operations, for files, for pages and for tests that let them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file longer than this is no log of ours: twice what the largest bound of a [`super::Config`] allows, and more.
const LONGEST: u64 = 1 << 30;

/// The primitive operations of a log. One store at a time has them.
pub trait Storage {
    /// A name for errors, such as the path.
    fn name(&self) -> String;

    /// The content; empty where there is none yet. Called once, first.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Writes bytes at the end. On an error any beginning of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the content to a length.
    fn truncate(&mut self, length: usize) -> io::Result<()>;

    /// Returns once everything done before would outlive a loss of power. On an error nothing is known of what was done
    /// since the last success.
    fn sync(&mut self) -> io::Result<()>;

    /// Puts other content in the place of all. On an error, or a kill, the old content stays whole. Which of the two
    /// a loss of power leaves is open until the next [`Self::sync`].
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A log in a file. Its directory must exist, and one process at a time may open it.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    file: Option<File>,
    /// A rename has happened that the directory may not have on disk yet.
    renamed: bool,
}

impl Files {
    /// The log at a path, which need not exist. A new content is written to the path with `.new` added, then renamed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, renamed: false }
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Removes a file if there is one.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file with these bytes, on disk, to append to.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    remove(path)?;
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

impl Storage for Files {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        // A kill left it before its rename: it says nothing that the log does not say.
        remove(&self.beside())?;
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {LONGEST} bytes")));
        }
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        self.file()?.set_len(length as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()?;
        if self.renamed {
            #[cfg(unix)]
            {
                let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            self.renamed = false;
        }
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let beside = self.beside();
        let written = write_beside(&beside, bytes).and_then(|file| fs::rename(&beside, &self.path).map(|()| file));
        match written {
            Ok(file) => {
                self.file = Some(file);
                self.renamed = true;
                Ok(())
            }
            Err(error) => {
                // What was written takes room that may be what is missing; if it stays, the next attempt removes it.
                let _ = remove(&beside);
                Err(error)
            }
        }
    }
}

/// A log that no disk keeps, for a page: give it the bytes of last time, and keep those of [`super::Store::image`], in
/// IndexedDB or elsewhere. The store's image is its content, so this holds nothing once it was read.
#[derive(Debug, Default)]
pub struct Memory(Vec<u8>);

impl Memory {
    /// A log with the bytes of an earlier [`super::Store::image`], or none.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Storage for Memory {
    fn name(&self) -> String {
        "behaviour log in memory".into()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }

    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _length: usize) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn replace(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_do_what_the_operations_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let content = || fs::read(&path).unwrap();
        fs::write(folder.path().join("log.new"), "left by a kill").unwrap();
        let mut files = Files::new(&path);
        assert_eq!(files.read().unwrap(), b"");
        assert!(files.append(b"x").is_err(), "there is no file yet");
        files.replace(b"one").unwrap();
        files.append(b" two").unwrap();
        files.sync().unwrap();
        assert_eq!(content(), b"one two");
        files.truncate(4).unwrap();
        files.append(b"three").unwrap();
        assert_eq!(content(), b"one three");
        files.replace(b"four").unwrap();
        files.append(b"!").unwrap();
        files.sync().unwrap();
        assert_eq!(content(), b"four!");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Files::new(&path).read().unwrap(), b"four!");
        let mut nowhere = Files::new(folder.path().join("none").join("log"));
        assert_eq!(nowhere.read().unwrap(), b"");
        assert_eq!(nowhere.replace(b"").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
