//! One user's session: pages are asked for, items are looked at one by one, and the intent moves meanwhile.
//!
//! At an [`Occasion`] the walk forks: both arms are walked for the length of the window, and the one that the coin chose
//! goes on. Three streams of randomness make the arms comparable: the *path* (drift, jumps, pauses, the end of the session)
//! and the *choices* (one fixed set of draws an impression) are the same in both; only what the policy shows differs.

use super::config::{Config, SHOWN_LATELY};
use super::policy::{Page, Pool, Wanted, favourite};
use super::random::{Stream, exp, ln, sigmoid};
use super::world::{DIMENSION, Latent, Scale, User, World};
use kitestring_core::Seed;

/// An item shown at a place of a page, and what came of it. All but `truth` is logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Impression {
    /// Its number in the log, from 0; the key of its truth.
    pub id: u64,
    /// Number of the session.
    pub session: u64,
    /// Number of the request that fetched the item.
    pub request: u64,
    /// Number of the user.
    pub user: u32,
    /// Number of the item.
    pub item: u32,
    /// Milliseconds since 1970 (UTC).
    pub time: i64,
    /// Index of the device class.
    pub device: u8,
    /// Index of the scenario.
    pub scenario: u8,
    /// Place on the page, from 1.
    pub position: u8,
    /// Probability of the item at this place, given the pool and what stands above.
    pub propensity: f32,
    /// Whether the page was filled uniformly at random.
    pub random: bool,
    /// Whether an extra request fetched the item.
    pub extra: bool,
    /// Whether the user clicked.
    pub click: bool,
    /// Whether the click led to a purchase.
    pub conversion: bool,
    /// Whether the user, having clicked, liked it.
    pub like: bool,
    /// Whether the user, without clicking, waved it off.
    pub dislike: bool,
    /// Seconds on the screen before the click or the next item.
    pub view: f32,
    /// Seconds spent with the item after the click; 0 without one.
    pub dwell: f32,
    /// What no log has.
    pub truth: Truth,
}

/// What was really going on at an impression.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Logit of a click by relevance alone.
    pub relevance: f32,
    /// What the hour adds to the logit.
    pub moment: f32,
    /// What a friend's suggestion adds.
    pub confounder: f32,
    /// What waiting for an extra request adds.
    pub delay: f32,
    /// What the place adds.
    pub position_bias: f32,
    /// Probability of the click as shown: the sigmoid of the sum of all of the above.
    pub click_probability: f32,
    /// The same at the first place.
    pub click_probability_unbiased: f32,
    /// Probability of a conversion given a click.
    pub conversion_probability: f32,
    /// Probability of a like given a click.
    pub like_probability: f32,
    /// Logarithm of the median dwell time in seconds given a click.
    pub dwell_location: f32,
    /// Category of the intent.
    pub focus: u16,
    /// Whether the intent jumped just before.
    pub jumped: bool,
    /// The intent.
    pub intent: Latent,
}

/// What made an occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The user waved an item off.
    Dislike,
    /// The user clicked.
    Click,
    /// Scrolling stopped.
    Stop,
    /// Many items were passed without a click.
    Scroll,
}

impl Trigger {
    /// Their names in the log, in the order of the variants.
    pub const NAMES: [&str; 4] = ["dislike", "click", "stop", "scroll"];
}

/// A moment at which a coin decided whether the rest of the page was fetched afresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Its number in the log, from 0; the key of its truth.
    pub id: u64,
    /// The impression it follows.
    pub impression: u64,
    /// What made it.
    pub trigger: Trigger,
    /// Impressions of the session so far.
    pub depth: u32,
    /// Clicks of the session so far.
    pub clicks: u32,
    /// Impressions since the last request.
    pub since_request: u32,
    /// The items fetched but not yet shown.
    pub cached: Vec<u32>,
    /// Whether the rest was fetched afresh.
    pub treated: bool,
    /// What came of each arm: without and with the extra request. The log has that of the arm taken.
    pub arms: [Outcome; 2],
    /// Length of the intent's movement since the last request.
    pub moved: f32,
    /// Whether the intent has jumped since the last request.
    pub jumped: bool,
}

