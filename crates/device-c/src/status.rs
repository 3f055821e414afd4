//! How a call went.

use kitestring_core::{Error, Kind};
use std::ffi::CString;

/// How a call went. The handle has the message.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KitestringStatus {
    /// It went well.
    Ok = 0,
    /// A null pointer, a text that is not UTF-8, a place too small for what it is to hold.
    Argument = 1,
    /// Nothing was opened yet.
    Closed = 2,
    /// A config that does not fit.
    Config = 3,
    /// A value, a feature or a candidate that the ranker cannot read.
    Data = 4,
    /// An artifact that is damaged, not to be trusted, or of another version.
    Format = 5,
    /// The file system refused.
    Io = 6,
    /// A number that is not finite.
    Numeric = 7,
    /// A defect of Kitestring.
    Internal = 8,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: KitestringStatus,
    pub message: String,
}

impl Failure {
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self { status: KitestringStatus::Argument, message: message.into() }
    }

    pub(crate) fn closed() -> Self {
        Self { status: KitestringStatus::Closed, message: "nothing was opened yet; call open first".into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Config => KitestringStatus::Config,
            Kind::Data => KitestringStatus::Data,
            Kind::Format => KitestringStatus::Format,
            Kind::Io => KitestringStatus::Io,
            Kind::Numeric => KitestringStatus::Numeric,
            _ => KitestringStatus::Internal,
        };
        Self { status, message: error.to_string() }
    }
}

/// A text for C: what follows a NUL, which C could not see, is left out.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
