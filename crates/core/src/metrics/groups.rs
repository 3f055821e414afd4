//! AUC within groups: per scenario, per user, and GAUC.

use std::collections::BTreeMap;

use super::auc::Area;
use super::order::{is_positive, same_rows, sort_key};

/// AUC of one group and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GroupAuc {
    /// AUC; `None` if the group has a single class.
    pub auc: Option<f64>,
    /// Rows of the group.
    pub count: u64,
    /// Rows with a positive label.
    pub positives: u64,
}

/// Calls `visit` for each group in ascending order; `None` on bad input, before the first call.
pub(super) fn for_each_group<G: Copy + Ord>(
    scores: &[f32],
    labels: &[f32],
    groups: &[G],
    mut visit: impl FnMut(G, GroupAuc),
) -> Option<()> {
    if !same_rows(scores, labels) || !same_rows(scores, groups) {
        return None;
    }
    let mut rows = Vec::with_capacity(scores.len());
    for ((score, label), group) in scores.iter().zip(labels).zip(groups) {
        rows.push((*group, sort_key(*score)?, is_positive(*label)?));
    }
    rows.sort_unstable();
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let mut area = Area::default();
        for block in group.chunk_by(|a, b| a.1 == b.1) {
            let positive = block.iter().filter(|row| row.2).count();
            area.add(positive as f64, (block.len() - positive) as f64);
        }
        let summary = GroupAuc { auc: area.auc(), count: group.len() as u64, positives: area.positive as u64 };
        visit(group[0].0, summary);
    }
    Some(())
}

/// AUC of each group (a scenario, a user, a device class), with counts.
///
/// `None` with a NaN, no rows or slices of different lengths; a group with a single class is in the map, without AUC.
pub fn auc_by_group<G: Copy + Ord>(scores: &[f32], labels: &[f32], groups: &[G]) -> Option<BTreeMap<G, GroupAuc>> {
    let mut map = BTreeMap::new();
    for_each_group(scores, labels, groups, |group, summary| {
        map.insert(group, summary);
    })?;
    Some(map)
}

/// GAUC: the mean of the groups' AUCs weighted by their impressions, `Σ n_g AUC_g / Σ n_g`. Groups with a single class
/// have no AUC and are dropped from both sums (Zhou et al. 2018, DIN; the groups are users there).
///
/// `None` if no group has both classes, or with a NaN.
pub fn gauc<G: Copy + Ord>(scores: &[f32], labels: &[f32], groups: &[G]) -> Option<f64> {
    let (mut sum, mut impressions) = (0.0, 0.0);
    for_each_group(scores, labels, groups, |_, group| {
        if let Some(auc) = group.auc {
            sum += auc * group.count as f64;
            impressions += group.count as f64;
        }
    })?;
    (impressions > 0.0).then(|| sum / impressions)
}

/// How many groups have both classes, those that [`gauc`] covers, and how many there are.
///
/// `None` with a NaN, no rows or slices of different lengths.
pub fn gauc_coverage<G: Copy + Ord>(labels: &[f32], groups: &[G]) -> Option<[u64; 2]> {
    if !same_rows(labels, groups) {
        return None;
    }
    let mut rows = Vec::with_capacity(labels.len());
    for (label, group) in labels.iter().zip(groups) {
        rows.push((*group, is_positive(*label)?));
    }
    rows.sort_unstable();
    let groups = rows.chunk_by(|a, b| a.0 == b.0);
    let both = |group: &&[(G, bool)]| group.first().map(|row| row.1) != group.last().map(|row| row.1);
    Some([groups.clone().filter(both).count() as u64, groups.count() as u64])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::auc;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn by_hand() {
        let scores = [0.9, 0.1, 0.5, 0.5, 0.2, 0.3, 0.8];
        let labels = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let groups = ["a", "a", "b", "b", "b", "b", "c"];
        let by_group = auc_by_group(&scores, &labels, &groups).unwrap();
        // Group c has one class.
        assert_eq!(gauc_coverage(&labels, &groups), Some([2, 3]));
        assert_eq!(gauc_coverage(&[f32::NAN], &[1]), None);
        assert_eq!(by_group["a"], GroupAuc { auc: Some(1.0), count: 2, positives: 1 });
        // Pairs of b: .5–.5 ½, .5–.3 1, .2–.5 0, .2–.3 0.
        assert_eq!(by_group["b"], GroupAuc { auc: Some(0.375), count: 4, positives: 2 });
        assert_eq!(by_group["c"], GroupAuc { auc: None, count: 1, positives: 1 });
        assert_eq!(gauc(&scores, &labels, &groups), Some((2.0 + 4.0 * 0.375) / 6.0));
    }

    #[test]
    fn no_value() {
        assert_eq!(gauc(&[0.1, 0.2], &[1.0, 0.0], &[1, 2]), None);
        assert_eq!(gauc(&[0.1, f32::NAN], &[1.0, 0.0], &[1, 1]), None);
        assert_eq!(auc_by_group(&[0.1, 0.2], &[1.0, 0.0], &[1]), None);
        assert_eq!(auc_by_group::<u32>(&[], &[], &[]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_group_is_auc_and_groups_are_subsets(rows in prop::collection::vec((-5i8..5, any::<bool>(), 0u32..6), 1..120)) {
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.1))).collect();
            let groups: Vec<u32> = rows.iter().map(|row| row.2).collect();
            match (gauc(&scores, &labels, &vec![7u64; rows.len()]), auc(&scores, &labels)) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-15),
                (a, b) => prop_assert_eq!(a, b),
            }
            let by_group = auc_by_group(&scores, &labels, &groups).unwrap();
            prop_assert_eq!(by_group.values().map(|group| group.count).sum::<u64>(), rows.len() as u64);
            for (group, summary) in by_group {
                let of_group = |values: &[f32]| -> Vec<f32> {
                    values.iter().zip(&groups).filter(|(_, g)| **g == group).map(|(v, _)| *v).collect()
                };
                prop_assert_eq!(summary.auc, auc(&of_group(&scores), &of_group(&labels)));
            }
        }
    }
}
