//! Where the relevant candidates of one query stand, and the ranking metrics that follow from it.

/// What is done with candidates whose scores are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// The exact mean of each metric over all orders of the tied candidates (McSherry and Najork 2008). A model that
    /// gives every candidate the same score gets what a random order gets.
    #[default]
    Expected,
    /// Relevant candidates stand behind all others with the same score.
    Worst,
    /// The lower index stands first: the order that [`super::top_k`] returns.
    ByIndex,
}

/// `size` candidates in unknown order on the ranks after `above`; `relevant` of them are relevant.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    above: usize,
    size: usize,
    relevant: usize,
}

/// Ranking metrics of one query, or their mean over queries, at a cut after `k` ranks. All are in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RankingAtK {
    /// The cut.
    pub k: usize,
    /// Whether any relevant candidate is among the first `k`.
    pub hit_rate: f64,
    /// Relevant candidates among the first `k` over all relevant ones.
    pub recall: f64,
    /// Relevant candidates among the first `k` over `k`, also where there are fewer candidates than `k`.
    pub precision: f64,
    /// `Σ 1 / log₂(rank + 1)` over relevant ranks up to `k`, over the same sum for the ideal order (Järvelin and
    /// Kekäläinen 2002, binary gains).
    pub ndcg: f64,
    /// One over the first relevant rank; 0 if it is beyond `k`.
    pub mrr: f64,
    /// Sum of the precision at each relevant rank up to `k`, over the most relevant candidates that fit,
    /// `min(k, relevant)`.
    pub map: f64,
}

/// Where the relevant candidates of one query stand. Made in O(candidates) for few relevant ones, without sorting the
/// candidates; it holds only the blocks of ranks that relevant candidates fall in.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    relevant: usize,
    candidates: usize,
    /// Ascending in rank.
    blocks: Vec<Block>,
    /// The ranks up to which the relevant candidates are all in a block.
    known: usize,
}

impl Placement {
    /// From given candidates, each with a score and a label (above ½: relevant).
    ///
    /// `None` with a NaN, slices of different lengths, or more candidates than 32 bits number.
    pub fn from_labels(scores: &[f32], labels: &[f32], ties: Ties) -> Option<Self> {
        if scores.len() != labels.len() || labels.iter().any(|label| label.is_nan()) {
            return None;
        }
        let candidates = u32::try_from(labels.len()).ok()?;
        let relevant: Vec<u32> =
            (0..candidates).zip(labels).filter(|(_, label)| **label > 0.5).map(|(index, _)| index).collect();
        Self::from_relevant(scores, &relevant, &[], ties)
    }

    /// From the scores of all items (full ranking), the indices of the relevant ones, and the indices of those that are
    /// no candidates, such as what the user had in training. Both in any order; an index in both is relevant.
    ///
    /// `None` with a NaN among the candidates' scores or an index out of range. Scores of excluded items are not read.
    pub fn from_relevant(scores: &[f32], relevant: &[u32], excluded: &[u32], ties: Ties) -> Option<Self> {
        // Relevant and excluded items in order of index; false sorts first, so that relevant wins where both are given.
        let mut special: Vec<(u32, bool)> = relevant.iter().map(|index| (*index, false)).collect();
        special.extend(excluded.iter().map(|index| (*index, true)));
        special.sort_unstable();
        special.dedup_by_key(|item| item.0);

        let mut levels = Vec::with_capacity(relevant.len());
        for index in relevant {
            levels.push(*scores.get(*index as usize)?);
        }
        if levels.iter().any(|level| level.is_nan()) {
            return None;
        }
        levels.sort_unstable_by(|a, b| b.total_cmp(a));
        levels.dedup_by(|a, b| a == b);

        let mut tally = Tally { above: vec![0; levels.len()], tied: vec![0; levels.len()], levels };
        let mut relevant_at = vec![0usize; tally.levels.len()];
        // Level and place among the level's ties of each relevant item.
        let mut places = Vec::with_capacity(relevant.len());
        let mut next = 0;
        for (index, excluded) in &special {
            let index = *index as usize;
            tally.add(scores.get(next..index)?)?;
            if !excluded {
                let level = tally.levels.partition_point(|level| *level > scores[index]);
                places.push((level, tally.tied[level]));
                tally.tied[level] += 1;
                relevant_at[level] += 1;
            }
            next = index + 1;
        }
        tally.add(scores.get(next..)?)?;

        // From counts between levels to candidates above each level.
        let mut above = 0;
        for (between, tied) in tally.above.iter_mut().zip(&tally.tied) {
            *between += above;
            above = *between + tied;
        }
        let levels = tally.above.iter().zip(&tally.tied).zip(&relevant_at);
        let blocks = match ties {
            Ties::Expected => levels
                .map(|((above, size), relevant)| Block { above: *above, size: *size, relevant: *relevant })
                .collect(),
            Ties::Worst => levels
                .map(|((above, size), relevant)| Block {
                    above: above + size - relevant,
                    size: *relevant,
                    relevant: *relevant,
                })
                .collect(),
            Ties::ByIndex => {
                let mut blocks: Vec<Block> = places
                    .iter()
                    .map(|(level, place)| Block { above: tally.above[*level] + place, size: 1, relevant: 1 })
                    .collect();
                blocks.sort_unstable_by_key(|block| block.above);
                blocks
            }
        };
        let excluded = special.iter().filter(|item| item.1).count();
        Some(Self { relevant: places.len(), candidates: scores.len() - excluded, blocks, known: usize::MAX })
    }

