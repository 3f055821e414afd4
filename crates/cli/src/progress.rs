//! Progress on standard error; silent where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use kitestring_core::{Error, Result};
use kitestring_data::prepare;
use kitestring_train::{evaluate, fit};
use std::time::Duration;

/// A line on standard error that says what is going on and how far it is.
pub struct Progress {
    bar: ProgressBar,
    counted: ProgressStyle,
    open: ProgressStyle,
    phase: &'static str,
}

impl Progress {
    /// A line for a command.
    ///
    /// # Errors
    /// Never with the templates below.
    pub fn new() -> Result<Self> {
        let style = |template: &str| {
            let style = ProgressStyle::with_template(template);
            style.map_err(|error| Error::internal("a progress line").caused_by(error))
        };
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self {
            bar,
            counted: style("{prefix:12} {wide_bar} {human_pos:>11}/{human_len:11} {eta:>5} {msg}")?,
            open: style("{prefix:12} {spinner} {human_pos:>11} {msg}")?,
            phase: "",
        })
    }

    /// Shows how far a phase is; `of` where it is known how much there is.
    fn show(&mut self, phase: &'static str, done: u64, of: Option<u64>) {
        if self.phase != phase {
            self.phase = phase;
            self.bar.reset();
            self.bar.set_message("");
            self.bar.set_prefix(phase);
            self.bar.set_style(if of.is_some() { self.counted.clone() } else { self.open.clone() });
        }
        if let Some(of) = of {
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }

    /// Impressions simulated, of about as many.
    pub fn simulating(&mut self, done: u64, of: u64) {
        self.show("simulating", done, Some(of));
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
            fit::Event::Resumed { steps } => self.bar.println(format!("goes on after step {steps}")),
            fit::Event::Step { epoch, batch, batches, loss, samples_per_second } => {
                self.show("training", *batch, Some(*batches));
                self.bar.set_message(format!("epoch {epoch}  loss {loss:.4}  {samples_per_second:.0} samples/s"));
            }
            fit::Event::Epoch { epoch, best } => {
                let metrics = epoch.metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
                let metrics = metrics.collect::<Vec<_>>().join("  ");
                let best = if *best { "  best" } else { "" };
                self.bar.println(format!("epoch {:3}  {metrics}{best}", epoch.epoch));
            }
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

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
