//! The truth of each sample of a split, read from beside its row.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use kitestring_core::{Error, Result};
use kitestring_data::config::Source;
use kitestring_data::dataset::Split;
use kitestring_data::reader::{BadRows, Input};
use std::path::{Path, PathBuf};

/// The column both files number their rows by.
const ID: &str = "impression_id";
/// Whether a page was filled uniformly at random.
const RANDOM: &str = "random_policy";
/// The logit of a click, without all that is not the item's.
const RELEVANCE: &str = "relevance";
/// What the place adds to the logit of a click.
const POSITION_BIAS: &str = "position_bias";
/// The task that the others follow.
const CLICK: &str = "click";

/// The truth of each sample of a split.
pub(crate) struct TrueRows {
    /// Whether the sample's page was filled uniformly at random; empty where the rows do not say.
    pub random: Vec<bool>,
    /// What the place and the device added to the logit of a click; empty where the truth does not say.
    pub position_bias: Vec<f32>,
    relevance: Vec<f32>,
    /// For each outcome, its name and its probability as shown: given a click, but for the click itself.
    probabilities: Vec<(String, Vec<f32>)>,
}

/// What is true of an outcome.
pub(crate) struct Outcome {
    /// The probability of a positive label for the sample as it was shown.
    pub probability: Vec<f32>,
    /// The same of the item by itself.
    pub relevance: Vec<f32>,
}

/// A file of rows, and which sample of the split each wanted row is.
struct File {
    path: PathBuf,
    /// Row in the file, counted from 1, and sample; ascending.
    rows: Vec<(u64, usize)>,
}

impl TrueRows {
    /// Reads the truth of a split; none where there is no file of truths beside a file that its rows came from.
    pub fn read(split: &Split) -> Result<Option<Self>> {
        let samples =
            usize::try_from(split.rows()).map_err(|_| Error::data("more samples than memory has addresses"))?;
        let files = files(split)?;
        let truths: Vec<PathBuf> = files.iter().filter_map(|file| truth_of(&file.path)).collect();
        if truths.len() != files.len() || files.is_empty() {
            return Ok(None);
        }
        let mut ids = vec![f64::NAN; samples];
        let mut found = Self {
            random: Vec::new(),
            position_bias: Vec::new(),
            relevance: vec![f32::NAN; samples],
            probabilities: Vec::new(),
        };
        for (file, truth) in files.iter().zip(&truths) {
            let rows = Open::new(&file.path)?;
            let says_random = rows.has(RANDOM);
            if says_random {
                found.random.resize(samples, false);
            }
            let columns: Vec<&str> = if says_random { vec![ID, RANDOM] } else { vec![ID] };
            rows.visit(&columns, &file.rows, |sample, values| {
                ids[sample] = values[0];
                if says_random {
                    found.random[sample] = values[1] > 0.5;
                }
                Ok(())
            })?;
            found.read_truth(truth, file, &ids)?;
        }
        Ok(Some(found))
    }

    fn read_truth(&mut self, path: &Path, file: &File, ids: &[f64]) -> Result<()> {
        let truth = Open::new(path)?;
        let names: Vec<String> = truth
            .input
            .columns()
            .iter()
            .filter_map(|name| name.strip_suffix("_probability"))
            .map(str::to_owned)
            .collect();
        for name in &names {
            if !self.probabilities.iter().any(|(known, _)| known == name) {
                self.probabilities.push((name.clone(), vec![f32::NAN; ids.len()]));
            }
        }
        let columns: Vec<String> = [ID.to_owned(), RELEVANCE.to_owned()]
            .into_iter()
            .chain(names.iter().map(|name| format!("{name}_probability")))
            .chain(truth.has(POSITION_BIAS).then(|| POSITION_BIAS.to_owned()))
            .collect();
        if truth.has(POSITION_BIAS) {
            self.position_bias.resize(ids.len(), f32::NAN);
        }
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        truth.visit(&columns, &file.rows, |sample, values| {
            if values[0] != ids[sample] {
                return Err(Error::data(format!(
                    "the truth of impression {} lies where that of {} should",
                    values[0], ids[sample]
                ))
                .mend("simulate again: rows and truth are of different simulations"));
            }
            self.relevance[sample] = values[1] as f32;
            let (probabilities, rest) = values[2..].split_at(names.len());
            if let [bias] = rest {
                self.position_bias[sample] = *bias as f32;
            }
            for (name, value) in names.iter().zip(probabilities) {
                if let Some((_, column)) = self.probabilities.iter_mut().find(|(known, _)| known == name) {
                    column[sample] = *value as f32;
                }
            }
            Ok(())
        })
    }