    /// From the top of an order of candidates, best first: `hits` says of each whether it is relevant; a rank that a search
    /// left empty is no hit. `relevant` and `candidates` count all there are, also below the top. Up to as many ranks as
    /// there are hits, metrics are those of the whole order; at deeper cuts there are none, unless the top holds all that
    /// is relevant.
    ///
    /// `None` with more hits than relevant candidates, or more of these than candidates; or a hit at a rank beyond them.
    pub fn from_top(hits: &[bool], relevant: usize, candidates: usize) -> Option<Self> {
        let ranks = hits.iter().enumerate().filter(|(_, hit)| **hit);
        let blocks: Vec<Block> = ranks.map(|(above, _)| Block { above, size: 1, relevant: 1 }).collect();
        let is_beyond = blocks.last().is_some_and(|block| block.above >= candidates);
        if blocks.len() > relevant || relevant > candidates || is_beyond {
            return None;
        }
        let known = if blocks.len() == relevant { usize::MAX } else { hits.len() };
        Some(Self { relevant, candidates, blocks, known })
    }

    /// Number of relevant candidates.
    pub fn relevant(&self) -> usize {
        self.relevant
    }

    /// Number of candidates.
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Rank of the first relevant candidate, counted from one; with [`Ties::Expected`] its mean over the orders of
    /// ties. `None` if nothing is relevant, or nothing in the top that is all there is to know ([`Self::from_top`]).
    pub fn first_rank(&self) -> Option<f64> {
        let first = self.blocks.first()?;
        // The least of r ranks drawn from t without replacement is (t + 1) / (r + 1) in the mean.
        Some(first.above as f64 + (first.size + 1) as f64 / (first.relevant + 1) as f64)
    }

    /// The metrics at a cut. `None` if nothing is relevant, `k` is 0, or the top of [`Self::from_top`] ends before `k`.
    pub fn at(&self, k: usize) -> Option<RankingAtK> {
        if self.relevant == 0 || k == 0 || k > self.known {
            return None;
        }
        let (mut hits, mut gain, mut precisions) = (0.0, 0.0, 0.0);
        let mut relevant_above = 0.0;
        for block in &self.blocks {
            let (size, relevant) = (block.size as f64, block.relevant as f64);
            let share = relevant / size;
            // Given a relevant candidate at one rank of the block, another rank of it is relevant this often.
            let share_of_others = if block.size > 1 { (relevant - 1.0) / (size - 1.0) } else { 0.0 };
            for i in 0..block.size.min(k.saturating_sub(block.above)) {
                let rank = (block.above + i + 1) as f64;
                hits += share;
                gain += share / (rank + 1.0).log2();
                precisions += share * (relevant_above + 1.0 + i as f64 * share_of_others) / rank;
            }
            relevant_above += relevant;
        }
        let (hit_rate, mrr) = self.first_hit(k);
        let ideal: f64 = (0..k.min(self.relevant)).map(|i| 1.0 / (i as f64 + 2.0).log2()).sum();
        Some(RankingAtK {
            k,
            hit_rate,
            recall: hits / self.relevant as f64,
            precision: hits / k as f64,
            ndcg: gain / ideal,
            mrr,
            map: precisions / k.min(self.relevant) as f64,
        })
    }

