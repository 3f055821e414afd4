//! A marketplace whose truth is known, to check claims against.
//!
//! Users with long-term tastes and an intent of the moment look at pages that a logging policy fills; they click, buy,
//! like, wave off and stay. What is logged is what a real service could log; what was true (relevance, position bias,
//! the confounder, the intent, both outcomes of every randomized decision) is written beside it. The model, with every
//! formula, and the columns of every file are described in `docs/simulator.md`.
//!
//! A [`Simulator`] yields [`Session`]s in the order of their beginnings; [`write`](write()) puts them into files. Memory is
//! that of the users and items. Everything follows from the seed, on every machine alike, and asking for more events
//! only makes the log longer. [`clicks`] is another, simpler world for measuring speed.

pub mod clicks;
mod columns;
pub mod config;
pub mod policy;
pub mod random;
mod session;
pub mod world;
mod write;

pub use config::Config;
pub use session::{Impression, Occasion, Outcome, Trigger, Truth};
pub use write::{Summary, write};

use config::LONGEST_PAGE;
use kitestring_core::Seed;
use kitestring_core::error::Result;
use random::{Stream, ln};
use session::{Setting, Walk, new_focus};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use world::{DEVICES, World};

/// Midnight (UTC) before the first event, in milliseconds since 1970: Monday, 6 January 2025.
pub const EPOCH: i64 = 1_736_121_600_000;

/// Milliseconds of a day.
pub const DAY: i64 = 86_400_000;

/// Share of the sessions that begin in each hour, in thousandths.
const ARRIVALS: [u32; 24] =
    [18, 11, 7, 5, 5, 8, 16, 28, 38, 43, 45, 46, 52, 50, 45, 43, 43, 46, 54, 68, 86, 98, 90, 55];

/// What the hour adds to the logit of a click: people have more time in the evening.
const MOMENTS: [f32; 24] = [
    0.15, 0.1, 0.05, 0.0, 0.0, -0.05, -0.1, -0.2, -0.25, -0.2, -0.15, -0.1, 0.0, 0.0, -0.1, -0.15, -0.1, -0.05, 0.0,
    0.1, 0.2, 0.25, 0.25, 0.2,
];

/// A session: what was shown, and when a coin was thrown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// Its number, from 0, in the order of beginnings.
    pub id: u64,
    /// Number of the user.
    pub user: u32,
    /// What was shown, in the order of time.
    pub impressions: Vec<Impression>,
    /// When a coin was thrown, in the order of time.
    pub occasions: Vec<Occasion>,
}

/// What a user carries from one session to the next.
#[derive(Debug, Clone, Copy)]
struct Memory {
    sessions: u32,
    focus: u16,
}

/// Yields the sessions of a marketplace in the order of their beginnings.
#[derive(Debug)]
pub struct Simulator {
    config: Config,
    world: World,
    memory: Vec<Memory>,
    /// When each user comes next.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    bias: [[f32; LONGEST_PAGE]; DEVICES.len()],
    pool: policy::Pool,
    sessions: u64,
    requests: u64,
    impressions: u64,
    occasions: u64,
}

