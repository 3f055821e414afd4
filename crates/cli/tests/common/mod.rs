//! Running the built command, and a world small enough for tests.
#![allow(dead_code, clippy::unwrap_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// What a command left behind.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    /// Standard error without the lines of progress: notes and errors.
    pub stderr: String,
    /// The lines of progress.
    pub progress: Vec<String>,
}

impl Outcome {
    fn new(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (progress, others) = stderr.split_inclusive('\n').partition::<Vec<&str>, _>(|line| line.starts_with('['));
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: others.concat(),
            progress: progress.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Standard output as JSON, which is one line and nothing else.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The built command with these arguments. Standard input is closed.
pub fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kitestring"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the built command.
pub fn kitestring<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Outcome {
    Outcome::new(command(arguments).output().unwrap())
}

/// Runs the built command, which must succeed and write nothing but progress and notes on training to standard error.
pub fn done<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(arguments: &[S]) -> Outcome {
    let outcome = kitestring(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
    // Worlds as small as these are trained for less than they would need, which is noted.
    let noted = |line: &str| line.starts_with("note: `train.");
    assert!(outcome.stderr.lines().all(noted), "{arguments:?}: {}", outcome.stderr);
    outcome
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The config of the simulated marketplace.
pub fn simulated() -> String {
    root().join("configs/simulated.toml").display().to_string()
}

/// Settings that make the simulated marketplace small.
pub const SMALL: [&str; 14] = [
    "--set",
    "simulator.users=300",
    "--set",
    "simulator.items=400",
    "--set",
    "simulator.events=16000",
    "--set",
    "train.epochs=1",
    "--set",
    "train.batch_size=256",
    "--set",
    "evaluate.bootstrap=20",
    "--seed",
    "5",
];

/// A folder with a log of clicks in `clicks.csv`, and `clicks.toml` for it.
pub struct Clicks {
    pub folder: TempDir,
}

/// The config of [`Clicks`].
pub const CONFIG: &str = r#"
[data]
split = { by = "time", test = 0.2 }
[[data.layouts]]
name = "one file"
samples = { path = "clicks.csv" }
[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
    { name = "price", kind = "numeric", transform = "standardize" },
]
tasks = [{ name = "click" }]
[train]
batch_size = 32
epochs = 1
workers = 1
[evaluate]
bootstrap = 0
"#;

/// Rows of `clicks.csv`, without the header.
pub const ROWS: usize = 400;

impl Clicks {
    pub fn new() -> Self {
        let clicks = Self { folder: tempfile::tempdir().unwrap() };
        let mut text = String::from("user,item,time,price,click\n");
        for row in 0..ROWS {
            let (user, item, price) = (row % 20, row * 7 % 31, (row % 13) as f32 / 2.0);
            text += &format!("u{user},i{item},{row},{price},{}\n", u8::from((user + item) % 3 == 0));
        }
        clicks.write("clicks.csv", text.as_bytes());
        clicks.write("clicks.toml", CONFIG.as_bytes());
        clicks
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    /// Exchanges a text of a file for another.
    pub fn replace(&self, name: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(old), "{name} has no {old}");
        self.write(name, text.replacen(old, new, 1).as_bytes());
    }

    /// Puts another text in the place of one line of the log, counted from one.
    pub fn line(&self, number: usize, text: &str) {
        let file = std::fs::read_to_string(self.path("clicks.csv")).unwrap();
        let mut lines: Vec<&str> = file.lines().collect();
        lines[number - 1] = text;
        self.write("clicks.csv", (lines.join("\n") + "\n").as_bytes());
    }

    /// Prepares the log in the folder `dataset`.
    pub fn prepare(&self, more: &[&str]) -> Outcome {
        let (config, data, out) = (self.path("clicks.toml"), self.path("clicks.csv"), self.path("dataset"));
        let arguments = ["prepare", &config, "--data", &data, "--out", &out];
        kitestring(&[&arguments, more].concat())
    }
}