    /// The probability that the first relevant rank is at most `k`, and the mean of its inverse where it is.
    fn first_hit(&self, k: usize) -> (f64, f64) {
        let Some(first) = self.blocks.first() else { return (0.0, 0.0) };
        let (mut none_so_far, mut inverse) = (1.0, 0.0);
        for i in 0..first.size.min(k.saturating_sub(first.above)) {
            // At most one iteration reaches left = relevant, and it is the last: then it is certain.
            let left = (first.size - i) as f64;
            inverse += none_so_far * (first.relevant as f64 / left) / (first.above + i + 1) as f64;
            none_so_far *= (left - first.relevant as f64) / left;
            if none_so_far <= 0.0 {
                break;
            }
        }
        (1.0 - none_so_far, inverse)
    }
}

/// Counts of candidates by where they stand among the distinct scores of relevant items, which descend.
struct Tally {
    levels: Vec<f32>,
    /// Candidates strictly between a level and the next higher one.
    above: Vec<usize>,
    /// Candidates at a level.
    tied: Vec<usize>,
}

impl Tally {
    /// Adds irrelevant candidates; `None` with a NaN.
    fn add(&mut self, scores: &[f32]) -> Option<()> {
        if let [level] = self.levels.as_slice() {
            // The usual case, one held-out item, in a loop that the compiler vectorizes.
            let (mut above, mut tied, mut nan) = (0u32, 0u32, 0u32);
            for chunk in scores.chunks(1 << 30) {
                for score in chunk {
                    above += u32::from(score > level);
                    tied += u32::from(score == level);
                    nan |= u32::from(score.is_nan());
                }
                self.above[0] += above as usize;
                self.tied[0] += tied as usize;
                (above, tied) = (0, 0);
            }
            return (nan == 0).then_some(());
        }
        for score in scores {
            if score.is_nan() {
                return None;
            }
            let level = self.levels.partition_point(|level| level > score);
            match self.levels.get(level) {
                Some(value) if value == score => self.tied[level] += 1,
                Some(_) => self.above[level] += 1,
                None => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::top_k;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    /// The metrics of one order of relevances, straight from their definitions.
    fn of_order(order: &[bool], k: usize) -> [f64; 6] {
        let relevant = order.iter().filter(|r| **r).count();
        let ranks: Vec<usize> = (1..=order.len()).filter(|rank| order[rank - 1] && *rank <= k).collect();
        let dcg =
            |ranks: &mut dyn Iterator<Item = usize>| ranks.map(|rank| 1.0 / (rank as f64 + 1.0).log2()).sum::<f64>();
        [
            f64::from(u8::from(!ranks.is_empty())),
            ranks.len() as f64 / relevant as f64,
            ranks.len() as f64 / k as f64,
            dcg(&mut ranks.iter().copied()) / dcg(&mut (1..=relevant.min(k))),
            ranks.first().map_or(0.0, |rank| 1.0 / *rank as f64),
            ranks.iter().enumerate().map(|(i, rank)| (i + 1) as f64 / *rank as f64).sum::<f64>()
                / relevant.min(k) as f64,
        ]
    }

    /// All permutations of 0..n, by Heap's algorithm.
    fn permutations(n: usize) -> Vec<Vec<usize>> {
        fn go(k: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
            if k <= 1 {
                all.push(order.clone());
                return;
            }
            for i in 0..k {
                go(k - 1, order, all);
                order.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
            }
        }
        let mut all = Vec::new();
        go(n, &mut (0..n).collect(), &mut all);
        all
    }

    fn array(metrics: RankingAtK) -> [f64; 6] {
        [metrics.hit_rate, metrics.recall, metrics.precision, metrics.ndcg, metrics.mrr, metrics.map]
    }

    fn close(a: [f64; 6], b: [f64; 6]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn by_hand() {
        let placement = Placement::from_labels(&[0.9, 0.1, 0.8, 0.7], &[0.0, 1.0, 1.0, 0.0], Ties::Expected).unwrap();
        assert_eq!((placement.relevant(), placement.candidates(), placement.first_rank()), (2, 4, Some(2.0)));
        let at = placement.at(3).unwrap();
        assert_eq!((at.hit_rate, at.recall, at.precision, at.mrr, at.map), (1.0, 0.5, 1.0 / 3.0, 0.5, 0.25));
        let log3 = 3f64.log2();
        assert!((at.ndcg - (1.0 / log3) / (1.0 + 1.0 / log3)).abs() < 1e-15);
    }

    #[test]
    fn constant_scores_do_not_win() {
        let labels: Vec<f32> = (0..100).map(|i| f32::from(u8::from(i == 0))).collect();
        let scores = [0.25; 100];
        let at = |ties| Placement::from_labels(&scores, &labels, ties).unwrap().at(10).unwrap();
        assert!((at(Ties::Expected).hit_rate - 0.1).abs() < 1e-12);
        assert_eq!(at(Ties::Worst).hit_rate, 0.0);
        assert_eq!(at(Ties::ByIndex).hit_rate, 1.0);
        let placement = Placement::from_labels(&scores, &labels, Ties::Expected).unwrap();
        assert_eq!(placement.first_rank(), Some(50.5));
    }

    #[test]
    fn excluded_items_are_no_candidates() {
        let scores = [0.9, 0.8, f32::NAN, 0.7, 0.6];
        let placement = Placement::from_relevant(&scores, &[3], &[2, 0, 2], Ties::Expected).unwrap();
        assert_eq!((placement.candidates(), placement.first_rank()), (3, Some(2.0)));
        // Relevant wins over excluded.
        let placement = Placement::from_relevant(&scores, &[0, 3], &[2, 0], Ties::Expected).unwrap();
        assert_eq!((placement.relevant(), placement.first_rank()), (2, Some(1.0)));
    }

    #[test]
    fn no_value() {
        assert_eq!(Placement::from_labels(&[0.1, f32::NAN], &[1.0, 0.0], Ties::Worst), None);
        assert_eq!(Placement::from_labels(&[f32::NAN, 0.1, 0.2], &[1.0, 1.0, 0.0], Ties::Worst), None);
        assert_eq!(Placement::from_labels(&[0.1], &[f32::NAN], Ties::Worst), None);
        assert_eq!(Placement::from_labels(&[0.1], &[], Ties::Worst), None);
        assert_eq!(Placement::from_relevant(&[0.1], &[1], &[], Ties::Worst), None);
        assert_eq!(Placement::from_relevant(&[0.1], &[0], &[9], Ties::Worst), None);
        let nothing = Placement::from_labels(&[0.1], &[0.0], Ties::Expected).unwrap();
        assert_eq!((nothing.at(1), nothing.first_rank(), nothing.relevant()), (None, None, 0));
        assert_eq!(Placement::from_labels(&[0.1], &[1.0], Ties::Expected).unwrap().at(0), None);
    }

    #[test]
    fn tops_that_cannot_be() {
        assert_eq!(Placement::from_top(&[true, true], 1, 9), None);
        assert_eq!(Placement::from_top(&[true], 3, 2), None);
        assert_eq!(Placement::from_top(&[false, false, true], 1, 2), None);
        // A search that found nothing: nothing is known of the first rank, and nothing of deeper cuts.
        let nothing = Placement::from_top(&[false; 4], 2, 3).unwrap();
        assert_eq!((nothing.relevant(), nothing.candidates(), nothing.first_rank()), (2, 3, None));
        assert_eq!((nothing.at(4).map(array), nothing.at(5)), (Some([0.0; 6]), None));
        assert_eq!(Placement::from_top(&[false], 0, 3).unwrap().at(1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..ProptestConfig::default() })]

        /// Against every order of at most six candidates that the scores allow.
        #[test]
        fn all_ties_against_enumeration(rows in prop::collection::vec((0u8..4, any::<bool>()), 1..7), k in 1usize..8) {
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.1))).collect();
            let orders: Vec<Vec<bool>> = permutations(rows.len())
                .into_iter()
                .filter(|order| order.windows(2).all(|pair| scores[pair[0]] >= scores[pair[1]]))
                .map(|order| order.into_iter().map(|i| rows[i].1).collect())
                .collect();
            let at = |ties| Placement::from_labels(&scores, &labels, ties).unwrap().at(k).map(array);
            prop_assume!(rows.iter().any(|row| row.1));

            let mut mean = [0.0; 6];
            for order in &orders {
                mean.iter_mut().zip(of_order(order, k)).for_each(|(sum, value)| *sum += value / orders.len() as f64);
            }
            prop_assert!(close(at(Ties::Expected).unwrap(), mean), "{:?} {mean:?}", at(Ties::Expected));

            let mut worst = [f64::INFINITY; 6];
            for order in &orders {
                worst.iter_mut().zip(of_order(order, k)).for_each(|(least, value)| *least = least.min(value));
            }
            prop_assert!(close(at(Ties::Worst).unwrap(), worst), "{:?} {worst:?}", at(Ties::Worst));

            let by_index: Vec<bool> = top_k(&scores, rows.len()).iter().map(|(i, _)| rows[*i].1).collect();
            prop_assert!(close(at(Ties::ByIndex).unwrap(), of_order(&by_index, k)), "{:?}", at(Ties::ByIndex));
        }

        /// The top of an order says of its ranks what the whole order says.
        #[test]
        fn the_top_is_a_part_of_the_whole(
            rows in prop::collection::vec((0u8..9, any::<bool>()), 1..60), depth in 0usize..70, k in 1usize..70,
        ) {
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let relevant: Vec<u32> = (0..rows.len() as u32).filter(|index| rows[*index as usize].1).collect();
            let whole = Placement::from_relevant(&scores, &relevant, &[], Ties::ByIndex).unwrap();
            let mut hits: Vec<bool> = top_k(&scores, depth).iter().map(|(index, _)| rows[*index].1).collect();
            hits.resize(depth, false);
            let top = Placement::from_top(&hits, relevant.len(), rows.len()).unwrap();
            let found = hits.iter().filter(|hit| **hit).count();
            if found == relevant.len() {
                prop_assert_eq!(&top, &whole);
            } else {
                prop_assert_eq!(top.at(k), whole.at(k).filter(|_| k <= depth));
                prop_assert_eq!(top.first_rank(), whole.first_rank().filter(|_| found > 0));
            }
        }

        /// Full ranking with exclusions is the ranking of what is left.
        #[test]
        fn full_ranking_is_given_candidates(rows in prop::collection::vec((0u8..9, 0u8..6), 1..60), k in 1usize..20) {
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let indices = |role: u8| -> Vec<u32> {
                (0..rows.len() as u32).rev().filter(|i| rows[*i as usize].1 == role).collect()
            };
            let kept: Vec<_> = rows.iter().filter(|row| row.1 != 1).collect();
            let kept_scores: Vec<f32> = kept.iter().map(|row| f32::from(row.0)).collect();
            let kept_labels: Vec<f32> = kept.iter().map(|row| f32::from(u8::from(row.1 == 0))).collect();
            for ties in [Ties::Expected, Ties::Worst, Ties::ByIndex] {
                let full = Placement::from_relevant(&scores, &indices(0), &indices(1), ties).unwrap();
                let given = Placement::from_labels(&kept_scores, &kept_labels, ties).unwrap();
                prop_assert_eq!(full.at(k), given.at(k));
                prop_assert_eq!(full, given);
            }
        }
    }
}
