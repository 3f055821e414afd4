#![allow(clippy::unwrap_used)]
use super::*;
use std::sync::OnceLock;

fn config(events: u64) -> Config {
    Config { users: 3_000, items: 2_000, events, ..Config::default() }
}

/// One log that the statistical tests share.
fn log() -> &'static (Simulator, Vec<Session>) {
    static LOG: OnceLock<(Simulator, Vec<Session>)> = OnceLock::new();
    LOG.get_or_init(|| {
        let mut simulator = Simulator::new(&config(400_000)).unwrap();
        let sessions = simulator.by_ref().collect();
        (simulator, sessions)
    })
}

fn impressions() -> impl Iterator<Item = &'static Impression> {
    log().1.iter().flat_map(|session| &session.impressions)
}

fn occasions() -> impl Iterator<Item = &'static Occasion> {
    log().1.iter().flat_map(|session| &session.occasions)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u64);
    for value in values {
        sum += value;
        count += 1;
    }
    assert!(count > 100, "too few to tell: {count}");
    sum / count as f64
}

/// The probability that a positive scores above a negative, and half of a tie.
fn auc(scored: impl Iterator<Item = (f32, bool)>) -> f64 {
    let mut scored: Vec<(f32, bool)> = scored.collect();
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut positives) = (0.0, 0.0, 0.0);
    for tie in scored.chunk_by(|a, b| a.0 == b.0) {
        let up = tie.iter().filter(|(_, click)| *click).count() as f64;
        let down = tie.len() as f64 - up;
        wins += up * (below + 0.5 * down);
        below += down;
        positives += up;
    }
    wins / (below * positives)
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_seed_another() {
    let sessions = |seed| Simulator::new(&Config { seed, ..config(20_000) }).unwrap().collect::<Vec<_>>();
    let first = sessions(7);
    assert_eq!(first, sessions(7));
    let other = sessions(8);
    let items = |sessions: &[Session]| sessions[0].impressions.iter().map(|shown| shown.item).collect::<Vec<_>>();
    assert_ne!(items(&first), items(&other));
}

#[test]
fn the_numbers_of_a_log_never_change() {
    // A fixture: logs made by an earlier version, or on another machine, can be made again.
    let mut hash = Seed(0);
    for shown in Simulator::new(&config(20_000)).unwrap().flat_map(|session| session.impressions) {
        for part in [u64::from(shown.user), u64::from(shown.item), shown.time as u64, u64::from(shown.click)] {
            hash = Seed(hash.0 ^ part).at(0);
        }
        hash = Seed(hash.0 ^ u64::from(shown.truth.click_probability.to_bits())).at(u64::from(shown.dwell.to_bits()));
    }
    assert_eq!(hash.0, FIXTURE);
}

/// Renew it only when the model is meant to change.
const FIXTURE: u64 = 2_404_765_206_058_472_983;

#[test]
fn more_events_only_lengthen_the_log() {
    let short: Vec<Session> = Simulator::new(&config(5_000)).unwrap().collect();
    let long: Vec<Session> = Simulator::new(&config(20_000)).unwrap().collect();
    assert_eq!(short, long[..short.len()]);
    assert!(short.iter().map(|session| session.impressions.len()).sum::<usize>() >= 5_000);
}

#[test]
fn sessions_begin_in_order_and_a_users_sessions_do_not_overlap() {
    let sessions = &log().1;
    let start = |session: &Session| session.impressions[0].time;
    // The first item is shown after the page has come, so order is that of the beginnings.
    assert!(sessions.windows(2).all(|pair| start(&pair[0]) <= start(&pair[1])));
    let mut last = vec![0; 3_000];
    for (id, shown) in impressions().enumerate() {
        assert_eq!(shown.id, id as u64);
        assert!(shown.time >= last[shown.user as usize]);
        last[shown.user as usize] = shown.time;
    }
    assert!(last.contains(&0), "some users of the tail have not come yet");
}

