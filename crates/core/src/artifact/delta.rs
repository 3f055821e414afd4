//! What of a version another one does not have: changed pages of the network; rows added, changed and evicted.
//!
//! | bytes | holds |
//! |---|---|
//! | 112 and the manifest | as in the file it makes, but for the letter `D` in place of `E` in `KITE` |
//! | 32 | the [identity](Artifact::identity) of the file it is applied to |
//! | … | for each page of that manifest that is no keys or rows: a number of four bytes, that of the same page in the older file, or `FFFFFFFF` and the page |
//! | … | for each table: how many keys are gone, those keys; how many rows are new or changed, their keys, the rows |
//!
//! Counts have four bytes, keys eight. Where a table's rows have another length, the older ones count for nothing.

use super::PAGE_ROWS;
use super::layout::{DELTA_MAGIC, HEAD, Head, MAGIC, signed_head};
use super::manifest::{Manifest, PageInfo, TableInfo};
use super::open::{Aligned, Artifact, Rows};
use super::sign::PublicKey;
use crate::error::{Error, Result};
use std::cmp::Ordering;

const GIVEN: u32 = u32::MAX;

/// What a delta changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Pages of the network, and default rows, that are new or changed.
    pub pages: u64,
    /// Rows of new keys.
    pub added: u64,
    /// Rows of keys that were there.
    pub changed: u64,
    /// Keys that are gone.
    pub evicted: u64,
}

/// The delta from an older file to a newer one.
///
/// # Errors
/// More than four billion pages or rows.
pub fn make(base: &Artifact, target: &Artifact) -> Result<(Vec<u8>, Summary)> {
    let mut summary = Summary::default();
    let manifest = target.manifest();
    let head = Head::of(target.bytes(), MAGIC, "artifact")?;
    let mut delta = target.bytes()[..HEAD + head.manifest.len()].to_vec();
    delta[..8].copy_from_slice(&DELTA_MAGIC);
    delta.extend_from_slice(&base.identity().0);
    let rows = RowPages::of(manifest);
    for page in manifest.pages.iter().filter(|page| !rows.contains(page)) {
        let same = |old: &PageInfo| old.sha256 == page.sha256 && old.length == page.length;
        match base.manifest().pages.iter().position(same) {
            Some(at) => delta.extend(count(at)?),
            None => {
                summary.pages += 1;
                delta.extend(GIVEN.to_le_bytes());
                delta.extend_from_slice(target.page(&page.name)?);
            }
        }
    }
    for (number, table) in manifest.tables.iter().enumerate() {
        let (old, new) = (rows_before(base, table)?, target.rows(number)?);
        let (mut gone, mut put) = (Vec::new(), Vec::new());
        each_key(old.keys, new.keys, |old_at, new_at| match (old_at, new_at) {
            (Some(at), None) => gone.push(old.keys[at]),
            (None, Some(at)) => {
                summary.added += 1;
                put.push(at);
            }
            (Some(before), Some(at)) if old.row(before) != new.row(at) => {
                summary.changed += 1;
                put.push(at);
            }
            _ => {}
        });
        summary.evicted += gone.len() as u64;
        delta.extend(count(gone.len())?);
        delta.extend(gone.iter().flat_map(|key| key.to_le_bytes()));
        delta.extend(count(put.len())?);
        delta.extend(put.iter().flat_map(|at| new.keys[*at].to_le_bytes()));
        put.iter().for_each(|at| delta.extend_from_slice(new.row(*at)));
    }
    Ok((delta, summary))
}

