//! What is the same in every session: users, items, categories, scenarios, and the true relevance of one to another.

use super::config::Config;
use super::random::{Alias, Stream, exp, ln};
use kitestring_core::Seed;

/// Dimensions of the latent space that tastes, intents and items live in.
pub const DIMENSION: usize = 8;

/// A point of the latent space.
pub type Latent = [f32; DIMENSION];

/// The device classes, in the order of [`User::device`].
pub const DEVICES: [&str; 3] = ["phone", "tablet", "desktop"];

/// The age bands, in the order of [`User::age`].
pub const AGES: [&str; 6] = ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"];

/// A user.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// What the user likes for long, of length one.
    pub taste: Latent,
    /// The categories an intent mostly turns to, the dearest first.
    pub favourites: [u16; 3],
    /// Added to the logit of every click.
    pub clickiness: f32,
    /// How much a high price deters, about one.
    pub sensitivity: f32,
    /// Sessions a day.
    pub activity: f32,
    /// The circle of friends that share suggestions.
    pub circle: u32,
    /// The device of most sessions, an index of [`DEVICES`].
    pub device: u8,
    /// An index of [`AGES`].
    pub age: u8,
    /// Size of the home town, 1 (largest) to 4. The smaller, the more a price deters.
    pub city: u8,
}

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is, of length one, near its category's centre.
    pub latent: Latent,
    /// How good it is, of zero mean and unit variance.
    pub quality: f32,
    /// Logarithm of its price, of zero mean and about unit variance.
    pub price: f32,
    /// Its category.
    pub category: u16,
    /// Its brand. Brands belong to one category each: brand `b` to category `b / brands`.
    pub brand: u32,
    /// In proportion to how often recall finds it, of mean one.
    pub popularity: f32,
}

/// What makes an item relevant in the scenarios of one cluster. Scenarios of a cluster share all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelling {
    /// Logit of a click where nothing else speaks.
    pub click: f32,
    /// Weight of the long-term taste.
    pub taste: f32,
    /// Weight of the intent of the moment.
    pub intent: f32,
    /// Weight of the item's quality.
    pub quality: f32,
    /// Weight of the price times the user's sensitivity, subtracted.
    pub price: f32,
    /// Logit of a conversion after a click where nothing else speaks.
    pub conversion: f32,
}

/// Browsing goes by taste and ends rarely in a purchase; shopping goes by intent and price. The constants were set so
/// that the default world clicks on about one impression in twelve, and so that knowing the truth ranks them with an AUC
/// of about 0.8.
const LABELLINGS: [Labelling; 2] = [
    Labelling { click: -5.0, taste: 0.7, intent: 1.1, quality: 0.35, price: 0.15, conversion: -4.9 },
    Labelling { click: -4.9, taste: 0.35, intent: 1.4, quality: 0.2, price: 0.6, conversion: -4.1 },
];

/// The scale that gives the dot product of two unrelated points of length one unit variance: the square root of
/// [`DIMENSION`].
const SCALE: f32 = 2.828_427;

/// Everything that is the same in every session.
#[derive(Debug, Clone)]
pub struct World {
    /// The users; a user's number is the index.
    pub users: Vec<User>,
    /// The items; an item's number is the index.
    pub items: Vec<Item>,
    /// Each category's centre, of length one.
    pub centres: Vec<Latent>,
    /// The labelling function of each cluster of scenarios.
    pub labellings: [Labelling; 2],
    /// In the second cluster, −1 for the dimensions that repel there, else 1. All 1 in the first.
    pub signs: [Latent; 2],
    /// Recall by popularity among all items.
    pub popular: Alias,
    /// Recall by popularity within a category. An empty category has none.
    pub shelves: Vec<Option<Shelf>>,
    /// How often each age band turns to each category.
    pub trends: Vec<Alias>,
    /// How often a page belongs to each scenario.
    pub scenarios: Alias,
}

/// The items of a category.
#[derive(Debug, Clone)]
pub struct Shelf {
    items: Vec<u32>,
    popular: Alias,
}

