//! The losses of distillation over a batch, and their gradient by what the student shows.

use super::config::Distil;
use super::rank::Lists;
use super::representation::Map;
use super::soft::soft;
use super::teacher::{Shown, Teacher};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result, Seed, seed::mix};
use kitestring_data::dataset::Dataset;
use kitestring_nn::graph::{Loss, Value};
use kitestring_nn::ranker::Ranker;
use kitestring_train::guide::{Guide, Guided, Lesson};
use kitestring_train::{Model, RunConfig};
use std::collections::BTreeMap;

/// A teacher that guides a student's training.
pub(crate) struct Tutor<'a> {
    config: &'a Distil,
    identity: String,
    seed: Seed,
    pub(super) teacher: Teacher<'a>,
    /// What the student shows.
    pub(super) shown: Shown,
    kinds: Vec<TaskKind>,
    /// The losses of the student's graph: they say what each task counts for.
    losses: Vec<Loss>,
    /// The task whose order is learned.
    ranked: usize,
    lists: Lists,
    map: Option<Map>,
    /// The student's representation, the teacher's, and the gradient by the former.
    representations: [Vec<f32>; 3],
}

impl<'a> Tutor<'a> {
    /// A tutor of the student of a run, for a number of workers.
    ///
    /// # Errors
    /// A student that the config cannot make; a data set of another schema than the teacher's.
    pub(crate) fn new(
        config: &'a Distil,
        (model, dataset): (&'a Model, &'a Dataset),
        student: &RunConfig,
        workers: usize,
    ) -> Result<Self> {
        let represents = config.representation > 0.0;
        let teacher = Teacher::new(model, dataset, represents, workers)?;
        let ranker = Ranker::new(&student.schema, &student.model, &dataset.scenario_counts())?;
        // The teacher's logits are as served. A student that learns a bias of positions beside must say them without it.
        let shown = Shown::of(&ranker, |task| task.unbiased, represents);
        let seed = Seed(student.seed).child("distil");
        let map = || {
            let widths = [&shown, &teacher.shown].map(|shown| shown.representation.len());
            Map::new(widths[0], widths[1], student.train.optimizer, seed)
        };
        let task = config.rank.as_ref().and_then(|rank| rank.task.as_deref());
        Ok(Self {
            config,
            identity: identity(config, model)?,
            seed,
            map: represents.then(map).transpose()?,
            teacher,
            shown,
            kinds: student.schema.tasks.iter().map(|task| task.kind).collect(),
            losses: ranker.graph.losses().to_vec(),
            ranked: task.and_then(|task| student.schema.task(task)).unwrap_or(0),
            lists: Lists::default(),
            representations: Default::default(),
        })
    }

    /// What the loss of a task is multiplied by beside those of other tasks after a number of steps. A weight that is learned is left out.
    fn weight_of(&self, task: usize, steps: u64) -> f64 {
        let of_task = self.losses.iter().filter(|loss| loss.task == Some(task));
        of_task.map(|loss| loss.weight_at(steps)).sum()
    }

    /// The mean over samples of the tasks' soft losses. Adds the gradient, times the teacher's share.
    fn soften(&self, lesson: &Lesson<'_>, share: &dyn Fn(usize) -> f64, gradient: &mut [f32]) -> f64 {
        let (width, alpha) = (self.shown.width, self.config.alpha);
        let mut sum = 0.0;
        for (task, kind) in self.kinds.iter().enumerate() {
            let weight = self.weight_of(task, lesson.step);
            for row in 0..lesson.batch.rows {
                let at = row * width + task;
                let found = soft(*kind, self.teacher.said(row)[task], lesson.values[at], self.config.temperature);
                let weight = weight * share(row);
                sum += weight * found.loss;
                gradient[at] += (alpha * weight * found.slope) as f32;
            }
        }
        sum
    }

