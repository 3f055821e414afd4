//! AUC of groups of samples: by scenario, and by how much was known of the user.

use super::Evaluation;
use super::judge::{CONFIDENCE, Labelled, auc_replicates, estimate};
use super::score::{Scored, ScoredTask};
use crate::config::EvaluateConfig;
use crate::report::{Estimate, Group, Grouping};
use kitestring_core::metrics::{Bootstrap, BootstrapPlan, GroupAuc, auc_by_group, auc_by_history};
use kitestring_data::dataset::Vocabularies;
use std::collections::HashMap;

/// The most scenarios of a level that a grouping lists.
const MOST_GROUPS: usize = 30;

/// Adds the groupings of a binary task, and the metrics that follow from them.
pub(super) fn add(
    (scored, task, samples): (&Scored, &ScoredTask, &Labelled<'_>),
    (overall, plan): (Estimate, Option<BootstrapPlan>),
    config: &EvaluateConfig,
    vocabularies: &Vocabularies,
    evaluation: &mut Evaluation,
) {
    let grouping = |by: String, groups: Vec<Group>| Grouping {
        by,
        task: task.name.clone(),
        metric: "AUC".into(),
        overall: Some(overall),
        groups,
        ..Grouping::default()
    };
    for (level, scenarios) in scored.scenarios.iter().enumerate() {
        let name = &vocabularies.manifest().schema.scenarios[level].name;
        let groups = samples.of(scenarios);
        let Some(by_scenario) = auc_by_group(&samples.scores, &samples.labels, &groups) else { continue };
        let mut largest: Vec<(&u32, &GroupAuc)> = by_scenario.iter().collect();
        largest.sort_by_key(|(scenario, group)| (std::cmp::Reverse(group.count), **scenario));
        let by = match largest.len() {
            all if all > MOST_GROUPS => format!("{name}, the {MOST_GROUPS} largest of {all}"),
            _ => name.clone(),
        };
        largest.truncate(MOST_GROUPS);
        let shown = largest.into_iter().map(|(scenario, found)| {
            let shown = match scenario {
                0 => "not seen in training".to_owned(),
                scenario => vocabularies.scenario(level, *scenario),
            };
            let (group, replicates) = group(shown, found, samples, plan, |row| groups[row] == *scenario);
            let key = format!("{}.auc[{name}={}]", task.name, group.name);
            evaluation.replicates.extend(replicates.map(|replicates| (key, replicates)));
            group
        });
        let shown = shown.collect();
        evaluation.groupings.push(grouping(by, shown));
    }
    if !samples.users.is_empty() && config.history_groups > 0 {
        let lengths = lengths_of_users(samples, &scored.history);
        let found = auc_by_history(&samples.scores, &samples.labels, &samples.users, &lengths, config.history_groups);
        let Some(found) = found else { return };
        let shown = found.groups.iter().map(|history| {
            let range = history.shortest..=history.longest;
            let name = match (history.shortest, history.longest) {
                (shortest, longest) if shortest == longest => format!("{shortest} events"),
                (shortest, longest) => format!("{shortest} to {longest} events"),
            };
            group(name, &history.rows, samples, plan, |row| range.contains(&lengths[row])).0
        });
        evaluation.groupings.push(Grouping {
            heterogeneity: found.heterogeneity.map(Estimate::from),
            head_tail_gap: found.head_tail_gap.map(Estimate::from),
            ..grouping("history length".into(), shown.collect())
        });
        for (metric, value) in [("heterogeneity", found.heterogeneity), ("head_tail_gap", found.head_tail_gap)] {
            let name = format!("{}.{metric}", task.name);
            match value {
                Some(value) => _ = evaluation.metrics.insert(name, value),
                None => {
                    let why = "too few groups of history length have both a positive and a negative label";
                    evaluation.absent.insert(name, why.into());
                }
            }
        }
    }
}

/// For each sample, the longest history of its user.
fn lengths_of_users(samples: &Labelled<'_>, history: &[u32]) -> Vec<u32> {
    let history = samples.of(history);
    let mut longest: HashMap<u64, u32> = HashMap::new();
    for (user, length) in samples.users.iter().zip(history.iter()) {
        let known = longest.entry(*user).or_default();
        *known = (*known).max(*length);
    }
    samples.users.iter().map(|user| longest.get(user).copied().unwrap_or(0)).collect()
}

fn group(
    name: String,
    found: &GroupAuc,
    samples: &Labelled<'_>,
    plan: Option<BootstrapPlan>,
    is_member: impl Fn(usize) -> bool,
) -> (Group, Option<Bootstrap>) {
    let resample = |plan: BootstrapPlan| {
        let rows: Vec<usize> = (0..samples.labels.len()).filter(|row| is_member(*row)).collect();
        let scores: Vec<f32> = rows.iter().map(|row| samples.scores[*row]).collect();
        let labels: Vec<f32> = rows.iter().map(|row| samples.labels[*row]).collect();
        let users: Vec<u64> = rows.iter().filter_map(|row| samples.users.get(*row).copied()).collect();
        auc_replicates(&scores, &labels, &users, plan)
    };
    let bare = |point| Bootstrap { point, replicates: Vec::new(), units: 0 };
    let replicates = found.auc.map(|auc| plan.and_then(resample).unwrap_or_else(|| bare(auc)));
    let interval = replicates.as_ref().and_then(|replicates| replicates.interval(CONFIDENCE));
    let group = Group {
        name,
        samples: found.count,
        positives: found.positives,
        estimate: estimate(found.auc.unwrap_or(f64::NAN), interval.as_ref()),
    };
    (group, replicates)
}
