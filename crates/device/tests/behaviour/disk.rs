//! A disk that kills or refuses at a chosen operation, tears appends, and forgets what was not synced.

use kitestring_device::behaviour::Storage;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The process ends within the operation.
    Kill,
    /// Nothing new fits: appends and replacements fail.
    Full,
    /// There is room for an event and none for another file: replacements fail.
    Replace,
    /// All operations fail.
    All,
}

/// A failure of operations `at..at + count`, counted from zero. The first `tear` bytes of an append get through; other
/// operations that a kill interrupts have been done if it is not zero.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub failure: Failure,
    pub at: usize,
    pub count: usize,
    pub tear: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Append,
    Replace,
    Other,
}

#[derive(Debug, Default)]
pub struct Content {
    /// What a loss of power leaves at the least.
    pub durable: Vec<u8>,
    /// What the system shows.
    pub current: Vec<u8>,
    /// A sync has failed: the system has dropped what it could not write, and later syncs bring nothing of it back.
    poisoned: bool,
    /// The content was replaced since the last sync: a loss of power leaves the one or the other, and nothing between.
    replaced: bool,
    pub operations: usize,
    pub fault: Option<Fault>,
    pub killed: bool,
}

/// A handle on a disk, so that a test sees it while a store has it.
#[derive(Debug, Clone, Default)]
pub struct Disk(pub Arc<Mutex<Content>>);

impl Disk {
    pub fn with(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.change(|content| (content.durable, content.current) = (bytes.clone(), bytes));
        disk
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// The app ends and starts again. What the system could not write and has dropped, it shows no more.
    pub fn restart(&self) {
        self.change(|content| {
            if content.poisoned {
                content.current.clone_from(&content.durable);
                content.poisoned = false;
            }
        });
    }

    /// What a kill, with or without a loss of power, may leave.
    pub fn survivors(&self) -> Vec<Vec<u8>> {
        self.change(|content| {
            let mut all = vec![content.current.clone(), content.durable.clone()];
            if let Some(tail) = content.current.strip_prefix(&content.durable[..])
                && !content.replaced
            {
                all.push([&content.durable[..], &tail[..tail.len() / 2]].concat());
            }
            all
        })
    }

    /// Counts an operation and says whether it fails, and whether it is done nevertheless.
    fn fault(content: &mut Content, operation: Operation) -> Option<(Fault, io::Error)> {
        let number = content.operations;
        content.operations += 1;
        if content.killed {
            return Some((Fault { failure: Failure::All, at: 0, count: 0, tear: 0 }, ErrorKind::BrokenPipe.into()));
        }
        let fault = content.fault.filter(|fault| (fault.at..fault.at + fault.count).contains(&number))?;
        match fault.failure {
            Failure::Kill => content.killed = true,
            Failure::Full if operation == Operation::Other => return None,
            Failure::Replace if operation != Operation::Replace => return None,
            Failure::Full | Failure::Replace | Failure::All => {}
        }
        Some((fault, ErrorKind::StorageFull.into()))
    }
}

impl Storage for Disk {
    fn name(&self) -> String {
        "disk".into()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.change(|content| match Self::fault(content, Operation::Other) {
            Some((_, error)) => Err(error),
            None => Ok(content.current.clone()),
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|content| match Self::fault(content, Operation::Append) {
            Some((fault, error)) => {
                content.current.extend_from_slice(&bytes[..fault.tear.min(bytes.len())]);
                Err(error)
            }
            None => {
                content.current.extend_from_slice(bytes);
                Ok(())
            }
        })
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        self.change(|content| match Self::fault(content, Operation::Other) {
            Some((fault, error)) => {
                if fault.failure == Failure::Kill && fault.tear > 0 {
                    content.current.truncate(length);
                }
                Err(error)
            }
            None => {
                assert!(length <= content.current.len(), "cut to {length} of {}", content.current.len());
                content.current.truncate(length);
                Ok(())
            }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(|content| match Self::fault(content, Operation::Other) {
            Some((fault, error)) => {
                match fault.failure {
                    Failure::Kill if fault.tear > 0 && !content.poisoned => {
                        content.durable.clone_from(&content.current);
                    }
                    Failure::Kill => {}
                    _ => content.poisoned = true,
                }
                Err(error)
            }
            None => {
                if !content.poisoned {
                    content.durable.clone_from(&content.current);
                    content.replaced = false;
                }
                Ok(())
            }
        })
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|content| {
            let fault = Self::fault(content, Operation::Replace);
            let done = fault.as_ref().is_none_or(|(fault, _)| fault.failure == Failure::Kill && fault.tear > 0);
            if done {
                content.current = bytes.to_vec();
                content.poisoned = false;
                content.replaced = true;
            }
            fault.map_or(Ok(()), |(_, error)| Err(error))
        })
    }
}