    /// The loss of the teacher's order. Adds the gradient.
    fn rank(&mut self, lesson: &Lesson<'_>, gradient: &mut [f32]) -> Option<Guided> {
        let Self { config, seed, teacher, shown, kinds, lists, ranked, .. } = self;
        let rank = config.rank.as_ref()?;
        let (tasks, labels, task) = (kinds.len(), &lesson.batch.labels, *ranked);
        let at = |row: usize| row * shown.width + task;
        let scores = |row: usize| (labels[row * tasks + task], teacher.said(row)[task], lesson.values[at(row)]);
        let seed = seed.child("rank").at(lesson.step);
        let loss = lists.loss(rank, seed, &lesson.batch.user, scores, |row, slope| {
            gradient[at(row)] += (rank.weight * slope) as f32;
        });
        Some(Guided { name: "rank", loss, weight: rank.weight })
    }

    /// The loss of the teacher's representation. Adds the gradient and learns the map.
    fn represent(&mut self, lesson: &Lesson<'_>, share: &dyn Fn(usize) -> f64, gradient: &mut [f32]) -> Option<Guided> {
        let map = self.map.as_mut()?;
        let [own, teachers, slopes] = &mut self.representations;
        own.clear();
        teachers.clear();
        for (row, values) in lesson.values.chunks_exact(self.shown.width).enumerate() {
            own.extend_from_slice(&values[self.shown.representation.clone()]);
            teachers.extend_from_slice(&self.teacher.said(row)[self.teacher.shown.representation.clone()]);
        }
        slopes.resize(own.len(), 0.0);
        let weight = self.config.representation;
        let loss = map.learn((own, teachers), share, (weight, lesson.learning_rate), slopes);
        let width = self.shown.representation.len();
        for (into, slopes) in gradient.chunks_exact_mut(self.shown.width).zip(slopes.chunks_exact(width)) {
            let into = &mut into[self.shown.representation.clone()];
            into.iter_mut().zip(slopes).for_each(|(into, slope)| *into += slope);
        }
        Some(Guided { name: "representation", loss, weight })
    }
}

impl Guide for Tutor<'_> {
    fn values(&self) -> &[Value] {
        &self.shown.values
    }

    fn of_tasks(&self) -> f32 {
        (1.0 - self.config.alpha) as f32
    }

    fn block(&self) -> u64 {
        self.config.rank.as_ref().map_or(1, |rank| rank.list)
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn guide(&mut self, lesson: &Lesson<'_>, gradient: &mut [f32]) -> Result<Vec<Guided>> {
        self.teacher.say(lesson)?;
        let weight = |row: usize| lesson.batch.weight.get(row).map_or(1.0, |weight| f64::from(*weight));
        let total: f64 = (0..lesson.batch.rows).map(weight).sum();
        // A label may be missing: what the teacher says of the sample counts all the same.
        let share = |row: usize| if total > 0.0 { weight(row) / total } else { 0.0 };
        let mut found =
            vec![Guided { name: "soft", loss: self.soften(lesson, &share, gradient), weight: self.config.alpha }];
        found.extend(self.rank(lesson, gradient));
        found.extend(self.represent(lesson, &share, gradient));
        match found.iter().find(|found| !found.loss.is_finite()) {
            Some(found) => {
                Err(Error::numeric(format!("the loss `{}` of distillation is not a finite number", found.name))
                    .mend("lower the learning rate, or look at the teacher's predictions"))
            }
            None => Ok(found),
        }
    }

    fn memory(&self) -> Vec<(String, &[f32])> {
        self.map.as_ref().map(Map::memory).unwrap_or_default()
    }

    fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        self.map.as_mut().map_or(Ok(()), |map| map.restore(steps, memory))
    }
}

/// The config and the teacher: another teacher has another network.
fn identity(config: &Distil, teacher: &Model) -> Result<String> {
    let network = &teacher.network;
    let numbers = network.weights.iter().chain(&network.state);
    let print = numbers.fold(0, |print, number| mix(print ^ u64::from(number.to_bits())));
    let text = serde_json::to_string(&(config, print));
    text.map_err(|error| Error::internal("the identity of a distillation").caused_by(error))
}
