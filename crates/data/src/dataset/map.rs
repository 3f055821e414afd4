//! Files as memory.

#![allow(unsafe_code)]

use arrow_buffer::Buffer;
use std::fs::File;
use std::io;

/// Maps a file read-only into memory.
///
/// # Soundness
/// A mapping is unsound when the file changes under it. The files of a data set are written in a folder of another name
/// that is renamed once complete, and never written again; replacing a data set removes the old folder's names, which
/// leaves mapped files alive. Whoever edits these files by other means while they are read breaks what no program can
/// check. Everything read out of the mapping is validated as any untrusted input.
pub(super) fn map(file: &File) -> io::Result<Buffer> {
    // SAFETY: see above; the file is open for reading and the mapping lives as long as the buffer that owns it.
    let mapped = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Buffer::from(bytes::Bytes::from_owner(mapped)))
}
