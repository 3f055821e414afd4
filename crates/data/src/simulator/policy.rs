//! The logging policy: recall finds a pool of candidates, a noisy score orders it, a softmax fills the page.
//!
//! A page is drawn place by place without replacement (Plackett 1975, Luce 1959): the item of place `k` is `i` with
//! probability `exp(sᵢ / T) / Σ exp(sⱼ / T)` over the candidates not placed above. That probability is the propensity,
//! given the pool and what stands above. All places are drawn at once by letting each candidate wait an exponential time
//! with its weight as rate; the order of the ends of waiting has the distribution of the draws.

use super::config::LONGEST_PAGE;
use super::random::{Stream, exp};
use super::world::{Scale, User, World};

/// The items of a page, in the order of the places.
#[derive(Debug, Clone)]
pub struct Page {
    /// The item of each place.
    pub items: [u32; LONGEST_PAGE],
    /// The probability of each item to be put in its place.
    pub propensity: [f32; LONGEST_PAGE],
    /// Number of places.
    pub places: usize,
}

impl Page {
    /// An empty page of this many places, at most [`LONGEST_PAGE`].
    pub fn new(places: usize) -> Self {
        Self { items: [u32::MAX; LONGEST_PAGE], propensity: [0.0; LONGEST_PAGE], places }
    }

    /// Fills all places uniformly at random from all items of the world.
    pub fn fill_uniformly(&mut self, items: u32, stream: &mut Stream) {
        for place in 0..self.places {
            let item = loop {
                let item = stream.below(items);
                if !self.items[..place].contains(&item) {
                    break item;
                }
            };
            self.items[place] = item;
            self.propensity[place] = 1.0 / (items - place as u32) as f32;
        }
    }
}

/// The candidates of a page, and memory to rank them in.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    items: Vec<u32>,
    scores: Vec<f32>,
    weights: Vec<f32>,
    order: Vec<u64>,
}

/// What recall looks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Who asks.
    pub user: &'a User,
    /// The category of the intent.
    pub focus: u16,
    /// The category friends suggest.
    pub suggestion: Option<u16>,
    /// Items that are not wanted.
    pub except: &'a [u32],
}

impl Pool {
    /// Finds this many different candidates by popularity: a quarter in the category of the intent, three eighths in the
    /// user's favourites, one eighth in the category friends suggest, the others anywhere.
    pub fn recall(&mut self, world: &World, wanted: &Wanted<'_>, size: usize, stream: &mut Stream) {
        self.items.clear();
        let focused = size / 4;
        let favoured = focused + size * 3 / 8;
        let suggested = favoured + size / 8;
        for candidate in 0..size {
            let category = if candidate < focused {
                Some(wanted.focus)
            } else if candidate < favoured {
                Some(favourite(wanted.user, stream))
            } else if candidate < suggested {
                wanted.suggestion
            } else {
                None
            };
            let shelf = category.and_then(|category| world.shelves[usize::from(category)].as_ref());
            let mut item = 0;
            let found = (0..3).any(|_| {
                item = match shelf {
                    Some(shelf) => shelf.draw(stream),
                    None => world.popular.draw(stream),
                };
                self.is_new(item, wanted.except)
            });
            // A short shelf soon has nothing new; any item will do then.
            while !found && !self.is_new(item, wanted.except) {
                item = stream.below(world.items.len() as u32);
            }
            self.items.push(item);
        }
    }

    #[inline]
    fn is_new(&self, item: u32, except: &[u32]) -> bool {
        !self.items.contains(&item) && !except.contains(&item)
    }

    /// Scores the candidates: their relevance, plus an error of the policy, plus what a friend's suggestion adds.
    pub fn score(
        &mut self,
        world: &World,
        scale: &Scale,
        noise: f32,
        suggestion: Option<(u16, f32)>,
        stream: &mut Stream,
    ) {
        self.scores.clear();
        for number in &self.items {
            let item = &world.items[*number as usize];
            let pushed = suggestion.filter(|(category, _)| *category == item.category).map_or(0.0, |(_, push)| push);
            self.scores.push(scale.relevance(item) + noise * stream.normal() + pushed);
        }
    }

    /// Fills the places of a page from this one on, counted from zero.
    pub fn rank(&mut self, temperature: f32, page: &mut Page, from: usize, stream: &mut Stream) {
        let Self { items, scores, weights, order } = self;
        let best = scores.iter().fold(f32::NEG_INFINITY, |best, score| best.max(*score));
        weights.clear();
        // The floor keeps every candidate possible and every propensity a normal number.
        weights.extend(scores.iter().map(|score| exp(((score - best) / temperature).max(-40.0))));
        order.clear();
        // Waiting times are positive, so the order of their bits is theirs; the index rides along below.
        order.extend(
            weights
                .iter()
                .enumerate()
                .map(|(index, weight)| u64::from((stream.exponential() / weight).to_bits()) << 32 | index as u64),
        );
        let places = page.places - from;
        if places < order.len() {
            order.select_nth_unstable(places);
        }
        let (chosen, rest) = order.split_at_mut(places);
        chosen.sort_unstable();
        let weight = |key: &u64| weights[*key as u32 as usize];
        // Summed from the last place up: subtracting from the total would leave nothing of the small ones.
        let mut remaining: f32 = rest.iter().map(weight).sum();
        for (place, key) in chosen.iter().enumerate().rev() {
            remaining += weight(key);
            page.items[from + place] = items[*key as u32 as usize];
            page.propensity[from + place] = weight(key) / remaining;
        }
    }
}