impl Shelf {
    /// An item, by popularity.
    #[inline]
    pub fn draw(&self, stream: &mut Stream) -> u32 {
        self.items[self.popular.draw(stream) as usize]
    }
}

/// `a · b`.
#[inline(always)]
pub fn dot(a: &Latent, b: &Latent) -> f32 {
    let mut sum = 0.0;
    for d in 0..DIMENSION {
        sum += a[d] * b[d];
    }
    sum
}

fn scaled(a: &Latent, scale: f32) -> Latent {
    a.map(|x| x * scale)
}

fn plus(a: &Latent, b: &Latent) -> Latent {
    std::array::from_fn(|d| a[d] + b[d])
}

/// A random point of length one.
fn direction(stream: &mut Stream) -> Latent {
    unit_length(&std::array::from_fn(|_| stream.normal()))
}

fn unit_length(a: &Latent) -> Latent {
    scaled(a, 1.0 / dot(a, a).sqrt().max(1e-6))
}

/// Zipf's weights with a flattened head: `(rank + shift)^−exponent` for ranks from 1, of mean one.
fn zipf(count: usize, shift: f32, exponent: f32) -> Vec<f32> {
    let weights: Vec<f32> = (1..=count).map(|rank| exp(-exponent * ln(rank as f32 + shift))).collect();
    let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / count as f64;
    weights.into_iter().map(|weight| (f64::from(weight) / mean) as f32).collect()
}

/// A random order of the numbers below `count` (Durstenfeld 1964).
fn shuffled(count: u32, stream: &mut Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last as usize, stream.below(last + 1) as usize);
    }
    order
}

fn alias(weights: &[f32]) -> Alias {
    Alias::new(&weights.iter().map(|weight| f64::from(*weight)).collect::<Vec<_>>())
}

impl World {
    /// The world of a checked config.
    pub fn new(config: &Config) -> Self {
        let seed = Seed(config.seed).child("world");
        let categories = usize::from(config.categories);
        let mut stream = Stream::new(seed.child("categories"));
        let centres: Vec<Latent> = (0..categories).map(|_| direction(&mut stream)).collect();
        let trends: Vec<Alias> = AGES.iter().map(|_| alias(&trend(categories, &mut stream))).collect();
        let items = items(config, &centres, seed);
        let shares: Vec<f32> = config.scenarios.iter().map(|scenario| scenario.share).collect();
        let repelling = (config.conflict * DIMENSION as f32).round() as usize;
        Self {
            users: users(config, &centres, &trends, seed),
            popular: alias(&items.iter().map(|item| item.popularity).collect::<Vec<_>>()),
            shelves: shelves(&items, categories),
            items,
            centres,
            labellings: LABELLINGS,
            signs: [[1.0; DIMENSION], std::array::from_fn(|d| if d < repelling { -1.0 } else { 1.0 })],
            trends,
            scenarios: alias(&shares),
        }
    }

    /// Makes a scale for relevance of a user with an intent in the scenarios of a cluster.
    #[inline]
    pub fn scale(&self, user: &User, intent: &Latent, cluster: usize) -> Scale {
        let labelling = &self.labellings[cluster];
        let signs = &self.signs[cluster];
        let (taste, wish) = (labelling.taste * SCALE, labelling.intent * SCALE);
        Scale {
            latent: std::array::from_fn(|d| signs[d] * (taste * user.taste[d] + wish * intent[d])),
            constant: labelling.click + user.clickiness,
            quality: labelling.quality,
            price: -labelling.price * user.sensitivity,
        }
    }

