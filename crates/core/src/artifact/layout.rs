//! Where things lie in the file.

use super::manifest::{Manifest, TableInfo};
use super::{ALIGNMENT, FORMAT, PAGE_ROWS};
use crate::error::{Error, Result};

pub(super) const MAGIC: [u8; 8] = *b"\x89KITE\r\n\x1a";
/// The magic of a delta, whose head is else that of the file it makes.
pub(super) const DELTA_MAGIC: [u8; 8] = *b"\x89KITD\r\n\x1a";
/// What is signed before the manifest.
pub(super) const SIGNED: usize = 48;
/// Where the manifest starts.
pub(super) const HEAD: usize = 112;
/// No manifest is longer.
const MOST: usize = 16 << 20;

/// The parts of a file before its pages, of the right lengths and nothing else yet checked.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) key: [u8; 32],
    pub(super) signature: [u8; 64],
    pub(super) manifest: &'a [u8],
}

impl<'a> Head<'a> {
    /// Takes a file's head apart.
    pub(super) fn of(bytes: &'a [u8], magic: [u8; 8], what: &str) -> Result<Self> {
        let cut = || Error::format(format!("{what} is cut off")).mend("get it again");
        if !bytes.starts_with(&magic) {
            let error = if magic.starts_with(bytes) { cut() } else { Error::format(format!("this is no {what}")) };
            return Err(error);
        }
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let format = number(8).ok_or_else(cut)?;
        if format != FORMAT {
            let error = Error::format(format!("{what} of format {format}, and this version reads format {FORMAT}"));
            return Err(error.mend(if format > FORMAT { "update the app" } else { "make it again with this version" }));
        }
        let length = number(12).ok_or_else(cut)? as usize;
        if length > MOST {
            return Err(Error::format(format!("a manifest of {length} bytes is longer than any")));
        }
        let manifest = bytes.get(HEAD..HEAD + length).ok_or_else(cut)?;
        let mut head = Self { key: [0; 32], signature: [0; 64], manifest };
        head.key.copy_from_slice(bytes.get(16..SIGNED).ok_or_else(cut)?);
        head.signature.copy_from_slice(bytes.get(SIGNED..HEAD).ok_or_else(cut)?);
        Ok(head)
    }

    /// The bytes that are signed.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = signed_head(self.manifest.len(), self.key).to_vec();
        message.extend_from_slice(self.manifest);
        message
    }
}

/// The first bytes of a file, up to its signature.
pub(super) fn signed_head(manifest: usize, key: [u8; 32]) -> [u8; SIGNED] {
    let mut head = [0; SIGNED];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[12..16].copy_from_slice(&(manifest as u32).to_le_bytes());
    head[16..].copy_from_slice(&key);
    head
}

/// The next place a page may start at.
pub(super) fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT as u64)
}

impl TableInfo {
    /// The name of the page of its default row.
    pub(super) fn default_page(&self) -> String {
        format!("rows/{}/default", self.name)
    }

    /// The name of the page of its keys.
    pub(super) fn keys_page(&self) -> String {
        format!("rows/{}/keys", self.name)
    }

    /// The names of the pages of its rows.
    pub(super) fn row_pages(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.rows.div_ceil(PAGE_ROWS as u64)).map(|page| format!("rows/{}/{page}", self.name))
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.rows.checked_mul(self.row_bytes.into())
    }
}

impl Manifest {
    /// Checks that pages follow each other without overlap, that tables have their pages, and gives the length of the file.
    pub(super) fn check(&self, manifest: usize) -> Result<u64> {
        let wrong = |what: String| Err(Error::format(format!("a manifest that contradicts itself: {what}")));
        self.schema.check()?;
        if self.tables.iter().map(|table| table.name.as_str()).ne(self.schema.table_names()) {
            return wrong("the tables are not the schema's".into());
        }
        if self.scenarios.len() != self.schema.scenarios.len() {
            return wrong("the scenario levels are not the schema's".into());
        }
        let mut end = (HEAD + manifest) as u64;
        for page in &self.pages {
            if page.offset != aligned(end) {
                return wrong(format!("page `{}` is not where the one before it ends", page.name));
            }
            end = match page.offset.checked_add(page.length) {
                Some(end) if end <= u64::MAX / 2 => end,
                _ => return wrong(format!("page `{}` has no end", page.name)),
            };
        }
        let mut names: Vec<&str> = self.pages.iter().map(|page| page.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong(format!("page `{}` is there twice", pair[0]));
        }
        for table in &self.tables {
            let bad = || wrong(format!("table `{}` does not have its pages", table.name));
            let (Some(bytes), Some(keys)) = (table.bytes(), table.rows.checked_mul(8)) else { return bad() };
            let length = |name: &str| self.page(name).map(|at| self.pages[at].length);
            if length(&table.default_page()) != Some(table.row_bytes.into()) || length(&table.keys_page()) != Some(keys)
            {
                return bad();
            }
            // Rows of one page follow those of the one before, without a gap: a page's length is a multiple of the alignment.
            let Some(first) = self.row_pages(table) else { return bad() };
            let pages = &self.pages[first..];
            let full = PAGE_ROWS as u64 * u64::from(table.row_bytes);
            let mut left = bytes;
            for (page, name) in pages.iter().zip(table.row_pages()) {
                if page.name != name || page.length != left.min(full) {
                    return bad();
                }
                left -= page.length;
            }
            if left > 0 {
                return bad();
            }
        }
        Ok(end)
    }

    /// The number of the page of a name.
    pub(super) fn page(&self, name: &str) -> Option<usize> {
        self.pages.iter().position(|page| page.name == name)
    }

    /// The number of the page of a table's first rows; that of its keys where it has none.
    pub(super) fn row_pages(&self, table: &TableInfo) -> Option<usize> {
        self.page(&table.row_pages().next().unwrap_or_else(|| table.keys_page()))
    }
}
