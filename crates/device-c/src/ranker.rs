//! An artifact opened, values in, a ranking out.
#![allow(unsafe_code)]

use crate::raw::{self, Handle, call};
use crate::shelf::KitestringShelf;
use crate::status::{Failure, KitestringStatus, c_text};
use kitestring_core::artifact::{Aligned, Artifact};
use kitestring_device::app::{App, Done};
use kitestring_device::behaviour::{Files, Memory, Storage};
use kitestring_device::encode::Value;
use kitestring_device::{map, session::Session};
use std::ffi::{CStr, CString, c_char};
use std::ptr::null;

/// There is no value.
pub const KITESTRING_MISSING: u32 = 0;
/// A text: the id of an item, a category, a city.
pub const KITESTRING_TEXT: u32 = 1;
/// A number.
pub const KITESTRING_NUMBER: u32 = 2;
/// Several texts: tags, or a history that the app keeps by itself, oldest first.
pub const KITESTRING_LIST: u32 = 3;

/// The features of the user and the moment, which all candidates share.
pub const KITESTRING_SHARED: u32 = 0;
/// The features that each candidate has.
pub const KITESTRING_OF_ITEMS: u32 = 1;
/// The levels of the scenario, the outermost first.
pub const KITESTRING_SCENARIOS: u32 = 2;
/// What is predicted of a candidate: a column of the scores each.
pub const KITESTRING_PREDICTIONS: u32 = 3;

/// A value, as an app has it. Only what its kind names is read. What it points to stays the caller's.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct KitestringValue {
    /// KITESTRING_MISSING, KITESTRING_TEXT, KITESTRING_NUMBER or KITESTRING_LIST.
    pub kind: u32,
    /// The number.
    pub number: f64,
    /// The text, in UTF-8, ended by a NUL.
    pub text: *const c_char,
    /// The first of the list's texts.
    pub list: *const *const c_char,
    /// How many texts the list has.
    pub count: usize,
}

/// Ranks candidates for one user. Not to be used by two threads at once.
#[derive(Debug, Default)]
pub struct KitestringRanker {
    app: Option<App>,
    fired: Vec<u32>,
    release: u64,
    message: CString,
    version: CString,
    /// By KITESTRING_SHARED and its like.
    names: [Vec<CString>; 4],
}

impl Handle for KitestringRanker {
    fn keep(&mut self, message: &str) {
        self.message = c_text(message);
    }

    fn spoil(&mut self) {
        self.app = None;
    }
}

impl KitestringRanker {
    fn session(&mut self) -> Result<&mut Session, Failure> {
        Ok(self.app()?.session()?)
    }

    fn app(&mut self) -> Result<&mut App, Failure> {
        self.app.as_mut().ok_or_else(Failure::closed)
    }

    fn open(&mut self, artifact: Artifact) -> Result<(), Failure> {
        self.app = Some(App::new(Session::new(artifact)?));
        self.describe()
    }

    fn renew(&mut self, artifact: Artifact, now: i64) -> Result<(), Failure> {
        self.app()?.renew(artifact, now)?;
        self.describe()
    }

    /// What can be asked without a call that may fail.
    fn describe(&mut self) -> Result<(), Failure> {
        let session = self.app.as_mut().ok_or_else(Failure::closed)?.session()?;
        self.version = c_text(&session.runtime().artifact().manifest().version);
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(c_text).collect::<Vec<_>>();
        self.names = [
            names(&mut session.shared()),
            names(&mut session.of_items()),
            names(&mut session.schema().scenarios.iter().map(|level| level.name.as_str())),
            names(&mut session.runtime().packaged().graph.outputs().iter().map(|(name, _)| name.as_str())),
        ];
        self.release = session.runtime().artifact().manifest().release;
        Ok(())
    }
}

/// The artifact in a file.
///
/// # Safety
/// Pointers are as the header says of all calls.
unsafe fn of_file(path: *const c_char, keys: *const *const c_char, count: usize) -> Result<Artifact, Failure> {
    // SAFETY: as the caller promises.
    unsafe { Ok(map::open(&raw::path(path)?, &raw::keys(keys, count)?)?) }
}

/// The artifact in memory, copied.
///
/// # Safety
/// Pointers are as the header says of all calls.
unsafe fn of_bytes(
    (bytes, length): (*const u8, usize),
    keys: *const *const c_char,
    count: usize,
) -> Result<Artifact, Failure> {
    // SAFETY: as the caller promises.
    let (bytes, keys) = unsafe { (raw::slice(bytes, length, "the artifact")?, raw::keys(keys, count)?) };
    Ok(Artifact::open(Box::new(Aligned::from(bytes)), &keys)?)
}

