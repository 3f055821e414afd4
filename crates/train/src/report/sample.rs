//! A report with every part filled, for the tests. The numbers follow formulas; no model was trained for them.

use super::data::*;
use kitestring_core::Note;

/// A full report. `shift` moves the metrics, so that two samples differ.
pub(super) fn sample(shift: f64) -> Report {
    let near = |value: f64, half: f64| Estimate::within(value, value - half, value + half);
    let metric = |split: &str, task: &str, name: &str, value: f64, headline| Metric {
        split: split.into(),
        task: Some(task.into()),
        name: name.into(),
        estimate: near(value, 0.004),
        ceiling: (split == "test" && name == "AUC").then_some(value - shift + 0.031),
        chance: (name == "AUC").then_some(0.5),
        lower_is_better: name == "log-loss",
        headline,
        baselines: [("mean".to_owned(), if name == "log-loss" { value + 0.02 } else { 0.5 })].into(),
        note: if name == "GAUC" { "of 9,000 of 20,000 users: the others have one class".into() } else { String::new() },
        replicates: (0..200).map(|draw| (value + 0.00002 * f64::from(draw)) as f32).collect(),
        units: 20_000,
        ..Metric::default()
    };
    let mut metrics = Vec::new();
    for (split, worse) in [("valid", 0.0), ("test", 0.003)] {
        for (task, auc, loss) in [("click", 0.742, 0.2871), ("conversion", 0.781, 0.0412)] {
            metrics.push(metric(split, task, "AUC", auc + shift - worse, split == "test"));
            metrics.push(metric(split, task, "GAUC", auc + shift - worse - 0.04, false));
            metrics.push(metric(split, task, "log-loss", loss - shift + worse, false));
        }
    }
    Report {
        title: format!("din-esmm {}", if shift == 0.0 { "base" } else { "wide" }),
        model: "DIN encoder, MLP body 200-80, ESMM head; 1.21 M parameters in tables, 68 k in the network".into(),
        data: "simulated marketplace, 2,000,000 impressions of 20,000 users".into(),
        seed: Some(7),
        intervals: "95 % bootstrap over users, 200 draws".into(),
        metrics,
        judged: ["valid", "test"].map(|split| JudgedSplit { split: split.into(), ..JudgedSplit::default() }).into(),
        summary: Some(summary()),
        learning: Some(learning(shift)),
        tasks: vec![task("click", 3.0, 0.12), task("conversion", 4.2, 0.02)],
        groupings: groupings(shift),
        truth: vec![truth(shift)],
        attention: Some(attention()),
        gates: vec![gate()],
        position_bias: vec![position_bias()],
        uncertainty: vec![uncertainty()],
        rankings: vec![ranking(shift)],
        recall: vec![recall(Some(100), 0.71, shift), recall(None, 1.0, shift)],
        index: Some(Index {
            kind: "graph".into(),
            items: 9_871,
            queries: 256,
            asked: 100,
            recall: Some(0.972),
            seconds: 0.000_21,
            exact_seconds: 0.003,
            build_seconds: 4.2,
        }),
        shipped: Some(shipped(shift)),
        importance: vec![importance()],
        speed: Some(Speed {
            samples_per_second: Some(81_233.4 + 1e5 * shift),
            peak_rss_mib: Some(612.3),
            phases: [("simulate", 6.1), ("prepare", 9.4), ("train", 71.9), ("evaluate", 12.2), ("report", 0.2)]
                .map(|(name, seconds)| (name.into(), seconds))
                .into(),
        }),
        config: format!(
            "seed = 7\n\n[train]\nbatch = 2048\nlearning_rate = {}\n\n[encoder.din]\nhidden = [64, 32]\n",
            0.001 + shift
        ),
        environment: vec![
            ("Kitestring".into(), "0.1.0".into()),
            ("Processor".into(), "2 cores, AVX-512".into()),
            ("Determinism".into(), "bit-identical for this seed".into()),
        ],
        notes: vec![
            Note::new("12 of 90,000 rows have position 0, which means missing, for positions count from 1")
                .hint("add one to the column")
                .in_field("position")
                .counting(12),
        ],
        caveats: vec![
            "One seed: another may move the metrics by more than the intervals say.".into(),
            "Offline metrics on logged impressions do not measure what a user would have done with another ranking."
                .into(),
        ],
    }
}

