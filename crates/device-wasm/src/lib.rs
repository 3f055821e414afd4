//! The device runtime for JavaScript, in a page, a worker or node.
//!
//! A value is a text, a number, a list of texts, or `null` where there is none. Errors are JavaScript's `Error`, with the message of the runtime. An
//! object is given back with `free()`, or by the engine's garbage collector where it has finalizers.

#[cfg(feature = "train")]
mod learn;

use js_sys::{Array, JsString};
use kitestring_core::artifact::{Aligned, Artifact, PublicKey, delta};
use kitestring_device::app::{App, Done};
use kitestring_device::behaviour::Memory;
use kitestring_device::encode::Value;
use kitestring_device::session::Session;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A value, as an app has it: a text, a number, several texts, or none. */
export type Value = string | number | readonly string[] | null | undefined;
"#;

#[wasm_bindgen]
extern "C" {
    /// A value, as an app has it.
    #[wasm_bindgen(typescript_type = "Value")]
    pub type AnyValue;
    /// Several texts.
    #[wasm_bindgen(typescript_type = "readonly string[]")]
    pub type Texts;
    /// Several texts, made here.
    #[wasm_bindgen(typescript_type = "string[]")]
    pub type Names;
    /// A list of values for each candidate.
    #[wasm_bindgen(typescript_type = "readonly (readonly Value[])[]")]
    pub type Rows;
    /// A text for each of some features.
    #[wasm_bindgen(typescript_type = "Readonly<Record<string, string>>")]
    pub type Event;
}

/// A value, owned.
enum Owned {
    Missing,
    Text(String),
    Number(f64),
    List(Vec<String>),
}

impl Owned {
    fn read(value: &JsValue) -> Result<Self, JsError> {
        if value.is_null() || value.is_undefined() {
            return Ok(Self::Missing);
        }
        if let Some(text) = value.as_string() {
            return Ok(Self::Text(text));
        }
        if let Some(number) = value.as_f64() {
            return Ok(Self::Number(number));
        }
        texts(value, "a value that is no text, number or list of texts").map(Self::List)
    }

    /// The texts of a list, for a [`Value`] to borrow.
    fn list(&self) -> Vec<&str> {
        if let Self::List(list) = self { list.iter().map(String::as_str).collect() } else { Vec::new() }
    }

    fn value<'a>(&'a self, list: &'a [&'a str]) -> Value<'a> {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(text) => Value::Text(text),
            Self::Number(number) => Value::Number(*number),
            Self::List(_) => Value::List(list),
        }
    }
}

/// The texts of an array; `else_what` says what is refused.
fn texts(value: &JsValue, else_what: &str) -> Result<Vec<String>, JsError> {
    let refused = || JsError::new(else_what);
    let array = value.dyn_ref::<Array>().ok_or_else(refused)?;
    array.iter().map(|text| text.as_string().ok_or_else(refused)).collect()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Names {
    names.map(JsString::from).collect::<Array>().unchecked_into()
}

fn mended(error: kitestring_core::Error) -> JsError {
    JsError::new(&error.to_string())
}

fn open(file: &[u8], keys: &[String]) -> Result<Artifact, JsError> {
    let keys = keys.iter().map(|key| PublicKey::from_hex(key, "the keys")).collect::<Result<Vec<_>, _>>();
    Artifact::open(Box::new(Aligned::from(file)), &keys.map_err(mended)?).map_err(mended)
}

/// Makes the newer artifact of an artifact and a delta, both checked, for the page to keep: what `kitestring compress --delta-from` wrote.
#[wasm_bindgen(js_name = applyDelta)]
pub fn apply_delta(artifact: &[u8], delta: &[u8], keys: &Texts) -> Result<Vec<u8>, JsError> {
    let keys = texts(keys, "keys that are no list of texts")?;
    let current = open(artifact, &keys)?;
    let trusted = keys.iter().map(|key| PublicKey::from_hex(key, "the keys")).collect::<Result<Vec<_>, _>>();
    let newer = delta::apply(&current, delta, &trusted.map_err(mended)?).map_err(mended)?;
    Ok(newer.bytes().to_vec())
}

/// What a ranker says of the candidates.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Ranking {
    scores: Vec<f32>,
    columns: usize,
    orders: Vec<Vec<u32>>,
}

#[wasm_bindgen]
impl Ranking {
    /// `candidates × predictions`, candidate by candidate: a probability of each binary task.
    #[wasm_bindgen(getter)]
    pub fn scores(&self) -> Vec<f32> {
        self.scores.clone()
    }