impl Simulator {
    /// A marketplace before its first session.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(config: &Config) -> Result<Self> {
        config.check()?;
        let world = World::new(config);
        let bias = config
            .position_bias
            .slopes()
            .map(|slope| std::array::from_fn(|place| if place == 0 { 0.0 } else { -slope * ln(place as f32 + 1.0) }));
        let mut simulator = Self {
            memory: Vec::with_capacity(world.users.len()),
            queue: BinaryHeap::with_capacity(world.users.len()),
            bias,
            pool: policy::Pool::default(),
            config: config.clone(),
            world,
            sessions: 0,
            requests: 0,
            impressions: 0,
            occasions: 0,
        };
        for number in 0..config.users {
            let mut stream = Stream::new(simulator.seed(number, 0).child("memory"));
            let user = &simulator.world.users[number as usize];
            simulator.memory.push(Memory { sessions: 0, focus: new_focus(&simulator.world, user, &mut stream) });
            simulator.expect(number, EPOCH);
        }
        Ok(simulator)
    }

    /// Users, items and what makes them relevant to each other.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The config it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn seed(&self, user: u32, session: u32) -> Seed {
        Seed(self.config.seed).child("session").at(u64::from(user)).at(u64::from(session))
    }

    /// Draws when a user comes next, after this time.
    fn expect(&mut self, user: u32, after: i64) {
        let session = self.memory[user as usize].sessions;
        let mut stream = Stream::new(self.seed(user, session).child("arrival"));
        let wait = f64::from(stream.exponential()) / f64::from(self.world.users[user as usize].activity);
        let time = clock(busy_days(after - EPOCH) + wait);
        // A user who would not come for centuries is out of the reach of any log.
        self.queue.push(Reverse((EPOCH + time, user)));
    }

    /// Puts the next session in the place of `session`, whose memory is used again. `false`: the log is at its end.
    pub fn next_into(&mut self, session: &mut Session) -> bool {
        session.impressions.clear();
        session.occasions.clear();
        if self.impressions >= self.config.events {
            return false;
        }
        let Some(Reverse((time, number))) = self.queue.pop() else { return false };
        let Memory { sessions, focus } = self.memory[number as usize];
        let seed = self.seed(number, sessions);
        let user = &self.world.users[number as usize];
        let mut stream = Stream::new(seed.child("start"));
        let keeps = stream.chance(self.config.intent.persistence);
        let fresh = new_focus(&self.world, user, &mut stream);
        let at_hand = stream.below(DEVICES.len() as u32) as u8;
        let device = if stream.chance(0.85) { user.device } else { at_hand };
        let setting = Setting {
            config: &self.config,
            world: &self.world,
            user: number,
            device,
            bias: &self.bias[usize::from(device)],
            suggestion: suggestion(&self.config, user.circle, time),
            moment: MOMENTS[hour(time) as usize],
        };
        let mut walk = Walk::new(&setting, seed, time, if keeps { focus } else { fresh });
        walk.run(&setting, &mut self.pool, &mut session.impressions, &mut session.occasions);
        session.id = self.sessions;
        session.user = number;
        self.number(session);
        self.sessions += 1;
        self.requests += walk.requests;
        self.memory[number as usize] = Memory { sessions: sessions + 1, focus: walk.focus };
        self.expect(number, walk.time);
        true
    }

    /// Turns the numbers within a session into numbers within the log.
    fn number(&mut self, session: &mut Session) {
        for impression in &mut session.impressions {
            impression.id += self.impressions;
            impression.request += self.requests;
            impression.session = session.id;
        }
        for occasion in &mut session.occasions {
            occasion.id += self.occasions;
            occasion.impression += self.impressions;
        }
        self.impressions += session.impressions.len() as u64;
        self.occasions += session.occasions.len() as u64;
    }
}

impl Iterator for Simulator {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        let mut session = Session::default();
        self.next_into(&mut session).then_some(session)
    }
}

/// The category that friends suggest to a circle at a time.
pub fn suggestion(config: &Config, circle: u32, time: i64) -> Option<u16> {
    let period = (time - EPOCH) / (DAY * i64::from(config.confounder.days));
    let seed = Seed(config.seed).child("suggestion").at(u64::from(circle)).at(period as u64);
    let mut stream = Stream::new(seed);
    let suggests = stream.chance(config.confounder.share);
    let category = stream.below(u32::from(config.categories)) as u16;
    suggests.then_some(category)
}

/// The hour of the day of a time, 0 to 23.
pub fn hour(time: i64) -> u32 {
    ((time - EPOCH).rem_euclid(DAY) / (DAY / 24)) as u32
}

/// Days of arrivals up to a time since the epoch. A day has one, but busy hours have more of it than others.
fn busy_days(time: i64) -> f64 {
    let hours = time / (DAY / 24);
    let before: u32 = ARRIVALS[..(hours % 24) as usize].iter().sum();
    let within = (time % (DAY / 24)) as f64 / (DAY / 24) as f64 * f64::from(ARRIVALS[(hours % 24) as usize]);
    (hours / 24) as f64 + (f64::from(before) + within) / 1_000.0
}

/// The time since the epoch at which there were this many days of arrivals: the inverse of [`busy_days`].
fn clock(busy: f64) -> i64 {
    let busy = busy.min(1e8);
    let day = busy as i64;
    let mut rest = (busy - day as f64) * 1_000.0;
    let mut hour = 0;
    while hour < 23 && rest >= f64::from(ARRIVALS[hour]) {
        rest -= f64::from(ARRIVALS[hour]);
        hour += 1;
    }
    let within = (rest / f64::from(ARRIVALS[hour])).min(1.0);
    day * DAY + hour as i64 * (DAY / 24) + (within * (DAY / 24) as f64) as i64
}

#[cfg(test)]
mod tests;
