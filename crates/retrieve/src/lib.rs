//! Candidates for a ranker: two towers trained on all pairs, and an index over the item tower.