    /// Logits of a conversion and of a like after a click, and the logarithm of the median dwell time in seconds.
    ///
    /// With `t` and `w` the user's taste and intent times the item, scaled as in [`World::scale`] but unweighted, `q` the
    /// quality and `p` the price times the sensitivity:
    /// `conversion + 0.5 w + 0.4 q − 0.7 p`, `−1.8 + 0.7 t + 0.5 q`, and `2.3 + 0.3 t + 0.2 w + 0.2 q`.
    #[inline]
    pub fn after_click(&self, user: &User, intent: &Latent, cluster: usize, item: &Item) -> (f32, f32, f32) {
        let signs = &self.signs[cluster];
        let turned: Latent = std::array::from_fn(|d| signs[d] * item.latent[d]);
        let (taste, wish) = (SCALE * dot(&user.taste, &turned), SCALE * dot(intent, &turned));
        let price = user.sensitivity * item.price;
        (
            self.labellings[cluster].conversion + 0.5 * wish + 0.4 * item.quality - 0.7 * price,
            -1.8 + 0.7 * taste + 0.5 * item.quality,
            2.3 + 0.3 * taste + 0.2 * wish + 0.2 * item.quality,
        )
    }
}

/// The true relevance of items to one user at one moment, as a linear function of the item.
#[derive(Debug, Clone)]
pub struct Scale {
    latent: Latent,
    constant: f32,
    quality: f32,
    price: f32,
}

impl Scale {
    /// The logit of a click at the first place, without confounder, moment and delay.
    #[inline(always)]
    pub fn relevance(&self, item: &Item) -> f32 {
        self.constant + dot(&self.latent, &item.latent) + self.quality * item.quality + self.price * item.price
    }
}

/// How often an age band turns to each category: Zipf's weights in an order of its own.
fn trend(categories: usize, stream: &mut Stream) -> Vec<f32> {
    let weights = zipf(categories, 1.0, 0.8);
    let order = shuffled(categories as u32, stream);
    order.iter().map(|rank| weights[*rank as usize]).collect()
}

fn items(config: &Config, centres: &[Latent], seed: Seed) -> Vec<Item> {
    let mut stream = Stream::new(seed.child("shelves"));
    let level: Vec<f32> = centres.iter().map(|_| stream.normal()).collect();
    let brands: Vec<(f32, f32)> = (0..centres.len() * usize::from(config.brands))
        .map(|_| {
            let (tier, own) = (stream.normal(), stream.normal());
            // Dear brands are somewhat better.
            (tier, 0.5 * tier + 0.866 * own)
        })
        .collect();
    let sizes = alias(&trend(centres.len(), &mut stream));
    let mut appeal: Vec<(f32, u32)> = Vec::with_capacity(config.items as usize);
    let mut items: Vec<Item> = (0..config.items)
        .map(|number| {
            // A stream for each item, so that more items leave the first ones as they are.
            let mut stream = Stream::new(seed.child("item").at(u64::from(number)));
            let category = sizes.draw(&mut stream) as u16;
            let brand = u32::from(category) * u32::from(config.brands) + stream.below(u32::from(config.brands));
            let (tier, reputation) = brands[brand as usize];
            let quality = 0.5 * reputation + 0.866 * stream.normal();
            let price = 0.5 * level[usize::from(category)] + 0.6 * tier + 0.62 * stream.normal();
            let own = direction(&mut stream);
            let latent = unit_length(&plus(&scaled(&centres[usize::from(category)], 1.0), &scaled(&own, 0.6)));
            appeal.push((0.5 * quality + 0.866 * stream.normal(), number));
            Item { latent, quality, price, category, brand, popularity: 0.0 }
        })
        .collect();
    appeal.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for ((_, number), weight) in appeal.iter().zip(zipf(items.len(), 0.002 * items.len() as f32, 0.9)) {
        items[*number as usize].popularity = weight;
    }
    items
}

fn shelves(items: &[Item], categories: usize) -> Vec<Option<Shelf>> {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); categories];
    for (number, item) in items.iter().enumerate() {
        members[usize::from(item.category)].push(number as u32);
    }
    let shelf = |items_of: Vec<u32>| {
        let weights: Vec<f32> = items_of.iter().map(|number| items[*number as usize].popularity).collect();
        (!items_of.is_empty()).then(|| Shelf { items: items_of, popular: alias(&weights) })
    };
    members.into_iter().map(shelf).collect()
}