/// The artifact in use on a shelf.
///
/// # Safety
/// Pointers are as the header says of all calls.
unsafe fn of_shelf(shelf: *const KitestringShelf) -> Result<Artifact, Failure> {
    // SAFETY: as the caller promises.
    unsafe { shelf.as_ref() }.ok_or_else(|| Failure::argument("the shelf is null"))?.current()
}

/// The texts of a list; none of another value.
///
/// # Safety
/// Its pointers are what its kind says, for as long as the texts are used.
unsafe fn list<'a>(value: &KitestringValue) -> Result<Vec<&'a str>, Failure> {
    match value.kind {
        // SAFETY: as the caller promises.
        KITESTRING_LIST => unsafe { raw::texts(value.list, value.count, "the list") },
        _ => Ok(Vec::new()),
    }
}

/// A value, with the texts of its list.
///
/// # Safety
/// Its pointers are what its kind says, for as long as the value is used.
unsafe fn read<'a>(value: &KitestringValue, list: &'a [&'a str]) -> Result<Value<'a>, Failure> {
    match value.kind {
        KITESTRING_MISSING => Ok(Value::Missing),
        // SAFETY: as the caller promises.
        KITESTRING_TEXT => Ok(Value::Text(unsafe { raw::text(value.text, "the text")? })),
        KITESTRING_NUMBER => Ok(Value::Number(value.number)),
        KITESTRING_LIST => Ok(Value::List(list)),
        kind => Err(Failure::argument(format!("there is no kind {kind} of values"))),
    }
}

/// Makes a ranker with which nothing was opened yet. To be given back with kitestring_ranker_free.
#[unsafe(no_mangle)]
pub extern "C" fn kitestring_ranker_new() -> *mut KitestringRanker {
    Box::into_raw(Box::default())
}

/// Gives a ranker back, and all that was got from it. NULL is nothing to give back.
///
/// # Safety
/// It was made by kitestring_ranker_new and not given back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_free(ranker: *mut KitestringRanker) {
    // SAFETY: as the caller promises.
    unsafe { raw::free(ranker) }
}

/// Why the last call with the ranker that failed did: until the next call with it. Empty where none did.
///
/// # Safety
/// `ranker` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_message(ranker: *const KitestringRanker) -> *const c_char {
    // SAFETY: as the caller promises.
    unsafe { ranker.as_ref() }.map_or(c"the ranker is null".as_ptr(), |ranker| ranker.message.as_ptr())
}

/// Opens the artifact in a file, which is mapped into memory and must not be changed meanwhile. One that was opened before stays where the
/// new one is refused. `keys` are those of who may publish, each 64 hexadecimal digits.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_open_file(
    ranker: *mut KitestringRanker,
    path: *const c_char,
    keys: *const *const c_char,
    key_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.open(of_file(path, keys, key_count)?)) }
}

/// Opens an artifact in memory, which is copied: the bytes stay the caller's. Otherwise as kitestring_ranker_open_file.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_open_bytes(
    ranker: *mut KitestringRanker,
    bytes: *const u8,
    length: usize,
    keys: *const *const c_char,
    key_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.open(of_bytes((bytes, length), keys, key_count)?)) }
}

/// Opens the artifact that is in use on a shelf. One that was opened before stays where there is none, or it is refused.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_open_shelf(
    ranker: *mut KitestringRanker,
    shelf: *const KitestringShelf,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.open(of_shelf(shelf)?)) }
}

/// Goes on with the artifact in a file: what was observed and declared stays, and histories are read anew by what it knows. Candidates are asked
/// for again, and what was set of the user and the moment is set again. `now` is the device's clock, in milliseconds since 1970. Where the
/// artifact is refused, or what was declared does not fit its histories, the one before stays, with all that was set.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_renew_file(
    ranker: *mut KitestringRanker,
    path: *const c_char,
    keys: *const *const c_char,
    key_count: usize,
    now: i64,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.renew(of_file(path, keys, key_count)?, now)) }
}

/// Goes on with an artifact in memory, which is copied. Otherwise as kitestring_ranker_renew_file.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_renew_bytes(
    ranker: *mut KitestringRanker,
    bytes: *const u8,
    length: usize,
    keys: *const *const c_char,
    key_count: usize,
    now: i64,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.renew(of_bytes((bytes, length), keys, key_count)?, now)) }
}

/// Goes on with the artifact that is in use on a shelf. Otherwise as kitestring_ranker_renew_file.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_renew_shelf(
    ranker: *mut KitestringRanker,
    shelf: *const KitestringShelf,
    now: i64,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| ranker.renew(of_shelf(shelf)?, now)) }
}

