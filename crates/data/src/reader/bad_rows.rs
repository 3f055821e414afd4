//! How many malformed rows may be dropped.

use kitestring_core::error::{Error, Kind, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The first messages kept for the report.
const KEPT: usize = 10;

/// The budget of malformed rows, shared by every stage that may drop one: clones count together.
#[derive(Debug, Clone, Default)]
pub struct BadRows(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    allowed: u64,
    count: AtomicU64,
    messages: Mutex<Vec<String>>,
}

impl BadRows {
    /// A budget of this many rows.
    pub fn new(allowed: u64) -> Self {
        Self(Arc::new(Shared { allowed, ..Shared::default() }))
    }

    /// Counts a malformed row that the caller drops. Call it once a row.
    ///
    /// # Errors
    /// The error itself where it is not about the data, or where the budget is spent.
    pub fn tolerate(&self, error: Error) -> Result<()> {
        if error.kind() != Kind::Data {
            return Err(error);
        }
        let Shared { allowed, count, messages } = &*self.0;
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if number > *allowed {
            let own = error.hint().unwrap_or("mend the row");
            let hint = match allowed {
                0 => format!("{own}, or have such rows dropped and counted with --max-bad-rows"),
                _ if error.hint().is_none() => format!("this is bad row {number}, and --max-bad-rows allows {allowed}"),
                _ => format!("{own}; this is bad row {number}, and --max-bad-rows allows {allowed}"),
            };
            return Err(error.mend(hint));
        }
        let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < KEPT {
            messages.push(error.to_string());
        }
        Ok(())
    }

    /// The number of rows dropped.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// What was wrong with the first ones.
    pub fn messages(&self) -> Vec<String> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_until_the_budget_is_spent() {
        let bad = BadRows::new(2);
        let clone = bad.clone();
        bad.tolerate(Error::data("one")).unwrap();
        clone.tolerate(Error::data("two").at_line(2)).unwrap();
        let error = bad.tolerate(Error::data("three").in_file("f").at_line(3)).unwrap_err().to_string();
        assert_eq!(error, "f:3: three; this is bad row 3, and --max-bad-rows allows 2");
        assert_eq!(bad.messages(), ["one", "line 2: two"]);
    }

    #[test]
    fn without_a_budget_the_first_one_stops() {
        let error = BadRows::default().tolerate(Error::data("x")).unwrap_err().to_string();
        assert_eq!(error, "x; mend the row, or have such rows dropped and counted with --max-bad-rows");
    }

    #[test]
    fn the_remedy_of_who_found_it_stays() {
        let error = || Error::data("x").mend("set quote = \"\"");
        let stopped = BadRows::default().tolerate(error()).unwrap_err().to_string();
        assert_eq!(stopped, "x; set quote = \"\", or have such rows dropped and counted with --max-bad-rows");
        let bad = BadRows::new(1);
        bad.tolerate(error()).unwrap();
        let stopped = bad.tolerate(error()).unwrap_err().to_string();
        assert_eq!(stopped, "x; set quote = \"\"; this is bad row 2, and --max-bad-rows allows 1");
    }

    #[test]
    fn tolerates_rows_only() {
        let bad = BadRows::new(9);
        assert_eq!(bad.tolerate(Error::format("truncated")).unwrap_err().to_string(), "truncated");
        assert_eq!(bad.count(), 0);
    }
}
