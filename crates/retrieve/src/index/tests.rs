//! Searches against a plain loop, changes, threads and files.
#![allow(clippy::unwrap_used)]

use super::*;
use kitestring_core::{Kind as ErrorKind, Seed};
use kitestring_nn::engine::OneWorker;
use kitestring_train::workers::Threads;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::path::Path;

/// Small whole numbers: every order of summation gives the same, and many scores are equal.
fn whole(seed: u64, count: usize, dimension: usize) -> Vec<f32> {
    (0..(count * dimension) as u64).map(|at| (Seed(seed).bits_at(at) % 7) as f32 - 3.0).collect()
}

/// Vectors around forty centres in a subspace of a quarter of the dimensions, of different lengths, with noise.
fn clustered(seed: u64, count: usize, dimension: usize) -> Vec<f32> {
    let low = dimension / 4;
    let basis: Vec<f32> = (0..low * dimension).map(|at| Seed(7).normal_at(at as u64)).collect();
    let mut vectors = Vec::with_capacity(count * dimension);
    for number in 0..count as u64 {
        let seed = Seed(seed).at(number);
        let centre = Seed(8).at(seed.bits_at(0) % 40);
        let weight = (0.3 * seed.normal_at(1)).exp();
        let place: Vec<f32> =
            (0..low as u64).map(|at| weight * (centre.normal_at(at) + 0.5 * seed.at(2).normal_at(at))).collect();
        for column in 0..dimension {
            let signal: f32 = place.iter().enumerate().map(|(at, place)| place * basis[at * dimension + column]).sum();
            vectors.push(signal + 0.2 * seed.at(3).normal_at(column as u64));
        }
    }
    vectors
}

fn ids(count: usize) -> Vec<u64> {
    (0..count as u64).map(|row| 3 * row + 1).collect()
}

