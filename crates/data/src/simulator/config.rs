//! What a simulated marketplace is made of. Every key has a default; the defaults give a world that can be learnt.

use kitestring_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most places a page can have.
pub const LONGEST_PAGE: usize = 32;

/// The most candidates a page is chosen from.
pub const LARGEST_POOL: usize = 256;

/// How many of the items a session showed last are not recommended again.
pub const SHOWN_LATELY: usize = 64;

/// A simulated marketplace. Users, items and each session are the same however many events are asked for: more events
/// only make the log longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Number of users.
    pub users: u32,
    /// Number of items.
    pub items: u32,
    /// The log ends with the session that reaches this number of impressions.
    pub events: u64,
    /// Number of categories.
    pub categories: u16,
    /// Number of brands in each category.
    pub brands: u16,
    /// Sessions a user begins in a day, on average over users.
    pub sessions_per_day: f32,
    /// Impressions of a session, on average. Lengths are geometric.
    pub session_length: f32,
    /// Share of the latent dimensions that repel in the second cluster of scenarios where they attract in the first.
    pub conflict: f32,
    /// How a user's intent moves.
    pub intent: Intent,
    /// How pages are filled.
    pub policy: Policy,
    /// How the place on a page lowers clicks, by device.
    pub position_bias: PositionBias,
    /// What drives both what is shown and what is clicked, and is in no log.
    pub confounder: Confounder,
    /// When an extra request is drawn, and what is counted after it.
    pub occasions: Occasions,
    /// The leaves of the scenario tree.
    pub scenarios: Vec<Scenario>,
}

/// How a user's intent moves within and between sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intent {
    /// Autocorrelation of the drift from one impression to the next, in [0, 1).
    pub drift: f32,
    /// Length of the drift's vector, where a category's centre has length one.
    pub spread: f32,
    /// Probability, at each impression, that the intent jumps to another category.
    pub jump: f32,
    /// Probability that a session begins with the category the last one ended with.
    pub persistence: f32,
}

/// How pages are filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Places on a page.
    pub page: u16,
    /// Candidates a page is chosen from.
    pub pool: u16,
    /// Standard deviation of the error of the policy's scores, in logits.
    pub noise: f32,
    /// Temperature of the softmax; lower is greedier.
    pub temperature: f32,
    /// Share of the pages that are filled uniformly at random from all items.
    pub random_share: f32,
}

/// By what the logit of a click falls with the logarithm of the place: `bias(place, device) = −slope · ln place`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PositionBias {
    /// Slope on phones.
    pub phone: f32,
    /// Slope on tablets.
    pub tablet: f32,
    /// Slope on desktops.
    pub desktop: f32,
}

/// What friends talk about: for some days, the users of one circle get items of one category suggested by friends, which
/// shows these items more often and has them clicked more often. No log names circles or suggestions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Confounder {
    /// Users in a circle.
    pub circle: u32,
    /// Days a suggestion lasts.
    pub days: u32,
    /// Probability that a circle has a suggestion.
    pub share: f32,
    /// What it adds to the policy's score. With 0 no place in the pool is kept for it either.
    pub exposure: f32,
    /// What it adds to the logit of a click.
    pub click: f32,
}

/// Moments within a session at which the device may ask for fresh results. Asking is decided by a fair coin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Occasions {
    /// Impressions without a click since the last request or click that make an occasion.
    pub scroll: u16,
    /// Probability at each impression that scrolling stops.
    pub stop: f32,
    /// The same right after the intent has jumped.
    pub stop_after_jump: f32,
    /// Impressions that count as the outcome. No occasion begins while another one's are being counted.
    pub window: u16,
    /// What waiting for fresh results takes from the logit of a click, on the first two impressions after them.
    pub delay: f32,
}