/// The newer file, from the older one and the delta: byte for byte what its publisher signed, and checked like any other.
///
/// # Errors
/// A delta that is none, is cut off or changed, belongs to another file, or makes what no trusted key signed.
pub fn apply(base: &Artifact, delta: &[u8], trusted: &[PublicKey]) -> Result<Artifact> {
    let head = Head::of(delta, DELTA_MAGIC, "delta")?;
    let manifest = head.checked(trusted)?;
    let end = manifest.check(head.manifest.len())?;
    let mut body = Body(&delta[HEAD + head.manifest.len()..]);
    if body.take(32)? != base.identity().0 {
        let error = Error::format(format!("the delta does not belong to release {}", base.manifest().release));
        return Err(error.mend("get the whole artifact"));
    }
    let mut file = signed_head(head.manifest.len(), head.key).to_vec();
    file.extend_from_slice(&head.signature);
    file.extend_from_slice(head.manifest);
    let names = RowPages::of(&manifest);
    // Keys and rows of tables lie among the other pages and come after them in the delta: their places are filled then.
    let end = usize::try_from(end).map_err(|_| Error::format("the artifact is larger than memory"))?;
    file.resize(end, 0);
    let mut put = |page: &PageInfo, bytes: &[u8]| match file.get_mut(page.range()) {
        Some(into) if into.len() == bytes.len() => {
            into.copy_from_slice(bytes);
            Ok(())
        }
        _ => Err(damaged()),
    };
    for page in manifest.pages.iter().filter(|page| !names.contains(page)) {
        match body.count()? {
            GIVEN => put(page, body.take(page.length as usize)?)?,
            at => {
                let old = base.manifest().pages.get(at as usize).ok_or_else(damaged)?;
                put(page, base.page(&old.name)?)?;
            }
        }
    }
    for table in &manifest.tables {
        let (keys, rows) = merged(&rows_before(base, table)?, table, &mut body)?;
        let page = |name: &str| manifest.page(name).map(|at| &manifest.pages[at]).ok_or_else(damaged);
        put(page(&table.keys_page())?, bytemuck::cast_slice(&keys))?;
        let parts = rows.chunks((PAGE_ROWS * table.row_bytes as usize).max(1));
        for (name, part) in table.row_pages().zip(parts) {
            put(page(&name)?, part)?;
        }
    }
    if !body.0.is_empty() {
        return Err(damaged());
    }
    Artifact::open(Box::new(Aligned::from(file.as_slice())), trusted)
}

/// A table's rows as they become: the old ones but for those gone, with those put in.
fn merged(old: &Rows<'_>, table: &TableInfo, body: &mut Body<'_>) -> Result<(Vec<u64>, Vec<u8>)> {
    let gone = body.keys()?;
    let put = body.keys()?;
    let row_bytes = table.row_bytes as usize;
    let given = body.take(put.len().checked_mul(row_bytes).ok_or_else(damaged)?)?;
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    each_key(old.keys, &put, |before, after| match (before, after) {
        (_, Some(at)) => {
            keys.push(put[at]);
            rows.extend_from_slice(&given[at * row_bytes..(at + 1) * row_bytes]);
        }
        (Some(at), None) if gone.binary_search(&old.keys[at]).is_err() => {
            keys.push(old.keys[at]);
            rows.extend_from_slice(old.row(at));
        }
        _ => {}
    });
    Ok((keys, rows))
}

/// The older file's rows of a table; none where they are not as long.
fn rows_before<'a>(base: &'a Artifact, table: &TableInfo) -> Result<Rows<'a>> {
    let tables = &base.manifest().tables;
    match tables.iter().position(|old| old.name == table.name && old.row_bytes == table.row_bytes) {
        Some(number) => base.rows(number),
        None => Ok(Rows { default: &[], keys: &[], rows: &[] }),
    }
}

/// Goes over two ascending lists of keys at once, with the place of each key in one of them or both.
fn each_key(old: &[u64], new: &[u64], mut each: impl FnMut(Option<usize>, Option<usize>)) {
    let (mut a, mut b) = (0, 0);
    loop {
        let order = match (old.get(a), new.get(b)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        each((order != Ordering::Greater).then_some(a), (order != Ordering::Less).then_some(b));
        a += usize::from(order != Ordering::Greater);
        b += usize::from(order != Ordering::Less);
    }
}

/// The names of the pages that hold keys and rows.
struct RowPages(Vec<String>);

impl RowPages {
    fn of(manifest: &Manifest) -> Self {
        let of_table = |table: &TableInfo| table.row_pages().chain([table.keys_page()]).collect::<Vec<_>>();
        let mut names: Vec<String> = manifest.tables.iter().flat_map(of_table).collect();
        names.sort_unstable();
        Self(names)
    }

    fn contains(&self, page: &PageInfo) -> bool {
        self.0.binary_search(&page.name).is_ok()
    }
}

/// What is left of a delta's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes).ok_or_else(damaged)?;
        self.0 = left;
        Ok(taken)
    }

    fn count(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    /// Keys, ascending.
    fn keys(&mut self) -> Result<Vec<u64>> {
        let count = self.count()? as usize;
        let (keys, _) = self.take(count.checked_mul(8).ok_or_else(damaged)?)?.as_chunks::<8>();
        let keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
        if keys.is_sorted_by(|a, b| a < b) { Ok(keys) } else { Err(damaged()) }
    }
}

fn count(count: usize) -> Result<[u8; 4]> {
    match u32::try_from(count) {
        Ok(count) if count < GIVEN => Ok(count.to_le_bytes()),
        _ => Err(Error::internal("too much for one delta")),
    }
}

fn damaged() -> Error {
    Error::format("the delta is damaged").mend("get it again, or the whole artifact")
}