    /// The predictions of a candidate.
    #[wasm_bindgen(getter)]
    pub fn predictions(&self) -> usize {
        self.columns
    }

    /// The candidates by one of their predictions, the highest first; of equal ones the first.
    pub fn order(&self, prediction: usize) -> Result<Vec<u32>, JsError> {
        let what = || JsError::new(&format!("no prediction {prediction} of {}", self.columns));
        self.orders.get(prediction).cloned().ok_or_else(what)
    }
}

/// What followed from an event.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Effect {
    /// Whether it counts: not if it came twice, or too late to be kept.
    pub kept: bool,
    /// Whether a history changed, so that candidates may be in another order now.
    pub moved: bool,
    fired: Vec<u32>,
}

#[wasm_bindgen]
impl Effect {
    /// The numbers of the triggers it set off, among those declared.
    #[wasm_bindgen(getter)]
    pub fn fired(&self) -> Vec<u32> {
        self.fired.clone()
    }
}

/// Ranks candidates for one user.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Ranker {
    app: App,
}

impl Ranker {
    fn session(&mut self) -> Result<&mut Session, JsError> {
        self.app.session().map_err(mended)
    }
}

#[wasm_bindgen]
impl Ranker {
    /// Opens an artifact. `keys` are those of who may publish, each 64 hexadecimal digits.
    #[wasm_bindgen(constructor)]
    pub fn new(artifact: &[u8], keys: &Texts) -> Result<Ranker, JsError> {
        let artifact = open(artifact, &texts(keys, "keys that are no list of texts")?)?;
        Ok(Self { app: App::new(Session::new(artifact).map_err(mended)?) })
    }

    /// Goes on with another artifact: what was observed and declared stays, and histories are read anew by what it knows. Candidates are asked for
    /// again, and what was set of the user and the moment is set again. Where it is refused, or what was declared does not fit its histories, the
    /// one before stays, with all that was set.
    pub fn renew(&mut self, artifact: &[u8], keys: &Texts, now: f64) -> Result<(), JsError> {
        let artifact = open(artifact, &texts(keys, "keys that are no list of texts")?)?;
        self.app.renew(artifact, now as i64).map_err(mended)
    }

    /// The version of the model.
    #[wasm_bindgen(getter)]
    pub fn version(&mut self) -> Result<String, JsError> {
        Ok(self.session()?.runtime().artifact().manifest().version.clone())
    }

    /// The number of the artifact, which counts up with every one that is published.
    #[wasm_bindgen(getter)]
    pub fn release(&mut self) -> Result<f64, JsError> {
        Ok(self.session()?.runtime().artifact().manifest().release as f64)
    }

    /// The features of the user and the moment, which all candidates share.
    #[wasm_bindgen(getter)]
    pub fn shared(&mut self) -> Result<Names, JsError> {
        Ok(names(self.session()?.shared()))
    }

    /// The features that each candidate has.
    #[wasm_bindgen(getter, js_name = ofItems)]
    pub fn of_items(&mut self) -> Result<Names, JsError> {
        Ok(names(self.session()?.of_items()))
    }

    /// The levels of the scenario, the outermost first.
    #[wasm_bindgen(getter)]
    pub fn scenarios(&mut self) -> Result<Names, JsError> {
        Ok(names(self.session()?.schema().scenarios.iter().map(|level| level.name.as_str())))
    }

    /// What is predicted of a candidate: a column of the scores each.
    #[wasm_bindgen(getter)]
    pub fn predictions(&mut self) -> Result<Names, JsError> {
        Ok(names(self.session()?.runtime().packaged().graph.outputs().iter().map(|(name, _)| name.as_str())))
    }

    /// Sets a feature of the user or the moment; what was never set is missing.
    pub fn set(&mut self, feature: &str, value: &AnyValue) -> Result<(), JsError> {
        let value = Owned::read(value)?;
        self.session()?.set(feature, value.value(&value.list())).map_err(mended)
    }

    /// Adds an event to the ends of histories: a text to each feature that lists something of this event. Of more than its length the oldest
    /// goes.
    pub fn append(&mut self, event: &Event) -> Result<(), JsError> {
        let refused = || JsError::new("an event is an object with a text for each feature");
        let object = event.dyn_ref::<js_sys::Object>().ok_or_else(refused)?;
        let entry = |pair: JsValue| {
            let pair: Array = pair.unchecked_into();
            Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
        };
        let event: Option<Vec<(String, String)>> = js_sys::Object::entries(object).iter().map(entry).collect();
        let event = event.ok_or_else(refused)?;
        let event: Vec<(&str, &str)> = event.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.session()?.append(&event).map_err(mended)
    }

