//! From a file to its plain bytes.

use super::files;
use super::magic::{self, HEAD, Packing, Recognized, recognize};
use kitestring_core::error::{Error, Result};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// The longest window of zstd there is, as a power of two: 2 GiB, which reading such a file may take.
const LONGEST_WINDOW: u32 = 31;

/// The plain bytes of a file that may be compressed, and how it is: its first bytes tell, whatever its name; only brotli, which has no
/// mark, is told by the name.
///
/// # Errors
/// A file in a format that is not read, or one whose name says that it is compressed when it is not.
pub(crate) fn plain(path: &Path) -> Result<(Box<dyn Read + Send>, Option<Packing>)> {
    let mut file = files::open(path)?;
    let cannot = |cause| Error::io(cause, "cannot read the file", path);
    let head = head(&mut file).map_err(cannot)?;
    let named = files::packing(path);
    let packing = match recognize(&head) {
        Some(Recognized::Packed(packing)) => Some(packing),
        Some(Recognized::Unread(what, remedy)) if named != Some(Packing::Brotli) => {
            return Err(magic::unread(what, remedy, &path.display().to_string()));
        }
        _ if named == Some(Packing::Brotli) => named,
        _ => None,
    };
    if let Some(named) = named.filter(|_| packing.is_none()) {
        let shown = path.display().to_string();
        if head.is_empty() {
            return Err(Error::data("the file is empty").in_file(shown).mend("fetch it again"));
        }
        let extension = path.extension().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Err(Error::format(format!(
            "the name ends in .{extension}, but the file is not a {} file",
            named.name()
        ))
        .in_file(shown)
        .mend("rename it, or fetch it again"));
    }
    let bytes = BufReader::with_capacity(1 << 17, Cursor::new(head).chain(file));
    let plain: Box<dyn Read + Send> = match packing {
        None => Box::new(bytes.into_inner()),
        Some(Packing::Gzip) => Box::new(Members::new(bytes)),
        Some(Packing::Zstandard) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(cannot)?;
            decoder.window_log_max(LONGEST_WINDOW).map_err(cannot)?;
            Box::new(decoder)
        }
        Some(Packing::Brotli) => Box::new(brotli::Decompressor::new(bytes, 1 << 16)),
    };
    Ok((plain, packing))
}

/// The first bytes of a file, at most [`HEAD`] of them.
pub(crate) fn head(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What an error while reading plain bytes means.
pub(crate) fn read_error(cause: io::Error, packing: Option<Packing>, path: &str) -> Error {
    let Some(packing) = packing else { return Error::io(cause, "cannot read the file", path) };
    let name = packing.name();
    // As libzstd words it.
    if cause.kind() == io::ErrorKind::OutOfMemory || cause.to_string().contains("not enough memory") {
        return Error::data(format!("the {name} file needs more memory than there is, up to 2 GiB for its window"))
            .in_file(path)
            .mend("unpack it, or compress it without --long")
            .caused_by(cause);
    }
    let state = if cause.kind() == io::ErrorKind::UnexpectedEof { "truncated" } else { "damaged" };
    Error::format(format!("the {name} file is {state}")).in_file(path).mend("fetch it again").caused_by(cause)
}

/// The members of a gzip file, one after the other. Zeros after a member are padding, as tapes and block devices leave it (and as gzip
/// itself reads them); anything else that is no member is damage.
struct Members<R> {
    /// `None` once all is read, and while the next one is opened.
    member: Option<flate2::bufread::GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(bytes: R) -> Self {
        Self { member: Some(flate2::bufread::GzDecoder::new(bytes)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(member) = self.member.take() else { break };
            let mut bytes = member.into_inner();
            if skip_zeros(&mut bytes)? {
                self.member = Some(flate2::bufread::GzDecoder::new(bytes));
            }
        }
        Ok(0)
    }
}

/// Skips zeros; `false` at the end of the file.
fn skip_zeros(bytes: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let rest = match bytes.fill_buf() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            rest => rest?,
        };
        if rest.is_empty() {
            return Ok(false);
        }
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let more = zeros < rest.len();
        bytes.consume(zeros);
        if more {
            return Ok(true);
        }
    }
}