/// The version of the model: until another artifact takes its place. Empty where none is.
///
/// # Safety
/// `ranker` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_version(ranker: *const KitestringRanker) -> *const c_char {
    // SAFETY: as the caller promises.
    unsafe { ranker.as_ref() }.map_or(c"".as_ptr(), |ranker| ranker.version.as_ptr())
}

/// The number of the artifact, which counts up with every one that is published; 0 where none is open.
///
/// # Safety
/// `ranker` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_release(ranker: *const KitestringRanker) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { ranker.as_ref() }.map_or(0, |ranker| ranker.release)
}

/// How many names there are of KITESTRING_SHARED, KITESTRING_OF_ITEMS, KITESTRING_SCENARIOS or KITESTRING_PREDICTIONS.
///
/// # Safety
/// `ranker` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_count(ranker: *const KitestringRanker, of: u32) -> usize {
    // SAFETY: as the caller promises.
    unsafe { ranker.as_ref() }.and_then(|ranker| ranker.names.get(of as usize)).map_or(0, Vec::len)
}

/// A name of KITESTRING_SHARED, KITESTRING_OF_ITEMS, KITESTRING_SCENARIOS or KITESTRING_PREDICTIONS, until another artifact takes its place;
/// NULL where there is none of this number.
///
/// # Safety
/// `ranker` is NULL or in use by nobody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_name(
    ranker: *const KitestringRanker,
    of: u32,
    number: usize,
) -> *const c_char {
    // SAFETY: as the caller promises.
    let names = unsafe { ranker.as_ref() }.and_then(|ranker| ranker.names.get(of as usize));
    names.and_then(|names| names.get(number)).map_or(null(), |name| CStr::as_ptr(name))
}

/// Sets a feature of the user or the moment; what was never set is missing.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_set(
    ranker: *mut KitestringRanker,
    feature: *const c_char,
    value: *const KitestringValue,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let feature = raw::text(feature, "the feature")?;
            let value = value.as_ref().ok_or_else(|| Failure::argument("the value is null"))?;
            let list = list(value)?;
            Ok(ranker.session()?.set(feature, read(value, &list)?)?)
        })
    }
}

/// Adds an event to the ends of histories, `count` texts to as many features: to all that list something of this event, for they are read side by
/// side. Of more than its length the oldest goes.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_append(
    ranker: *mut KitestringRanker,
    features: *const *const c_char,
    values: *const *const c_char,
    count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let features = raw::texts(features, count, "the features")?;
            let values = raw::texts(values, count, "the texts")?;
            let event: Vec<(&str, &str)> = features.into_iter().zip(values).collect();
            Ok(ranker.session()?.append(&event)?)
        })
    }
}

/// Reads the histories into the recurrent state anew, where the ranker has one: from then on an event costs one step, however long its history. A
/// state outlives the events that fell out of a history; to have it start again from those that are left, call this again.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_remember_all(ranker: *mut KitestringRanker) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| Ok(ranker.session()?.remember_all()?)) }
}

/// Something a user did. What it points to stays the caller's.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct KitestringEvent {
    /// The action's name.
    pub action: *const c_char,
    /// A text for each declared column; an empty one means that there is none.
    pub texts: *const *const c_char,
    /// How many texts there are.
    pub text_count: usize,
    /// A number for each declared one; NAN means that there is none.
    pub numbers: *const f32,
    /// How many numbers there are.
    pub number_count: usize,
    /// When, in milliseconds since 1970.
    pub time: i64,
    /// A number by which a second delivery of the same event is known; 0 means that there is none.
    pub id: u64,
}

/// From now on what the user does is kept in the file `log`, moves the histories and sets off triggers. With NULL it is kept in memory alone. The
/// declaration is JSON: "actions", "columns" and "numbers" are lists of names, "triggers" what something follows from, as the documentation of
/// kitestring_device::app::Declaration says. `now` is the device's clock, in milliseconds since 1970. A declaration that does not fit the
/// ranker's histories closes the ranker; any other failure leaves it as it is.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_observe(
    ranker: *mut KitestringRanker,
    declaration: *const c_char,
    log: *const c_char,
    now: i64,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let declaration = raw::text(declaration, "the declaration")?;
            let storage: Box<dyn Storage + Send> =
                if log.is_null() { Box::new(Memory::default()) } else { Box::new(Files::new(raw::path(log)?)) };
            Ok(ranker.app()?.observe(declaration, storage, now)?)
        })
    }
}