#[test]
fn the_default_world_can_be_learnt() {
    let click_rate = mean(impressions().map(|shown| f64::from(u8::from(shown.click))));
    assert!((0.05..0.15).contains(&click_rate), "{click_rate}");
    let conversion_rate =
        mean(impressions().filter(|shown| shown.click).map(|shown| f64::from(u8::from(shown.conversion))));
    assert!((0.02..0.10).contains(&conversion_rate), "{conversion_rate}");
    let oracle = auc(impressions().map(|shown| (shown.truth.click_probability, shown.click)));
    assert!((0.75..0.85).contains(&oracle), "{oracle}");
    // Who knows the user but not the intent of the moment stays well below, and above chance.
    let world = log().0.world();
    let blind = auc(impressions().map(|shown| {
        let cluster = usize::from(log().0.config().scenarios[usize::from(shown.scenario)].cluster);
        let scale = world.scale(&world.users[shown.user as usize], &[0.0; world::DIMENSION], cluster);
        (scale.relevance(&world.items[shown.item as usize]) + shown.truth.position_bias, shown.click)
    }));
    assert!(blind > 0.6 && blind < oracle - 0.05, "{blind} {oracle}");
}

#[test]
fn probabilities_are_those_of_the_outcomes() {
    let gap = |pairs: &mut dyn Iterator<Item = (f32, bool)>| {
        let (mut expected, mut happened, mut variance) = (0.0, 0.0, 0.0);
        for (p, y) in pairs {
            expected += f64::from(p);
            happened += f64::from(u8::from(y));
            variance += f64::from(p * (1.0 - p));
        }
        (happened - expected) / variance.sqrt()
    };
    for bin in 0..10 {
        let bin = bin as f32 / 10.0;
        let mut pairs = impressions()
            .map(|shown| (shown.truth.click_probability, shown.click))
            .filter(|(p, _)| (bin..bin + 0.1).contains(p));
        assert!(gap(&mut pairs).abs() < 4.0);
    }
    let clicked = || impressions().filter(|shown| shown.click);
    assert!(gap(&mut clicked().map(|shown| (shown.truth.conversion_probability, shown.conversion))).abs() < 4.0);
    assert!(gap(&mut clicked().map(|shown| (shown.truth.like_probability, shown.like))).abs() < 4.0);
}

#[test]
fn outcomes_follow_a_click_only() {
    for shown in impressions() {
        assert!(shown.click || !(shown.conversion || shown.like));
        assert!(!(shown.click && shown.dislike));
        assert_eq!(shown.click, shown.dwell > 0.0);
        assert!(shown.view > 0.0 && shown.propensity > 0.0 && shown.propensity <= 1.0);
    }
    // Dwell time: the logged median is that of the truth, and the tail is heavy.
    let mut factors: Vec<f32> = impressions()
        .filter(|shown| shown.click)
        .map(|shown| shown.dwell / random::exp(shown.truth.dwell_location))
        .collect();
    factors.sort_unstable_by(f32::total_cmp);
    let quantile = |q: f64| factors[(q * factors.len() as f64) as usize];
    assert!((quantile(0.5) - 1.0).abs() < 0.05);
    assert!(quantile(0.99) > 8.0, "{}", quantile(0.99));
}

#[test]
fn clicks_fall_with_the_place_as_the_truth_says() {
    // On random pages the place has nothing to do with the item.
    for (device, slope) in log().0.config().position_bias.slopes().into_iter().enumerate() {
        let at = |first: u8, last: u8| {
            let chosen = move || {
                impressions().filter(move |shown| {
                    shown.random && usize::from(shown.device) == device && (first..=last).contains(&shown.position)
                })
            };
            let observed = mean(chosen().map(|shown| f64::from(u8::from(shown.click))));
            let expected = mean(chosen().map(|shown| f64::from(shown.truth.click_probability)));
            let error = (expected / chosen().count() as f64).sqrt();
            assert!((observed - expected).abs() < 4.0 * error, "{device}: {observed} {expected}");
            expected
        };
        assert!(at(1, 4) > at(5, 16), "device {device}");
        for shown in impressions().filter(|shown| usize::from(shown.device) == device).take(2_000) {
            let bias = -slope * f32::from(shown.position).ln();
            assert!((shown.truth.position_bias - bias).abs() < 1e-5);
        }
    }
}

#[test]
fn the_parts_of_the_truth_add_up() {
    let (simulator, _) = log();
    let world = simulator.world();
    let mut suggested = 0;
    for shown in impressions().take(50_000) {
        let truth = &shown.truth;
        let top = truth.relevance + truth.moment + truth.confounder + truth.delay;
        assert!((random::sigmoid(top + truth.position_bias) - truth.click_probability).abs() < 1e-6);
        assert!((random::sigmoid(top) - truth.click_probability_unbiased).abs() < 1e-6);
        let user = &world.users[shown.user as usize];
        let item = &world.items[shown.item as usize];
        let cluster = usize::from(simulator.config().scenarios[usize::from(shown.scenario)].cluster);
        assert_eq!(world.scale(user, &truth.intent, cluster).relevance(item), truth.relevance);
        suggested += u32::from(truth.confounder > 0.0);
    }
    assert!(suggested > 1_000);
}

