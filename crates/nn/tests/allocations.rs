//! A warm pass allocates nothing: counted by the allocator, on one thread.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)] // A global allocator is an unsafe trait; this one counts and hands every call on to the system's.

mod common;

use common::Samples;
use common::model::{config, network, ranker, samples};
use common::trained::{batch, each_variant, keyed};
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::{OneWorker, Scorer, Trainer};
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::package::{RowCodes, Runtime};
use kitestring_nn::ranker::Ranker;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // No destructor and a constant initializer: reading it never allocates, even while a thread ends.
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(body: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    body();
    COUNT.with(Cell::get) - before
}

/// Rankers that together have every operation.
fn rankers() -> Vec<(&'static str, Ranker)> {
    let body = json!({"type": "mlp", "units": [64, 32]});
    let noisy = json!({"type": "mlp", "units": [64, 32], "batch_norm": true, "dropout": 0.2, "activation": "dice"});
    let din = json!({"type": "din", "attention": [64, 32]});
    let softmax = json!({"type": "din", "attention": [64, 32], "softmax": true});
    let stacked = json!({"type": "cross", "structure": "stacked"});
    let configs = [
        ("din", json!({"encoder": din, "body": body, "head": {"type": "esmm"}})),
        ("softmax", json!({"encoder": softmax, "body": {"type": "mlp", "units": [64, 32], "activation": "prelu"}})),
        ("fm", json!({"encoder": {"type": "fm"}, "body": body})),
        ("cross", json!({"encoder": stacked, "body": body})),
        ("gru", json!({"encoder": {"type": "gru"}, "body": body})),
        (
            "latent cross",
            json!({"body": body, "encoder": {"type": "gru_latent_cross", "event_contexts": ["category_history"],
                "contexts": ["user"]}}),
        ),
        (
            "sparse",
            json!({"body": {"type": "sparse_moe"}, "bias": {"type": "position"}, "loss": {"type": "uncertainty"}}),
        ),
        ("noisy", json!({"encoder": {"type": "pool", "pooling": "max"}, "body": noisy})),
    ];
    let star = json!({"type": "star", "layers": {"units": [64, 32]}});
    let stitched = json!({"type": "cross_stitch", "towers": {"units": [32, 16]}});
    let hmoe = json!({"type": "hmoe", "experts": 3, "towers": {"units": [16]}});
    let bodies = [("star", star), ("cross stitch", stitched), ("hmoe", hmoe)];
    let configs = configs.into_iter().chain(bodies.map(|(name, body)| (name, json!({ "body": body }))));
    configs.into_iter().map(|(name, json)| (name, ranker(&config(json)))).collect()
}

#[test]
fn a_warm_scoring_pass_allocates_nothing() {
    for (name, ranker) in rankers() {
        // Several tiles, and batches of different sizes.
        let network = network(&ranker.graph, Seed(1));
        let (large, small) = (samples(&ranker, 1300, Seed(2)), samples(&ranker, 700, Seed(3)));
        let mut scorer = Scorer::new(Arc::new(ranker.graph.clone()), 1);
        let mut scores = Vec::new();
        let mut score = |samples: &Samples| {
            let inputs = samples.inputs();
            counted(|| scorer.score(&network.weights, &network.state, &inputs, &OneWorker, &mut scores).unwrap())
        };
        assert!(score(&large) > 0);
        // The other batch is cut into other tiles, one of which may hold a few more list elements than any before.
        score(&small);
        assert_eq!((score(&small), score(&large)), (0, 0), "{name}");
    }
}

#[test]
fn a_warm_training_step_allocates_only_its_report() {
    for (name, ranker) in rankers() {
        let mut network = network(&ranker.graph, Seed(1));
        let (large, small) = (samples(&ranker, 1300, Seed(2)), samples(&ranker, 700, Seed(3)));
        let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 1);
        let mut optimizer = Optimizer::new(Rule::default(), 0.01, &ranker.graph).unwrap();
        let mut step = |samples: &Samples| {
            let inputs = samples.inputs();
            counted(|| {
                trainer.step(&network.weights, &mut network.state, &inputs, Some(Seed(4)), &OneWorker).unwrap();
                optimizer.apply(&mut network.weights, trainer.gradients().network, 1e-3);
            })
        };
        assert!(step(&large) > 2);
        step(&small);
        // The two lists of numbers in the report are the caller's to keep.
        assert_eq!((step(&small), step(&large)), (2, 2), "{name}");
    }
}

/// The rows of a batch are found and decoded anew, into the places of those before.
#[test]
fn a_warm_pass_of_an_artifact_allocates_nothing() {
    each_variant(|name, trained| {
        for (coded, codes) in [(false, RowCodes::F32), (false, RowCodes::Int8), (true, RowCodes::Int8)] {
            let mut runtime = Runtime::open(trained.artifact(coded, codes)).unwrap();
            let mut scores = Vec::new();
            let mut score = |batch: &Batch| counted(|| runtime.score(batch, &mut scores).unwrap());
            // Candidates that share a few lists, and samples with lists of their own.
            let (shared, apart) = (keyed(&batch(1300, Seed(2), true)), keyed(&batch(700, Seed(3), false)));
            assert!(score(&shared) > 0);
            score(&apart);
            assert_eq!((score(&shared), score(&apart)), (0, 0), "{name}, {codes:?}, products in codes: {coded}");
        }
    });
}