    /// Reads the histories into the recurrent state anew, where the ranker has one: from then on an event costs one step.
    #[wasm_bindgen(js_name = rememberAll)]
    pub fn remember_all(&mut self) -> Result<(), JsError> {
        self.session()?.remember_all().map_err(mended)
    }

    /// From now on what the user does is kept, moves the histories and sets off triggers. The declaration is JSON: `actions`, `columns` and `numbers`
    /// are lists of names, `triggers` what something follows from. `log` is what [`Self::log`] gave before, or empty; `now` the device's clock, in
    /// milliseconds since 1970, as `Date.now()` gives it. A declaration that does not fit the ranker's histories closes the ranker.
    pub fn observe(&mut self, declaration: &str, log: Vec<u8>, now: f64) -> Result<(), JsError> {
        self.app.observe(declaration, Box::new(Memory::new(log)), now as i64).map_err(mended)
    }

    /// The user did something: the action's name, a text for each declared column, a number for each declared one (`NaN` where there is none), and
    /// when, in milliseconds since 1970. `id` is a number by which a second delivery of the same event is known.
    pub fn push(
        &mut self,
        action: &str,
        columns: &Texts,
        numbers: &[f32],
        time: f64,
        now: f64,
        id: Option<u64>,
    ) -> Result<Effect, JsError> {
        let columns = texts(columns, "columns that are no list of texts")?;
        let done = Done { action, texts: &borrowed(&columns), numbers, time: time as i64, id };
        let effect = self.app.push(&done, now as i64).map_err(mended)?;
        Ok(Effect { kept: effect.kept, fired: effect.fired, moved: effect.moved })
    }

    /// Forgets what the user did.
    pub fn forget(&mut self, now: f64) -> Result<(), JsError> {
        self.app.forget(now as i64).map_err(mended)
    }

    /// What the user did, as bytes for the page to keep.
    pub fn log(&mut self) -> Result<Vec<u8>, JsError> {
        Ok(self.app.agent().map_err(mended)?.store().image().to_vec())
    }

    /// Says in which scenario the user is: a text for each level, the outermost first.
    #[wasm_bindgen(js_name = setScenarios)]
    pub fn set_scenarios(&mut self, values: &Texts) -> Result<(), JsError> {
        let values = texts(values, "scenarios that are no list of texts")?;
        self.session()?.set_scenarios(&borrowed(&values));
        Ok(())
    }

    /// Puts candidates in the place of those before: the names of all features of candidates, and for each candidate its values in this
    /// order. `version` is that of the model that found them, by its vectors: with another one than the ranker's they are refused, and the ones
    /// before stay.
    #[wasm_bindgen(js_name = setCandidates)]
    pub fn set_candidates(
        &mut self,
        features: &Texts,
        candidates: &Rows,
        version: Option<String>,
    ) -> Result<(), JsError> {
        let refused = || JsError::new("candidates that are no list of lists of values");
        let features = texts(features, "features that are no list of texts")?;
        let row = |row: JsValue| -> Result<Vec<Owned>, JsError> {
            let row = row.dyn_ref::<Array>().ok_or_else(refused)?;
            row.iter().map(|value| Owned::read(&value)).collect()
        };
        let rows = candidates.dyn_ref::<Array>().ok_or_else(refused)?;
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let lists: Vec<Vec<Vec<&str>>> = rows.iter().map(|row| row.iter().map(Owned::list).collect()).collect();
        let values = rows.iter().zip(&lists).map(|(row, lists)| {
            row.iter().zip(lists).map(|(value, list)| value.value(list)).collect::<Vec<Value<'_>>>()
        });
        let rows: Vec<Vec<Value<'_>>> = values.collect();
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        let session = self.session()?;
        version.map_or(Ok(()), |version| session.expect_version(&version)).map_err(mended)?;
        session.set_candidates(&borrowed(&features), &rows).map_err(mended)
    }

    /// Ranks the candidates as things are now.
    pub fn rank(&mut self) -> Result<Ranking, JsError> {
        let ranking = self.session()?.rank().map_err(mended)?;
        let order = |column| ranking.order(column).into_iter().map(|candidate| candidate as u32).collect();
        let orders = (0..ranking.columns).map(order).collect();
        Ok(Ranking { scores: ranking.scores.to_vec(), columns: ranking.columns, orders })
    }
}