/// One of the user's favourite categories.
#[inline]
pub fn favourite(user: &User, stream: &mut Stream) -> u16 {
    let u = stream.unit();
    user.favourites[usize::from(u >= 0.55) + usize::from(u >= 0.85)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::config::Config;
    use super::*;
    use kitestring_core::Seed;

    fn pool() -> Pool {
        let mut pool = Pool::default();
        pool.items.extend(10..16);
        pool.scores.extend([0.0, 0.7, -1.0, 2.0, 0.3, -30.0]);
        pool
    }

    #[test]
    fn propensities_are_the_frequencies_of_the_draws() {
        let (mut pool, mut page, mut stream) = (pool(), Page::new(2), Stream::new(Seed(1)));
        let total: f64 = pool.scores.iter().map(|score| f64::from(*score / 0.5).exp()).sum();
        let draws = 200_000;
        let mut first = [0u32; 6];
        for _ in 0..draws {
            pool.rank(0.5, &mut page, 0, &mut stream);
            let winner = page.items[0] as usize - 10;
            first[winner] += 1;
            let p = f64::from(pool.scores[winner] / 0.5).exp() / total;
            assert!((f64::from(page.propensity[0]) / p - 1.0).abs() < 1e-5);
            let second = page.items[1] as usize - 10;
            assert_ne!(second, winner);
            let given = f64::from(pool.scores[second] / 0.5).exp() / (total * (1.0 - p));
            assert!((f64::from(page.propensity[1]) / given - 1.0).abs() < 1e-4);
        }
        for (count, score) in first.iter().zip(&pool.scores) {
            let p = f64::from(*score / 0.5).exp() / total;
            assert!((f64::from(*count) / f64::from(draws) - p).abs() < 5e-3);
        }
    }

    #[test]
    fn propensities_of_the_candidates_left_sum_to_one_at_every_place() {
        // The page as long as the pool: the propensities are all known, and the last candidate has no rival.
        let (mut pool, mut page, mut stream) = (pool(), Page::new(6), Stream::new(Seed(2)));
        pool.rank(1.0, &mut page, 0, &mut stream);
        assert_eq!(page.propensity[5], 1.0);
        for place in 0..6 {
            let weight = |k: usize| f64::from(pool.scores[page.items[k] as usize - 10]).exp();
            let left: f64 = (place..6).map(weight).sum();
            let sum: f64 = (place..6).map(|k| weight(k) / left).sum();
            assert!((sum - 1.0).abs() < 1e-12);
            assert!((f64::from(page.propensity[place]) - weight(place) / left).abs() < 1e-5);
        }
    }

    #[test]
    fn a_page_can_be_refilled_from_a_place_on() {
        let (mut pool, mut page, mut stream) = (pool(), Page::new(4), Stream::new(Seed(3)));
        page.items[..2].copy_from_slice(&[1, 2]);
        pool.rank(1.0, &mut page, 2, &mut stream);
        assert_eq!(page.items[..2], [1, 2]);
        assert!(page.items[2..4].iter().all(|item| (10..16).contains(item)));
    }

    #[test]
    fn recall_finds_different_items_and_leaves_out_the_unwanted() {
        let config = Config { items: 250, ..Config::default() };
        let world = World::new(&config);
        let (mut pool, mut stream) = (Pool::default(), Stream::new(Seed(5)));
        let except: Vec<u32> = (0..64).collect();
        for user in &world.users[..200] {
            let wanted = Wanted { user, focus: 3, suggestion: Some(5), except: &except };
            pool.recall(&world, &wanted, 48, &mut stream);
            let mut items = pool.items.clone();
            items.sort_unstable();
            items.dedup();
            assert_eq!(items.len(), 48);
            assert!(*items.first().unwrap() >= 64);
        }
    }

    #[test]
    fn a_random_page_has_all_items_alike() {
        let (mut page, mut stream) = (Page::new(16), Stream::new(Seed(6)));
        let mut counts = vec![0u32; 100];
        for _ in 0..20_000 {
            page.fill_uniformly(100, &mut stream);
            page.items[..16].iter().for_each(|item| counts[*item as usize] += 1);
        }
        assert!(counts.iter().all(|count| (2_950..3_450).contains(count)), "{counts:?}");
        assert_eq!(page.propensity[15], 1.0 / 85.0);
    }
}
