//! Which split a row is of.

use super::number::file_name;
use super::plan::Plan;
use super::spill::{Parts, u64_at};
use super::times::border;
use crate::config::{Negatives, Split};
use crate::dataset::manifest::TimeScale;
use kitestring_core::hash::stable_hash;
use kitestring_core::{Error, Result, Seed};

/// How rows become splits: the given ones, and those made of the first.
pub(crate) struct Splits {
    /// The names: `train`, `valid`, `test`, then others in the order given.
    pub(crate) names: Vec<String>,
    /// The split of each given one.
    of_given: Vec<u8>,
    valid: u8,
    test: u8,
    rule: Option<Split>,
    seed: Seed,
    /// Times where `valid` and `test` start.
    borders: (i64, i64),
}

/// A border that no time reaches.
const NEVER: i64 = i64::MAX;

impl Splits {
    /// The splits of files given for each of `given`, the first of which `rule` divides.
    ///
    /// # Errors
    /// A rule that needs a column the schema does not name.
    pub(crate) fn new(given: &[String], rule: Option<Split>, plan: &Plan, seed: Seed) -> Result<Self> {
        let mut names = given.to_vec();
        let (valid, test) = rule.as_ref().map(makes).unwrap_or_default();
        for (makes, name) in [(valid, "valid"), (test, "test")] {
            if makes && names.iter().any(|known| known == name) {
                return Err(
                    Error::config(format!("`{name}` is given, and `data.split` makes it too")).in_field("data.split")
                );
            }
            if makes {
                names.push(name.into());
            }
        }
        let known = ["train", "valid", "test"];
        names.sort_by_key(|name| known.iter().position(|known| known == name).unwrap_or(known.len()));
        if names.len() > 255 {
            return Err(Error::config("more than 255 splits").in_field("data"));
        }
        let number = |name: &str| names.iter().position(|known| known == name).unwrap_or(0) as u8;
        let needs = |column: &Option<String>, key: &str| match column {
            Some(_) => Ok(()),
            None => Err(Error::config(format!("this split needs to know the {key} of a row"))
                .in_field("data.split")
                .mend(format!("name its column as `schema.{key}`"))),
        };
        match rule {
            Some(Split::LeaveLast { .. } | Split::UserFraction { .. } | Split::User { .. }) => {
                needs(&plan.schema.user, "user")?;
            }
            Some(Split::TimeAt { .. }) => needs(&plan.schema.time, "time")?,
            Some(Split::Time { .. } | Split::Random { .. }) | None => {}
        }
        Ok(Self {
            of_given: given.iter().map(|name| number(name)).collect(),
            valid: number("valid"),
            test: number("test"),
            borders: (NEVER, NEVER),
            rule,
            seed: seed.child("split"),
            names,
        })
    }