/// The user did something. `fired` becomes the first of `count` numbers of the triggers it set off, among those declared: the ranker's, until
/// the next call with it. `moved` becomes 1 where a history changed, so that candidates may be in another order now, else 0.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_push(
    ranker: *mut KitestringRanker,
    event: *const KitestringEvent,
    now: i64,
    fired: *mut *const u32,
    count: *mut usize,
    moved: *mut u8,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let event = event.as_ref().ok_or_else(|| Failure::argument("the event is null"))?;
            let done = Done {
                action: raw::text(event.action, "the action")?,
                texts: &raw::texts(event.texts, event.text_count, "the texts")?,
                numbers: raw::slice(event.numbers, event.number_count, "the numbers")?,
                time: event.time,
                id: Some(event.id).filter(|id| *id != 0),
            };
            let effect = ranker.app()?.push(&done, now)?;
            ranker.fired = effect.fired;
            raw::write(fired, ranker.fired.as_ptr(), "the triggers")?;
            raw::write(count, ranker.fired.len(), "the number of triggers")?;
            raw::write(moved, u8::from(effect.moved), "whether anything moved")
        })
    }
}

/// Forgets what the user did.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_forget(ranker: *mut KitestringRanker, now: i64) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe { call(ranker, |ranker| Ok(ranker.app()?.forget(now)?)) }
}

/// Says in which scenario the user is: a text for each level, the outermost first.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_set_scenarios(
    ranker: *mut KitestringRanker,
    values: *const *const c_char,
    count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let values = raw::texts(values, count, "the scenarios")?;
            ranker.session()?.set_scenarios(&values);
            Ok(())
        })
    }
}

/// Puts candidates in the place of those before. `version` is that of the model that found them, by its vectors: with another one than
/// kitestring_ranker_version they are refused, and the ones before stay. NULL where no model did. `values` has `candidate_count × feature_count`
/// values, candidate by candidate, in the order of `features`, which are all those of KITESTRING_OF_ITEMS.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_set_candidates(
    ranker: *mut KitestringRanker,
    version: *const c_char,
    features: *const *const c_char,
    feature_count: usize,
    values: *const KitestringValue,
    candidate_count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let features = raw::texts(features, feature_count, "the features")?;
            let many = || Failure::argument("more values than there is memory");
            let count = candidate_count.checked_mul(feature_count).ok_or_else(many)?;
            let values = raw::slice(values, count, "the values")?;
            let lists = values.iter().map(|value| list(value)).collect::<Result<Vec<_>, _>>()?;
            let flat =
                values.iter().zip(&lists).map(|(value, list)| read(value, list)).collect::<Result<Vec<_>, _>>()?;
            let candidates: Vec<&[Value<'_>]> = match feature_count {
                0 => vec![&[]; candidate_count],
                _ => flat.chunks(feature_count).collect(),
            };
            let session = ranker.session()?;
            if !version.is_null() {
                session.expect_version(raw::text(version, "the version")?)?;
            }
            Ok(session.set_candidates(&features, &candidates)?)
        })
    }
}

/// Ranks the candidates as things are now. `scores` becomes the first of `candidates × predictions` numbers, candidate by candidate: a
/// probability of each binary task. They are the ranker's, until the next call with it.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_rank(
    ranker: *mut KitestringRanker,
    scores: *mut *const f32,
    candidates: *mut usize,
    predictions: *mut usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let ranking = ranker.session()?.rank()?;
            raw::write(scores, ranking.scores.as_ptr(), "the scores")?;
            raw::write(candidates, ranking.scores.len() / ranking.columns.max(1), "the number of candidates")?;
            raw::write(predictions, ranking.columns, "the number of predictions")
        })
    }
}

/// Ranks the candidates and writes their numbers in the order of a prediction, the highest first; of equal ones the first. `count` is how many
/// of the best are wanted: there is place for as many, and there are as many candidates.
///
/// # Safety
/// Pointers are as the header says of all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kitestring_ranker_order(
    ranker: *mut KitestringRanker,
    prediction: usize,
    order: *mut usize,
    count: usize,
) -> KitestringStatus {
    // SAFETY: as the caller promises.
    unsafe {
        call(ranker, |ranker| {
            let ranking = ranker.session()?.rank()?;
            if prediction >= ranking.columns {
                return Err(Failure::argument(format!("no prediction {prediction} of {}", ranking.columns)));
            }
            let best = ranking.order(prediction);
            if count > best.len() {
                return Err(Failure::argument(format!("{count} of {} candidates", best.len())));
            }
            best.iter()
                .take(count)
                .enumerate()
                .try_for_each(|(at, number)| raw::write(order.wrapping_add(at), *number, "the order"))
        })
    }
}
