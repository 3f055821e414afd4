//! What is shipped to a device: a signed, versioned package of a compressed network and rows, in one file that is used where it lies.
//!
//! | offset | bytes | holds |
//! |---|---|---|
//! | 0 | 8 | `89 4B 49 54 45 0D 0A 1A`: a byte no text has, `KITE`, and line ends that a careless transfer would change |
//! | 8 | 4 | the format number, [`FORMAT`], little-endian like every number here |
//! | 12 | 4 | the length of the manifest |
//! | 16 | 32 | the publisher's public key (Ed25519, RFC 8032) |
//! | 48 | 64 | its signature of the 48 bytes before it and the manifest |
//! | 112 | … | the [`Manifest`], JSON |
//! | … | … | pages, each at a multiple of [`ALIGNMENT`], zeros between them |
//!
//! The manifest holds the SHA-256 of every page, so the signature vouches for every byte of the file: [`Artifact::open`] refuses one flipped
//! bit anywhere, zeros between pages included.
//!
//! *Pages* are what versions and capacities can share: a weight of the network, a thousand rows of a table. *Rows* have keys, ascending,
//! so that one is found without reading the others. The key of a row is its id where ids are hashes or buckets already, and
//! [`stable_hash`](crate::hash::stable_hash) of the value's text where a vocabulary numbers them: a device needs no vocabulary.
//! A missing value has the key 0; a value that no key names, because training did not have it or its row was left out, has the table's
//! default row. (In artifacts made before the two were told apart, both rows are the same.)
//!
//! A [`delta`] holds what of a version another one does not have. What it makes of the older file is the newer one, byte for byte, with the
//! publisher's signature, so a delta needs none of its own.

pub mod delta;
mod layout;
mod manifest;
mod open;
mod seal;
mod sign;
#[cfg(test)]
mod tests;

pub use manifest::{Digest, Manifest, PageInfo, TableInfo};
pub use open::{Aligned, Artifact, Bytes, Rows};
pub use seal::{Contents, TableContents};
pub use sign::{PublicKey, SecretKey};

/// The format number that this version writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// Pages start at multiples of this, so that a mapped page can be read as numbers of any kind.
pub const ALIGNMENT: usize = 64;

/// Rows of a table in one page, but for its last.
pub const PAGE_ROWS: usize = 1024;
