//! The columns of every file: name, type, and how each is made of rows.
//!
//! A log has what a service could log, a truth what only the simulator knows. `docs/simulator.md` says what each means.

use super::config::Scenario;
use super::random::exp;
use super::world::{AGES, DEVICES, DIMENSION, Item, Latent, User};
use super::{Impression, Occasion, hour};
use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float32Array, Int8Array, Int32Array, Int64Array};
use arrow_schema::{DataType, Field};
use std::sync::Arc;

/// A column of a file.
pub struct Column<T> {
    /// Its name and type.
    pub field: Field,
    /// Whether it repeats few values, so that a dictionary pays.
    pub repeats: bool,
    /// Makes it of rows.
    pub make: Make<T>,
}

type Make<T> = Box<dyn Fn(&[T]) -> ArrayRef>;

fn column<T>(name: impl Into<String>, kind: DataType, repeats: bool, make: Make<T>) -> Column<T> {
    Column { field: Field::new(name, kind, false), repeats, make }
}

/// A number of a large space.
fn id<T>(name: &str, get: impl Fn(&T) -> i64 + 'static) -> Column<T> {
    let make = move |rows: &[T]| Arc::new(Int64Array::from_iter_values(rows.iter().map(&get))) as ArrayRef;
    column(name, DataType::Int64, false, Box::new(make))
}

/// A small whole number.
fn count<T>(name: &str, get: impl Fn(&T) -> i32 + 'static) -> Column<T> {
    let make = move |rows: &[T]| Arc::new(Int32Array::from_iter_values(rows.iter().map(&get))) as ArrayRef;
    column(name, DataType::Int32, true, Box::new(make))
}

/// 0 or 1.
fn flag<T>(name: &str, get: impl Fn(&T) -> bool + 'static) -> Column<T> {
    let make =
        move |rows: &[T]| Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| i8::from(get(row))))) as ArrayRef;
    column(name, DataType::Int8, true, Box::new(make))
}

fn number<T>(name: impl Into<String>, get: impl Fn(&T) -> f32 + 'static) -> Column<T> {
    let make = move |rows: &[T]| Arc::new(Float32Array::from_iter_values(rows.iter().map(&get))) as ArrayRef;
    column(name, DataType::Float32, false, Box::new(make))
}

/// One of a few words, by its index.
fn word<T>(name: &str, words: Vec<String>, get: impl Fn(&T) -> u8 + 'static) -> Column<T> {
    let make = move |rows: &[T]| {
        let mut builder = StringBuilder::with_capacity(rows.len(), 12 * rows.len());
        for row in rows {
            builder.append_value(&words[usize::from(get(row))]);
        }
        Arc::new(builder.finish()) as ArrayRef
    };
    column(name, DataType::Utf8, true, Box::new(make))
}

fn list<T: 'static>(name: &str, get: fn(&T) -> &[u32]) -> Column<T> {
    let item = Arc::new(Field::new("item", DataType::Int64, false));
    let inner = item.clone();
    let make = move |rows: &[T]| {
        let mut builder = ListBuilder::new(Int64Builder::new()).with_field(inner.clone());
        for row in rows {
            get(row).iter().for_each(|id| builder.values().append_value(i64::from(*id)));
            builder.append(true);
        }
        Arc::new(builder.finish()) as ArrayRef
    };
    column(name, DataType::List(item), false, Box::new(make))
}

