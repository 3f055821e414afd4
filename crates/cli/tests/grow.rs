//! A trained run gets a new scenario, a new task and new ids from the command line, and says of everything old what it said.
#![allow(clippy::unwrap_used)]

mod common;

use common::{done, kitestring};
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = r#"
[data]
split = { by = "time", test = 0.2 }
[[data.layouts]]
name = "log"
samples = { path = "log.csv" }
[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "tag", kind = "categorical" },
    { name = "price", kind = "numeric", transform = "standardize" },
    { name = "seen", kind = "sequence", table = "item", length = 5, history = { of = "item" } },
]
tables = [{ name = "tag", vocabulary = "open" }]
scenarios = [{ name = "app" }, { name = "entrance" }]
tasks = [{ name = "click" }, { name = "stay", kind = "regression" }]
[model]
dimension = 4
[train]
batch_size = 32
epochs = 1
workers = 1
[evaluate]
bootstrap = 0
"#;

/// Small bodies.
const BODIES: [&str; 6] = [
    r#"{ type = "mlp", units = [8] }"#,
    r#"{ type = "star", layers = { units = [6] } }"#,
    r#"{ type = "hmoe", experts = 3, expert = { units = [5] } }"#,
    r#"{ type = "ple", expert = { units = [5] } }"#,
    r#"{ type = "aesm2", gate_batch_norm = false }"#,
    r#"{ type = "cross_stitch", towers = { units = [6, 5] } }"#,
];

