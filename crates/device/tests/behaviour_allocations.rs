//! An event allocates nothing once the store and the triggers are warm: counted by the allocator, on one thread.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)] // A global allocator is an unsafe trait; this one counts and hands every call on to the system's.

use kitestring_device::behaviour::{Config, Event, Files, Layout, Outcome, Store};
use kitestring_device::trigger::{Condition, Trigger, Triggers};
use std::alloc::{GlobalAlloc, System};
use std::cell::Cell;

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
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: std::alloc::Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_event_allocates_nothing() {
    let layout = Layout::new(&["exposure", "click"], &["item", "category"], &["seconds"]).unwrap();
    let pass = Trigger::new("pass", Condition::action("exposure").times(20)).among(&["exposure", "click"]);
    let click = Trigger::new("click", vec![Condition::action("click").with("category", "shoes")]);
    let mut triggers = Triggers::new(&layout, &[pass, click]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(folder.path().join("log"));
    let config =
        Config { capacity: 500, durability: kitestring_device::behaviour::Durability::Flush, ..Config::default() };
    let (mut store, _) = Store::open(Box::new(files), layout, config, 0).unwrap();
    let mut run = |from: i64, to: i64| {
        let mut fired = 0;
        let mut late = 0;
        for number in from..to {
            let time = number * 100 - if number % 7 == 0 { 250 } else { 0 };
            let texts = ["item-123456", "shoes"];
            let action = u16::from(number % 30 == 0);
            let event = Event { time, action, texts: &texts, numbers: &[1.0], id: Some(number as u64) };
            let pushed = store.push(&event, number * 100).unwrap();
            late += usize::from(matches!(pushed.outcome, Outcome::Inserted { followers } if followers > 0));
            fired += triggers.feed(&event).len();
        }
        (fired, late)
    };
    // Several compactions: each swaps the two buffers.
    run(1, 6000);
    let before = COUNT.with(Cell::get);
    // Less than what is pushed between two compactions, which open files and thereby allocate names.
    let (fired, late) = run(6000, 6100);
    assert_eq!(COUNT.with(Cell::get) - before, 0);
    assert!(fired > 5 && late > 10, "{fired} fired, {late} late");
    let compacted = run(6100, 12_000);
    assert!(compacted.0 > 0);
    // A compaction allocates the two names of its files and what the system's calls need, however much is kept.
    let all = COUNT.with(Cell::get) - before;
    assert!(all < 150, "{all} allocations in 5900 events");
}