#[test]
fn inverse_propensities_undo_the_policy() {
    // E[1 / propensity] at the first place is the number of candidates, whatever the policy prefers.
    let policy = &log().0.config().policy;
    let first = || impressions().filter(|shown| !shown.random && !shown.extra && shown.position == 1);
    let estimate = mean(first().map(|shown| 1.0 / f64::from(shown.propensity)));
    let pool = f64::from(policy.pool);
    assert!((estimate / pool - 1.0).abs() < 0.1, "{estimate}");
    // On random pages they are those of the catalogue, so a sum over it is estimated without bias.
    let (items, random) = (&log().0.world().items, || impressions().filter(|shown| shown.random));
    let quality = |item: u32| f64::from(items[item as usize].quality);
    let truth = items.iter().map(|item| f64::from(item.quality)).sum::<f64>() / items.len() as f64;
    let first_random = || random().filter(|shown| shown.position == 1);
    let estimate =
        mean(first_random().map(|shown| quality(shown.item) / f64::from(shown.propensity))) / items.len() as f64;
    assert!((estimate - truth).abs() < 4.0 / (first_random().count() as f64).sqrt(), "{estimate} {truth}");
    let logged = mean(impressions().filter(|shown| !shown.random).map(|shown| quality(shown.item)));
    assert!(logged > truth + 0.1, "the policy prefers good items: {logged} {truth}");
    let share = mean(impressions().map(|shown| f64::from(u8::from(shown.random))));
    assert!((share - 0.1).abs() < 0.01, "{share}");
}

#[test]
fn suggestions_drive_exposure_and_clicks_but_not_random_pages() {
    let share = |random: bool| {
        mean(
            impressions()
                .filter(move |shown| shown.random == random)
                .map(|shown| f64::from(u8::from(shown.truth.confounder > 0.0))),
        )
    };
    assert!(share(false) > 2.0 * share(true), "{} {}", share(false), share(true));
    let none = Config { confounder: config::Confounder { share: 0.0, ..Default::default() }, ..config(5_000) };
    let mut shown = Simulator::new(&none).unwrap().flat_map(|session| session.impressions);
    assert!(shown.all(|shown| shown.truth.confounder == 0.0));
    // A suggestion lasts its days, for the whole circle.
    let config = config(1);
    let all: Vec<Option<u16>> = (0..1_000).map(|circle| suggestion(&config, circle, EPOCH)).collect();
    assert!((0..1_000).all(|circle| suggestion(&config, circle, EPOCH + 2 * DAY - 1) == all[circle as usize]));
    assert!((0..1_000).any(|circle| suggestion(&config, circle, EPOCH + 2 * DAY) != all[circle as usize]));
    assert!((400..600).contains(&all.iter().flatten().count()));
}

#[test]
fn intents_drift_and_jump_at_their_rates() {
    let intent = &log().0.config().intent;
    let world = log().0.world();
    let jumps = mean(impressions().map(|shown| f64::from(u8::from(shown.truth.jumped))));
    // The first impression of a session cannot follow a jump: 23 of 24 can.
    assert!((jumps / f64::from(intent.jump) - 23.0 / 24.0).abs() < 0.1, "{jumps}");
    let deviation = |shown: &Impression, d: usize| {
        f64::from(shown.truth.intent[d] - world.centres[usize::from(shown.truth.focus)][d])
    };
    let pairs = || log().1.iter().flat_map(|session| session.impressions.windows(2));
    for d in 0..world::DIMENSION {
        let variance = mean(pairs().map(|pair| deviation(&pair[0], d).powi(2)));
        let covariance = mean(pairs().map(|pair| deviation(&pair[0], d) * deviation(&pair[1], d)));
        assert!((covariance / variance - f64::from(intent.drift)).abs() < 0.02);
        assert!((variance * world::DIMENSION as f64 / f64::from(intent.spread).powi(2) - 1.0).abs() < 0.05);
    }
    for pair in pairs().filter(|pair| pair[0].truth.focus != pair[1].truth.focus) {
        assert!(pair[1].truth.jumped);
    }
}