fn latent<T: 'static>(name: &str, get: impl Fn(&T) -> &Latent + Copy + 'static) -> Vec<Column<T>> {
    (0..DIMENSION).map(|d| number(format!("{name}_{d}"), move |row: &T| get(row)[d])).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn entrances(scenarios: &[Scenario]) -> Vec<String> {
    scenarios.iter().map(|scenario| scenario.entrance.clone()).collect()
}

fn channels(scenarios: &[Scenario]) -> Vec<String> {
    scenarios.iter().map(|scenario| scenario.channel.clone()).collect()
}

/// `users.parquet`.
pub fn users() -> Vec<Column<(i64, User)>> {
    vec![
        id("user_id", |row: &(i64, User)| row.0),
        word("age_band", owned(&AGES), |row: &(i64, User)| row.1.age),
        count("city_tier", |row: &(i64, User)| i32::from(row.1.city)),
    ]
}

/// `truth/users.parquet`.
pub fn users_truth() -> Vec<Column<(i64, User)>> {
    let mut columns = vec![
        id("user_id", |row: &(i64, User)| row.0),
        id("circle", |row: &(i64, User)| i64::from(row.1.circle)),
        number("activity", |row: &(i64, User)| row.1.activity),
        number("clickiness", |row: &(i64, User)| row.1.clickiness),
        number("price_sensitivity", |row: &(i64, User)| row.1.sensitivity),
        count("favourite_0", |row: &(i64, User)| i32::from(row.1.favourites[0])),
        count("favourite_1", |row: &(i64, User)| i32::from(row.1.favourites[1])),
        count("favourite_2", |row: &(i64, User)| i32::from(row.1.favourites[2])),
    ];
    columns.extend(latent("taste", |row: &(i64, User)| &row.1.taste));
    columns
}

/// `items.parquet`.
pub fn items() -> Vec<Column<(i64, Item)>> {
    vec![
        id("item_id", |row: &(i64, Item)| row.0),
        count("category", |row: &(i64, Item)| i32::from(row.1.category)),
        count("brand", |row: &(i64, Item)| row.1.brand as i32),
        // In cents, as prices are.
        number("price", |row: &(i64, Item)| (exp(3.0 + 0.9 * row.1.price) * 100.0).round().max(1.0) / 100.0),
    ]
}

/// `truth/items.parquet`.
pub fn items_truth() -> Vec<Column<(i64, Item)>> {
    let mut columns = vec![
        id("item_id", |row: &(i64, Item)| row.0),
        number("quality", |row: &(i64, Item)| row.1.quality),
        number("price_level", |row: &(i64, Item)| row.1.price),
        number("popularity", |row: &(i64, Item)| row.1.popularity),
    ];
    columns.extend(latent("latent", |row: &(i64, Item)| &row.1.latent));
    columns
}

/// `impressions.parquet`.
pub fn impressions(scenarios: &[Scenario]) -> Vec<Column<Impression>> {
    vec![
        id("impression_id", |row: &Impression| row.id as i64),
        id("session_id", |row: &Impression| row.session as i64),
        id("request_id", |row: &Impression| row.request as i64),
        id("user_id", |row: &Impression| i64::from(row.user)),
        id("item_id", |row: &Impression| i64::from(row.item)),
        id("time", |row: &Impression| row.time),
        count("hour", |row: &Impression| hour(row.time) as i32),
        word("device", owned(&DEVICES), |row: &Impression| row.device),
        word("entrance", entrances(scenarios), |row: &Impression| row.scenario),
        word("channel", channels(scenarios), |row: &Impression| row.scenario),
        count("position", |row: &Impression| i32::from(row.position)),
        number("propensity", |row: &Impression| row.propensity),
        flag("random_policy", |row: &Impression| row.random),
        flag("extra_request", |row: &Impression| row.extra),
        flag("click", |row: &Impression| row.click),
        flag("conversion", |row: &Impression| row.conversion),
        flag("like", |row: &Impression| row.like),
        flag("dislike", |row: &Impression| row.dislike),
        number("view_seconds", |row: &Impression| row.view),
        number("dwell_seconds", |row: &Impression| row.dwell),
    ]
}

/// `truth/impressions.parquet`.
pub fn impressions_truth() -> Vec<Column<Impression>> {
    let mut columns = vec![
        id("impression_id", |row: &Impression| row.id as i64),
        number("relevance", |row: &Impression| row.truth.relevance),
        number("moment", |row: &Impression| row.truth.moment),
        number("confounder", |row: &Impression| row.truth.confounder),
        number("delay", |row: &Impression| row.truth.delay),
        number("position_bias", |row: &Impression| row.truth.position_bias),
        number("click_probability", |row: &Impression| row.truth.click_probability),
        number("click_probability_unbiased", |row: &Impression| row.truth.click_probability_unbiased),
        number("conversion_probability", |row: &Impression| row.truth.conversion_probability),
        number("like_probability", |row: &Impression| row.truth.like_probability),
        number("dwell_location", |row: &Impression| row.truth.dwell_location),
        count("focus", |row: &Impression| i32::from(row.truth.focus)),
        flag("jumped", |row: &Impression| row.truth.jumped),
    ];
    columns.extend(latent("intent", |row: &Impression| &row.truth.intent));
    columns
}

type Thrown = (Impression, Occasion);

/// `occasions.parquet`. A row is an occasion and the impression it follows.
pub fn occasions(scenarios: &[Scenario]) -> Vec<Column<Thrown>> {
    vec![
        id("occasion_id", |row: &Thrown| row.1.id as i64),
        id("impression_id", |row: &Thrown| row.1.impression as i64),
        id("session_id", |row: &Thrown| row.0.session as i64),
        id("user_id", |row: &Thrown| i64::from(row.0.user)),
        id("time", |row: &Thrown| row.0.time),
        count("hour", |row: &Thrown| hour(row.0.time) as i32),
        word("device", owned(&DEVICES), |row: &Thrown| row.0.device),
        word("entrance", entrances(scenarios), |row: &Thrown| row.0.scenario),
        word("channel", channels(scenarios), |row: &Thrown| row.0.scenario),
        word("trigger", super::Trigger::NAMES.map(Into::into).to_vec(), |row: &Thrown| row.1.trigger as u8),
        count("position", |row: &Thrown| i32::from(row.0.position)),
        count("depth", |row: &Thrown| row.1.depth as i32),
        count("session_clicks", |row: &Thrown| row.1.clicks as i32),
        count("since_request", |row: &Thrown| row.1.since_request as i32),
        list("cached_items", |row: &Thrown| &row.1.cached),
        flag("treatment", |row: &Thrown| row.1.treated),
        number("propensity", |_: &Thrown| 0.5),
        count("window_impressions", |row: &Thrown| observed(row).impressions as i32),
        count("window_clicks", |row: &Thrown| observed(row).clicks as i32),
        count("window_conversions", |row: &Thrown| observed(row).conversions as i32),
        flag("window_click", |row: &Thrown| observed(row).clicks > 0),
        flag("window_conversion", |row: &Thrown| observed(row).conversions > 0),
    ]
}

fn observed(row: &Thrown) -> &super::Outcome {
    &row.1.arms[usize::from(row.1.treated)]
}

/// `truth/occasions.parquet`.
pub fn occasions_truth() -> Vec<Column<Thrown>> {
    fn uplift(row: &Thrown, get: impl Fn(&super::Outcome) -> f32) -> f32 {
        get(&row.1.arms[1]) - get(&row.1.arms[0])
    }
    vec![
        id("occasion_id", |row: &Thrown| row.1.id as i64),
        count("window_clicks_0", |row: &Thrown| row.1.arms[0].clicks as i32),
        count("window_clicks_1", |row: &Thrown| row.1.arms[1].clicks as i32),
        count("window_conversions_0", |row: &Thrown| row.1.arms[0].conversions as i32),
        count("window_conversions_1", |row: &Thrown| row.1.arms[1].conversions as i32),
        number("click_probability_0", |row: &Thrown| row.1.arms[0].click_probability),
        number("click_probability_1", |row: &Thrown| row.1.arms[1].click_probability),
        number("conversion_probability_0", |row: &Thrown| row.1.arms[0].conversion_probability),
        number("conversion_probability_1", |row: &Thrown| row.1.arms[1].conversion_probability),
        number("click_uplift", |row: &Thrown| uplift(row, |arm| arm.click_probability)),
        number("conversion_uplift", |row: &Thrown| uplift(row, |arm| arm.conversion_probability)),
        number("moved", |row: &Thrown| row.1.moved),
        flag("jumped", |row: &Thrown| row.1.jumped),
    ]
}