/// What came of the impressions that follow an occasion.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Impressions counted: the window, or fewer where the session ended. The same in both arms.
    pub impressions: u32,
    /// Clicks.
    pub clicks: u32,
    /// Conversions.
    pub conversions: u32,
    /// Probability of at least one click, given the items shown and the movement of the intent.
    pub click_probability: f32,
    /// Probability of at least one conversion, given the same.
    pub conversion_probability: f32,
}

impl Outcome {
    fn of(impressions: &[Impression]) -> Self {
        let (mut none_clicked, mut none_bought) = (1.0, 1.0);
        let mut outcome = Self { impressions: impressions.len() as u32, ..Self::default() };
        for Impression { click, conversion, truth, .. } in impressions {
            outcome.clicks += u32::from(*click);
            outcome.conversions += u32::from(*conversion);
            none_clicked *= 1.0 - truth.click_probability;
            none_bought *= 1.0 - truth.click_probability * truth.conversion_probability;
        }
        outcome.click_probability = 1.0 - none_clicked;
        outcome.conversion_probability = 1.0 - none_bought;
        outcome
    }
}

/// What stays the same during a session.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The marketplace.
    pub config: &'a Config,
    /// Its users and items.
    pub world: &'a World,
    /// Whose session it is.
    pub user: u32,
    /// Index of the device class.
    pub device: u8,
    /// What each place adds to the logit of a click on this device.
    pub bias: &'a [f32],
    /// The category friends suggest.
    pub suggestion: Option<u16>,
    /// What the hour adds to the logit of a click.
    pub moment: f32,
}

impl Setting<'_> {
    fn who(&self) -> &User {
        &self.world.users[self.user as usize]
    }

    fn cluster(&self, scenario: u8) -> usize {
        usize::from(self.config.scenarios[usize::from(scenario)].cluster)
    }
}

/// A category for an intent to turn to: mostly a favourite, now and then whatever the user's age turns to.
pub fn new_focus(world: &World, user: &User, stream: &mut Stream) -> u16 {
    if stream.chance(0.6) { favourite(user, stream) } else { world.trends[usize::from(user.age)].draw(stream) as u16 }
}

/// Everything that moves during a session.
#[derive(Debug, Clone)]
pub struct Walk {
    path: Stream,
    choices: Stream,
    policy: Stream,
    /// Category of the intent.
    pub focus: u16,
    /// Milliseconds since 1970.
    pub time: i64,
    deviation: Latent,
    scenario: u8,
    page: Page,
    /// Places of the page already seen.
    seen: usize,
    random: bool,
    extra: bool,
    /// Requests so far.
    pub requests: u64,
    shown: [u32; SHOWN_LATELY],
    depth: u32,
    clicks: u32,
    left: u32,
    since_request: u32,
    quiet: u32,
    delayed: u32,
    jumped: bool,
    jumped_since_request: bool,
    intent_at_request: Latent,
}

const PAUSE_BEFORE_PAGE: i64 = 300;

impl Walk {
    /// The start of a session.
    pub fn new(setting: &Setting<'_>, seed: Seed, time: i64, focus: u16) -> Self {
        let mut path = Stream::new(seed.child("path"));
        let stay = (setting.config.session_length - 1.0) / setting.config.session_length;
        // Geometric: P(length > n) = stayⁿ.
        let left = if stay > 0.0 { 1 + (ln(path.open_unit()) / ln(stay)).min(1e5) as u32 } else { 1 };
        let spread = setting.config.intent.spread / (DIMENSION as f32).sqrt();
        let deviation = std::array::from_fn(|_| spread * path.normal());
        let scenario = setting.world.scenarios.draw(&mut path) as u8;
        Self {
            choices: Stream::new(seed.child("choices")),
            policy: Stream::new(seed.child("policy")),
            path,
            focus,
            time,
            deviation,
            scenario,
            page: Page::new(usize::from(setting.config.policy.page)),
            seen: usize::from(setting.config.policy.page),
            random: false,
            extra: false,
            requests: 0,
            shown: [u32::MAX; SHOWN_LATELY],
            depth: 0,
            clicks: 0,
            left,
            since_request: 0,
            quiet: 0,
            delayed: 0,
            jumped: false,
            jumped_since_request: false,
            intent_at_request: [0.0; DIMENSION],
        }
    }