    /// Finds the borders in time: those given, or those that are fractions of all rows' times.
    pub(crate) fn find_borders(&mut self, plan: &Plan, parts: &mut Parts, scale: TimeScale) -> Result<()> {
        let (valid, test) = match self.rule {
            Some(Split::Time { valid, test }) => (valid, test),
            Some(Split::TimeAt { valid, test }) => {
                let [valid, test] = [valid, test].map(|given| given.map(|given| border(given, scale)).transpose());
                let (valid, test) = (valid?, test?.unwrap_or(NEVER));
                self.borders = (valid.unwrap_or(test), test);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let start = |fraction: f64, rows: u64| fraction_of(rows, 1.0 - fraction);
        let test_at = time_at(plan, parts, |rows| start(test, rows))?;
        let valid_at = time_at(plan, parts, |rows| start(valid + test, rows))?;
        self.borders = (valid_at.unwrap_or(NEVER), test_at.unwrap_or(NEVER));
        Ok(())
    }

    /// The splits of the rows of one user in the order of time, or of any rows where there are no users. `times`, `given`
    /// and `keys` are those of each; `user` is the user's text.
    pub(crate) fn assign(&self, times: &[i64], given: &[u8], keys: &[u64], user: &str, splits: &mut Vec<u8>) {
        splits.clear();
        splits.extend(given.iter().map(|given| self.of_given[*given as usize]));
        let train = self.of_given[0];
        // The rows that are divided: all of the first given split.
        let rows = given.iter().filter(|given| **given == 0).count();
        let mut divide = |part: &dyn Fn(usize, usize) -> Option<u8>| {
            let first = splits.iter_mut().enumerate().filter(|(row, _)| given[*row] == 0);
            for (rank, (row, split)) in first.enumerate() {
                *split = part(rank, row).unwrap_or(train);
            }
        };
        let unit = |key: u64, (valid, test): (f64, f64)| {
            let unit = f64::from(self.seed.unit_at(key));
            if unit >= 1.0 - test { Some(self.test) } else { (unit >= 1.0 - test - valid).then_some(self.valid) }
        };
        match self.rule {
            None => {}
            Some(Split::Time { .. } | Split::TimeAt { .. }) => divide(&|_, row| {
                if times[row] >= self.borders.1 {
                    return Some(self.test);
                }
                (times[row] >= self.borders.0).then_some(self.valid)
            }),
            Some(Split::LeaveLast { valid, test }) => {
                let (valid, test) = (valid as usize, test as usize);
                if rows > valid + test {
                    divide(&|rank, _| {
                        if rank >= rows - test {
                            return Some(self.test);
                        }
                        (rank >= rows - test - valid).then_some(self.valid)
                    });
                }
            }
            Some(Split::UserFraction { valid, test }) => {
                let test_at = fraction_of(rows as u64, 1.0 - test) as usize;
                let valid_at = fraction_of(rows as u64, 1.0 - valid - test) as usize;
                divide(&|rank, _| {
                    if rank >= test_at {
                        return Some(self.test);
                    }
                    (rank >= valid_at).then_some(self.valid)
                });
            }
            Some(Split::User { valid, test }) => {
                let part = unit(stable_hash(user), (valid, test));
                divide(&|_, _| part);
            }
            Some(Split::Random { valid, test }) => divide(&|_, row| unit(keys[row], (valid, test))),
        }
    }
}

/// What the names of a split's files begin with: its name in plain letters, told apart from others by its number.
pub(crate) fn file_stem(splits: &[String], index: usize) -> String {
    let name = &splits[index];
    let stem = file_name(name);
    let taken = stem == "users" || stem.contains('-');
    if taken { format!("{stem}-{index}") } else { stem }
}

/// Whether a rule makes `valid`, and whether it makes `test`.
fn makes(rule: &Split) -> (bool, bool) {
    match *rule {
        Split::TimeAt { valid, test } => (valid.is_some(), test.is_some()),
        Split::LeaveLast { valid, test } => (valid > 0, test > 0),
        Split::Time { valid, test }
        | Split::UserFraction { valid, test }
        | Split::User { valid, test }
        | Split::Random { valid, test } => (valid > 0.0, test > 0.0),
    }
}

/// `⌈rows · fraction⌉`, where a product that is an integer but for rounding is that integer.
fn fraction_of(rows: u64, fraction: f64) -> u64 {
    ((rows as f64 * fraction - 1e-9).ceil().max(0.0) as u64).min(rows)
}

/// The time of the row of a rank in the order of time among the rows of the first given split, without sorting them: a
/// histogram of times is refined around the rank until it is exact. `None` where the rank is past the last row.
fn time_at(plan: &Plan, parts: &mut Parts, rank: impl Fn(u64) -> u64) -> Result<Option<i64>> {
    const BINS: usize = 1 << 16;
    let at = plan.slots[plan.time].at;
    // Times as unsigned numbers of the same order.
    let mut each = |visit: &mut dyn FnMut(u64)| -> Result<()> {
        for index in 0..parts.len() {
            let records = parts.records(index)?;
            for record in records.chunks_exact(plan.stride).filter(|record| record[plan.given_at] == 0) {
                visit(u64_at(record, at) ^ (1 << 63));
            }
        }
        Ok(())
    };
    let (mut low, mut high, mut rows) = (u64::MAX, 0, 0u64);
    each(&mut |time| {
        low = low.min(time);
        high = high.max(time);
        rows += 1;
    })?;
    let mut rank = rank(rows);
    if rank >= rows {
        return Ok(None);
    }
    while low < high {
        let width = (high - low) / BINS as u64 + 1;
        let mut bins = vec![0u64; BINS];
        each(&mut |time| {
            if (low..=high).contains(&time) {
                bins[((time - low) / width) as usize] += 1;
            }
        })?;
        let mut bin = 0;
        while rank >= bins[bin] {
            rank -= bins[bin];
            bin += 1;
        }
        low += bin as u64 * width;
        high = high.min(low.saturating_add(width - 1));
    }
    Ok(Some((low ^ (1 << 63)) as i64))
}

/// Checks that the splits negatives are asked for exist.
pub(crate) fn check_negatives(negatives: Option<&Negatives>, names: &[String]) -> Result<()> {
    match negatives.iter().flat_map(|negatives| &negatives.splits).find(|split| !names.contains(split)) {
        None => Ok(()),
        Some(split) => Err(Error::config(format!("there is no split `{split}`"))
            .in_field("data.negatives.splits")
            .mend(format!("use some of: {}", names.join(", ")))),
    }
}