fn users(config: &Config, centres: &[Latent], trends: &[Alias], seed: Seed) -> Vec<User> {
    let ages = Alias::new(&[0.2, 0.27, 0.22, 0.15, 0.1, 0.06]);
    let cities = Alias::new(&[0.25, 0.3, 0.27, 0.18]);
    let devices = Alias::new(&[0.7, 0.12, 0.18]);
    let activity = zipf(config.users as usize, 0.005 * config.users as f32, 1.0);
    let ranks = shuffled(config.users, &mut Stream::new(seed.child("activity")));
    let circles = config.users.div_ceil(config.confounder.circle);
    let user = |(number, rank): (usize, &u32)| {
        let mut stream = Stream::new(seed.child("user").at(number as u64));
        let age = ages.draw(&mut stream) as u8;
        let city = 1 + cities.draw(&mut stream) as u8;
        let device = devices.draw(&mut stream) as u8;
        let favourites: [u16; 3] = std::array::from_fn(|_| trends[usize::from(age)].draw(&mut stream) as u16);
        let mut taste = scaled(&direction(&mut stream), 0.5);
        for (favourite, weight) in favourites.iter().zip([0.6, 0.35, 0.2]) {
            taste = plus(&taste, &scaled(&centres[usize::from(*favourite)], weight));
        }
        User {
            taste: unit_length(&taste),
            favourites,
            clickiness: 0.4 * stream.normal(),
            sensitivity: (1.0 + 0.25 * (f32::from(city) - 2.5) + 0.3 * stream.normal()).max(0.1),
            activity: config.sessions_per_day * activity[*rank as usize],
            circle: stream.below(circles),
            device,
            age,
            city,
        }
    };
    ranks.iter().enumerate().map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_lie_near_their_category_and_users_near_their_favourites() {
        let world = World::new(&Config::default());
        let mean = |pairs: &mut dyn Iterator<Item = f32>| {
            let values: Vec<f32> = pairs.collect();
            values.iter().sum::<f32>() / values.len() as f32
        };
        let near =
            mean(&mut world.items.iter().map(|item| dot(&item.latent, &world.centres[usize::from(item.category)])));
        let far = mean(
            &mut world
                .items
                .iter()
                .map(|item| dot(&item.latent, &world.centres[(usize::from(item.category) + 7) % 24])),
        );
        assert!(near > 0.8 && far < 0.3, "{near} {far}");
        let dear =
            mean(&mut world.users.iter().map(|user| dot(&user.taste, &world.centres[usize::from(user.favourites[0])])));
        assert!(dear > 0.6, "{dear}");
    }

    #[test]
    fn activity_and_popularity_have_heads_and_tails() {
        let world = World::new(&Config::default());
        let mut activity: Vec<f32> = world.users.iter().map(|user| user.activity).collect();
        activity.sort_unstable_by(f32::total_cmp);
        let mean = activity.iter().sum::<f32>() / activity.len() as f32;
        assert!((mean - 0.5).abs() < 1e-3, "{mean}");
        assert!(activity[activity.len() / 2] < 0.5 * mean);
        assert!(activity[activity.len() - 1] > 20.0 * mean);
        let mut popularity: Vec<f32> = world.items.iter().map(|item| item.popularity).collect();
        popularity.sort_unstable_by(f32::total_cmp);
        let head: f32 = popularity[popularity.len() * 9 / 10..].iter().sum();
        assert!(head / popularity.iter().sum::<f32>() > 0.4);
    }

    #[test]
    fn more_items_leave_the_first_ones_as_they_are() {
        let config = Config::default();
        let (small, large) = (World::new(&config), World::new(&Config { items: 8_000, ..config }));
        for (a, b) in small.items.iter().zip(&large.items) {
            assert_eq!((a.latent, a.quality, a.price, a.brand), (b.latent, b.quality, b.price, b.brand));
        }
    }
}