#[test]
fn the_log_has_the_outcome_of_the_arm_taken() {
    let mut treated = 0;
    for session in &log().1 {
        let first = session.impressions[0].id;
        let mut open = 0;
        for occasion in &session.occasions {
            let at = (occasion.impression - first) as usize;
            assert!(at >= open, "the window of the occasion before is still open");
            let arm = &occasion.arms[usize::from(occasion.treated)];
            let rows = &session.impressions[at + 1..at + 1 + arm.impressions as usize];
            open = at + arm.impressions as usize;
            assert_eq!(arm.impressions, occasion.arms[usize::from(!occasion.treated)].impressions);
            assert!(arm.impressions == 10 || open + 1 == session.impressions.len());
            assert_eq!(arm.clicks as usize, rows.iter().filter(|shown| shown.click).count());
            assert_eq!(arm.conversions as usize, rows.iter().filter(|shown| shown.conversion).count());
            let none: f32 = rows.iter().map(|shown| 1.0 - shown.truth.click_probability).product();
            assert!((1.0 - none - arm.click_probability).abs() < 1e-5);
            let here = &session.impressions[at];
            assert!(!here.random && !occasion.cached.is_empty());
            assert_eq!(rows[0].extra, occasion.treated || here.extra);
            assert_eq!(rows[0].request - here.request, u64::from(occasion.treated));
            assert_eq!(rows[0].position, here.position + 1);
            if !occasion.treated {
                let shown: Vec<u32> = rows.iter().take(occasion.cached.len()).map(|shown| shown.item).collect();
                assert_eq!(shown, occasion.cached[..shown.len()]);
            }
            let cause = match occasion.trigger {
                Trigger::Click => here.click,
                Trigger::Dislike => here.dislike,
                Trigger::Stop => here.view > 2.0,
                Trigger::Scroll => !here.click && occasion.since_request >= 6,
            };
            assert!(cause, "{occasion:?}");
            treated += usize::from(occasion.treated);
        }
    }
    let share = treated as f64 / occasions().count() as f64;
    assert!((share - 0.5).abs() < 0.02, "{share}");
}

#[test]
fn the_coin_estimates_the_true_uplift() {
    let clicked = |occasion: &Occasion, arm: usize| f64::from(u8::from(occasion.arms[arm].clicks > 0));
    let arm = |treated: bool| {
        mean(
            occasions()
                .filter(move |occasion| occasion.treated == treated)
                .map(|occasion| clicked(occasion, usize::from(treated))),
        )
    };
    let error = 1.0 / (occasions().count() as f64).sqrt();
    let truth = mean(
        occasions().map(|occasion| f64::from(occasion.arms[1].click_probability - occasion.arms[0].click_probability)),
    );
    assert!((arm(true) - arm(false) - truth).abs() < 4.0 * error);
    let realized = mean(occasions().map(|occasion| clicked(occasion, 1) - clicked(occasion, 0)));
    assert!((realized - truth).abs() < 4.0 * error);
    // Fresh results help most where the intent has jumped, and do harm somewhere.
    let uplift = |jumped: bool| {
        mean(
            occasions()
                .filter(move |occasion| occasion.jumped == jumped)
                .map(|occasion| f64::from(occasion.arms[1].click_probability - occasion.arms[0].click_probability)),
        )
    };
    assert!(uplift(true) > uplift(false) + 0.04, "{} {}", uplift(true), uplift(false));
    let harmed = occasions().filter(|occasion| occasion.arms[1].click_probability < occasion.arms[0].click_probability);
    assert!(harmed.count() * 5 > occasions().count());
}

#[test]
fn scenarios_have_their_shares_and_one_is_small() {
    let config = log().0.config();
    let mut pages = vec![0u32; config.scenarios.len()];
    for shown in impressions().filter(|shown| shown.position == 1) {
        pages[usize::from(shown.scenario)] += 1;
    }
    let all = f64::from(pages.iter().sum::<u32>());
    for (count, scenario) in pages.iter().zip(&config.scenarios) {
        assert!((f64::from(*count) / all - f64::from(scenario.share)).abs() < 0.02);
    }
    assert!(f64::from(*pages.iter().min().unwrap()) < 0.03 * all);
}

#[test]
fn the_clock_is_the_inverse_of_the_days_of_arrivals() {
    assert_eq!(ARRIVALS.iter().sum::<u32>(), 1_000);
    for busy in [0.0, 0.017, 0.3, 0.999, 1.0, 12.345] {
        assert!((busy_days(clock(busy)) - busy).abs() < 1e-6, "{busy}");
    }
    let evening = impressions().filter(|shown| (19..23).contains(&hour(shown.time))).count();
    let night = impressions().filter(|shown| (1..5).contains(&hour(shown.time))).count();
    assert!(evening > 8 * night);
}
