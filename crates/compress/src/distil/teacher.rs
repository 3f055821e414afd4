//! What a model shows beside its predictions: logits, and what they are made of.

use kitestring_core::{Error, Result};
use kitestring_data::dataset::{Dataset, Split};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::body::OfTask;
use kitestring_train::Model;
use kitestring_train::guide::Lesson;
use kitestring_train::inputs::Prepared;
use kitestring_train::predictor::Predictor;
use std::ops::Range;
use std::sync::Arc;

/// The values that a teacher and its student show, side by side, and where each stands.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// The values.
    pub(super) values: Vec<Value>,
    /// The columns of the representation, behind one of a logit a task; none where it is not shown.
    pub(super) representation: Range<usize>,
    /// All columns.
    pub(super) width: usize,
}

impl Shown {
    /// These logits of a ranker's tasks, with its representation or without.
    pub(super) fn of(ranker: &Ranker, logit: impl Fn(&OfTask) -> Value, representation: bool) -> Self {
        let mut values: Vec<Value> = ranker.tasks.iter().map(logit).collect();
        let first = values.len();
        let mut distinct: Vec<Value> = Vec::new();
        for of_task in ranker.tasks.iter().filter(|_| representation) {
            if !distinct.contains(&of_task.representation) {
                distinct.push(of_task.representation);
            }
        }
        let width = first + distinct.iter().map(|value| ranker.graph.width(*value)).sum::<usize>();
        let representation = first..width;
        values.extend(distinct);
        Self { values, representation, width }
    }
}

/// A teacher with what it reads. It scores as in service: nothing drops out, and statistics are the running ones.
pub(super) struct Teacher<'a> {
    predictor: Predictor<'a>,
    split: &'a Split,
    prepared: Prepared,
    /// What it said of the last batch.
    said: Vec<f32>,
    /// What it shows.
    pub(super) shown: Shown,
}

impl<'a> Teacher<'a> {
    /// A teacher over the training samples of a data set, for a number of workers.
    ///
    /// # Errors
    /// A data set of another schema than the teacher's, or without training samples.
    pub(super) fn new(model: &'a Model, dataset: &'a Dataset, representation: bool, workers: usize) -> Result<Self> {
        if model.schema != *dataset.schema() {
            return Err(Error::config("the teacher was trained with another schema than the data set's")
                .in_field("schema")
                .mend("distil over the data set of the teacher's run"));
        }
        let ranker = Ranker::new(&model.schema, &model.config, &model.scenarios)?;
        let shown = Shown::of(&ranker, |task| task.logit, representation);
        let graph: Arc<Graph> = Arc::new(ranker.showing(&shown.values));
        Ok(Self {
            predictor: Predictor::showing(model, graph, workers),
            split: dataset.split("train")?,
            prepared: Prepared::default(),
            said: Vec::new(),
            shown,
        })
    }

    /// Reads the samples of a lesson, with the features that the student may lack, and says what it [shows](Self::shown) of them.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn say(&mut self, lesson: &Lesson<'_>) -> Result<()> {
        self.split.read(&lesson.batch.index, lesson.draws, &mut self.prepared.batch)?;
        self.predictor.score(&mut self.prepared, lesson.workers, &mut self.said)
    }

    /// What it said of a sample.
    pub(super) fn said(&self, row: usize) -> &[f32] {
        &self.said[row * self.shown.width..(row + 1) * self.shown.width]
    }
}
