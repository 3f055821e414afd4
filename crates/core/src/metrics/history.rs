//! Who is served worse: AUC by length of the user's history.

use super::groups::{GroupAuc, auc_by_group};
use super::order::{equal_count_part, same_rows};

/// Users whose histories are about equally long.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HistoryGroup {
    /// Shortest history of the group, in events.
    pub shortest: u32,
    /// Longest history of the group, in events.
    pub longest: u32,
    /// Users of the group.
    pub users: u64,
    /// AUC over all rows of these users, and counts of rows.
    pub rows: GroupAuc,
}

/// AUC by length of the user's history.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HistoryAuc {
    /// The groups, shortest histories first.
    pub groups: Vec<HistoryGroup>,
    /// 100 × the population standard deviation of AUC over the groups that have one; `None` if fewer than two have.
    pub heterogeneity: Option<f64>,
    /// 100 × (AUC of the longest histories − AUC of the shortest); `None` if either has no AUC or there is one group.
    pub head_tail_gap: Option<f64>,
}

/// AUC of users sorted into at most `groups` groups of equal size by length of history.
///
/// Row `i` is of user `users[i]`, whose history then held `history_lengths[i]` events; a user's length is the longest of
/// its rows. Users with equal lengths stay together, so groups may differ in size and, where many users share a length,
/// be fewer. Heterogeneity and the head–tail gap are our own definitions, as the papers that report such figures do not
/// give theirs.
///
/// `None` with a NaN, no rows, no groups or slices of different lengths.
pub fn auc_by_history<U: Copy + Ord>(
    scores: &[f32],
    labels: &[f32],
    users: &[U],
    history_lengths: &[u32],
    groups: usize,
) -> Option<HistoryAuc> {
    if groups == 0 || !same_rows(scores, users) || !same_rows(scores, history_lengths) {
        return None;
    }
    let mut rows: Vec<(U, u32, usize)> =
        users.iter().zip(history_lengths).enumerate().map(|(row, (user, length))| (*user, *length, row)).collect();
    rows.sort_unstable();
    // A user's rows ascend by length, so the last one's is the user's.
    let length_of = |user: &[(U, u32, usize)]| user[user.len() - 1].1;
    let mut by_length: Vec<&[(U, u32, usize)]> = rows.chunk_by(|a, b| a.0 == b.0).collect();
    by_length.sort_by_key(|user| length_of(user));

    let total = by_length.len();
    let mut group_of_row = vec![0usize; scores.len()];
    let mut bounds: Vec<Option<(u32, u32, u64)>> = vec![None; groups.min(total)];
    let mut start = 0;
    for block in by_length.chunk_by(|a, b| length_of(a) == length_of(b)) {
        let group = equal_count_part(start, block.len(), total, bounds.len());
        let length = length_of(block[0]);
        let (shortest, _, before) = bounds[group].unwrap_or((length, length, 0));
        bounds[group] = Some((shortest, length, before + block.len() as u64));
        for (_, _, row) in block.iter().copied().flatten() {
            group_of_row[*row] = group;
        }
        start += block.len();
    }

    let by_group = auc_by_group(scores, labels, &group_of_row)?;
    let groups: Vec<HistoryGroup> = by_group
        .into_iter()
        .filter_map(|(group, rows)| {
            bounds[group].map(|(shortest, longest, users)| HistoryGroup { shortest, longest, users, rows })
        })
        .collect();
    let head_tail_gap = match groups.as_slice() {
        [tail, .., head] => head.rows.auc.zip(tail.rows.auc).map(|(head, tail)| 100.0 * (head - tail)),
        _ => None,
    };
    let aucs: Vec<f64> = groups.iter().filter_map(|group| group.rows.auc).collect();
    let heterogeneity = (aucs.len() > 1).then(|| {
        let mean = aucs.iter().sum::<f64>() / aucs.len() as f64;
        let variance = aucs.iter().map(|auc| (auc - mean).powi(2)).sum::<f64>() / aucs.len() as f64;
        100.0 * variance.sqrt()
    });
    Some(HistoryAuc { groups, heterogeneity, head_tail_gap })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn by_hand() {
        // Users 1 and 2 have short histories and are ranked wrongly, 3 and 4 long ones and ranked rightly.
        let scores = [0.1, 0.9, 0.2, 0.8, 0.9, 0.1, 0.8, 0.2];
        let labels = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let users = [1, 1, 2, 2, 3, 3, 4, 4];
        let lengths = [1, 2, 3, 3, 30, 31, 10, 10];
        let result = auc_by_history(&scores, &labels, &users, &lengths, 2).unwrap();
        assert_eq!(result.groups.len(), 2);
        let tail = result.groups[0];
        assert_eq!((tail.shortest, tail.longest, tail.users, tail.rows.count, tail.rows.auc), (2, 3, 2, 4, Some(0.0)));
        let head = result.groups[1];
        assert_eq!((head.shortest, head.longest, head.users, head.rows.auc), (10, 31, 2, Some(1.0)));
        assert_eq!(result.head_tail_gap, Some(100.0));
        assert_eq!(result.heterogeneity, Some(50.0));
    }

    #[test]
    fn equal_lengths_stay_together() {
        let result =
            auc_by_history(&[0.1, 0.9, 0.3, 0.4], &[0.0, 1.0, 1.0, 0.0], &[1, 2, 3, 4], &[5, 5, 5, 5], 3).unwrap();
        assert_eq!(result.groups.len(), 1);
        assert_eq!((result.heterogeneity, result.head_tail_gap), (None, None));
    }

    #[test]
    fn more_groups_than_users_and_no_value() {
        let result = auc_by_history(&[0.1, 0.9], &[0.0, 1.0], &[1, 2], &[5, 6], 10).unwrap();
        assert_eq!(result.groups.len(), 2);
        assert_eq!((result.heterogeneity, result.head_tail_gap), (None, None));
        assert_eq!(auc_by_history(&[0.1], &[0.0], &[1], &[5], 0), None);
        assert_eq!(auc_by_history(&[f32::NAN], &[0.0], &[1], &[5], 2), None);
        assert_eq!(auc_by_history(&[0.1], &[0.0], &[1, 2], &[5], 2), None);
    }
}
