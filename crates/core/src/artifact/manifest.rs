//! What an artifact says of itself.

use crate::fitted::Fitted;
use crate::json::{self, Read, Value};
use crate::schema::Schema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What an artifact says of itself: signed, JSON in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// The version of the model: network and rows of one training. Rows of another version mean nothing to the network.
    pub version: String,
    /// Counts up with every artifact a publisher makes; a device does not go back by itself.
    pub release: u64,
    /// The meaning of the columns, with the features that the device has.
    pub schema: Schema,
    /// What was fitted to the numeric features, in the order of the schema.
    pub fitted: Vec<Fitted>,
    /// The scenarios of each level by number: their values from the outermost level, joined by U+001F. Number 0 stands for all others.
    pub scenarios: Vec<Vec<String>>,
    /// How the engine runs the network, in its own words.
    pub model: Value,
    /// The tables, in the order of [`Schema::table_names`].
    pub tables: Vec<TableInfo>,
    /// The pages, in the order of the file.
    pub pages: Vec<PageInfo>,
    /// The [`VocabularyHash`](crate::VocabularyHash) of what the model was trained with; empty in artifacts of older versions.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vocabulary_hash: String,
}

crate::fields!(Manifest { version, release, schema, fitted, scenarios, model, tables, pages; vocabulary_hash } else Self {
    version: String::new(),
    release: 0,
    schema: Schema::default(),
    fitted: Vec::new(),
    scenarios: Vec::new(),
    model: Value::Null,
    tables: Vec::new(),
    pages: Vec::new(),
    vocabulary_hash: String::new(),
});

/// The rows of a table. Its pages are `rows/NAME/default`, a row for every key there is not, `rows/NAME/keys`, and `rows/NAME/0` and
/// following, the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// How many rows there are, the default one not counted.
    pub rows: u64,
    /// Bytes of a row.
    pub row_bytes: u32,
}

crate::fields!(TableInfo { name, rows, row_bytes; } else Self { name: String::new(), rows: 0, row_bytes: 0 });

/// Where a page lies, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PageInfo {
    /// Its name, unique.
    pub name: String,
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
}

crate::fields!(PageInfo { name, offset, length, sha256; } else Self {
    name: String::new(),
    offset: 0,
    length: 0,
    sha256: Read::blank(),
});

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Read for Digest {
    fn blank() -> Self {
        Self([0; 32])
    }

    fn read(&mut self, value: &Value) -> Result<(), json::Error> {
        let digits = value.as_str().and_then(from_hex);
        *self = Self(digits.ok_or_else(|| json::Error::new("not 64 hexadecimal digits"))?);
        Ok(())
    }
}

/// Reads lower-case hexadecimal digits, as many as the bytes need.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