    /// Walks the whole session. Numbers of impressions, requests and occasions start at zero.
    pub fn run(
        &mut self,
        setting: &Setting<'_>,
        pool: &mut Pool,
        out: &mut Vec<Impression>,
        occasions: &mut Vec<Occasion>,
    ) {
        let mut other = Vec::new();
        while self.left > 0 {
            let trigger = self.step(setting, pool, out);
            let cached = &self.page.items[self.seen..self.page.places];
            let Some(trigger) = trigger.filter(|_| self.left > 0 && !self.random && !cached.is_empty()) else {
                continue;
            };
            let intent = self.intent(setting.world);
            let mut occasion = Occasion {
                id: occasions.len() as u64,
                impression: out.len() as u64 - 1,
                trigger,
                depth: self.depth,
                clicks: self.clicks,
                since_request: self.since_request,
                cached: cached.to_vec(),
                treated: self.path.chance(0.5),
                arms: [Outcome::default(); 2],
                moved: distance(&intent, &self.intent_at_request),
                jumped: self.jumped_since_request,
            };
            self.quiet = 0;
            let mut counterfactual = self.clone();
            if occasion.treated {
                self.refresh(setting, pool);
            } else {
                counterfactual.refresh(setting, pool);
            }
            let start = out.len();
            other.clear();
            self.window(setting, pool, out);
            counterfactual.window(setting, pool, &mut other);
            occasion.arms[usize::from(occasion.treated)] = Outcome::of(&out[start..]);
            occasion.arms[usize::from(!occasion.treated)] = Outcome::of(&other);
            occasions.push(occasion);
        }
    }

    fn window(&mut self, setting: &Setting<'_>, pool: &mut Pool, out: &mut Vec<Impression>) {
        for _ in 0..self.left.min(u32::from(setting.config.occasions.window)) {
            self.step(setting, pool, out);
        }
    }

    fn intent(&self, world: &World) -> Latent {
        let centre = &world.centres[usize::from(self.focus)];
        std::array::from_fn(|d| centre[d] + self.deviation[d])
    }

    /// One impression, after which the intent moves.
    fn step(&mut self, setting: &Setting<'_>, pool: &mut Pool, out: &mut Vec<Impression>) -> Option<Trigger> {
        if self.seen == self.page.places {
            self.turn_page(setting, pool);
        }
        let (config, world) = (setting.config, setting.world);
        let cluster = setting.cluster(self.scenario);
        let number = self.page.items[self.seen];
        let item = &world.items[number as usize];
        let intent = self.intent(world);
        let suggested = setting.suggestion == Some(item.category);
        let relevance = world.scale(setting.who(), &intent, cluster).relevance(item);
        let (buys, likes, dwell_location) = world.after_click(setting.who(), &intent, cluster, item);
        let confounder = if suggested { config.confounder.click } else { 0.0 };
        let delay = if self.delayed > 0 { -config.occasions.delay } else { 0.0 };
        let position_bias = setting.bias[self.seen];
        let at_the_top = relevance + setting.moment + confounder + delay;
        let truth = Truth {
            relevance,
            moment: setting.moment,
            confounder,
            delay,
            position_bias,
            click_probability: sigmoid(at_the_top + position_bias),
            click_probability_unbiased: sigmoid(at_the_top),
            conversion_probability: sigmoid(buys),
            like_probability: sigmoid(likes),
            dwell_location,
            focus: self.focus,
            jumped: self.jumped,
            intent,
        };
        // A fixed set of draws, so that the arms of an occasion see the same luck at the same step.
        let choices = &mut self.choices;
        let click = choices.chance(truth.click_probability);
        let conversion = choices.chance(truth.conversion_probability) & click;
        let like = choices.chance(truth.like_probability) & click;
        let dislike = choices.chance(sigmoid(-7.0 - 0.8 * relevance)) & !click;
        let u = choices.open_unit();
        let looked = choices.exponential();
        // Log-logistic of shape 2: median exp(location), and a tail that falls with the square.
        let dwell = if click { (exp(dwell_location) * (u / (1.0 - u)).sqrt()).min(3_600.0) } else { 0.0 };

        self.advance(setting);
        let stop = if self.jumped { config.occasions.stop_after_jump } else { config.occasions.stop };
        let (stopped, pause) = (self.path.chance(stop), self.path.exponential());
        let view = 0.6 + 1.2 * looked + if stopped { 2.0 + 3.0 * pause } else { 0.0 };
        out.push(Impression {
            id: out.len() as u64,
            session: 0,
            request: self.requests - 1,
            user: setting.user,
            item: number,
            time: self.time,
            device: setting.device,
            scenario: self.scenario,
            position: self.seen as u8 + 1,
            propensity: self.page.propensity[self.seen],
            random: self.random,
            extra: self.extra,
            click,
            conversion,
            like,
            dislike,
            view,
            dwell,
            truth,
        });
        self.time += (1_000.0 * (view + dwell)) as i64;
        self.shown[self.depth as usize % SHOWN_LATELY] = number;
        self.depth += 1;
        self.clicks += u32::from(click);
        self.left -= 1;
        self.seen += 1;
        self.since_request += 1;
        self.quiet = if click { 0 } else { self.quiet + 1 };
        self.delayed = self.delayed.saturating_sub(1);
        if dislike {
            Some(Trigger::Dislike)
        } else if click {
            Some(Trigger::Click)
        } else if stopped {
            Some(Trigger::Stop)
        } else {
            (self.quiet >= u32::from(config.occasions.scroll)).then_some(Trigger::Scroll)
        }
    }

