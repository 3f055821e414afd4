//! Batches read on a thread of their own while the one before them is scored.

use kitestring_core::Result;
use std::sync::mpsc;

/// Batches in flight: one being scored, one ready, one being read.
const IN_FLIGHT: usize = 3;

/// Calls `body` with each batch that `next` fills, in order, until there is none or one of them fails. What `next` returns
/// goes with its batch.
///
/// # Errors
/// What `next` or `body` says first.
pub fn read_ahead<B: Default + Send, T: Send>(
    mut next: impl FnMut(&mut B) -> Result<Option<T>> + Send,
    mut body: impl FnMut(T, &mut B) -> Result<()>,
) -> Result<()> {
    let (ready, batches) = mpsc::sync_channel::<Result<(T, B)>>(IN_FLIGHT);
    let (give_back, empty) = mpsc::channel();
    for _ in 0..IN_FLIGHT {
        // The receiver is alive: it is a few lines away.
        let _ = give_back.send(B::default());
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(mut prepared) = empty.recv() {
                let Some(filled) = next(&mut prepared).transpose() else { return };
                let failed = filled.is_err();
                if ready.send(filled.map(|with| (with, prepared))).is_err() || failed {
                    return;
                }
            }
        });
        // Dropping both ends on any way out ends the thread: it finds nobody to send to, or nothing to fill.
        let (batches, give_back) = (batches, give_back);
        while let Ok(filled) = batches.recv() {
            let (with, mut prepared) = filled?;
            body(with, &mut prepared)?;
            let _ = give_back.send(prepared);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::inputs::Prepared;
    use kitestring_core::Error;

    fn run(count: u64, fails_at: u64) -> (Vec<u64>, Result<()>) {
        let (mut made, mut seen) = (0, Vec::new());
        let next = |prepared: &mut Prepared| {
            if made == fails_at {
                return Err(Error::data("broken"));
            }
            prepared.batch.rows = made as usize;
            made += 1;
            Ok((made <= count).then_some(made - 1))
        };
        let result = read_ahead(next, |number, prepared| {
            assert_eq!(prepared.batch.rows as u64, number);
            seen.push(number);
            Ok(())
        });
        (seen, result)
    }

    #[test]
    fn in_order_to_the_end_or_the_first_error() {
        let (seen, result) = run(20, 100);
        assert_eq!((seen, result.is_ok()), ((0..20).collect(), true));
        let (seen, result) = run(20, 7);
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        assert!(result.unwrap_err().to_string().contains("broken"));
        let failing = read_ahead(|_: &mut Prepared| Ok(Some(())), |(), _| Err(Error::data("enough")));
        assert!(failing.is_err(), "a body that fails ends the endless reader");
    }
}
