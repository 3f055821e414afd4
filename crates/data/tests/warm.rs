//! A batch that was filled once is filled again without allocating.
//!
//! An allocator that counts needs `unsafe`: it hands every call to the system's allocator unchanged, so it is as sound.
#![allow(clippy::unwrap_used, unsafe_code)]

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use kitestring_core::schema::{Feature, FeatureKind, History, Of, Task, Transform};
use kitestring_core::{Batch, Schema, Seed};
use kitestring_data::chunk::{Chunk, Lines};
use kitestring_data::config::{Draw, Negatives, Split};
use kitestring_data::dataset::Dataset;
use kitestring_data::prepare::{Input, Options, prepare};
use kitestring_data::reader::BadRows;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_batch_allocates_nothing() {
    let column =
        |value: fn(u64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..2000).map(value))) };
    let columns: [(&str, ArrayRef); 5] = [
        ("user", column(|row| (row % 40).to_string())),
        ("item", column(|row| (row * row % 211).to_string())),
        ("tags", column(|row| (0..row * row % 211 % 4).map(|tag| tag.to_string()).collect::<Vec<_>>().join("|"))),
        ("price", column(|row| (row * row % 211).to_string())),
        ("click", column(|row| (row % 2).to_string())),
    ];
    let feature = |name: &str, kind: FeatureKind| Feature { of: Of::Item, ..Feature::new(name, kind) };
    let schema = Schema {
        user: Some("user".into()),
        item: Some("item".into()),
        features: vec![
            feature("item", FeatureKind::Categorical),
            Feature { separator: Some("|".into()), ..feature("tags", FeatureKind::Multi) },
            Feature { transform: Transform::Standardize, ..feature("price", FeatureKind::Numeric) },
            Feature {
                table: Some("item".into()),
                history: Some(History { of: "item".into(), when: Some("click".into()), which: Default::default() }),
                ..Feature::new("clicked", FeatureKind::Sequence)
            },
        ],
        tasks: vec![Task::binary("click")],
        ..Schema::default()
    };
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let chunk = Chunk { rows, file: "log".into(), lines: Lines::From(1) };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let bad = BadRows::default();
    let negatives = Negatives { per_positive: 2, draw: Draw::Popularity, splits: vec!["train".into()] };
    let split = Some(Split::UserFraction { valid: 0.0, test: 0.1 });
    let options = Options {
        schema: &schema,
        split,
        ties: Default::default(),
        negatives: Some(&negatives),
        like: None,
        seed: Seed(1),
        bad_rows: &bad,
    };
    prepare(vec![Input::new("train", [Ok(chunk)].into_iter())], Vec::new(), &options, &out, &mut |_| {}).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    let train = dataset.split("train").unwrap();
    let order: Vec<u64> = train.order(Seed(1), 0).iter().collect();
    let items: Vec<u32> = dataset.items().unwrap().trained().to_vec();
    let offsets: Vec<u32> = (0..=4).map(|sample| sample * items.len() as u32 / 4).collect();
    let (mut batch, mut candidates) = (Batch::default(), Batch::default());
    let mut fill = |epoch: u64| {
        for indices in order.chunks(512) {
            train.read(indices, Seed(epoch), &mut batch).unwrap();
        }
        train.read_candidates(&order[..4], &offsets, &items, &mut candidates).unwrap();
    };
    // Negatives differ by epoch, and so do the lengths of lists: a few epochs see the longest batch.
    (0..20).for_each(&mut fill);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..20).for_each(&mut fill);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