    /// What is true of the outcome in a column of the rows; none where the truth does not speak of it.
    pub fn outcome(&self, column: &str) -> Option<Outcome> {
        let of = |name: &str| self.probabilities.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        let (click, own) = (of(CLICK)?, of(column)?);
        let logistic = |logit: &f32| 1.0 / (1.0 + (-logit).exp());
        let relevance = self.relevance.iter().map(logistic);
        Some(if column == CLICK {
            Outcome { probability: own.clone(), relevance: relevance.collect() }
        } else {
            Outcome {
                probability: click.iter().zip(own).map(|(click, own)| click * own).collect(),
                relevance: relevance.zip(own).map(|(click, own)| click * own).collect(),
            }
        })
    }
}

/// The files that the rows of a split came from.
fn files(split: &Split) -> Result<Vec<File>> {
    let mut files: Vec<(&str, File)> = Vec::new();
    for sample in 0..split.rows() {
        let (name, row) = split.source(sample)?;
        let known = files.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            files.push((name, File { path: PathBuf::from(name), rows: Vec::new() }));
            files.len() - 1
        });
        files[known].1.rows.push((row, sample as usize));
    }
    Ok(files
        .into_iter()
        .map(|(_, mut file)| {
            file.rows.sort_unstable();
            file
        })
        .collect())
}

/// The truth of a file: its namesake in the folder `truth` beside it.
fn truth_of(path: &Path) -> Option<PathBuf> {
    let truth = path.parent()?.join("truth").join(path.file_name()?);
    truth.is_file().then_some(truth)
}

/// A file opened for reading.
struct Open {
    input: Input,
    path: PathBuf,
}

impl Open {
    fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self { input: Input::open(folder, &Source::new(name))?, path: path.to_owned() })
    }

    fn has(&self, column: &str) -> bool {
        self.input.columns().iter().any(|known| known == column)
    }

    /// Shows the values of columns at wanted rows, with the sample each is wanted for.
    fn visit(
        &self,
        columns: &[&str],
        wanted: &[(u64, usize)],
        mut visit: impl FnMut(usize, &[f64]) -> Result<()>,
    ) -> Result<()> {
        let mut left = wanted.iter().peekable();
        let mut values = vec![0.0; columns.len()];
        for chunk in self.input.read(columns, &BadRows::default())? {
            let chunk = chunk?;
            for at in 0..chunk.rows.num_rows() {
                let line = chunk.lines.of(at);
                while let Some((_, sample)) = left.next_if(|(row, _)| *row == line) {
                    for (value, column) in values.iter_mut().zip(chunk.rows.columns()) {
                        *value = number(column, at).ok_or_else(|| {
                            let error = Error::data("expected a number");
                            error.in_file(self.path.display().to_string()).at_line(line)
                        })?;
                    }
                    visit(*sample, &values)
                        .map_err(|error| error.in_file(self.path.display().to_string()).at_line(line))?;
                }
            }
            if left.peek().is_none() {
                return Ok(());
            }
        }
        match left.peek() {
            None => Ok(()),
            Some((row, _)) => Err(Error::data(format!("there is no row {row}"))
                .in_file(self.path.display().to_string())
                .mend("simulate again: rows and truth are of different simulations")),
        }
    }
}

/// A number of a column of any type that the simulator writes.
pub(super) fn number(column: &ArrayRef, row: usize) -> Option<f64> {
    match column.data_type() {
        DataType::Int8 => column.as_primitive_opt::<Int8Type>().map(|values| values.value(row).into()),
        DataType::Int32 => column.as_primitive_opt::<Int32Type>().map(|values| values.value(row).into()),
        DataType::Int64 => column.as_primitive_opt::<Int64Type>().map(|values| values.value(row) as f64),
        DataType::Float32 => column.as_primitive_opt::<Float32Type>().map(|values| values.value(row).into()),
        DataType::Float64 => column.as_primitive_opt::<Float64Type>().map(|values| values.value(row)),
        _ => None,
    }
}
