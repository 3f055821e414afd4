//! What C hands over, read with care.
//!
//! All that can be checked is: null pointers, texts that are not UTF-8, kinds that are none, counts beyond any memory. What cannot be is what the
//! header asks of its caller: that a pointer which is not null points to as many things as the count beside it says, that these stay as they
//! are during the call, and that a handle is one that was made, was not given back, and is used by one thread at a time.
#![allow(unsafe_code)]

use crate::status::{Failure, KitestringStatus};
use kitestring_core::artifact::PublicKey;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What C holds a pointer to.
pub(crate) trait Handle {
    /// Keeps why a call failed.
    fn keep(&mut self, message: &str);

    /// Lets go of what a panic may have left half-done.
    fn spoil(&mut self);
}

/// Runs a call on a handle; a failure is kept in the handle, and no panic gets out.
///
/// # Safety
/// `handle` is null or a handle in use by nobody else.
pub(crate) unsafe fn call<H: Handle>(
    handle: *mut H,
    run: impl FnOnce(&mut H) -> Result<(), Failure>,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    let Some(handle) = (unsafe { handle.as_mut() }) else { return KitestringStatus::Argument };
    let ended = catch_unwind(AssertUnwindSafe(|| run(handle)));
    told(handle, ended)
}

/// How a call went, said of any handle in one place.
#[inline(never)]
fn told(handle: &mut dyn Handle, ended: std::thread::Result<Result<(), Failure>>) -> KitestringStatus {
    match ended {
        Ok(Ok(())) => KitestringStatus::Ok,
        Ok(Err(failure)) => {
            handle.keep(&failure.message);
            failure.status
        }
        Err(_) => {
            handle.spoil();
            handle.keep("a defect of Kitestring; open again");
            KitestringStatus::Internal
        }
    }
}

/// Gives a handle back.
///
/// # Safety
/// `handle` is null or was made by `Box::into_raw` and not given back.
pub(crate) unsafe fn free<H>(handle: *mut H) {
    if !handle.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// So many things from a pointer. It may be null where there are none.
///
/// # Safety
/// `first` is null or points to `count` things that stay as they are for as long as the slice is used.
pub(crate) unsafe fn slice<'a, T>(first: *const T, count: usize, what: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(Failure::argument(format!("{what} is null")));
    }
    if !first.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned")));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::argument(format!("{count} of {what} do not fit into any memory")));
    }
    // SAFETY: not null, aligned, of a size that can be; the rest is as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// A text.
///
/// # Safety
/// `text` is null or points to a text that ends with a NUL and stays as it is for as long as it is used.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{what} is null")));
    }
    // SAFETY: not null; the rest is as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format!("{what} is not UTF-8")))
}

/// Several texts.
///
/// # Safety
/// As [`slice`], and each of them as [`text`].
pub(crate) unsafe fn texts<'a>(first: *const *const c_char, count: usize, what: &str) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: as the caller promises.
    unsafe { slice(first, count, what)?.iter().map(|one| text(*one, what)).collect() }
}

/// The keys of those who may publish: texts of 64 hexadecimal digits.
///
/// # Safety
/// As [`texts`].
pub(crate) unsafe fn keys(first: *const *const c_char, count: usize) -> Result<Vec<PublicKey>, Failure> {
    // SAFETY: as the caller promises.
    let keys = unsafe { texts(first, count, "the keys")? };
    Ok(keys.into_iter().map(|key| PublicKey::from_hex(key, "the keys")).collect::<Result<_, _>>()?)
}

/// A path, in UTF-8.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path(path: *const c_char) -> Result<PathBuf, Failure> {
    // SAFETY: as the caller promises.
    unsafe { text(path, "the path").map(PathBuf::from) }
}

/// Writes to where the caller wants to have something.
///
/// # Safety
/// `place` is null or points to where a `T` can be.
pub(crate) unsafe fn write<T>(place: *mut T, value: T, what: &str) -> Result<(), Failure> {
    if place.is_null() || !place.is_aligned() {
        return Err(Failure::argument(format!("there is no place for {what}")));
    }
    // SAFETY: not null, aligned; the rest is as the caller promises.
    unsafe { place.write(value) };
    Ok(())
}
