//! Writing an artifact.

use super::layout::{HEAD, aligned, signed_head};
use super::manifest::{Digest, Manifest, PageInfo, TableInfo};
use super::sign::SecretKey;
use super::{ALIGNMENT, PAGE_ROWS};
use crate::error::{Error, Result};
use crate::fitted::Fitted;
use crate::schema::Schema;
use serde_json::Value;

/// What goes into an artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// As [`Manifest::version`].
    pub version: String,
    /// As [`Manifest::release`].
    pub release: u64,
    /// As [`Manifest::schema`].
    pub schema: Schema,
    /// As [`Manifest::fitted`].
    pub fitted: Vec<Fitted>,
    /// As [`Manifest::scenarios`].
    pub scenarios: Vec<Vec<String>>,
    /// As [`Manifest::model`].
    pub model: Value,
    /// The pages of the network: names without `rows/`, and bytes.
    pub pages: Vec<(String, Vec<u8>)>,
    /// The tables, in the order of [`Schema::table_names`].
    pub tables: Vec<TableContents>,
    /// As [`Manifest::vocabulary_hash`].
    pub vocabulary_hash: String,
}

/// The rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContents {
    /// Its name.
    pub name: String,
    /// The row of every key there is not.
    pub default: Vec<u8>,
    /// Keys, ascending.
    pub keys: Vec<u64>,
    /// Their rows, each as long as the default one.
    pub rows: Vec<u8>,
}

impl Contents {
    /// The file of an artifact, signed.
    ///
    /// # Errors
    /// Contents that do not fit each other.
    pub fn seal(&self, key: &SecretKey) -> Result<Vec<u8>> {
        let mut tables = Vec::with_capacity(self.tables.len());
        let mut pages: Vec<(String, &[u8])> = Vec::new();
        pages.extend(self.pages.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())));
        for table in &self.tables {
            let (rows, row_bytes) = (table.keys.len(), table.default.len());
            if table.rows.len() != rows * row_bytes || !table.keys.is_sorted_by(|a, b| a < b) {
                let what = format!("the rows of table `{}` do not have one ascending key each", table.name);
                return Err(Error::internal(what));
            }
            let info = TableInfo { name: table.name.clone(), rows: rows as u64, row_bytes: row_bytes as u32 };
            pages.push((info.default_page(), &table.default));
            pages.push((info.keys_page(), bytemuck::cast_slice(&table.keys)));
            let parts = table.rows.chunks((PAGE_ROWS * row_bytes).max(1));
            pages.extend(info.row_pages().zip(parts));
            tables.push(info);
        }
        let infos = pages.iter().map(|(name, bytes)| PageInfo {
            name: name.clone(),
            offset: 0,
            length: bytes.len() as u64,
            sha256: Digest::of(bytes),
        });
        let mut manifest = Manifest {
            version: self.version.clone(),
            release: self.release,
            schema: self.schema.clone(),
            fitted: self.fitted.clone(),
            scenarios: self.scenarios.clone(),
            model: self.model.clone(),
            tables,
            pages: infos.collect(),
            vocabulary_hash: self.vocabulary_hash.clone(),
        };
        let text = place(&mut manifest)?;
        manifest.check(text.len())?;

        let mut file = signed_head(text.len(), key.public().0).to_vec();
        file.extend_from_slice(&text);
        let signature = key.sign(&file);
        file.splice(super::layout::SIGNED..super::layout::SIGNED, signature);
        for (_, bytes) in &pages {
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
            file.extend_from_slice(bytes);
        }
        Ok(file)
    }
}

/// Gives pages their places, and the manifest's text with them: the places depend on the text's length, and its length on the places.
fn place(manifest: &mut Manifest) -> Result<Vec<u8>> {
    let mut room = 0;
    loop {
        let mut end = (HEAD + room) as u64;
        for page in &mut manifest.pages {
            page.offset = aligned(end);
            end = page.offset + page.length;
        }
        let text = serde_json::to_vec(&*manifest);
        let mut text = text.map_err(|error| Error::internal("a manifest").caused_by(error))?;
        if text.len() <= room {
            // Spaces behind JSON mean nothing. Places can only have moved on, so this ends.
            text.resize(room, b' ');
            return Ok(text);
        }
        room = text.len();
    }
}
