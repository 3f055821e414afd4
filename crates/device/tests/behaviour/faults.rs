//! A scripted session with a fault at every operation of the storage.

use crate::disk::{Disk, Failure, Fault};
use crate::model::{Model, Seen, seen};
use kitestring_core::{Error, Kind, Result, Seed};
use kitestring_device::behaviour::{Config, Durability, Event, Layout, Outcome, Store};

const NOON: i64 = 1_700_000_000_000;

/// What an app does.
#[derive(Debug, Clone)]
enum Step {
    Push {
        time: i64,
        now: i64,
        action: u16,
        id: u64,
    },
    Flush,
    Compact,
    Clear,
    /// Ends and opens again, with the layout of this number.
    Open(usize),
}

/// The second has its actions in another order and one fewer, and a column more.
fn layout(version: usize) -> Layout {
    match version {
        0 => Layout::new(&["exposure", "click", "delete"], &["item"], &["seconds"]),
        _ => Layout::new(&["click", "exposure"], &["item", "shop"], &["seconds"]),
    }
    .unwrap()
}

fn relaid(model: &Model, from: usize, to: usize) -> Model {
    let mut model = model.clone();
    if (from, to) == (0, 1) {
        model.events.retain(|event| event.2 != 2);
        for event in &mut model.events {
            event.2 = 1 - event.2;
            event.4.push(String::new());
        }
    } else {
        assert_eq!(from, to);
    }
    model
}

/// Events in order, late, twice and after a jump of the clock; enough of them for several compactions.
fn session() -> Vec<Step> {
    let seed = Seed(11);
    let mut steps = Vec::new();
    let mut now = NOON;
    for id in 0..72u64 {
        let draw = |name: &str, among: u64| seed.child(name).bits_at(id) % among;
        now += draw("gap", 400) as i64;
        match id {
            25 => steps.push(Step::Flush),
            30 => now -= 5000,
            40 => steps.push(Step::Compact),
            50 => steps.push(Step::Open(1)),
            62 => steps.push(Step::Clear),
            66 => steps.push(Step::Open(1)),
            _ => {}
        }
        let late = if draw("late", 4) == 0 { draw("lag", 1500) as i64 } else { 0 };
        let actions = if id < 50 { 3 } else { 2 };
        steps.push(Step::Push { time: now - late, now, action: draw("action", actions) as u16, id });
        if draw("twice", 8) == 0 {
            steps.push(Step::Push { time: now, now, action: 0, id });
        }
    }
    steps
}

fn config(durability: Durability) -> Config {
    Config { capacity: 7, reorder_window_ms: 1000, keep_days: u32::MAX, durability, ..Config::default() }
}

/// Long enough for compactions to come.
fn text(id: u64) -> String {
    format!("item-{id}-{}", "x".repeat(150))
}

/// A session at work, and what must be there after a kill.
struct Run {
    disk: Disk,
    store: Option<Store>,
    layout: usize,
    model: Model,
    /// The states that a kill may leave: the last that was durable, and those since.
    allowed: Vec<Model>,
    durability: Durability,
    failed: usize,
}

impl Run {
    fn begin(durability: Durability, fault: Option<Fault>) -> Self {
        let disk = Disk::default();
        disk.change(|content| content.fault = fault);
        let model = Model::new(config(durability));
        Self { disk, store: None, layout: 0, allowed: vec![model.clone()], model, durability, failed: 0 }
    }

