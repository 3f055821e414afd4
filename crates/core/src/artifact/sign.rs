//! Who may publish: keys of Ed25519 (RFC 8032).

use super::manifest::{Digest, from_hex};
use crate::error::{Error, Result};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// The key that signs artifacts. It leaves memory as zeros, and is never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of 32 random bytes.
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Reads a key from its 64 hexadecimal digits, as [`Self::to_hex`] wrote them. `file` is for messages.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str, file: &str) -> Result<Self> {
        let bytes = from_hex(text.trim()).map(Zeroizing::new).ok_or_else(|| {
            let error = Error::format("a secret key is 64 hexadecimal digits").in_file(file);
            error.mend("make one with kitestring key")
        })?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The key as 64 hexadecimal digits: to be written where nobody else reads.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.0.to_bytes());
        Zeroizing::new(Digest(*bytes).to_string())
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The key that signatures are checked with: a device holds those it trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads a key from its 64 hexadecimal digits. `file` is for messages.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str, file: &str) -> Result<Self> {
        let bytes = from_hex(text.trim());
        bytes.map(Self).ok_or_else(|| Error::format("a public key is 64 hexadecimal digits").in_file(file))
    }

    /// Whether a signature is this key's of a message. Strictly: no key of small order, no second form of a signature.
    pub(super) fn has_signed(self, message: &[u8], signature: &[u8; 64]) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        key.is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Digest(self.0), f)
    }
}
