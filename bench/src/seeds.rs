//! The same experiment from several seeds, and what its mean is worth.

use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;
use kitestring_train::report::Estimate;
use kitestring_train::workers::Threads;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `experiment` for each number below `count`, on as many threads as `BENCH_THREADS` says, else on two. The results stand in the
/// order of the numbers, whatever the threads.
///
/// # Errors
/// The first error of an experiment.
pub fn each<T: Send>(count: usize, experiment: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = std::env::var("BENCH_THREADS").ok().and_then(|count| count.parse().ok()).unwrap_or(2);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    Threads::new(threads)?.run(&|_| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let result = experiment(number);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, result)| result).collect()
}

/// The mean over seeds with the 95 % interval of Student's t.
///
/// # Errors
/// With fewer than two values.
pub fn mean(values: &[f64]) -> Result<Estimate> {
    if values.len() < 2 {
        return Err(Error::config("an interval over seeds needs two seeds"));
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student(count - 1.0) * (variance / count).sqrt();
    Ok(Estimate::within(mean, mean - half, mean + half))
}

/// [`mean`] of what the pairs differ by, first less second.
///
/// # Errors
/// With fewer than two pairs.
pub fn mean_difference(first: &[f64], second: &[f64]) -> Result<Estimate> {
    mean(&first.iter().zip(second).map(|(first, second)| first - second).collect::<Vec<_>>())
}

/// The 97.5 % quantile of Student's t, by its expansion around the normal one (Fisher and Cornish 1960); from four degrees of freedom
/// on it is good to .3 %.
fn student(degrees: f64) -> f64 {
    let z = 1.959_963_984_540_054_f64;
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z) / 92_160.0,
    ];
    terms.iter().zip(1..).fold(z, |sum, (term, power)| sum + term / degrees.powi(power))
}

/// An estimate with its interval, as text.
pub fn shown(estimate: Estimate, decimals: usize) -> String {
    let [low, high] = estimate.interval.unwrap_or([f64::NAN; 2]);
    format!("{:.decimals$} [{low:.decimals$}, {high:.decimals$}]", estimate.value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_of_student() {
        for (degrees, expected) in [(4.0, 2.776_445), (9.0, 2.262_157), (19.0, 2.093_024), (1e6, 1.959_966)] {
            assert!((student(degrees) / expected - 1.0).abs() < 3e-3, "{degrees}: {}", student(degrees));
        }
    }

    #[test]
    fn results_stand_in_the_order_of_their_numbers() {
        assert_eq!(each(20, |number| Ok(number * number)).unwrap(), (0..20).map(|n| n * n).collect::<Vec<_>>());
        assert!(each(3, |number| if number == 1 { Err(Error::data("no")) } else { Ok(()) }).is_err());
    }

    #[test]
    fn a_difference_is_paired() {
        let found = mean_difference(&[1.1, 5.1, 9.1, 3.1, 2.1], &[1.0, 5.0, 9.0, 3.0, 2.0]).unwrap();
        let [low, high] = found.interval.unwrap();
        assert!((found.value - 0.1).abs() < 1e-12 && high - low < 1e-12);
        assert!(mean(&[1.0]).is_err());
    }
}
