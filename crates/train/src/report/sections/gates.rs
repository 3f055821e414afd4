//! Which experts are chosen.

use maud::html;

use super::super::data::{Gate, GateRow};
use super::super::format::{count, fixed};
use super::super::page::{Figure, Section, Table, figures};
use super::super::plot::Heat;

pub(super) fn section(gates: &[Gate]) -> Option<Section> {
    let shown: Vec<Figure> = gates.iter().filter(|gate| !gate.rows.is_empty()).map(figure).collect();
    let body = html! {
        p {
            "The mean weight that the samples of each scenario give each expert. An expert that hardly any sample uses is marked with a "
            "cross; rows that look alike share their experts."
        }
        (figures(&shown))
    };
    (!shown.is_empty()).then_some(Section { title: "Which experts are chosen", body })
}

fn figure(gate: &Gate) -> Figure {
    let dead = gate.dead();
    let experts = dead.len();
    let columns: Vec<(String, bool)> =
        dead.iter().enumerate().map(|(at, dead)| ((at + 1).to_string(), *dead)).collect();
    let heat = Heat {
        label: "expert".into(),
        columns,
        rows: gate.rows.iter().map(|row| (row.scenario.clone(), row.weights.clone())).collect(),
    };
    let means = gate.means();
    let mut caption = match dead.iter().filter(|dead| **dead).count() {
        0 => format!("All {experts} experts are used."),
        1 => format!("One of {experts} experts is hardly used."),
        many => format!("{many} of {experts} experts are hardly used."),
    };
    if gate.has_collapsed() {
        let largest = means.iter().copied().fold(0.0, f64::max);
        caption.push_str(&format!(" The gate has collapsed: one expert has {} of all weight.", fixed(largest, 2)));
    }
    let always = |row: &GateRow| row.chosen.iter().all(|chosen| *chosen > 0.999);
    if !gate.rows.iter().all(always) {
        let of = |row: &GateRow| row.chosen.iter().sum::<f64>() * row.samples as f64;
        let samples: u64 = gate.rows.iter().map(|row| row.samples).sum();
        let mean = gate.rows.iter().map(of).sum::<f64>() / samples.max(1) as f64;
        caption.push_str(&format!(" A sample uses {} of them on average.", fixed(mean, 1)));
    }
    let mut numbers = Table::new(["Scenario", "Samples", "Expert", "Mean weight", "Chosen by"]);
    for row in &gate.rows {
        for (expert, (weight, chosen)) in row.weights.iter().zip(&row.chosen).enumerate() {
            numbers.row([
                row.scenario.clone(),
                count(row.samples),
                (expert + 1).to_string(),
                fixed(*weight, 4),
                format!("{} %", fixed(100.0 * chosen, 1)),
            ]);
        }
    }
    let drawing = heat.svg(&caption);
    Figure { title: gate.name.clone(), caption, legend: Vec::new(), drawing, numbers }
}
