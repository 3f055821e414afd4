//! Progress on standard error: a live line in a terminal, elsewhere a line a phase and an epoch.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kitestring_compress::pipeline;
use kitestring_core::{Error, Result};
use kitestring_data::prepare;
use kitestring_train::{evaluate, fit};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two lines of one phase where there is no terminal: a log shows that a long phase is alive, and stays short.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Notes only.
    Quiet,
    /// A live line in a terminal, elsewhere a line a phase.
    Normal,
}

/// What is going on and how far it is, on standard error.
pub struct Progress {
    bar: ProgressBar,
    counted: ProgressStyle,
    open: ProgressStyle,
    phase: &'static str,
    /// Whose line it is, among several.
    name: Option<String>,
    /// Where there is no terminal, lines are written to a log: when the command started and when the last line was written.
    log: Option<LogLines>,
}

/// Progress where there is no terminal.
struct LogLines {
    start: Instant,
    last: Instant,
}

impl LogLines {
    fn write(&mut self, text: &str) {
        self.last = Instant::now();
        eprintln!("[{:7.1} s] {text}", self.start.elapsed().as_secs_f64());
    }
}

fn style(template: &str) -> Result<ProgressStyle> {
    let style = ProgressStyle::with_template(template);
    style.map_err(|error| Error::internal("a progress line").caused_by(error))
}

impl Progress {
    /// A line for a command.
    ///
    /// # Errors
    /// Never with the templates below.
    pub fn new(verbosity: Verbosity) -> Result<Self> {
        let mut progress = Self::on(ProgressBar::new_spinner(), None)?;
        if verbosity == Verbosity::Quiet {
            progress.bar.set_draw_target(ProgressDrawTarget::hidden());
        } else if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            progress.log = Some(LogLines { start: now, last: now });
        }
        Ok(progress)
    }

    fn on(bar: ProgressBar, name: Option<String>) -> Result<Self> {
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self {
            bar,
            counted: style("{prefix:12} {wide_bar} {human_pos:>11}/{human_len:11} {eta:>5} {msg}")?,
            open: style("{prefix:12} {spinner} {human_pos:>11} {msg}")?,
            phase: "",
            name,
            log: None,
        })
    }

    /// Shows how far a phase is; `of` where it is known how much there is.
    fn show(&mut self, phase: &'static str, done: u64, of: Option<u64>) {
        if let Some(log) = &mut self.log
            && (self.phase != phase || log.last.elapsed() >= BETWEEN_LINES)
        {
            let message = self.bar.message();
            let far = match of {
                Some(of) if self.phase == phase => format!(": {done} of {of}  {message}"),
                None if self.phase == phase => format!(": {done}  {message}"),
                Some(of) => format!(": {of} in all"),
                None => String::new(),
            };
            log.write(format!("{phase}{far}").trim_end());
        }
        if self.phase != phase {
            self.phase = phase;
            self.bar.reset();
            self.bar.set_message("");
            self.bar.set_prefix(self.name.clone().unwrap_or_else(|| phase.to_owned()));
            self.bar.set_style(if of.is_some() { self.counted.clone() } else { self.open.clone() });
        }
        if let Some(of) = of {
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }

    /// Writes a line that stays.
    fn line(&mut self, text: &str) {
        match &mut self.log {
            Some(log) => log.write(text),
            None => self.bar.println(text),
        }
    }

    /// Impressions simulated, of about as many.
    pub fn simulating(&mut self, done: u64, of: u64) {
        self.show("simulating", done, Some(of));
    }

    /// Whether it is the line of one of several runs, of which the whole is told by another.
    pub fn is_one_of_several(&self) -> bool {
        self.name.is_some()
    }

    /// What the user should know, in a terminal or not.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("note: {text}"));
    }

    /// How far a preparation is.
    pub fn preparing(&mut self, progress: prepare::Progress) {
        match progress {
            prepare::Progress::Reading(rows) => self.show("reading", rows, None),
            prepare::Progress::Arranging(rows, all) => self.show("arranging", rows, Some(all)),
            prepare::Progress::Writing(rows, all) => self.show("writing", rows, Some(all)),
        }
    }

    /// What happens in training.
    pub fn training(&mut self, event: &fit::Event<'_>) {
        match event {
            // Among several runs, each run's end is enough.
            fit::Event::Resumed { .. } | fit::Event::Epoch { .. } if self.name.is_some() => {}
            fit::Event::Resumed { steps } => self.line(&format!("goes on after step {steps}")),
            fit::Event::Step { epoch, batch, batches, loss, samples_per_second } => {
                self.show("training", *batch, Some(*batches));
                self.bar.set_message(format!("epoch {epoch}  loss {loss:.4}  {samples_per_second:.0} samples/s"));
            }
            fit::Event::Epoch { epoch, best } => {
                let metrics = epoch.metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
                let metrics = metrics.collect::<Vec<_>>().join("  ");
                let best = if *best { "  best" } else { "" };
                self.line(&format!("epoch {:3}  {metrics}{best}", epoch.epoch));
            }
        }
    }

    /// How far a ranker is on its way to a device.
    pub fn shipping(&mut self, progress: pipeline::Progress<'_>) {
        match progress {
            pipeline::Progress::Pass(number, of, name) => self.line(&format!("pass {number} of {of}: {name}")),
            pipeline::Progress::Scoring(done, all) => self.show("scoring", done, Some(all)),
            pipeline::Progress::Training(event) => self.training(&event),
        }
    }

    /// How far an evaluation is.
    pub fn judging(&mut self, progress: evaluate::Progress) {
        match progress {
            evaluate::Progress::Scoring(done, all) => self.show("scoring", done, Some(all)),
            evaluate::Progress::Ranking(done, all) => self.show("ranking", done, Some(all)),
        }
    }
}