/// A leaf of the scenario tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The first level: where the user came in.
    pub entrance: String,
    /// The second level, within the entrance.
    pub channel: String,
    /// Share of the pages, in proportion to the others'.
    pub share: f32,
    /// Which of the two labelling functions it has: 0 browsing, 1 shopping.
    pub cluster: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            users: 10_000,
            items: 4_000,
            events: 2_000_000,
            categories: 24,
            brands: 10,
            sessions_per_day: 0.5,
            session_length: 24.0,
            conflict: 0.25,
            intent: Intent::default(),
            policy: Policy::default(),
            position_bias: PositionBias::default(),
            confounder: Confounder::default(),
            occasions: Occasions::default(),
            scenarios: [
                ("home", "recommend", 0.34, 0),
                ("home", "new", 0.12, 0),
                ("home", "deals", 0.12, 1),
                ("search", "results", 0.22, 1),
                ("search", "similar", 0.08, 1),
                ("live", "hall", 0.105, 0),
                ("live", "room", 0.015, 0),
            ]
            .map(|(entrance, channel, share, cluster)| Scenario {
                entrance: entrance.into(),
                channel: channel.into(),
                share,
                cluster,
            })
            .to_vec(),
        }
    }
}

impl Default for Intent {
    fn default() -> Self {
        Self { drift: 0.9, spread: 0.5, jump: 0.012, persistence: 0.85 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { page: 16, pool: 48, noise: 0.8, temperature: 0.8, random_share: 0.1 }
    }
}

impl Default for PositionBias {
    fn default() -> Self {
        Self { phone: 0.5, tablet: 0.35, desktop: 0.2 }
    }
}

impl Default for Confounder {
    fn default() -> Self {
        Self { circle: 50, days: 2, share: 0.5, exposure: 1.5, click: 1.0 }
    }
}

impl Default for Occasions {
    fn default() -> Self {
        Self { scroll: 6, stop: 0.03, stop_after_jump: 0.4, window: 10, delay: 0.4 }
    }
}

impl PositionBias {
    /// The slope of each device, in the order of [`super::DEVICES`].
    pub fn slopes(&self) -> [f32; 3] {
        [self.phone, self.tablet, self.desktop]
    }
}

impl Config {
    /// Checks every number.
    ///
    /// # Errors
    /// A config error that names the key and says what it may be.
    pub fn check(&self) -> Result<()> {
        let Self { intent, policy, position_bias, confounder, occasions, .. } = self;
        // TOML has no whole numbers past i64, and the resolved config is written as TOML.
        whole("seed", self.seed, 0, i64::MAX as u64)?;
        whole("users", self.users, 1, 1 << 31)?;
        whole("categories", self.categories, 2, 10_000)?;
        whole("brands", self.brands, 1, 6_000)?;
        whole("events", self.events, 1, 1 << 48)?;
        whole("policy.page", policy.page, 1, LONGEST_PAGE as u64)?;
        whole("policy.pool", policy.pool, u64::from(policy.page), LARGEST_POOL as u64)?;
        // Twice the items a page cannot show, so that drawing another one soon succeeds.
        let least = 2 * (u64::from(policy.pool) + SHOWN_LATELY as u64);
        whole("items", self.items, least.max(u64::from(self.categories)), 1 << 31)?;
        whole("confounder.circle", confounder.circle, 1, u64::from(u32::MAX))?;
        whole("confounder.days", confounder.days, 1, 10_000)?;
        whole("occasions.scroll", occasions.scroll, 1, 10_000)?;
        whole("occasions.window", occasions.window, 1, 1_000)?;
        number("sessions_per_day", self.sessions_per_day, 1e-3, 1e3)?;
        number("session_length", self.session_length, 1.0, 1e4)?;
        number("conflict", self.conflict, 0.0, 1.0)?;
        number("intent.drift", intent.drift, 0.0, 0.9999)?;
        number("intent.spread", intent.spread, 0.0, 10.0)?;
        number("intent.jump", intent.jump, 0.0, 1.0)?;
        number("intent.persistence", intent.persistence, 0.0, 1.0)?;
        number("policy.noise", policy.noise, 0.0, 20.0)?;
        number("policy.temperature", policy.temperature, 0.05, 1e3)?;
        number("policy.random_share", policy.random_share, 0.0, 1.0)?;
        number("position_bias.phone", position_bias.phone, 0.0, 10.0)?;
        number("position_bias.tablet", position_bias.tablet, 0.0, 10.0)?;
        number("position_bias.desktop", position_bias.desktop, 0.0, 10.0)?;
        number("confounder.share", confounder.share, 0.0, 1.0)?;
        number("confounder.exposure", confounder.exposure, 0.0, 10.0)?;
        number("confounder.click", confounder.click, -10.0, 10.0)?;
        number("occasions.stop", occasions.stop, 0.0, 1.0)?;
        number("occasions.stop_after_jump", occasions.stop_after_jump, 0.0, 1.0)?;
        number("occasions.delay", occasions.delay, 0.0, 10.0)?;
        self.check_scenarios()
    }

