//! The `kitestring` command: from interaction logs to a trained, evaluated and explained ranker.
//!
//! Results go to standard output, progress and errors to standard error. The exit code is 0 when done, 1 when something failed,
//! 2 when the command line or a config is wrong.

mod arguments;
mod commands;
mod kept_columns;
mod metrics;
mod output;
mod predictions;
mod progress;
mod retriever;
mod shipping;
mod stages;
mod standard_input;
mod start;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// From interaction logs to a trained, evaluated and explained ranker.
#[derive(Debug, Parser)]
#[command(name = "kitestring", version, max_term_width = 110, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Examples:
  kitestring run                                              the whole loop on a simulated marketplace
  kitestring run configs/movielens-1m.toml --data ml-1m       the same on real data
  kitestring schema clicks.csv > clicks.toml                  a first config for a file of your own";

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Run),
    Simulate(commands::simulate::Simulate),
    Prepare(commands::prepare::Prepare),
    Train(commands::train::Train),
    Evaluate(commands::evaluate::Evaluate),
    Predict(commands::predict::Predict),
    Retrieve(commands::retrieve::Retrieve),
    Recommend(commands::recommend::Recommend),
    Compress(commands::compress::Compress),
    Device(commands::device::Device),
    Export(commands::export::Export),
    Key(commands::key::Key),
    Sweep(commands::sweep::Sweep),
    Compare(commands::compare::Compare),
    Report(commands::report::Report),
    Schema(commands::schema::Schema),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => command.execute(),
        Command::Simulate(command) => command.execute(),
        Command::Prepare(command) => command.execute(),
        Command::Train(command) => command.execute(),
        Command::Evaluate(command) => command.execute(),
        Command::Predict(command) => command.execute(),
        Command::Retrieve(command) => command.execute(),
        Command::Recommend(command) => command.execute(),
        Command::Compress(command) => command.execute(),
        Command::Device(command) => command.execute(),
        Command::Export(command) => command.execute(),
        Command::Key(command) => command.execute(),
        Command::Sweep(command) => command.execute(),
        Command::Compare(command) => command.execute(),
        Command::Report(command) => command.execute(),
        Command::Schema(command) => command.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    /// The lines of a text that are commands of ours, up to a gap of two spaces or a comment.
    fn commands(text: &str) -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().trim_start_matches("$ "));
        let ours = lines.filter_map(|line| {
            let start = ["kitestring ", "cargo run --release -- "].iter().find(|start| line.starts_with(**start))?;
            Some(&line[start.len()..])
        });
        let end = |line: &str| {
            [line.find("  "), line.find(" #"), line.find(" >"), line.find(" <")].into_iter().flatten().min()
        };
        ours.map(|line| line[..end(line).unwrap_or(line.len())].trim().to_owned()).collect()
    }

    fn parses(command: &str) {
        let words = std::iter::once("kitestring").chain(command.split_whitespace());
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("`kitestring {command}`: {error}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples_that_parse() {
        let mut cli = Cli::command();
        assert_eq!(commands(&cli.render_help().to_string()).len(), 3);
        for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            let examples = commands(&help);
            assert!(!examples.is_empty() && examples.iter().all(|example| example.starts_with(&name)), "{help}");
            examples.iter().for_each(|example| parses(example));
        }
    }

    #[test]
    fn every_command_in_the_documents_parses() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for document in [
            "README.md",
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
            "docs/data-sets.md",
            "docs/simulator.md",
            "docs/experiments.md",
        ] {
            let text =
                std::fs::read_to_string(root.join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
            // Commands stand in fenced blocks; every second part between fences is one.
            let blocks = text.split("\n```").skip(1).step_by(2);
            blocks.flat_map(commands).for_each(|command| parses(&command));
        }
    }
}
