//! Random sessions against the model, and random bytes against the body of the fuzz target.

use crate::fuzz::event_log;
use crate::model::{Model, seen};
use kitestring_device::behaviour::{Config, Durability, Event, Files, Layout, Memory, Outcome, Storage, Store};
use proptest::prelude::*;

const NOON: i64 = 1_700_000_000_000;

fn layout() -> Layout {
    Layout::new(&["exposure", "click", "delete"], &["item", "shop"], &["seconds"]).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Push { tick: i64, lag: i64, action: u16, id: Option<u64>, length: usize },
    Open,
    Compact,
    Clear,
}

/// Clocks that go on, stand still, jump ahead and back; events that are late, early, far off and in floods.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tick = prop_oneof![6 => 0..300i64, 2 => Just(0), 1 => -900..0i64, 1 => -100_000..100_000i64];
    let lag =
        prop_oneof![6 => Just(0i64), 3 => 0..900i64, 1 => -5000..5000i64, 1 => any::<i64>().prop_map(|lag| lag / 4)];
    // One in a few is so long that bytes are the bound that counts.
    let length = prop_oneof![6 => 0..300usize, 1 => 20_000..30_000usize];
    let push = (tick, lag, 0..3u16, proptest::option::of(0..60u64), length)
        .prop_map(|(tick, lag, action, id, length)| Step::Push { tick, lag, action, id, length });
    proptest::collection::vec(
        prop_oneof![60 => push, 2 => Just(Step::Open), 1 => Just(Step::Compact), 1 => Just(Step::Clear)],
        1..150,
    )
}

/// Runs steps on a store and on the model. `storage` gives the store's storage anew, from the image of the one before.
fn run(steps: &[Step], capacity: usize, mut storage: impl FnMut(Vec<u8>) -> Box<dyn Storage + Send>) {
    let config = Config {
        capacity,
        max_bytes: 128 << 10,
        reorder_window_ms: 1000,
        keep_days: u32::MAX,
        durability: Durability::Flush,
    };
    let mut model = Model::new(config);
    let (mut store, _) = Store::open(storage(Vec::new()), layout(), config, NOON).unwrap();
    let mut now = NOON;
    for step in steps {
        match *step {
            Step::Push { tick, lag, action, id, length } => {
                now += tick;
                let text = "ä".repeat(length / 2);
                // What the model does not do is to forget by age.
                let time = now.saturating_sub(lag).max(NOON - (1 << 40));
                let event = Event { time, action, texts: &[&text, "s"], numbers: &[lag as f32], id };
                assert_eq!(store.push(&event, now).unwrap(), model.push(&event, now));
            }
            Step::Open => {
                let image = store.image().to_vec();
                drop(store);
                store = Store::open(storage(image), layout(), config, now).unwrap().0;
            }
            Step::Compact => store.compact(now).unwrap(),
            Step::Clear => {
                store.clear().unwrap();
                model.clear();
            }
        }
        assert_eq!(store.kept(), model.events.len());
        assert!(store.image().len() <= 2 * (128 << 10) + (40 << 10), "{} bytes", store.image().len());
    }
    assert_eq!(seen(&store, now), model.events);
    let mut newest = model.events.iter().rev().filter(|event| event.2 != 1).take(3);
    for event in store.last(3, &[0, 2], now) {
        assert_eq!(newest.next().map(|event| (event.1, event.3)), Some((event.time(), event.id())));
    }
    assert!(newest.next().is_none());
}

/// How many cases: as many as KITESTRING_FUZZ_CASES says, where it is set.
fn cases(few: u32) -> ProptestConfig {
    let many = std::env::var("KITESTRING_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(many.unwrap_or(few)) }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_session_is_as_the_rules_say(steps in steps(), capacity in 1usize..40) {
        run(&steps, capacity, |image| Box::new(Memory::new(image)));
    }

    /// Whatever the times are, nothing older than it may be is returned, and order holds.
    #[test]
    fn nothing_expired_is_returned(times in proptest::collection::vec((any::<i64>(), any::<i64>()), 1..40), asked: i64) {
        let config = Config { capacity: 10, keep_days: 1, ..Config::default() };
        let (mut store, _) = Store::open(Box::new(Memory::default()), layout(), config, 0).unwrap();
        for &(time, now) in &times {
            let event = Event { time, action: 0, texts: &["", ""], numbers: &[0.0], id: None };
            let pushed = store.push(&event, now).unwrap();
            let expired = pushed.time < now.saturating_sub(86_400_000);
            prop_assert!(!expired || pushed.outcome == Outcome::TooOld);
        }
        let returned: Vec<_> = store.events(asked).map(|event| (event.epoch(), event.time())).collect();
        prop_assert!(returned.is_sorted());
        prop_assert!(returned.iter().all(|event| event.1 >= asked.saturating_sub(86_400_000)));
        store.compact(asked).unwrap();
        prop_assert_eq!(store.kept(), returned.len());
    }

    #[test]
    fn any_bytes_are_opened_or_refused(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        event_log(&data);
    }

    /// Records that are nearly right: the fields of the format, with any values.
    #[test]
    fn any_records_are_opened(
        records in proptest::collection::vec((0..4u16, 0..3u32, any::<i64>(), any::<i64>(), 0..3u8, 0..5u64, 0..6usize, 0..20usize), 0..30),
        second: bool,
    ) {
        let mut data = vec![1 + 2 * u8::from(second)];
        for (action, epoch, time, clock, flags, id, length, said) in records {
            let mut payload = action.to_le_bytes().to_vec();
            payload.extend_from_slice(&epoch.to_le_bytes());
            payload.extend_from_slice(&time.to_le_bytes());
            payload.extend_from_slice(&clock.to_le_bytes());
            payload.push(flags);
            payload.extend_from_slice(&id.to_le_bytes());
            payload.extend_from_slice(&1f32.to_le_bytes());
            // A length that is wrong now and then.
            let said = if said < 18 { length } else { said };
            payload.extend_from_slice(&(said as u16).to_le_bytes());
            payload.extend_from_slice(&b"items!"[..length]);
            data.push(payload.len() as u8);
            data.extend_from_slice(&payload);
        }
        event_log(&data);
    }
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn files_are_as_memory(steps in steps(), capacity in 1usize..40) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("behaviour.log");
        run(&steps, capacity, |image| {
            assert_eq!(std::fs::read(&path).unwrap_or_default(), image);
            Box::new(Files::new(&path))
        });
    }
}
