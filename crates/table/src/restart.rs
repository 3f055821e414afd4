//! A trained table that starts to learn anew.

use crate::config::{Config, Optimizer, Space};
use crate::route::Route;
use crate::stripe::Common;
use crate::table::Table;
use kitestring_core::{Error, Result};

/// Rows copied at once.
const BLOCK: u64 = 65_536;

impl Table {
    /// A table with these rows, without what the optimizer remembers, for steps from 1 on. A direct space may have more ids: they start
    /// with the row of the id `unknown`, which stood for them before. An open space takes its ids as seen once, and forgets who waits for admission.
    ///
    /// # Errors
    /// A space of another kind or of fewer ids; a config error that names the key; too little memory.
    pub fn restarted(&self, space: Space, optimizer: Optimizer, unknown: u64) -> Result<Self> {
        let (known, more) = match (self.config().space, space) {
            (Space::Direct { rows: old }, Space::Direct { rows }) if rows >= old => ((0..old).collect(), old..rows),
            (Space::Open(_), Space::Open(_)) => (self.ids(), 0..0),
            (old, new) => {
                return Err(
                    Error::config(format!("a table of {old:?} cannot become one of {new:?}")).in_field(self.name())
                );
            }
        };
        let config = Config { space, optimizer, ..*self.config() };
        config.check().map_err(|error| error.mend(format!("correct the config of table `{}`", self.name())))?;
        let table = Self::blank(self.name().to_owned(), Common { config, seed: self.common.seed })?;
        let (mut from, mut to, mut rows) = (Route::new(), Route::new(), Vec::new());
        let known: Vec<u64> = known;
        for ids in known.chunks(BLOCK as usize) {
            rows.resize(ids.len() * self.dim(), 0.0);
            self.route(ids, &mut from)?;
            self.gather(&mut from, &mut rows)?;
            table.route(ids, &mut to)?;
            table.assign(&mut to, &rows)?;
        }
        for start in more.clone().step_by(BLOCK as usize) {
            let ids: Vec<u64> = (start..more.end.min(start + BLOCK)).collect();
            let mut first = vec![0.0; self.dim()];
            self.route(&[unknown], &mut from)?;
            self.gather(&mut from, &mut first)?;
            table.route(&ids, &mut to)?;
            table.assign(&mut to, &first.repeat(ids.len()))?;
        }
        Ok(table)
    }

    /// The ids of an open space that have a row.
    fn ids(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for stripe in 0..self.stripes.len() {
            let stripe = self.read(stripe);
            let entries = stripe.index.iter().flat_map(|index| &index.entries);
            all.extend(entries.filter(|entry| entry.sightings > 0).map(|entry| entry.id));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Init, Open, Step};
    use kitestring_core::Seed;

    fn rows(table: &Table, ids: &[u64]) -> Vec<f32> {
        let (mut route, mut rows) = (Route::new(), vec![0.0; ids.len() * table.dim()]);
        table.route(ids, &mut route).unwrap();
        table.gather(&mut route, &mut rows).unwrap();
        rows
    }

    fn trained(space: Space, ids: &[u64]) -> Table {
        let config = Config { dim: 3, space, init: Init::default(), optimizer: Optimizer::default() };
        let table = Table::new("x", config, Seed(1)).unwrap();
        let mut route = Route::new();
        table.route(ids, &mut route).unwrap();
        table.apply(&mut route, &vec![0.5; 3 * ids.len()], Step { number: 7, learning_rate: 0.1 }).unwrap();
        table
    }

    #[test]
    fn rows_stay_and_new_ones_are_the_unknown_one() {
        let table = trained(Space::Direct { rows: 1000 }, &[0, 5, 999]);
        let grown = table.restarted(Space::Direct { rows: 70_000 }, Optimizer::sgd(), 5).unwrap();
        let known: Vec<u64> = (0..1000).collect();
        assert_eq!(rows(&grown, &known), rows(&table, &known));
        assert_eq!(rows(&grown, &[1000, 69_999]), rows(&table, &[5, 5]));
        assert_eq!((grown.step(), grown.len(), grown.config().optimizer), (0, 70_000, Optimizer::sgd()));
        let mut route = Route::new();
        grown.route(&[1000], &mut route).unwrap();
        grown.apply(&mut route, &[1.0; 3], Step { number: 1, learning_rate: 1.0 }).unwrap();
        assert_ne!(rows(&grown, &[1000]), rows(&grown, &[1001]));
        assert!(table.restarted(Space::Direct { rows: 999 }, Optimizer::sgd(), 0).is_err());
        assert!(table.restarted(Space::Open(Open::default()), Optimizer::sgd(), 0).is_err());
    }

    /// An id that has no row still reads what it read.
    #[test]
    fn an_open_space_keeps_its_ids() {
        let table = trained(Space::Open(Open::default()), &[1 << 40, 3, u64::MAX]);
        let again = table.restarted(table.config().space, Optimizer::default(), 0).unwrap();
        assert_eq!(again.len(), 3);
        let ids = [3, 1 << 40, u64::MAX, 17];
        assert_eq!(rows(&again, &ids), rows(&table, &ids));
        assert!(!again.contains(17));
    }
}