fn items<'a>(ids: &'a [u64], vectors: &'a [f32], attributes: &'a [Attribute<'a>]) -> Items<'a> {
    Items { ids, vectors, attributes }
}

fn build(items: &Items<'_>, dimension: usize, config: &IndexConfig) -> Index {
    Index::build(items, dimension, config, "v1", None, &OneWorker).unwrap().index
}

fn graph(search_width: usize) -> IndexConfig {
    let kind = Kind::Graph { connections: 12, build_width: 40, recall: 0.96, search_width: Some(search_width) };
    IndexConfig { kind, ..IndexConfig::default() }
}

fn int8() -> IndexConfig {
    IndexConfig { precision: Precision::Int8, ..IndexConfig::default() }
}

fn found(results: &[Found]) -> Vec<(u64, f32)> {
    results.iter().map(|found| (found.item, found.score)).collect()
}

/// The definition of a search.
fn plain(items: &Items<'_>, query: &[f32], k: usize, allowed: impl Fn(usize) -> bool) -> Vec<(u64, f32)> {
    let rows = items.vectors.chunks_exact(query.len()).zip(items.ids).enumerate().filter(|(row, _)| allowed(*row));
    let mut scored: Vec<(u64, f32)> = rows
        .map(|(_, (vector, item))| (*item, vector.iter().zip(query).map(|(a, b)| a * b).sum::<f32>() + 0.0))
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(k);
    scored
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_equals_a_plain_loop(
        seed in any::<u64>(), count in 0usize..700, dimension in 1usize..40, k in 0usize..40,
        queries in 1usize..40, excluded in 0u64..4, codes in prop::option::of(0u32..4),
    ) {
        let (ids, vectors) = (ids(count), whole(seed, count, dimension));
        let category: Vec<u32> = (0..count).map(|row| (row % 5) as u32).collect();
        let attributes = [Attribute { name: "category", codes: &category }];
        let items = items(&ids, &vectors, &attributes);
        let index = build(&items, dimension, &IndexConfig::default());
        let queries = whole(seed ^ 1, queries, dimension);
        let excluded: Vec<u64> = (0..2 * count as u64).filter(|item| item % 4 < excluded).collect();
        let codes: Option<Vec<u32>> = codes.map(|codes| (0..codes).collect());
        let required = codes.as_ref().map(|codes| Required { attribute: "category", codes });
        let filter = Filter { excluded: &excluded, required: required.as_slice() };
        let allowed = |row: usize| {
            !excluded.contains(&ids[row]) && codes.as_ref().is_none_or(|codes| codes.contains(&category[row]))
        };
        let expected: Vec<_> = queries.chunks(dimension).map(|query| plain(&items, query, k, allowed)).collect();
        for (query, expected) in queries.chunks(dimension).zip(&expected) {
            prop_assert_eq!(&found(&index.search(query, k, &filter).unwrap()), expected);
        }
        let filters = vec![filter; expected.len()];
        let batch = index.search_batch(&queries, k, &filters, &Threads::new(2).unwrap()).unwrap();
        prop_assert_eq!(batch.iter().map(|results| found(results)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn each_query_of_a_batch_has_its_own_filter() {
    let (ids, vectors) = (ids(1000), whole(1, 1000, 8));
    let items = items(&ids, &vectors, &[]);
    let index = build(&items, 8, &IndexConfig::default());
    let queries = whole(2, 300, 8);
    let excluded: Vec<Vec<u64>> =
        (0..300).map(|query| ids.iter().copied().filter(|item| item % 5 == query % 5).collect()).collect();
    let filters: Vec<Filter<'_>> = excluded.iter().map(|excluded| Filter { excluded, required: &[] }).collect();
    let results = index.search_batch(&queries, 20, &filters, &Threads::new(2).unwrap()).unwrap();
    for (number, query) in queries.chunks(8).enumerate() {
        let expected = plain(&items, query, 20, |row| ids[row] % 5 != number as u64 % 5);
        assert_eq!(found(&results[number]), expected);
    }
    let error = index.search_batch(&queries, 20, &filters[1..], &OneWorker).unwrap_err().to_string();
    assert!(error.contains("299 filters for 300 queries"), "{error}");
}

#[test]
fn int8_finds_nearly_all_and_scores_are_those_of_f32() {
    let (count, dimension) = (20_000, 48);
    let vectors: Vec<f32> = (0..(count * dimension) as u64).map(|at| Seed(1).normal_at(at)).collect();
    let ids = ids(count);
    let items = items(&ids, &vectors, &[]);
    let built = Index::build(&items, dimension, &int8(), "v1", None, &OneWorker).unwrap();
    assert!(built.recall.unwrap() > 0.999, "{:?}", built.recall);
    // Without rescoring more than what is asked for, the order of int8 decides, and its loss shows.
    let config = IndexConfig { rescore: 1, ..int8() };
    let coarse = Index::build(&items, dimension, &config, "v1", None, &OneWorker).unwrap().recall.unwrap();
    assert!((0.9..0.9999).contains(&coarse), "{coarse}");
    let exact = build(&items, dimension, &IndexConfig::default());
    for query in vectors.chunks(dimension).take(20) {
        let of_all = exact.search(query, count, &Filter::default()).unwrap();
        for found in built.index.search(query, 50, &Filter::default()).unwrap() {
            let same = of_all.iter().find(|other| other.item == found.item).unwrap();
            assert_eq!(same.score.to_bits(), found.score.to_bits());
        }
    }
}

#[test]
fn a_graph_finds_nearly_all_of_clustered_vectors() {
    let (count, dimension) = (12_000, 32);
    let (ids, vectors, queries) = (ids(count), clustered(1, count, dimension), clustered(2, 200, dimension));
    let items = items(&ids, &vectors, &[]);
    let built = Index::build(&items, dimension, &graph(200), "v1", Some(&queries), &OneWorker).unwrap();
    assert!(built.recall.unwrap() >= 0.95, "{:?}", built.recall);
    let mut index = built.index;
    index.set_search_width(1).unwrap();
    let narrow = index.recall(&queries, 100, &OneWorker).unwrap();
    assert!(narrow < built.recall.unwrap() && narrow > 0.8, "{narrow}");
    assert!(index.set_search_width(0).is_err());
}

#[test]
fn a_search_width_is_found_for_a_recall() {
    let (count, dimension) = (12_000, 16);
    let vectors: Vec<f32> = (0..((count + 2000) * dimension) as u64).map(|at| Seed(1).normal_at(at)).collect();
    let (vectors, queries) = vectors.split_at(count * dimension);
    let ids = ids(count);
    let wanting = |recall: f64| {
        let kind = Kind::Graph { connections: 6, build_width: 20, recall, search_width: None };
        IndexConfig { kind, ..IndexConfig::default() }
    };
    let mut widths = Vec::new();
    for recall in [0.9, 0.95] {
        let config = wanting(recall);
        let built =
            Index::build(&items(&ids, vectors, &[]), dimension, &config, "v1", Some(queries), &OneWorker).unwrap();
        // On queries that it was not chosen by; three quarters of the width would not do.
        let mut index = built.index;
        let width = index.search_width().unwrap();
        assert!((built.recall.unwrap() - recall).abs() < 0.015, "{recall}: {:?}", built.recall);
        index.set_search_width(width * 3 / 4).unwrap();
        assert!(index.recall(queries, 100, &OneWorker).unwrap() < recall, "{recall}: {width}");
        widths.push(width);
    }
    assert!(widths.is_sorted(), "{widths:?}");

    // Built anew for what came in, it is chosen anew, by the queries that were kept and saved.
    let config = wanting(0.95);
    let of = |count: usize| items(&ids[..count], &vectors[..count * dimension], &[]);
    let build = |count| Index::build(&of(count), dimension, &config, "v1", Some(queries), &OneWorker).unwrap().index;
    let place = tempfile::tempdir().unwrap();
    build(8800).save(place.path()).unwrap();
    let opened = Index::open(place.path(), "v1").unwrap();
    let before = opened.search_width();
    opened.add(&items(&ids[8800..], &vectors[8800 * dimension..], &[]), &OneWorker).unwrap();
    assert_eq!(opened.search_width(), build(count).search_width());
    assert_ne!(opened.search_width(), before);
}

#[test]
fn filters_over_shortcuts_return_k_where_there_are_k() {
    let (count, dimension) = (9000, 16);
    let (ids, vectors, queries) = (ids(count), clustered(1, count, dimension), clustered(2, 10, dimension));
    // One item in 3, in 300, in 3000, and none.
    let codes: Vec<u32> = (0..count as u32)
        .map(|row| {
            if row % 3000 == 7 {
                3
            } else if row % 300 == 7 {
                2
            } else {
                u32::from(row % 3 == 0)
            }
        })
        .collect();
    let attributes = [Attribute { name: "genre", codes: &codes }];
    let items = items(&ids, &vectors, &attributes);
    for config in [graph(30), int8()] {
        let index = build(&items, dimension, &config);
        let mut hits = 0;
        for query in queries.chunks(dimension) {
            for (allowed, k) in
                [(vec![1], 10), (vec![2], 10), (vec![3], 10), (vec![2, 3], 50), (vec![9], 10), (vec![], 3)]
            {
                let required = [Required { attribute: "genre", codes: &allowed }];
                let results = index.search(query, k, &Filter { excluded: &[], required: &required }).unwrap();
                let expected = plain(&items, query, k, |row| allowed.contains(&codes[row]));
                assert_eq!(results.len(), expected.len(), "{allowed:?}");
                let rows: Vec<usize> = results.iter().map(|found| found.item as usize / 3).collect();
                assert!(rows.iter().all(|row| allowed.contains(&codes[*row])));
                if allowed == [1] {
                    hits += results.iter().filter(|found| expected.iter().any(|(item, _)| *item == found.item)).count();
                } else {
                    // So few are scanned.
                    assert_eq!(
                        results.iter().map(|found| found.item).collect::<Vec<_>>(),
                        expected.iter().map(|(item, _)| *item).collect::<Vec<_>>()
                    );
                }
            }
            // The best twenty are excluded, more than the walk would keep beside the results.
            let best: Vec<u64> = plain(&items, query, 20, |_| true).iter().map(|(item, _)| *item).collect();
            let mut excluded = best.clone();
            excluded.sort_unstable();
            let results = index.search(query, 30, &Filter { excluded: &excluded, required: &[] }).unwrap();
            assert_eq!(results.len(), 30);
            assert!(results.iter().all(|found| !best.contains(&found.item)));
            // More than there are.
            assert_eq!(index.search(query, usize::MAX, &Filter::default()).unwrap().len(), count);
            assert_eq!(index.search(query, 0, &Filter::default()).unwrap(), []);
        }
        assert!(hits >= 90, "{hits} of 100 found under a filter that leaves a third");
    }
}

/// The share of the exact `k` best of a query that a search finds.
fn recall_of(index: &Index, query: &[f32], k: usize, filter: &Filter<'_>) -> f64 {
    let exact = index.search_exactly(query, k, filter).unwrap();
    share(&[exact], &[index.search(query, k, filter).unwrap()])
}

/// The mean, and what nineteen queries of twenty are not below.
fn mean_and_low(mut recalls: Vec<f64>) -> (f64, f64) {
    recalls.sort_by(f64::total_cmp);
    (recalls.iter().sum::<f64>() / recalls.len() as f64, recalls[recalls.len() / 20])
}

/// The items nearest to a query, ascending by number.
fn nearest(index: &Index, query: &[f32], count: usize) -> Vec<u64> {
    let mut items: Vec<u64> =
        index.search_exactly(query, count, &Filter::default()).unwrap().iter().map(|found| found.item).collect();
    items.sort_unstable();
    items
}

/// An index of clustered vectors whose build promises a recall, and queries.
fn promising(count: usize, dimension: usize, attributes: &[Attribute<'_>]) -> (Index, Vec<f32>) {
    let (ids, vectors, queries) = (ids(count), clustered(1, count, dimension), clustered(2, 500, dimension));
    let kind = Kind::Graph { connections: 8, build_width: 40, recall: 0.95, search_width: None };
    let config = IndexConfig { kind, ..IndexConfig::default() };
    let items = items(&ids, &vectors, attributes);
    let built = Index::build(&items, dimension, &config, "v1", Some(&queries), &OneWorker).unwrap();
    assert!((0.93..0.999).contains(&built.recall.unwrap()), "{:?}", built.recall);
    (built.index, queries)
}

#[test]
fn recall_is_kept_where_items_near_the_query_go() {
    let (count, dimension) = (8000, 16);
    let (index, queries) = promising(count, dimension, &[]);
    let place = tempfile::tempdir().unwrap();
    index.save(place.path()).unwrap();
    let queries: Vec<&[f32]> = queries.chunks(dimension).take(20).collect();
    let before = queries.iter().map(|query| recall_of(&index, query, 50, &Filter::default()));
    let (mean, low) = mean_and_low(before.collect());
    // Fewer than a walk gets past, and more.
    for share in [0.005, 0.02, 0.08] {
        let going = (share * count as f64) as usize;
        let mut removed = Vec::new();
        for query in &queries {
            let near = nearest(&index, query, going);
            let changed = Index::open(place.path(), "v1").unwrap();
            changed.remove(&near, &OneWorker).unwrap();
            assert_eq!(changed.state().corpus.gone(), going, "it was not built again");
            removed.push(recall_of(&changed, query, 50, &Filter::default()));
            // Items that the user had already stand in the way just so.
            let filter = Filter { excluded: &near, required: &[] };
            assert_eq!(
                index.search(query, 50, &filter).unwrap(),
                changed.search(query, 50, &Filter::default()).unwrap()
            );
        }
        let (mean_after, low_after) = mean_and_low(removed);
        assert!(mean_after >= mean - 0.01 && low_after >= low - 0.04, "{share}: {mean_after}, {low_after}");
    }
}

#[test]
fn recall_is_kept_under_filters_that_go_with_the_query() {
    let (count, dimension) = (8000, 16);
    // By how near an item is to one query: a twentieth of the items has each code, the nearest have code 0.
    let (vectors, centre) = (clustered(1, count, dimension), clustered(2, 1, dimension));
    let mut rows: Vec<(f32, usize)> =
        vectors.chunks(dimension).map(|x| x.iter().zip(&centre).map(|(a, b)| a * b).sum()).zip(0..).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut codes = vec![0; count];
    rows.iter().enumerate().for_each(|(rank, (_, row))| codes[*row] = (20 * rank / count) as u32);
    let (index, _) = promising(count, dimension, &[Attribute { name: "place", codes: &codes }]);
    // Queries about that one.
    let noise = |at: u64| centre.iter().zip(0..).map(move |(x, column)| x + 0.2 * Seed(4).at(at).normal_at(column));
    let queries: Vec<Vec<f32>> = (0..20).map(|at| noise(at).collect()).collect();
    let recalls =
        |filter: &Filter<'_>| mean_and_low(queries.iter().map(|query| recall_of(&index, query, 50, filter)).collect());
    let (mean, low) = recalls(&Filter::default());
    for allowed in
        [vec![0], vec![19], vec![1, 2], (1..20).collect(), (4..20).collect(), (10..20).collect(), (0..8).collect()]
    {
        // A code that is given twice is one.
        let allowed: Vec<u32> = allowed.iter().chain(&allowed).copied().collect();
        let required = [Required { attribute: "place", codes: &allowed }];
        let filter = Filter { excluded: &[], required: &required };
        let (mean_under, low_under) = recalls(&filter);
        assert!(mean_under >= mean - 0.01 && low_under >= low - 0.04, "{allowed:?}: {mean_under}, {low_under}");
        let found = index.search(&centre, 50, &filter).unwrap();
        let distinct: HashSet<u64> = found.iter().map(|found| found.item).collect();
        assert_eq!(distinct.len(), 50, "each item once");
    }
}

#[test]
fn recall_is_kept_after_additions_and_removals() {
    let (count, dimension) = (8000, 16);
    let (index, queries) = promising(count, dimension, &[]);
    let queries: Vec<&[f32]> = queries.chunks(dimension).take(60).collect();
    let recalls = |index: &Index, k| {
        mean_and_low(queries.iter().map(|query| recall_of(index, query, k, &Filter::default())).collect())
    };
    let before = [10, 100, 400].map(|k| recalls(&index, k));
    // What comes stands near queries, and what stood near them goes; a part of what came goes as well.
    let new: Vec<u64> = (1_000_000..1_000_800).collect();
    index.add(&items(&new, &clustered(5, new.len(), dimension), &[]), &OneWorker).unwrap();
    for query in &queries {
        index.remove(&nearest(&index, query, 15), &OneWorker).unwrap();
    }
    assert!(index.state().covered() == count, "it was not built again");
    for ((k, (mean, low)), (mean_after, low_after)) in
        [10, 100, 400].into_iter().zip(before).zip([10, 100, 400].map(|k| recalls(&index, k)))
    {
        assert!(mean >= 0.93, "{k}: {mean}");
        assert!(mean_after >= mean - 0.01 && low_after >= low - 0.04, "{k}: {mean_after}, {low_after}");
    }
}

#[test]
fn many_items_that_come_in_get_a_graph_of_their_own() {
    let dimension = 16;
    let kind = Kind::Graph { connections: 6, build_width: 20, recall: 0.95, search_width: None };
    let config = IndexConfig { kind, rebuild: 0.9, ..IndexConfig::default() };
    let (all, vectors) = (ids(13_400), clustered(1, 13_400, dimension));
    let codes: Vec<u32> = (0..all.len() as u32).map(|row| row % 3).collect();
    let queries = clustered(2, 300, dimension);
    let first = [Attribute { name: "genre", codes: &codes[..9000] }];
    let first = items(&all[..9000], &vectors[..9000 * dimension], &first);
    let index = Index::build(&first, dimension, &config, "v1", Some(&queries), &OneWorker).unwrap().index;
    let queries: Vec<&[f32]> = queries.chunks(dimension).take(40).collect();
    let recalls = |index: &Index, filter: &Filter<'_>| {
        mean_and_low(queries.iter().map(|query| recall_of(index, query, 50, filter)).collect())
    };
    let (mean, low) = recalls(&index, &Filter::default());
    let firsts = |index: &Index| match &index.state().shortcut {
        state::Shortcut::Graphs(graphs) => graphs.iter().map(|graph| graph.first).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let add = |rows: std::ops::Range<usize>| {
        let attributes = [Attribute { name: "genre", codes: &codes[rows.clone()] }];
        let vectors = &vectors[rows.start * dimension..rows.end * dimension];
        index.add(&items(&all[rows], vectors, &attributes), &OneWorker).unwrap();
    };
    add(9000..13_000);
    assert_eq!((firsts(&index), index.state().covered()), (vec![0], 9000), "few are scanned");
    add(13_000..13_400);
    assert_eq!((firsts(&index), index.state().covered()), (vec![0, 9000], 13_400));
    for query in &queries {
        index.remove(&nearest(&index, query, 10), &OneWorker).unwrap();
    }
    let required = [Required { attribute: "genre", codes: &[0, 2] }];
    for filter in [Filter::default(), Filter { excluded: &[], required: &required }] {
        let (mean_after, low_after) = recalls(&index, &filter);
        assert!(mean_after >= mean - 0.01 && low_after >= low - 0.04, "{mean_after}, {low_after}");
    }
    let place = tempfile::tempdir().unwrap();
    index.save(place.path()).unwrap();
    let opened = Index::open(place.path(), "v1").unwrap();
    assert!(*opened.state() == *index.state());
    let manifest = place.path().join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (first, part) in [("0", "do not follow each other"), ("13400", "graph.offsets")] {
        let changed = text.replace("\"first\": 9000", &format!("\"first\": {first}"));
        assert_ne!(changed, text);
        std::fs::write(&manifest, changed).unwrap();
        let error = Index::open(place.path(), "v1").unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// What the version before this wrote: one graph, and no word of others.
#[test]
fn an_index_of_format_2_is_read() {
    let place = tempfile::tempdir().unwrap();
    let index = worn(&graph(30));
    index.save(place.path()).unwrap();
    let manifest = place.path().join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let old = text.replacen("\"format\": 3", "\"format\": 2", 1).replacen("  \"segments\": [],\n", "", 1);
    assert!(!old.contains("segments"), "{old}");
    std::fs::write(&manifest, old).unwrap();
    assert!(*Index::open(place.path(), "v1").unwrap().state() == *index.state());
}

#[test]
fn few_vectors_are_scanned_exactly_whatever_the_kind() {
    let (ids, vectors) = (ids(SMALL - 1), whole(1, SMALL - 1, 8));
    let items = items(&ids, &vectors, &[]);
    for config in [graph(1), IndexConfig { rescore: 1, ..int8() }] {
        let built = Index::build(&items, 8, &config, "v1", None, &OneWorker).unwrap();
        assert_eq!(built.recall, None);
        let query = &whole(2, 1, 8);
        assert_eq!(
            found(&built.index.search(query, 30, &Filter::default()).unwrap()),
            plain(&items, query, 30, |_| true)
        );
    }
}

/// Vectors of which item `i`'s alone has the largest product with query `e0`: `(i, 0, …)`.
fn ladder(items: &[u64], dimension: usize) -> Vec<f32> {
    items
        .iter()
        .flat_map(|item| (0..dimension).map(move |column| if column == 0 { *item as f32 } else { 0.5 }))
        .collect()
}

#[test]
fn add_update_remove_and_rebuild() {
    let dimension = 4;
    let query = [1.0, 0.0, 0.0, 0.0];
    let top = |index: &Index, k| -> Vec<u64> {
        index.search(&query, k, &Filter::default()).unwrap().iter().map(|found| found.item).collect()
    };
    for config in [IndexConfig::default(), int8(), graph(100)] {
        let count = 6000_u64;
        let known: Vec<u64> = (0..count).collect();
        let codes = vec![1; known.len()];
        let attributes = [Attribute { name: "a", codes: &codes }];
        let index = build(&items(&known, &ladder(&known, dimension), &attributes), dimension, &config);
        let covered = index.state().covered();
        assert_eq!(covered > 0, config != IndexConfig::default());
        assert_eq!(top(&index, 3), [5999, 5998, 5997]);
        // Longer vectors than any before.
        let new = [10_000, 20_000];
        let attributes = [Attribute { name: "a", codes: &[2, 3] }];
        index.add(&items(&new, &ladder(&new, dimension), &attributes), &OneWorker).unwrap();
        assert_eq!(top(&index, 3), [20_000, 10_000, 5999]);
        index.update(&items(&[5999, 0], &ladder(&[30, 15_000], dimension), &attributes), &OneWorker).unwrap();
        assert_eq!(top(&index, 4), [20_000, 0, 10_000, 5998]);
        index.remove(&[20_000, 5998], &OneWorker).unwrap();
        assert_eq!(top(&index, 3), [0, 10_000, 5997]);
        assert_eq!(index.len(), 6000);
        let required = [Required { attribute: "a", codes: &[2, 3] }];
        let filter = Filter { excluded: &[], required: &required };
        let results = index.search(&query, 9, &filter).unwrap();
        assert_eq!(results.iter().map(|found| found.item).collect::<Vec<_>>(), [0, 10_000, 5999]);
        let is_int8 = config.precision == Precision::Int8;
        let (covered_now, rows) = (index.state().covered(), index.state().corpus.len());
        assert_eq!(covered_now, if is_int8 { rows } else { covered }, "so little is no reason to build again");
        assert_eq!(index.state().corpus.len(), 6004);

        // Past a quarter it is built again, without the rows that are gone and with those that came.
        let going: Vec<u64> = (1000..2600).collect();
        index.remove(&going, &OneWorker).unwrap();
        assert_eq!(index.state().corpus.len(), 4400);
        assert_eq!(index.state().corpus.gone(), 0);
        assert_eq!(index.state().covered(), if covered > 0 { 4400 } else { 0 });
        assert_eq!(top(&index, 3), [0, 10_000, 5997]);
        assert!(going.iter().all(|item| !top(&index, 4400).contains(item)));
        let again: Vec<u64> = (1000..1002).collect();
        index.add(&items(&again, &ladder(&[7000, 8000], dimension), &attributes), &OneWorker).unwrap();
        assert_eq!(top(&index, 4), [0, 10_000, 1001, 1000]);
        // All can go, and some come again.
        let all: Vec<u64> = top(&index, 5000);
        index.remove(&all, &OneWorker).unwrap();
        assert!(index.is_empty());
        assert_eq!(top(&index, 5), [0; 0]);
        index.add(&items(&again, &ladder(&[7000, 8000], dimension), &attributes), &OneWorker).unwrap();
        assert_eq!(top(&index, 5), [1001, 1000]);
    }
}

#[test]
fn a_small_index_that_grows_gets_its_shortcut() {
    let known: Vec<u64> = (0..3000).collect();
    let index = build(&items(&known, &ladder(&known, 3), &[]), 3, &graph(50));
    assert_eq!(index.state().covered(), 0);
    let more: Vec<u64> = (3000..5000).collect();
    index.add(&items(&more, &ladder(&more, 3), &[]), &OneWorker).unwrap();
    assert_eq!(index.state().covered(), 5000);
}

#[test]
fn a_search_sees_a_whole_change_or_none_of_it() {
    // Pairs of items have equal vectors and are changed together: a search that finds one half changed finds scores that differ.
    let dimension = 8;
    let count = 5000_u64;
    let known: Vec<u64> = (0..count).collect();
    let vectors: Vec<f32> = ladder(&known.iter().map(|item| item / 2 % 100).collect::<Vec<_>>(), dimension);
    for config in [IndexConfig::default(), int8(), graph(20)] {
        // Built again a few times.
        let config = IndexConfig { rebuild: 0.03, ..config };
        let index = build(&items(&known, &vectors, &[]), dimension, &config);
        let done = std::sync::atomic::AtomicUsize::new(0);
        const WRITERS: usize = 2;
        std::thread::scope(|scope| {
            for writer in 0..WRITERS as u64 {
                let (index, done) = (&index, &done);
                scope.spawn(move || {
                    for round in 1..60_u64 {
                        let height = 1000 + round * 2 + writer;
                        let pair = [40 * writer, 40 * writer + 1];
                        index.update(&items(&pair, &ladder(&[height; 2], dimension), &[]), &OneWorker).unwrap();
                        let extra = [count + 2 * (1000 * writer + round), count + 2 * (1000 * writer + round) + 1];
                        index.add(&items(&extra, &ladder(&[height + 500; 2], dimension), &[]), &OneWorker).unwrap();
                        index.remove(&extra, &OneWorker).unwrap();
                    }
                    done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut query = [0.0; 8];
                    query[0] = 1.0;
                    while done.load(std::sync::atomic::Ordering::Relaxed) < WRITERS {
                        let results = index.search(&query, 8, &Filter::default()).unwrap();
                        assert_eq!(results.len(), 8);
                        let items: HashSet<u64> = results.iter().map(|found| found.item).collect();
                        assert_eq!(items.len(), 8, "{results:?}");
                        // A graph may miss one of two.
                        for pair in results.chunks(2).filter(|_| config.kind == Kind::Exact {}) {
                            assert_eq!(pair[0].item ^ 1, pair[1].item, "{results:?}");
                            assert_eq!(pair[0].score, pair[1].score, "{results:?}");
                        }
                    }
                });
            }
        });
        assert_eq!(index.len(), count as usize);
        // Without being built again it would have more rows.
        assert!(index.state().corpus.len() < count as usize + 59 * WRITERS * 4);
    }
}

#[test]
fn bad_input_names_the_item() {
    let fails = |result: Result<()>, kind: ErrorKind, parts: &[&str]| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    };
    let config = IndexConfig::default();
    let try_build =
        |items: &Items<'_>, dimension| Index::build(items, dimension, &config, "v1", None, &OneWorker).map(|_| ());
    let one = [Attribute { name: "genre", codes: &[1, 2] }];
    let good = items(&[5, 7], &[1.0, 2.0, 3.0, 4.0], &one);
    let data = ErrorKind::Data;
    fails(try_build(&Items { vectors: &[1.0, 2.0, 3.0, f32::NAN], ..good }, 2), data, &["item 7", "NaN", "place 1"]);
    fails(try_build(&Items { vectors: &[1.0, f32::NEG_INFINITY, 3.0, 1.0], ..good }, 2), data, &["item 5", "-inf"]);
    fails(try_build(&Items { vectors: &[1.0, 2.0, 3.0], ..good }, 2), data, &["2 items", "3 numbers"]);
    fails(try_build(&Items { ids: &[5, 5], ..good }, 2), data, &["item 5 is given twice"]);
    fails(
        try_build(&Items { attributes: &[Attribute { name: "genre", codes: &[1] }], ..good }, 2),
        data,
        &["`genre`", "1 codes"],
    );
    fails(try_build(&Items { attributes: &[one[0], one[0]], ..good }, 2), data, &["`genre`"]);
    fails(try_build(&good, 0), ErrorKind::Config, &["dimension 0"]);
    fails(try_build(&items(&[1], &[0.0; 5000], &[]), 5000), ErrorKind::Config, &["dimension 5000"]);

    let index = build(&good, 2, &config);
    fails(index.add(&good, &OneWorker), data, &["item 5 is in the index already"]);
    fails(index.add(&items(&[9, 9], &[1.0; 4], &one), &OneWorker), data, &["item 9 is given twice"]);
    fails(index.add(&items(&[9, 8], &[1.0, 1.0, 1.0, f32::NAN], &one), &OneWorker), data, &["item 8", "NaN"]);
    fails(index.add(&items(&[9, 8], &[1.0; 4], &[]), &OneWorker), data, &["no attribute `genre`"]);
    let two = [one[0], Attribute { name: "price", codes: &[1, 2] }];
    fails(index.add(&items(&[9, 8], &[1.0; 4], &two), &OneWorker), data, &["price"]);
    fails(index.update(&items(&[5, 8], &[1.0; 4], &one), &OneWorker), data, &["item 8 is not in the index"]);
    fails(index.remove(&[5, 8], &OneWorker), data, &["item 8 is not in the index"]);
    assert_eq!(index.len(), 2);
    assert_eq!(index.search(&[1.0, 0.0], 5, &Filter::default()).unwrap().len(), 2, "nothing of what failed was done");

    let search = |query: &[f32], filter: &Filter<'_>| index.search(query, 5, filter).map(|_| ());
    let all = Filter::default();
    fails(search(&[1.0, f32::NAN], &all), data, &["the query has NaN at place 1"]);
    fails(search(&[1.0], &all), data, &["dimension 1", "2"]);
    fails(search(&[1.0, 0.0], &Filter { excluded: &[3, 1], ..all }), data, &["do not ascend"]);
    let unknown = [Required { attribute: "gener", codes: &[1] }];
    fails(search(&[1.0, 0.0], &Filter { required: &unknown, ..all }), data, &["`gener`", "did you mean `genre`"]);
    let batch = |queries: &[f32]| index.search_batch(queries, 5, &[], &OneWorker).map(|_| ());
    fails(batch(&[1.0, 0.0, f32::INFINITY, 0.0]), data, &["query 1 has inf at place 0"]);
    fails(batch(&[1.0, 0.0, 1.0]), data, &["3 numbers"]);

    for (text, key) in [
        ("rescore = 0", "retrieve.index.rescore"),
        ("rebuild = 0.0", "retrieve.index.rebuild"),
        ("rebuild = nan", "retrieve.index.rebuild"),
        ("kind = { type = \"graph\", connections = 300 }", "retrieve.index.kind.connections"),
        ("kind = { type = \"graph\", recall = 0.0 }", "retrieve.index.kind.recall"),
        ("kind = { type = \"graph\", recall = nan }", "retrieve.index.kind.recall"),
        ("kind = { type = \"graph\", search_width = 0 }", "retrieve.index.kind.search_width"),
        ("precision = \"int8\"\nkind = { type = \"graph\" }", "retrieve.index.precision"),
    ] {
        let config: IndexConfig = toml::from_str(text).unwrap();
        fails(config.check(), ErrorKind::Config, &[key]);
    }
    assert!(toml::from_str::<IndexConfig>("kind = { type = \"tree\" }").is_err());
    assert!(toml::from_str::<IndexConfig>("knid = { type = \"graph\" }").is_err());
    let config: IndexConfig = toml::from_str("kind = { type = \"graph\", search_width = 50 }").unwrap();
    assert_eq!(config.kind, Kind::Graph { connections: 16, build_width: 60, recall: 0.96, search_width: Some(50) });
    let sought: IndexConfig = toml::from_str("kind = { type = \"graph\", recall = 0.9 }").unwrap();
    assert_eq!(toml::from_str::<IndexConfig>(&toml::to_string(&sought).unwrap()).unwrap(), sought);
    assert_eq!(toml::from_str::<IndexConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn vast_numbers_do_not_panic() {
    let vectors: Vec<f32> = whole(1, 5000, 4).iter().map(|x| x * 1e38).collect();
    let ids = ids(5000);
    for config in [IndexConfig::default(), int8(), graph(20)] {
        let index = build(&items(&ids, &vectors, &[]), 4, &config);
        assert!(index.search(&[3e38, -3e38, 1.0, 0.0], 10, &Filter::default()).unwrap().len() <= 10);
    }
}

/// An index with a shortcut, rows beside it, rows that are gone, and attributes.
fn worn(config: &IndexConfig) -> Index {
    let (ids, vectors) = (ids(5000), clustered(1, 5000, 12));
    let codes: Vec<u32> = (0..5000).map(|row| row % 7).collect();
    let index = build(&items(&ids, &vectors, &[Attribute { name: "genre", codes: &codes }]), 12, config);
    let (new, attributes) = (clustered(3, 2, 12), [Attribute { name: "genre", codes: &[1, 2] }]);
    index.update(&items(&[1, 4], &new, &attributes), &OneWorker).unwrap();
    index.add(&items(&[3, 2], &new, &attributes), &OneWorker).unwrap();
    index.remove(&[7, 10], &OneWorker).unwrap();
    index
}

#[test]
fn an_opened_index_gives_the_same_answers() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("deep/index");
    let queries = clustered(2, 20, 12);
    for config in [IndexConfig::default(), int8(), graph(30)] {
        let index = worn(&config);
        index.save(&directory).unwrap();
        let opened = Index::open(&directory, "v1").unwrap();
        assert!(*opened.state() == *index.state());
        assert_eq!((opened.config(), opened.version(), opened.dimension()), (&config, "v1", 12));
        let required = [Required { attribute: "genre", codes: &[1] }];
        for filter in [Filter::default(), Filter { excluded: &[3, 13, 16], required: &required }] {
            for query in queries.chunks(12) {
                assert_eq!(opened.search(query, 20, &filter).unwrap(), index.search(query, 20, &filter).unwrap());
            }
        }
        opened.remove(&[3], &OneWorker).unwrap();
        // The same again, and another index in its place: no file of an earlier one stays.
        index.save(&directory).unwrap();
        opened.save(&directory).unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3, "with the lock");
        assert_eq!(Index::open(&directory, "v1").unwrap().len(), index.len() - 1);
    }
    let empty = build(&items(&[], &[], &[]), 3, &graph(10));
    empty.save(&directory).unwrap();
    assert!(Index::open(&directory, "v1").unwrap().is_empty());
}

fn tensors(directory: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "safetensors")).unwrap()
}

#[test]
fn what_is_no_whole_index_of_this_model_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let refused = |version: &str, parts: &[&str]| {
        let error = Index::open(directory, version).unwrap_err().to_string();
        let mend = "build it again with kitestring retrieve index";
        assert!(parts.iter().chain([&mend]).all(|part| error.contains(part)), "{error}");
    };
    refused("v1", &["manifest.json"]);
    worn(&graph(30)).save(directory).unwrap();
    refused("v2", &["manifest.json", "`v1`", "`v2`"]);
    let manifest = directory.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to, part) in [
        ("\"format\": 3", "\"format\": 1", "index format 1, expected 3"),
        ("\"format\": 3,", "", "index format none"),
        ("\"version\"", "\"vision\"", "damaged manifest"),
        ("\"rescore\": 4", "\"rescore\": 0", "rescore"),
        ("\"tensors\": \"", "\"tensors\": \"../", "no file beside it"),
        ("\"tensors\": \"index", "\"tensors\": \"other", "other"),
        ("\"rows\": 5004", "\"rows\": 5003", "ids"),
        ("\"covered\": 5000", "\"covered\": 4999", "graph.offsets"),
        ("\"covered\": 5000", "\"covered\": 18446744073709551615", "safetensors"),
        ("\"covered\": 5000", "\"covered\": 0", "checksum"),
        ("\"dimension\": 12", "\"dimension\": 11", "vectors"),
        ("genre", "gerne", "gerne"),
        ("\"checksum\": \"", "\"checksum\": \"0", "checksum"),
        ("{", "", "no manifest"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        refused("v1", &[part]);
    }
    std::fs::write(&manifest, &text).unwrap();
    assert!(Index::open(directory, "v1").is_ok());

    let path = tensors(directory);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        refused("v1", &[&name]);
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    refused("v1", &[&name]);
    // A bit anywhere: in the length, the header, the numbers.
    for at in (0..whole.len()).step_by(whole.len() / 200).chain(0..300) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        match Index::open(directory, "v1") {
            Err(error) => assert!(error.to_string().contains(&name), "{error}"),
            Ok(opened) => panic!("byte {at} of {}: {} items", whole.len(), opened.len()),
        }
    }
    std::fs::remove_file(&path).unwrap();
    refused("v1", &[&name]);
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("index");
    let index = worn(&IndexConfig::default());
    index.save(&directory).unwrap();
    // A folder where the new tensors would go.
    let other = build(&items(&[1], &[1.0], &[]), 1, &IndexConfig::default());
    let elsewhere = place.path().join("elsewhere");
    other.save(&elsewhere).unwrap();
    std::fs::create_dir(directory.join(tensors(&elsewhere).file_name().unwrap())).unwrap();
    assert!(other.save(&directory).is_err());
    assert_eq!(Index::open(&directory, "v1").unwrap().len(), index.len());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 4);
}

/// Twelve who open the index, each add an item, and save: those who come second are told, and what was acknowledged is there.
#[test]
fn no_change_that_was_acknowledged_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    build(&items(&[0], &[1.0], &[]), 1, &IndexConfig::default()).save(directory).unwrap();
    let added: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=12)
            .map(|item| {
                scope.spawn(move || {
                    let index = Index::open(directory, "v1").unwrap();
                    index.add(&items(&[item], &[item as f32], &[]), &OneWorker).unwrap();
                    index.save(directory).map(|()| item)
                })
            })
            .collect();
        let outcomes: Vec<Result<u64>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        refused.for_each(|error| assert!(error.to_string().contains("changed by somebody else"), "{error}"));
        outcomes.into_iter().filter_map(Result::ok).collect()
    });
    assert!(!added.is_empty());
    let index = Index::open(directory, "v1").unwrap();
    assert!(index.len() == 1 + added.len() && added.iter().all(|item| index.contains(*item)), "{added:?}");
    // One that is refused may open it again; one that has saved may go on.
    for item in [20, 21] {
        index.add(&items(&[item], &[1.0], &[]), &OneWorker).unwrap();
        index.save(directory).unwrap();
    }
    let late = Index::open(directory, "v1").unwrap();
    index.remove(&[20], &OneWorker).unwrap();
    index.save(directory).unwrap();
    assert!(late.save(directory).is_err());
    assert_eq!(Index::open(directory, "v1").unwrap().len(), added.len() + 2);
}
