//! Scenarios as logs have them: a channel's name under two entrances, and a scenario in which nobody ever clicked.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CONFIG, Clicks, done};
use serde_json::Value;

/// A level is a path from the outermost one, so an id that has two parents is two scenarios; one without a positive has no AUC, says so,
/// and is trained and judged with the others.
#[test]
fn a_name_under_two_parents_and_a_scenario_without_positives() {
    let clicks = Clicks::new();
    let mut text = String::from("user,item,time,entrance,channel,click\n");
    for row in 0..1200 {
        let (entrance, channel) = [("home", "new"), ("search", "new"), ("home", "deals")][row % 3];
        let click = u8::from(channel == "new" && (row / 3) % 4 == 0);
        text += &format!("u{},i{},{row},{entrance},{channel},{click}\n", row % 20, row % 31);
    }
    clicks.write("clicks.csv", text.as_bytes());
    let price = "    { name = \"price\", kind = \"numeric\", transform = \"standardize\" },\n";
    let levels = "scenarios = [{ name = \"entrance\" }, { name = \"channel\" }]\ntasks";
    let config = CONFIG.replace(price, "").replacen("tasks", levels, 1);
    clicks.write("clicks.toml", config.as_bytes());
    let (config, data, out) = (clicks.path("clicks.toml"), clicks.path("clicks.csv"), clicks.path("run"));
    for body in ["mlp", "star", "hmoe", "aesm2"] {
        let body = format!("model.body.type={body}");
        done(&["run", &config, "--data", &data, "--out", &out, "--overwrite", "--set", &body, "--json"]);
        let report: Value = serde_json::from_slice(&std::fs::read(clicks.path("run/report.json")).unwrap()).unwrap();
        let groupings = report["report"]["groupings"].as_array().unwrap();
        let by_channel = groupings.iter().find(|grouping| grouping["by"] == "channel").unwrap();
        let mut groups: Vec<(String, bool)> = by_channel["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| (group["name"].as_str().unwrap().to_owned(), group["estimate"]["value"].is_number()))
            .collect();
        groups.sort();
        let expected = [("home / deals", false), ("home / new", true), ("search / new", true)];
        assert_eq!(groups, expected.map(|(name, known)| (name.to_owned(), known)), "{body}");
        assert!(std::fs::read_to_string(clicks.path("run/report.html")).unwrap().contains("undefined"), "{body}");
    }
}