/// Lines for several runs at once, and one for how many are done.
pub struct Several {
    lines: MultiProgress,
    all: ProgressBar,
    /// Whether the end of a run is a line of a log, as there is no terminal.
    log: bool,
    start: Instant,
}

impl Several {
    /// For so many runs.
    ///
    /// # Errors
    /// Never with the template below.
    pub fn new(runs: u64, verbosity: Verbosity) -> Result<Self> {
        let lines = MultiProgress::new();
        if verbosity == Verbosity::Quiet {
            lines.set_draw_target(ProgressDrawTarget::hidden());
        }
        let log = verbosity == Verbosity::Normal && !std::io::stderr().is_terminal();
        let all = lines.add(ProgressBar::new(runs));
        all.set_style(style("{prefix:12} {wide_bar} {human_pos:>11}/{human_len:11} {eta:>5}")?);
        all.set_prefix("runs");
        all.enable_steady_tick(Duration::from_millis(500));
        Ok(Self { lines, all, log, start: Instant::now() })
    }

    /// A line for a run.
    ///
    /// # Errors
    /// As [`Progress::new`].
    pub fn progress(&self, name: &str) -> Result<Progress> {
        let bar = self.lines.insert_before(&self.all, ProgressBar::new_spinner());
        Progress::on(bar, Some(name.to_owned()))
    }

    /// What the user should know, in a terminal or not.
    pub fn note(&self, text: &str) {
        self.lines.suspend(|| eprintln!("note: {text}"));
    }

    /// A run is done, with what it came to. That one failed is said outside a terminal too.
    pub fn done(&self, name: &str, result: std::result::Result<String, String>) {
        self.all.inc(1);
        match result {
            Ok(said) if self.log => {
                let (done, runs) = (self.all.position(), self.all.length().unwrap_or(0));
                eprintln!("[{:7.1} s] {done} of {runs}: {name}: {said}", self.start.elapsed().as_secs_f64());
            }
            // A line that cannot be shown is no reason to stop.
            Ok(said) => _ = self.lines.println(format!("{name}: {said}")),
            Err(why) => self.note(&format!("{name} failed: {why}")),
        }
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.all.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
