//! The folder with the artifact in use.
#![allow(unsafe_code)]

use crate::raw::{self, Handle, call};
use crate::status::{Failure, KitestringStatus, c_text};
use kitestring_core::Error;
use kitestring_core::artifact::Artifact;
use kitestring_device::shelf::Shelf;
use std::ffi::{CString, c_char};

/// A folder with the artifact that is in use. What is new is checked before it takes the place of what is there, and a kill or a full disk at
/// any moment leaves one of them whole. Not to be used by two threads at once.
#[derive(Debug, Default)]
pub struct KitestringShelf {
    shelf: Option<Shelf>,
    message: CString,
}

impl Handle for KitestringShelf {
    fn keep(&mut self, message: &str) {
        self.message = c_text(message);
    }

    /// What is on disk is whole at any moment.
    fn spoil(&mut self) {}
}

impl KitestringShelf {
    pub(crate) fn current(&self) -> Result<Artifact, Failure> {
        let shelf = self.shelf.as_ref().ok_or_else(Failure::closed)?;
        let none = || Error::data("nothing was installed on the shelf yet").mend("install an artifact first");
        Ok(shelf.current()?.ok_or_else(none)?)
    }
}

/// Makes a shelf with which no folder was opened yet. To be given back with kitestring_shelf_free.
#[unsafe(no_mangle)]
pub extern "C" fn kitestring_shelf_new() -> *mut KitestringShelf {
    Box::into_raw(Box::default())
}

/// Gives a shelf back; the folder stays. NULL is nothing to give back.
///
/// # Safety
/// It was made by kitestring_shelf_new and not given back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_shelf_free(shelf: *mut KitestringShelf) {
    // SAFETY: as the caller promises.
    unsafe { raw::free(shelf) }
}

/// Why the last call with the shelf that failed did: until the next call with it. Empty where none did.
///
/// # Safety
/// `shelf` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_shelf_message(shelf: *const KitestringShelf) -> *const c_char {
    // SAFETY: as the caller promises.
    unsafe { shelf.as_ref() }.map_or(c"the shelf is null".as_ptr(), |shelf| shelf.message.as_ptr())
}

/// Opens a folder, which is made where it is not there. `keys` are those of who may publish, each 64 hexadecimal digits.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_shelf_open(
    shelf: *mut KitestringShelf,
    folder: *const c_char,
    keys: *const *const c_char,
    key_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(shelf, |shelf| {
            shelf.shelf = Some(Shelf::new(&raw::path(folder)?, &raw::keys(keys, key_count)?)?);
            Ok(())
        })
    }
}

/// Puts an artifact in the place of the one in use. `provided` names the features that the app provides: an artifact that reads another is
/// refused, and so is an older one. The one in use stays then.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_shelf_install(
    shelf: *mut KitestringShelf,
    artifact: *const u8,
    length: usize,
    provided: *const *const c_char,
    provided_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(shelf, |shelf| {
            let artifact = raw::slice(artifact, length, "the artifact")?;
            let provided = raw::texts(provided, provided_count, "the provided features")?;
            shelf.shelf.as_ref().ok_or_else(Failure::closed)?.install(artifact, &provided)?;
            Ok(())
        })
    }
}

/// Makes the newer artifact of the one in use and a delta, and puts it in its place. Otherwise as kitestring_shelf_install.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_shelf_update(
    shelf: *mut KitestringShelf,
    delta: *const u8,
    length: usize,
    provided: *const *const c_char,
    provided_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(shelf, |shelf| {
            let delta = raw::slice(delta, length, "the delta")?;
            let provided = raw::texts(provided, provided_count, "the provided features")?;
            shelf.shelf.as_ref().ok_or_else(Failure::closed)?.update(delta, &provided)?;
            Ok(())
        })
    }
}