    fn open(&mut self) -> Result<&mut Store> {
        if self.store.is_none() {
            let disk = Box::new(self.disk.clone());
            let (store, _) = Store::open(disk, layout(self.layout), config(self.durability), NOON)?;
            assert_eq!(seen(&store, NOON), self.model.events);
            self.store = Some(store);
        }
        Ok(self.store.as_mut().unwrap())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let columns = layout(self.layout).columns().len();
        match *step {
            Step::Push { time, now, action, id } => {
                let item = text(id);
                let texts = &[item.as_str(), "shop"][..columns];
                let event = Event { time, action, texts, numbers: &[id as f32], id: Some(id) };
                let mut after = self.model.clone();
                let expected = after.push(&event, now);
                self.open()?;
                // Whatever happens now, it may be on disk.
                self.allowed.push(after.clone());
                let pushed = self.open()?.push(&event, now)?;
                assert_eq!(pushed, expected, "{event:?}");
                self.model = after;
                let changed = !matches!(pushed.outcome, Outcome::Duplicate | Outcome::TooOld);
                if changed && self.durability == Durability::Sync {
                    self.allowed = vec![self.model.clone()];
                }
            }
            Step::Flush => {
                self.open()?.flush()?;
                self.allowed = vec![self.model.clone()];
            }
            Step::Compact => {
                self.open()?.compact(NOON)?;
                self.allowed = vec![self.model.clone()];
            }
            Step::Clear => {
                let mut after = self.model.clone();
                after.clear();
                self.open()?;
                self.allowed.push(after.clone());
                let cleared = self.open()?.clear();
                if self.open()?.kept() == 0 {
                    self.model = after;
                }
                cleared?;
                self.allowed = vec![self.model.clone()];
            }
            Step::Open(version) => {
                self.store = None;
                self.disk.restart();
                self.model = relaid(&self.model, self.layout, version);
                self.allowed = self.allowed.iter().map(|model| relaid(model, self.layout, version)).collect();
                // An event whose push was refused may be on disk all the same.
                if self.failed > 0 {
                    let bytes = self.disk.change(|content| content.current.clone());
                    let (store, _) =
                        Store::open(Box::new(Disk::with(bytes)), layout(version), config(self.durability), NOON)?;
                    let events = seen(&store, NOON);
                    let there = self.allowed.iter().find(|model| model.events == events);
                    self.model = there.expect("one of the states that may be there").clone();
                }
                self.layout = version;
                self.open()?;
            }
        }
        Ok(())
    }

    /// Opens each thing that a kill may leave now.
    fn check_survivors(&self, what: &str) {
        for (number, bytes) in self.disk.survivors().into_iter().enumerate() {
            let disk = Disk::with(bytes);
            let open = || Store::open(Box::new(disk.clone()), layout(self.layout), config(self.durability), NOON);
            let (mut store, report) = open().unwrap();
            assert_eq!((report.gaps, report.header_lost), (0, false), "{what}");
            let events = seen(&store, NOON);
            let ids = |events: &[Seen]| events.iter().map(|event| event.3.unwrap()).collect::<Vec<_>>();
            assert!(
                self.allowed.iter().any(|model| model.events == events),
                "{what}, survivor {number}: {:?} is none of {:?}",
                ids(&events),
                self.allowed.iter().map(|model| ids(&model.events)).collect::<Vec<_>>()
            );
            let texts = &["after", ""][..layout(self.layout).columns().len()];
            let event = Event { time: NOON * 2, action: 0, texts, numbers: &[f32::NAN], id: None };
            assert_eq!(store.push(&event, NOON * 2).unwrap().outcome, Outcome::Appended, "{what}");
            store.flush().unwrap();
            let events = seen(&store, NOON);
            assert_eq!(seen(&open().unwrap().0, NOON), events, "{what}");
        }
    }
}

/// Operations of the storage in a session without a fault.
fn operations(durability: Durability) -> usize {
    let mut run = Run::begin(durability, None);
    for step in session() {
        run.step(&step).unwrap();
    }
    run.disk.change(|content| content.operations)
}

fn killed(durability: Durability) {
    let total = operations(durability);
    assert!(total > 80, "{total} operations");
    for at in 0..total {
        for tear in [0, 1, 5, 9, 100, usize::MAX] {
            let fault = Fault { failure: Failure::Kill, at, count: 1, tear };
            let mut run = Run::begin(durability, Some(fault));
            let ended = session().iter().any(|step| run.step(step).is_err());
            // A compaction that a push begins may fail without word.
            assert!(ended || run.disk.change(|content| content.killed), "{fault:?} did nothing");
            run.check_survivors(&format!("{fault:?}"));
        }
    }
}

#[test]
fn a_kill_anywhere_loses_no_synced_event() {
    killed(Durability::Sync);
}

#[test]
fn a_kill_anywhere_leaves_a_beginning_of_what_was_not_synced() {
    killed(Durability::Every(5));
    killed(Durability::Flush);
}

/// A push that fails for want of room says so.
fn says_so(error: &Error) {
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("free some space; what was there before is untouched"), "{error}");
}