fn summary() -> DataSummary {
    let split = |name: &str, rows: u64, from: i64, to: i64| Split {
        name: name.into(),
        rows,
        users: Some(20_000.min(rows)),
        items: Some(9_871),
        time: Some([from, to]),
        positives: vec![
            Positives { task: "click".into(), labelled: rows, positive: rows / 9 },
            Positives { task: "conversion".into(), labelled: rows / 9, positive: rows / 95 },
        ],
    };
    let day = 86_400;
    let start = 1_704_067_200;
    let counts: Vec<u64> =
        (0..50).map(|i| (60_000.0 * (-f64::from(i) / 14.0).exp()) as u64 + 900).chain([310_000]).collect();
    DataSummary {
        splits: vec![
            split("train", 1_600_000, start, start + 24 * day),
            split("valid", 200_000, start + 24 * day, start + 27 * day),
            split("test", 200_000, start + 27 * day, start + 30 * day - 1),
        ],
        tables: vec![
            TableSize {
                name: "item".into(),
                features: vec!["item".into(), "clicked_items".into()],
                rows: 9_872,
                dimension: 16,
                out_of_vocabulary: Some(0.0123),
            },
            TableSize {
                name: "user".into(),
                features: vec!["user".into()],
                rows: 20_001,
                dimension: 16,
                out_of_vocabulary: Some(0.0004),
            },
            TableSize {
                name: "category".into(),
                features: vec!["category".into(), "clicked_categories".into()],
                rows: 41,
                dimension: 8,
                out_of_vocabulary: Some(0.0),
            },
        ],
        history_length: Some(Histogram { edges: (0..=51).map(f64::from).collect(), counts }),
        rows_read: Some(2_000_012),
        bad_rows: Some(12),
    }
}

fn learning(shift: f64) -> Learning {
    let wave = |i: u32| f64::from(i * 7_919 % 1_000) / 1_000.0 - 0.5;
    let step = |i: u32| {
        let x = f64::from(i) / 780.0;
        [x, 0.29 - shift + 0.09 * (-4.0 * x).exp() - 0.004 * x + 0.02 * wave(i) + if i < 3 { 0.4 } else { 0.0 }]
    };
    let auc = [0.722, 0.738, 0.742, 0.741, 0.7395].iter().enumerate();
    Learning {
        loss: vec![Curve { name: "loss".into(), points: (0..3_900).map(step).collect() }],
        task_weights: [("click", 0.4), ("conversion", 1.6)]
            .map(|(name, end)| Curve {
                name: name.into(),
                points: (0..400).map(|i| f64::from(i) / 80.0).map(|x| [x, end + (1.0 - end) * (-x).exp()]).collect(),
            })
            .into(),
        validation: vec![Curve {
            name: "click AUC".into(),
            points: auc.map(|(i, auc)| [i as f64 + 1.0, auc + shift]).collect(),
        }],
        best_epoch: Some(3.0),
        stopped: Some((5.0, "no better for 2 epochs".into())),
    }
}

fn position_bias() -> PositionBias {
    let positions: Vec<f64> = (1..=16).map(f64::from).collect();
    let line = |(name, slope): (&str, f64)| PositionLine {
        name: name.into(),
        samples: positions.iter().map(|position| (4_000.0 / position) as u64).collect(),
        learned: positions.iter().map(|position| 0.1 * (position * 7.0).sin() - slope * position.ln()).collect(),
        truth: positions.iter().map(|position| -slope * position.ln()).collect(),
        positions: positions.clone(),
    };
    PositionBias { task: "click".into(), lines: [("device phone", 0.5), ("device desktop", 0.2)].map(line).into() }
}

fn uncertainty() -> Uncertainty {
    let shares = || (0..20).map(|step| f64::from(step) / 20.0);
    let curve = |name: &str, power: f64| Curve {
        name: name.into(),
        points: shares().map(|share| [share, 0.4 * (1.0 - share).powf(power)]).collect(),
    };
    Uncertainty {
        task: "click".into(),
        error: "log-loss".into(),
        measure: "entropy, nats".into(),
        passes: 20,
        samples: 16_384,
        bins: (1..=10).map(|bin| [f64::from(bin) * 0.06, f64::from(bin) * 0.066]).collect(),
        rejection: vec![curve("whole uncertainty", 1.0), curve("epistemic part", 0.4), curve("error itself", 2.5)],
    }
}

