//! How much a store keeps, and how soon it is on disk.

use kitestring_core::json::{self, Read, Value};
use kitestring_core::{Error, Result};
use serde::Serialize;

/// What a store keeps and when it is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Events kept at most, of which the oldest go first.
    pub capacity: usize,
    /// Bytes that the records of kept events take at most: 128 KiB to 256 MiB. The file is twice as long at most, and
    /// four times while there is no room to write it anew.
    pub max_bytes: usize,
    /// How late an event may be to be placed by its time, and how far ahead of the clock its time may lie, in
    /// milliseconds.
    pub reorder_window_ms: u32,
    /// Events older than so many days are not returned, and dropped when the file is next written anew.
    pub keep_days: u32,
    /// When an event is safe from a loss of power.
    pub durability: Durability,
}

kitestring_core::fields!(Config { capacity, max_bytes, reorder_window_ms, keep_days, durability });

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_bytes: 1 << 20,
            reorder_window_ms: 5 * 60 * 1000,
            keep_days: 90,
            durability: Durability::Sync,
        }
    }
}

/// When an event is safe from a loss of power. A kill of the app alone loses no event that was pushed, whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When its push returns. Costs a flush of the flash memory an event.
    Sync,
    /// Every so many events, and at a flush.
    Every(u32),
    /// At a flush.
    Flush,
}

impl Read for Durability {
    fn blank() -> Self {
        Self::Sync
    }

    fn read(&mut self, value: &Value) -> Result<(), json::Error> {
        *self = match json::variant(value)? {
            ("sync", None) => Self::Sync,
            ("every", Some(count)) => Self::Every(json::from_value(count)?),
            ("flush", None) => Self::Flush,
            (name, _) => return Err(json::Error::unknown("variant", name, ["sync", "every", "flush"])),
        };
        Ok(())
    }
}

impl Config {
    /// # Errors
    /// If a key's value cannot be.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str, key: &str| Err(Error::config(what).in_field(key));
        if self.capacity == 0 {
            return wrong("at least one event must be kept", "capacity");
        }
        if !(128 << 10..=256 << 20).contains(&self.max_bytes) {
            return wrong("must be 131072 (128 KiB) to 268435456 (256 MiB)", "max_bytes");
        }
        if self.keep_days == 0 {
            return wrong("must be at least one day", "keep_days");
        }
        if self.durability == Durability::Every(0) {
            return wrong("`every` needs at least one event", "durability");
        }
        Ok(())
    }

    /// The time before which an event has expired.
    pub(super) fn expiry(&self, now: i64) -> i64 {
        now.saturating_sub(i64::from(self.keep_days) * 24 * 60 * 60 * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be() {
        let check = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().err().and_then(|error| error.place().field.clone())
        };
        assert_eq!(check(|_| ()), None);
        assert_eq!(check(|config| config.capacity = 0).as_deref(), Some("capacity"));
        assert_eq!(check(|config| config.max_bytes = 1000).as_deref(), Some("max_bytes"));
        assert_eq!(check(|config| config.max_bytes = usize::MAX).as_deref(), Some("max_bytes"));
        assert_eq!(check(|config| config.keep_days = 0).as_deref(), Some("keep_days"));
        assert_eq!(check(|config| config.durability = Durability::Every(0)).as_deref(), Some("durability"));
    }
}