fn refused(failure: Failure) {
    let total = operations(Durability::Sync);
    let mut refusals = 0;
    for at in 0..total {
        for (count, tear) in [(1, 0), (1, 13), (1, usize::MAX), (3, 13), (4, usize::MAX), (20, 30)] {
            let fault = Fault { failure, at, count, tear };
            let mut run = Run::begin(Durability::Sync, Some(fault));
            for step in session() {
                // An app that goes on: what failed is not tried again, but for opening and forgetting.
                let again = matches!(step, Step::Open(_) | Step::Clear);
                for _ in 0..if again { 30 } else { 1 } {
                    let before = run.disk.change(|content| content.operations);
                    let Err(error) = run.step(&step) else { break };
                    says_so(&error);
                    assert!(before < at + count, "{fault:?}: refused at operation {before}: {error}");
                    run.failed += 1;
                    if run.store.is_none() && matches!(step, Step::Open(_)) {
                        // The layout is the new one from the first attempt on.
                        while run.open().is_err() {}
                        break;
                    }
                }
                if let Some(store) = &run.store {
                    assert_eq!(seen(store, NOON), run.model.events, "{fault:?} after {step:?}");
                }
                let done = run.disk.change(|content| content.operations);
                if (at..at + count + 8).contains(&done) {
                    run.check_survivors(&format!("{fault:?} after {step:?}"));
                }
            }
            // With room again a push is on disk when it returns, and nothing else may be there.
            let last = Step::Push { time: NOON * 2, now: NOON * 2, action: 0, id: 1000 };
            while let Err(error) = run.step(&last) {
                says_so(&error);
            }
            assert_eq!(run.allowed.len(), 1, "{fault:?}");
            run.check_survivors(&format!("{fault:?} at the end"));
            refusals += run.failed;
        }
    }
    assert!(refusals > total, "{refusals} refusals");
}

#[test]
fn a_full_disk_loses_nothing_and_is_recovered_from() {
    refused(Failure::Full);
}

#[test]
fn a_disk_that_refuses_everything_for_a_while_is_recovered_from() {
    refused(Failure::All);
}

/// Without room for another file the log goes on growing, up to its bound, and seldom tries again.
#[test]
fn a_log_that_cannot_be_written_anew_grows_to_its_bound() {
    let config = Config { max_bytes: 128 << 10, ..config(Durability::Flush) };
    let disk = Disk::default();
    let (mut store, _) = Store::open(Box::new(disk.clone()), layout(0), config, NOON).unwrap();
    let fault = Fault { failure: Failure::Replace, at: 0, count: usize::MAX, tear: 0 };
    disk.change(|content| content.fault = Some(fault));
    let mut push = |id: u64| {
        let event = Event { time: NOON, action: 0, texts: &[&text(id)], numbers: &[0.0], id: Some(id) };
        store.push(&event, NOON).map(|_| store.image().len())
    };
    let mut pushes = 0;
    let error = loop {
        match push(pushes) {
            Ok(length) => assert!(length < (4 * 128 + 8) << 10, "{length} bytes"),
            Err(error) => break error,
        }
        pushes += 1;
    };
    says_so(&error);
    let operations = disk.change(|content| content.operations);
    assert!(pushes > 2000, "{pushes} pushes");
    assert!(operations < pushes as usize + 60, "{operations} operations for {pushes} pushes");
    disk.change(|content| content.fault = None);
    assert!(push(pushes).unwrap() < 4096);
    let ids: Vec<_> = store.events(NOON).map(|event| event.id().unwrap()).collect();
    assert_eq!(ids, (pushes - 6..=pushes).collect::<Vec<_>>());
}

#[test]
fn every_third_event_is_brought_to_disk() {
    let disk = Disk::default();
    let (mut store, _) = Store::open(Box::new(disk.clone()), layout(0), config(Durability::Every(3)), NOON).unwrap();
    for id in 0..7 {
        let event = Event { time: NOON, action: 0, texts: &["x"], numbers: &[0.0], id: Some(id) };
        store.push(&event, NOON).unwrap();
        let safe = disk.change(|content| content.durable == content.current);
        assert_eq!(safe, id % 3 == 2, "{id}");
    }
    store.flush().unwrap();
    assert!(disk.change(|content| content.durable == content.current));
}