    /// The intent drifts, and sometimes jumps.
    fn advance(&mut self, setting: &Setting<'_>) {
        let intent = &setting.config.intent;
        let shake = intent.spread * ((1.0 - intent.drift * intent.drift) / DIMENSION as f32).sqrt();
        for x in &mut self.deviation {
            *x = intent.drift * *x + shake * self.path.normal();
        }
        self.jumped = self.path.chance(intent.jump);
        if self.jumped {
            self.focus = new_focus(setting.world, setting.who(), &mut self.path);
            self.jumped_since_request = true;
        }
    }

    /// The page is at its end: the next one is asked for.
    fn turn_page(&mut self, setting: &Setting<'_>, pool: &mut Pool) {
        if self.requests > 0 && self.path.chance(0.25) {
            self.scenario = setting.world.scenarios.draw(&mut self.path) as u8;
        }
        self.random = self.path.chance(setting.config.policy.random_share);
        self.extra = false;
        self.seen = 0;
        self.request(setting, pool);
    }

    /// The rest of the page is asked for afresh.
    fn refresh(&mut self, setting: &Setting<'_>, pool: &mut Pool) {
        self.extra = true;
        self.delayed = 2;
        self.request(setting, pool);
    }

    /// Fills the unseen places of the page by what is known now.
    fn request(&mut self, setting: &Setting<'_>, pool: &mut Pool) {
        let (config, world, user) = (setting.config, setting.world, setting.who());
        self.requests += 1;
        self.since_request = 0;
        self.quiet = 0;
        self.time += PAUSE_BEFORE_PAGE;
        self.jumped_since_request = false;
        self.intent_at_request = self.intent(world);
        if self.random {
            self.page.fill_uniformly(world.items.len() as u32, &mut self.policy);
            return;
        }
        let push = config.confounder.exposure;
        let suggestion = setting.suggestion.filter(|_| push > 0.0);
        let shown = &self.shown[..SHOWN_LATELY.min(self.depth as usize)];
        let wanted = Wanted { user, focus: self.focus, suggestion, except: shown };
        pool.recall(world, &wanted, usize::from(config.policy.pool), &mut self.policy);
        let scale: Scale = world.scale(user, &self.intent_at_request, setting.cluster(self.scenario));
        let pushed = suggestion.map(|category| (category, push));
        pool.score(world, &scale, config.policy.noise, pushed, &mut self.policy);
        pool.rank(config.policy.temperature, &mut self.page, self.seen, &mut self.policy);
    }
}

fn distance(a: &Latent, b: &Latent) -> f32 {
    let mut sum = 0.0;
    for d in 0..DIMENSION {
        sum += (a[d] - b[d]) * (a[d] - b[d]);
    }
    sum.sqrt()
}