fn task(name: &str, power: f64, rate: f64) -> Task {
    let bins = (0..20).map(|i| {
        let (low, high) = (f64::from(i) * rate / 5.0, f64::from(i + 1) * rate / 5.0);
        let predicted = (low + high) / 2.0;
        let count = (400_000.0 * (-0.4 * f64::from(i)).exp()) as u64;
        CalibrationBin { low, high, count, predicted, observed: predicted * (1.05 - 0.012 * f64::from(i)) }
    });
    let roc = (0..=5_000).map(|i| f64::from(i) / 5_000.0).map(|x| [x, 1.0 - (1.0 - x).powf(power)]);
    Task {
        name: name.into(),
        auc: Some((power / (power + 1.0)).into()),
        roc: roc.collect(),
        calibration: bins.collect(),
    }
}

fn groupings(shift: f64) -> Vec<Grouping> {
    let group = |(name, samples, value): (&str, u64, f64)| Group {
        name: name.into(),
        samples,
        positives: samples / 9,
        estimate: Estimate::within(
            value + shift,
            value + shift - 1.5 / (samples as f64).sqrt(),
            value + shift + 1.5 / (samples as f64).sqrt(),
        ),
    };
    let scenarios = [
        ("home feed / phone", 120_000, 0.748),
        ("home feed / tablet", 41_000, 0.741),
        ("search results / phone", 27_000, 0.723),
        ("search results / tablet with keyboard", 11_800, 0.709),
        ("checkout", 200, f64::NAN),
    ];
    let lengths = [("0", 9_000, 0.671), ("1–5", 31_000, 0.702), ("6–20", 62_000, 0.736), ("21–50", 98_000, 0.761)];
    let grouping = |by: &str, groups: Vec<Group>| Grouping {
        by: by.into(),
        task: "click".into(),
        metric: "AUC".into(),
        overall: Some((0.739 + shift).into()),
        groups,
        heterogeneity: Some(Estimate::within(3.42, 2.9, 3.9)),
        head_tail_gap: (by != "scenario").then_some(Estimate::within(9.0, 7.1, 10.8)),
    };
    vec![grouping("scenario", scenarios.map(group).into()), grouping("history length", lengths.map(group).into())]
}

fn truth(shift: f64) -> Truth {
    let edges: Vec<f64> = (0..=24).map(|i| f64::from(i) / 40.0).collect();
    let middle = |i: usize| (i as f64 + 0.5) / 40.0;
    let count = |t: usize, p: usize| {
        let miss = (middle(p) - 0.03 - 0.75 * middle(t)) / 0.045;
        (9_000.0 * (-miss * miss - 6.0 * middle(t)).exp()) as u64
    };
    Truth {
        task: "click".into(),
        samples: 200_000,
        model: Estimate::within(0.739 + shift, 0.735 + shift, 0.743 + shift),
        oracle: Estimate::within(0.770, 0.766, 0.774),
        gap: Some(Estimate::within(0.031 - shift, 0.029 - shift, 0.033 - shift)),
        others: vec![
            ("popularity".into(), Estimate::within(0.611, 0.606, 0.616)),
            ("logging policy".into(), 0.655.into()),
        ],
        rank_correlation: Some(0.87),
        joint: Some(Joint { counts: (0..24).map(|t| (0..24).map(|p| count(t, p)).collect()).collect(), edges }),
    }
}

fn attention() -> Attention {
    let bin = |i: u32| {
        let fade = (-f64::from(i) / 16.0).exp();
        let half = 0.004 + 0.0006 * f64::from(i);
        let near = |value: f64| Estimate::within(value, value - half, value + half);
        AttentionBin {
            recency: u64::from(i),
            same: Some(near(0.05 + 0.11 * fade)),
            other: Some(near(0.012 + 0.035 * fade)),
            same_count: u64::from(4_000 / i),
            other_count: u64::from(16_000 / i),
        }
    };
    let event = |(name, same, weight): (&str, bool, f64)| AttentionEvent { name: name.into(), same, weight };
    let events = [
        ("item 812, category 4", true, 0.21),
        ("item 77, category 9", false, 0.04),
        ("item 4410, category 4", true, 0.17),
        ("item 9, category 30", false, -0.03),
        ("item 1203, category 9", false, 0.02),
        ("item 640, category 4", true, 0.11),
    ];
    let example = AttentionExample {
        target: "item 5123, category 4".into(),
        outcome: "predicted 0.31, clicked".into(),
        events: events.map(event).into(),
    };
    Attention {
        shares: "category".into(),
        recency: (1..=50).map(bin).collect(),
        examples: vec![example.clone(), example],
    }
}