    fn check_scenarios(&self) -> Result<()> {
        if self.scenarios.is_empty() || self.scenarios.len() > 100 {
            return Err(Error::config("there must be 1 to 100 scenarios").in_field("scenarios"));
        }
        for (index, scenario) in self.scenarios.iter().enumerate() {
            let field = |key: &str| format!("scenarios[{index}].{key}");
            whole(&field("cluster"), scenario.cluster, 0, 1)?;
            number(&field("share"), scenario.share, 0.0, 1e6)?;
            if scenario.entrance.is_empty() || scenario.channel.is_empty() {
                return Err(Error::config("a scenario has a name at each level").in_field(field("channel")));
            }
            let same = |other: &Scenario| other.entrance == scenario.entrance && other.channel == scenario.channel;
            if self.scenarios[..index].iter().any(same) {
                return Err(Error::config("this scenario is declared twice").in_field(field("channel")));
            }
        }
        if self.scenarios.iter().all(|scenario| scenario.share == 0.0) {
            return Err(Error::config("no scenario has a share").in_field("scenarios"));
        }
        Ok(())
    }
}

fn whole(field: &str, value: impl Into<u64>, least: u64, most: u64) -> Result<()> {
    let value = value.into();
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("{value} is not between {least} and {most}")).in_field(field))
}

fn number(field: &str, value: f32, least: f32, most: f32) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("{value} is not between {least} and {most}")).in_field(field))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_default_is_sound_and_survives_toml() {
        let config = Config::default();
        config.check().unwrap();
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn partial_configs_keep_the_defaults_and_unknown_keys_are_refused() {
        let config: Config = toml::from_str("users = 7\n[policy]\nrandom_share = 0.5").unwrap();
        assert_eq!(config.users, 7);
        assert_eq!(config.policy, Policy { random_share: 0.5, ..Policy::default() });
        assert!(toml::from_str::<Config>("user = 7").is_err());
        assert!(toml::from_str::<Config>("[policy]\npages = 7").is_err());
    }

    #[test]
    fn wrong_numbers_are_named() {
        let refused = |text: &str| toml::from_str::<Config>(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("items = 10").contains("`items`: 10 is not between 224"));
        assert!(refused("[policy]\npage = 33").contains("`policy.page`"));
        assert!(refused("[policy]\nnoise = nan").contains("`policy.noise`"));
        assert!(refused("[intent]\ndrift = 1.0").contains("`intent.drift`"));
        assert!(refused("scenarios = []").contains("`scenarios`"));
        let twice = "[[scenarios]]\nentrance='a'\nchannel='b'\nshare=1\ncluster=0\n".repeat(2);
        assert!(refused(&twice).contains("declared twice"));
        assert!(refused(&twice.replacen("cluster=0", "cluster=2", 1)).contains("`scenarios[0].cluster`"));
    }
}
