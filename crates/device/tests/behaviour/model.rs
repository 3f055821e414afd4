//! The rules of the store written the slow and obvious way, to hold it against.

use kitestring_device::behaviour::{Config, Event, Outcome, Pushed, Store};

/// An event as it is compared: epoch, time, action, id, texts, first number.
pub type Seen = (u32, i64, u16, Option<u64>, Vec<String>, Option<f32>);

/// What a store must hold; nothing expires here.
#[derive(Clone)]
pub struct Model {
    pub config: Config,
    pub events: Vec<Seen>,
    epoch: u32,
    clock: i64,
}

/// Bytes of a record, by the table in the module's documentation.
fn size(event: &Seen) -> usize {
    8 + 31 + 4 + event.4.iter().map(|text| 2 + text.len()).sum::<usize>()
}

impl Model {
    pub fn new(config: Config) -> Self {
        Self { config, events: Vec::new(), epoch: 0, clock: i64::MIN }
    }

    pub fn push(&mut self, event: &Event<'_>, now: i64) -> Pushed {
        let window = i64::from(self.config.reorder_window_ms);
        let jumped = now < self.clock.saturating_sub(window);
        let epoch = self.epoch + u32::from(jumped);
        let mut time = if event.time > now.saturating_add(window) { now } else { event.time };
        let newest = self.events.iter().filter(|other| other.0 == epoch).map(|other| other.1).max();
        if let Some(newest) = newest {
            time = time.max(newest.saturating_sub(window));
        }
        let pushed = |outcome, epoch_began| Pushed { outcome, time, epoch_began };
        if event.id.is_some() && self.events.iter().any(|other| other.3 == event.id) {
            return pushed(Outcome::Duplicate, false);
        }
        let texts = event.texts.iter().map(|&text| text.to_owned()).collect();
        let number = event.numbers.first().copied().filter(|number| !number.is_nan());
        let fresh = (epoch, time, event.action, event.id, texts, number);
        let place =
            self.events.iter().position(|other| (other.0, other.1) > (epoch, time)).unwrap_or(self.events.len());
        let followers = self.events.len() - place;
        let mut events = self.events.clone();
        events.insert(place, fresh);
        let mut gone = 0;
        while events.len() > self.config.capacity || events.iter().map(size).sum::<usize>() > self.config.max_bytes {
            events.remove(0);
            gone += 1;
        }
        if gone > place {
            return pushed(Outcome::TooOld, false);
        }
        self.events = events;
        (self.epoch, self.clock) = (epoch, if jumped { now } else { self.clock.max(now) });
        pushed(if followers == 0 { Outcome::Appended } else { Outcome::Inserted { followers } }, jumped)
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.config);
    }
}

/// What a store returns.
pub fn seen(store: &Store, now: i64) -> Vec<Seen> {
    let events = store.events(now);
    events
        .map(|event| {
            let texts = event.texts().map(str::to_owned).collect();
            (event.epoch(), event.time(), event.action(), event.id(), texts, event.number(0))
        })
        .collect()
}