fn gate() -> Gate {
    let row = |scenario: &str, samples: u64, weights: [f64; 6]| GateRow {
        scenario: scenario.into(),
        samples,
        weights: weights.into(),
        chosen: weights.map(|weight: f64| f64::from(u8::from(weight > 0.0))).into(),
    };
    Gate {
        name: "channel.0".into(),
        rows: vec![
            row("home / feed", 9_000, [0.41, 0.0, 0.22, 0.37, 0.0, 0.0]),
            row("search / results", 4_100, [0.0, 0.52, 0.18, 0.30, 0.0, 0.0]),
            row("live / shelf", 230, [0.02, 0.49, 0.20, 0.29, 0.0, 0.0]),
        ],
    }
}

fn recall(candidates: Option<u64>, reached: f64, shift: f64) -> Recall {
    let of = |metric: &str, value: f64| RankingValue {
        metric: metric.into(),
        cutoff: 10,
        estimate: Estimate::within(value + shift, value + shift - 0.01, value + shift + 0.01),
    };
    Recall {
        candidates,
        reached,
        lists: 500,
        values: vec![of("Recall", 0.12), of("NDCG", 0.1 + 0.03 * reached)],
        recall_seconds: if candidates.is_some() { 0.02 } else { 0.0 },
        rank_seconds: if candidates.is_some() { 0.1 } else { 4.0 },
    }
}

fn shipped(shift: f64) -> Shipped {
    let pass = |pass: &str, said: &str, bytes: u64, microseconds: f64, lost: f64| ShippedPass {
        pass: pass.into(),
        said: said.into(),
        download_bytes: bytes,
        resident_bytes: bytes + 400_000,
        here: microseconds,
        device: 9.0 * microseconds,
        tasks: vec![ShippedTask {
            name: "click".into(),
            metric: "AUC".into(),
            value: Estimate::within(0.741 + shift - lost, 0.736 + shift - lost, 0.746 + shift - lost),
            loss: Estimate::within(lost, lost - 0.0004, lost + 0.0004),
        }],
    };
    Shipped {
        device: "a <small> phone".into(),
        split: "valid".into(),
        candidates: 100,
        limits: vec![ShippedLimit { name: "download_bytes".into(), limit: 300_000.0 }],
        passes: vec![
            pass("trained", "all rows, 32 bits", 9_400_000, 1.9, 0.0),
            pass("rows", "user_id: its own", 2_100_000, 1.9, 0.0),
            pass("quantize", "9 matrices in 8 bits", 240_000, 1.1, 0.0006),
        ],
        scores: (0..40).map(|at| [f64::from(at) / 40.0, f64::from(at) / 41.0]).collect(),
    }
}

fn ranking(shift: f64) -> Ranking {
    let value = |metric: &str, cutoff: u64, value: f64| RankingValue {
        metric: metric.into(),
        cutoff,
        estimate: Estimate::within(value + shift, value + shift - 0.01, value + shift + 0.01),
    };
    let values = [(1, 0.31, 0.31, 0.31), (5, 0.56, 0.44, 0.40), (10, 0.71, 0.49, 0.42)];
    Ranking {
        candidates: "99 given negatives".into(),
        lists: 6_040,
        values: values
            .iter()
            .flat_map(|&(k, hr, ndcg, mrr)| [value("HR", k, hr), value("NDCG", k, ndcg), value("MRR", k, mrr)])
            .collect(),
    }
}

fn importance() -> Importance {
    let drops = [
        ("clicked_items", 0.051),
        ("item", 0.034),
        ("position", 0.022),
        ("category", 0.009),
        ("user", 0.006),
        ("price", 0.0004),
        ("device", -0.0003),
    ];
    Importance {
        task: "click".into(),
        method: "shuffled between samples, 5 times".into(),
        metric: "AUC".into(),
        drops: drops
            .iter()
            .map(|&(name, drop)| (name.into(), Estimate::within(drop, drop - 0.0015, drop + 0.0015)))
            .collect(),
    }
}