const OLD: [&str; 4] = ["live,hall", "shop,home", "live,ring", "shop,search"];

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(world.folder.path().join("old")).unwrap();
        std::fs::create_dir_all(world.folder.path().join("new")).unwrap();
        world.write("old.toml", CONFIG);
        world.write("new.toml", &CONFIG.replace("tasks = [{ name", "tasks = [{ name = \"like\" }, { name"));
        world.log("old/log.csv", 400, |row| OLD[[0, 0, 1, 2, 3][row % 5]]);
        world.log("new/log.csv", 500, |row| if row % 3 == 0 { "live,room" } else { OLD[row % 4] });
        // Ids that neither knows, ids that only the second one knows, and a scenario that nobody knows.
        world.log("all.csv", 200, |row| if row % 9 == 0 { "live,attic" } else { OLD[row % 4] });
        world
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn log(&self, name: &str, rows: usize, entrance: impl Fn(usize) -> &'static str) {
        let mut text = String::from("user,item,time,price,tag,app,entrance,click,stay,like\n");
        for row in 0..rows {
            let (user, item, price) = (row % 20, row * 7 % (20 + rows / 25), (row % 13) as f32 / 2.0);
            let (click, like) = (u8::from((user + item) % 3 == 0), u8::from(row * row % 11 < 4));
            let stay = f64::from(u32::try_from(item).unwrap()) / 10.0;
            let tag = row % (3 + rows / 100);
            text += &format!("u{user},i{item},{row},{price},t{tag},{},{click},{stay},{like}\n", entrance(row));
        }
        self.write(name, &text);
    }

    /// The predictions of a run for a log: the named column.
    fn predict(&self, run: &str, log: &str, column: &str) -> Vec<f32> {
        let (run, log) = (self.path(run), self.path(log));
        let told = done(&["predict", &run, "--data", &log, "--without-past"]).stdout;
        let mut lines = told.lines();
        let column = lines.next().unwrap().split(',').position(|name| name == column).unwrap();
        lines.map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect()
    }

    fn train(&self, config: &str, data: &str, out: &str, more: &[&str]) -> Vec<String> {
        let (config, data, out) = (self.path(config), self.path(data), self.path(out));
        [&["train", &config, "--data", &data, "--out", &out], more].concat().into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn a_run_gets_a_scenario_a_task_and_ids() {
    let world = World::new();
    let from = world.path("runs/old");
    // The rows of the new log as if they had come in by the hall.
    let text = std::fs::read_to_string(world.folder.path().join("new/log.csv")).unwrap();
    world.write("hall.csv", &text.replace("live,room", "live,hall"));
    world.write("room.csv", &text);
    for body in BODIES {
        let setting = format!("model.body={body}");
        let set = ["--set", setting.as_str()];
        done(&world.train("old.toml", "old", "runs/old", &set));
        let untrained = [&set[..], &["--from", &from, "--set", "train.epochs=0"]].concat();
        let told = done(&world.train("new.toml", "new", "runs/new", &untrained)).stdout;
        assert!(told.contains("new scenario: live / room, started as live / hall\n"), "{told}");
        assert!(told.contains("new task: like, started as click\n"), "{told}");
        let old = |log: &str, task: &str| world.predict("runs/old", log, task);
        let new = |log: &str, task: &str| world.predict("runs/new", log, task);
        for task in ["click", "stay"] {
            assert_eq!(old("all.csv", task), new("all.csv", task), "{body} {task}");
        }
        let near = |found: Vec<f32>, expected: Vec<f32>| {
            assert_eq!(found.len(), expected.len());
            let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
            assert!(close, "{body}: {found:?} {expected:?}");
        };
        near(new("room.csv", "click"), old("hall.csv", "click"));
        near(new("all.csv", "like"), old("all.csv", "click"));

        // Prepared beforehand, it is the same data set; training goes on from there.
        let (data, config) = (world.path("new"), world.path("new.toml"));
        let grown = world.path("grown");
        done(&["prepare", &config, "--data", &data, "--like", &from, "--out", &grown]);
        let more = [&set[..], &["--from", &from, "--nearest", "live/room = shop/home"]].concat();
        let told = done(&world.train("new.toml", "grown", "runs/later", &more)).stdout;
        assert!(told.contains("new scenario: live / room, started as shop / home\n"), "{told}");
        let later = world.predict("runs/later", "room.csv", "like");
        assert!(later.iter().all(|p| p.is_finite()) && later != new("room.csv", "like"));
        let evaluated = done(&["evaluate", &world.path("runs/new")]).stdout;
        assert!(evaluated.contains("like"), "{evaluated}");
        for run in ["runs/old", "runs/new", "runs/later"] {
            std::fs::remove_dir_all(world.path(run)).unwrap();
        }
    }
}

/// Where nobody says otherwise: the largest of the same parent, or of the one the parent starts as.
#[test]
fn the_nearest_scenario_is_a_large_relative() {
    let world = World::new();
    done(&world.train("old.toml", "old", "runs/old", &[]));
    let added = ["kiosk,desk", "shop,cart", "live,room"];
    world.log("new/log.csv", 500, |row| if row % 2 == 0 { added[row / 2 % 3] } else { OLD[row / 2 % 4] });
    let from = world.path("runs/old");
    let more = ["--from", &from, "--set", "train.epochs=0"];
    let told = done(&world.train("new.toml", "new", "runs/new", &more)).stdout;
    for line in [
        "new scenario: kiosk, started as live",
        "new scenario: kiosk / desk, started as live / hall",
        "new scenario: shop / cart, started as shop / home",
        "new scenario: live / room, started as live / hall",
    ] {
        assert!(told.lines().any(|told| told == line), "no `{line}` in {told}");
    }
}

/// Without anything new it is a warm start: the second run goes on where the first one was.
#[test]
fn a_run_goes_on_from_another() {
    let world = World::new();
    done(&world.train("old.toml", "old", "runs/old", &[]));
    let from = world.path("runs/old");
    let told =
        done(&world.train("old.toml", "runs/old/dataset", "runs/same", &["--from", &from, "--set", "train.epochs=0"]));
    assert!(!told.stdout.contains("new "), "{}", told.stdout);
    let read = |run: &str| std::fs::read(Path::new(&world.path(run)).join("model/network.safetensors")).unwrap();
    assert_eq!(read("runs/same"), read("runs/old"));
    assert_eq!(world.predict("runs/old", "all.csv", "click"), world.predict("runs/same", "all.csv", "click"));
    // A run that is gone on with starts where it started.
    let resumed = kitestring(&world.train("old.toml", "runs/old/dataset", "runs/same", &["--resume"]));
    assert_eq!(resumed.code, Some(2), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("the run started from") && resumed.stderr.contains("--from"), "{}", resumed.stderr);
    done(&world.train("old.toml", "runs/old/dataset", "runs/same", &["--resume", "--from", &from]));
    assert_ne!(read("runs/same"), read("runs/old"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let world = World::new();
    done(&world.train("old.toml", "old", "runs/old", &[]));
    let from = world.path("runs/old");
    let plain = ["prepare", &world.path("new.toml"), "--data", &world.path("new"), "--out", &world.path("plain")];
    done(&plain);
    let refused = |config: &str, data: &str, more: &[&str], texts: &[&str]| {
        let more = [&["--from", from.as_str()], more].concat();
        let outcome = kitestring(&world.train(config, data, "runs/no", &more));
        assert_eq!(outcome.code, Some(2), "{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        texts.iter().for_each(|text| assert!(outcome.stderr.contains(text), "no `{text}` in: {}", outcome.stderr));
        assert!(!Path::new(&world.path("runs/no/model")).exists());
    };
    let nearest = |flag: &'static str, text: &'static str, texts: &[&str]| {
        refused("new.toml", "new", &[flag, text], texts);
    };
    nearest("--nearest", "live/room=live/hal", &["--nearest", "live/hal", "did you mean `live / hall`?"]);
    nearest("--nearest", "live/rooom=live/hall", &["no new scenario `live/rooom`", "did you mean `live / room`?"]);
    nearest("--nearest", "live/hall=live/ring", &["`live/hall` is not new"]);
    nearest("--nearest", "live/room", &["`live/room` has no `=`"]);
    nearest("--nearest-task", "like=clicks", &["--nearest-task", "did you mean `click`?"]);
    nearest("--nearest-task", "lik=click", &["no task `lik`", "did you mean `like`?"]);
    nearest("--nearest-task", "click=stay", &["`click` is not new"]);
    let schema = |old: &str, new: &str, texts: &[&str]| {
        assert!(CONFIG.contains(old));
        world.write("other.toml", &CONFIG.replace(old, new));
        refused("other.toml", "new", &[], texts);
    };
    schema(", { name = \"stay\", kind = \"regression\" }", "", &["schema.tasks.stay", "keep the task"]);
    schema("transform = \"standardize\"", "transform = \"log\"", &["schema.features.price", "same"]);
    schema("scenarios = [{ name = \"app\" }, ", "scenarios = [", &["schema.scenarios", "same"]);
    refused("new.toml", "new", &["--set", "model.dimension=8"], &["model.dimension", "set it to 4"]);
    refused("new.toml", "new", &["--set", "model.body.units=[9]"], &["model.body.units", "[200,80]"]);
    refused("new.toml", "new", &["--set", "model.body.type=mmoe"], &["model.body.type", "\"mlp\""]);
    // A data set whose ids are others.
    refused("new.toml", "plain", &[], &["--like", "prepare"]);
    // A task of a kind that the run has none of.
    world.write("count.toml", &CONFIG.replace("tasks = [", "tasks = [{ name = \"like\", kind = \"count\" }, "));
    refused("count.toml", "new", &[], &["schema.tasks.like", "--nearest-task like=click"]);
    let itself = kitestring(&world.train("old.toml", "old", "runs/old", &["--from", &from]));
    assert!(itself.code == Some(2) && itself.stderr.contains("from itself"), "{}", itself.stderr);
}
