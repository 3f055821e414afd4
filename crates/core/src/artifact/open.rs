//! Reading an artifact where it lies.

use super::layout::{Head, MAGIC, SIGNED};
use super::manifest::{Digest, Manifest, PageInfo, TableInfo};
use super::sign::PublicKey;
use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;

/// The bytes of a file: a memory map, or [`Aligned`] memory. They must not change while they are used.
pub type Bytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes in memory, where numbers can be read out of them in place.
#[derive(Debug, Clone)]
pub struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl From<&[u8]> for Aligned {
    fn from(bytes: &[u8]) -> Self {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

/// An artifact that was checked: signature, layout, and the hash of every page.
pub struct Artifact {
    bytes: Bytes,
    manifest: Manifest,
    /// Where each table's default row, keys and rows lie.
    tables: Vec<[Range<usize>; 3]>,
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// The rows of a table.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The row of every key there is not.
    pub default: &'a [u8],
    /// The keys, ascending.
    pub keys: &'a [u64],
    /// Their rows, each as long as the default one.
    pub rows: &'a [u8],
}

impl<'a> Rows<'a> {
    /// The number of a key's row, where there is one.
    pub fn find(&self, key: u64) -> Option<usize> {
        self.keys.binary_search(&key).ok()
    }

    /// A row by number; the default one past the last.
    pub fn row(&self, number: usize) -> &'a [u8] {
        let bytes = self.default.len();
        let range = number.checked_mul(bytes).and_then(|start| self.rows.get(start..start.checked_add(bytes)?));
        range.unwrap_or(self.default)
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.default.len()
    }
}

impl Artifact {
    /// Opens an artifact that one of some keys signed, and checks all of it.
    ///
    /// # Errors
    /// A file that is none, is cut off, was changed, is of another format, or not signed by a key that is trusted.
    pub fn open(bytes: Bytes, trusted: &[PublicKey]) -> Result<Self> {
        let file = (*bytes).as_ref();
        let head = Head::of(file, MAGIC, "artifact")?;
        let manifest = head.checked(trusted)?;
        let end = manifest.check(head.manifest.len())?;
        if end != file.len() as u64 {
            let what = format!("an artifact of {} bytes, and {end} were signed", file.len());
            return Err(Error::format(what).mend("get it again"));
        }
        let mut last = super::layout::HEAD + head.manifest.len();
        for page in &manifest.pages {
            let range = page.range();
            let between = file.get(last..range.start).unwrap_or_default();
            let bytes = file.get(range.clone()).unwrap_or_default();
            if between.iter().any(|byte| *byte != 0) || Digest::of(bytes) != page.sha256 {
                let error = Error::format("the artifact was changed after it was signed");
                return Err(error.in_field(&page.name).mend("get it again"));
            }
            last = range.end;
        }
        let tables = manifest.tables.iter().map(|table| places(&manifest, table)).collect::<Result<_>>()?;
        let artifact = Self { bytes, manifest, tables };
        for (number, table) in artifact.manifest.tables.iter().enumerate() {
            if !artifact.rows(number)?.keys.is_sorted_by(|a, b| a < b) {
                return Err(Error::format("keys of rows are not ascending").in_field(&table.name));
            }
        }
        Ok(artifact)
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// What names this very file: the digest of its signature, which vouches for all of it.
    pub fn identity(&self) -> Digest {
        Digest::of(self.bytes().get(..super::layout::HEAD).unwrap_or_default())
    }

    /// The key that signed it.
    pub fn publisher(&self) -> PublicKey {
        let mut key = [0; 32];
        self.bytes().get(SIGNED - 32..SIGNED).into_iter().for_each(|bytes| key.copy_from_slice(bytes));
        PublicKey(key)
    }

    /// The bytes of a page.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn page(&self, name: &str) -> Result<&[u8]> {
        let page = self.manifest.page(name).map(|at| self.manifest.pages[at].range());
        let bytes = page.and_then(|range| self.bytes().get(range));
        bytes.ok_or_else(|| Error::format("the artifact has no such page").in_field(name))
    }

    /// The numbers of a page, where they lie.
    ///
    /// # Errors
    /// There is none of this name, or not as many as expected.
    pub fn numbers(&self, name: &str, count: usize) -> Result<&[f32]> {
        let numbers = bytemuck::try_cast_slice::<u8, f32>(self.page(name)?);
        let numbers = numbers.map_err(|_| Error::format("the page holds no whole numbers").in_field(name))?;
        if numbers.len() != count {
            return Err(Error::format(format!("{} numbers, expected {count}", numbers.len())).in_field(name));
        }
        Ok(numbers)
    }

    /// The rows of a table by its number.
    ///
    /// # Errors
    /// There is no such table.
    pub fn rows(&self, table: usize) -> Result<Rows<'_>> {
        let places =
            self.tables.get(table).map(|places| places.each_ref().map(|range| self.bytes().get(range.clone())));
        let Some([Some(default), Some(keys), Some(rows)]) = places else {
            return Err(Error::internal(format!("the artifact has no table {table}")));
        };
        let keys = bytemuck::try_cast_slice(keys).map_err(|_| Error::format("the artifact's keys are damaged"))?;
        Ok(Rows { default, keys, rows })
    }
}

/// Where the default row, the keys and the rows of a table lie. Only of a manifest that was checked.
fn places(manifest: &Manifest, table: &TableInfo) -> Result<[Range<usize>; 3]> {
    let damaged = || Error::format("the artifact's rows are damaged").in_field(&table.name);
    let page = |at: Option<usize>| at.and_then(|at| manifest.pages.get(at)).map(PageInfo::range).ok_or_else(damaged);
    let start = page(manifest.row_pages(table))?.start;
    let length = table.bytes().ok_or_else(damaged)? as usize;
    let [default, keys] = [table.default_page(), table.keys_page()].map(|name| page(manifest.page(&name)));
    Ok([default?, keys?, start..start + length])
}

impl Head<'_> {
    /// The manifest, once its signature is that of a trusted key.
    pub(super) fn checked(&self, trusted: &[PublicKey]) -> Result<Manifest> {
        let key = PublicKey(self.key);
        if !trusted.contains(&key) {
            let error = Error::format(format!("the artifact was not signed by a key that is trusted, but by {key}"));
            return Err(error.mend("get it from its publisher, or trust that key"));
        }
        if !key.has_signed(&self.message(), &self.signature) {
            let error = Error::format("the artifact's signature is not its publisher's");
            return Err(error.mend("get it again"));
        }
        crate::json::from_slice(self.manifest)
            .map_err(|error| Error::format("the artifact's manifest cannot be read").caused_by(error))
    }
}

impl PageInfo {
    /// Where it lies in the file. Only of a manifest that was checked.
    pub(super) fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.length) as usize
    }
}
