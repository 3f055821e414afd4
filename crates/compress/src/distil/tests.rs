//! Distillation from a small data set on.

#![allow(clippy::unwrap_used)]

use super::teacher::Teacher;
use super::*;
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::{OneWorker, Workers};
use kitestring_train::evaluate;
use kitestring_train::fit::{MODEL, fit};
use kitestring_train::guide::{Guide, Lesson};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fixture::Fixture;

impl Fixture {
    fn distil(&self, how: &Distil, name: &str, resume: bool) -> Result<Student> {
        distil(&self.teacher, &self.dataset, &self.config, how, &self.place(name), resume, &mut |_| {})
    }

    /// The samples of `train`, as a data set has them.
    fn batch(dataset: &Dataset) -> Batch {
        let split = dataset.split("train").unwrap();
        let mut batch = Batch::default();
        split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(3), &mut batch).unwrap();
        batch
    }
}

fn how(text: &str) -> Distil {
    toml::from_str(text).unwrap()
}

/// A student without what a device lacks, smaller and with another encoder.
const SMALL: &str = r#"
without = ["taste", "hour"]
train = { epochs = 15 }
model = { dimension = 3, encoder = { type = "pool" }, body = { bottom = { units = [6], activation = "prelu" }, towers = { units = [3], activation = "prelu" } } }
"#;

/// Every file of two model directories.
fn files(place: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 2);
    files
}

#[test]
fn without_a_share_it_is_plain_training_to_the_bit() {
    let fixture = Fixture::new();
    let mut how = how(SMALL);
    how.alpha = 0.0;
    how.model.insert(
        "body".into(),
        toml::from_str::<toml::Table>("type = \"mlp\"\nunits = [8, 4]\nbatch_norm = true\ndropout = 0.2")
            .unwrap()
            .into(),
    );
    let student = fixture.distil(&how, "distilled", false).unwrap();
    let plain = fixture.place("plain");
    fit(&student.config, &student.dataset, &plain, false, &mut |_| {}).unwrap();
    assert!(files(&plain.join(MODEL)) == files(&fixture.place("distilled").join(MODEL)));
    // With a share it is another model.
    how.alpha = 0.5;
    fixture.distil(&how, "half", false).unwrap();
    assert!(files(&plain.join(MODEL)) != files(&fixture.place("half").join(MODEL)));
}

#[test]
fn a_student_that_is_its_teacher_has_nothing_to_learn() {
    let fixture = Fixture::new();
    for temperature in [1.0, 3.0] {
        let how = Distil { alpha: 0.7, temperature, ..Distil::default() };
        let student = how.student(&fixture.config).unwrap();
        let batch = Fixture::batch(&fixture.dataset);
        let mut teacher = Teacher::new(&fixture.teacher, &fixture.dataset, false, 1).unwrap();
        let lesson =
            Lesson { batch: &batch, draws: Seed(3), step: 0, learning_rate: 0.1, values: &[], workers: &OneWorker };
        teacher.say(&lesson).unwrap();
        let values: Vec<f32> = (0..batch.rows).flat_map(|row| teacher.said(row).to_vec()).collect();
        let mut tutor = Tutor::new(&how, (&fixture.teacher, &fixture.dataset), &student, 1).unwrap();
        let mut gradient = vec![0.0; values.len()];
        let found = tutor.guide(&Lesson { values: &values, ..lesson }, &mut gradient).unwrap();
        assert_eq!((found.len(), found[0].loss, found[0].weight), (1, 0.0, 0.7));
        assert!(gradient.iter().all(|slope| *slope == 0.0));
        // Not so of another student.
        let moved: Vec<f32> = values.iter().map(|value| value + 0.5).collect();
        let found = tutor.guide(&Lesson { values: &moved, ..lesson }, &mut gradient).unwrap();
        assert!(found[0].loss > 0.0 && gradient.iter().all(|slope| *slope > 0.0));
    }
}

/// All losses together, with weights of samples, of tasks that decay, and missing labels.
#[test]
fn the_gradient_is_that_of_what_is_minimized() {
    let fixture = Fixture::new();
    let mut how = how(SMALL);
    how.model.insert(
        "loss".into(),
        toml::from_str::<toml::Table>("weights = { seconds = 0.3 }\ndecay = { plays = 0.9 }").unwrap().into(),
    );
    (how.alpha, how.temperature, how.representation) = (0.6, 2.0, 0.4);
    how.rank = Some(Rank { weight: 0.5, samples: 3, top: Some(4), ..Rank::default() });
    let student = how.student(&fixture.config).unwrap();
    let batch = Fixture::batch(&fixture.dataset.without(&how.without).unwrap());
    assert!(batch.labels.iter().any(|label| label.is_nan()) && batch.weight.contains(&2.0));
    let mut tutor = Tutor::new(&how, (&fixture.teacher, &fixture.dataset), &student, 1).unwrap();
    let width = tutor.shown.width;
    assert_eq!((width, tutor.teacher.shown.width, tutor.block()), (3 + 3 * 3, 3 + 3 * 6, 8));
    let values: Vec<f32> = (0..batch.rows * width).map(|at| Seed(8).normal_at(at as u64)).collect();
    // A step of no length leaves the map as it is.
    let lesson =
        Lesson { batch: &batch, draws: Seed(3), step: 7, learning_rate: 0.0, values: &[], workers: &OneWorker };
    let mut of = |values: &[f32]| {
        let mut gradient = vec![0.0; values.len()];
        let found = tutor.guide(&Lesson { values, ..lesson }, &mut gradient).unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.name).collect();
        assert_eq!(names, ["soft", "rank", "representation"]);
        (found.iter().map(|found| found.weight * found.loss).sum::<f64>(), gradient)
    };
    let gradient = of(&values).1;
    let largest = gradient.iter().fold(0.0_f32, |largest, slope| largest.max(slope.abs()));
    for at in (0..values.len()).step_by(7) {
        let step = 1.0 / 64.0;
        let mut at_step = |by: f32| {
            let mut moved = values.clone();
            moved[at] += by;
            of(&moved).0
        };
        let expected = (at_step(step) - at_step(-step)) / f64::from(2.0 * step);
        let difference = (f64::from(gradient[at]) - expected).abs();
        assert!(difference < 1e-3 * f64::from(largest), "{at}: {} {expected}", gradient[at]);
    }
}

#[test]
fn a_device_student_comes_nearer_to_its_teacher() {
    let fixture = Fixture::new();
    let distance = |student: &Student| {
        let read = |model: &Model, dataset: &Dataset| {
            let split = dataset.split("valid").unwrap();
            let mut prepared = kitestring_train::inputs::Prepared::default();
            split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut prepared.batch).unwrap();
            let mut scores = Vec::new();
            let mut predictor = kitestring_train::predictor::Predictor::new(model, 1);
            predictor.score(&mut prepared, &OneWorker as &dyn Workers, &mut scores).unwrap();
            scores
        };
        let own = read(&student.fitted.model, &student.dataset);
        let teachers = read(&fixture.teacher, &fixture.dataset);
        assert_eq!(own.len(), teachers.len());
        let squares = own.iter().zip(&teachers).step_by(3).map(|(own, teachers)| f64::from(own - teachers).powi(2));
        squares.sum::<f64>() / (own.len() / 3) as f64
    };
    // The teacher's user table is gone with the feature, and so is what was said of it.
    let lacking = fixture.distil(&how(SMALL), "lacking", false).unwrap();
    assert_eq!(lacking.config.schema.table_names(), ["item"]);
    assert!(lacking.config.model.dimensions.is_empty() && lacking.config.evaluate.serve_as.is_empty());
    assert_eq!((lacking.config.train.epochs, lacking.config.train.batch_size), (Some(15), Some(64)));
    // A student that has what decides can say nearly what its teacher says.
    let small = r#"
        without = ["hour"]
        model = { dimension = 5, encoder = { type = "pool" }, body = { bottom = { activation = "prelu" } } }
        train = { epochs = 60 }"#;
    let plain = fixture.distil(&Distil { alpha: 0.0, ..how(small) }, "plain", false).unwrap();
    let all = how(&format!("alpha = 0.9\ntemperature = 2.0\nrepresentation = 0.1\nrank = {{ list = 8 }}\n{small}"));
    let half = fixture.distil(&Distil { alpha: 0.9, temperature: 2.0, ..how(small) }, "half", false).unwrap();
    let all = fixture.distil(&all, "all", false).unwrap();
    let [plain_distance, half_distance, all_distance] = [&plain, &half, &all].map(distance);
    assert!(half_distance < 0.8 * plain_distance, "{half_distance} {plain_distance}");
    assert!(all_distance < 0.9 * plain_distance, "{all_distance} {plain_distance}");
    // Its curves have the new losses; the model is a model like any other.
    let last = all.fitted.history.steps.last().unwrap();
    assert_eq!(last.guided.keys().collect::<Vec<_>>(), ["rank", "representation", "soft"]);
    let first = &all.fitted.history.steps[0];
    assert!(last.guided["soft"] < first.guided["soft"] && last.guided["rank"] < first.guided["rank"]);
    let read = Model::read(&fixture.place("all").join(MODEL)).unwrap();
    assert_eq!(read.network, all.fitted.model.network);
    let threads = Threads::new(1).unwrap();
    let found = evaluate::quick(&read, &all.dataset, "valid", &all.config.evaluate, Seed(1), &threads).unwrap();
    assert!(found["like.auc"] > 0.5, "{found:?}");
}

/// A run that is killed goes on to the same model to the bit, map and all; not with another teacher or other options.
#[test]
fn killed_runs_go_on() {
    let fixture = Fixture::new();
    let mut how = how(&format!("representation = 0.2\nrank = {{ list = 8 }}\n{SMALL}"));
    how.train = toml::from_str("epochs = 3\ncheckpoint_steps = 4").unwrap();
    fixture.distil(&how, "straight", false).unwrap();
    let killed = catch_unwind(AssertUnwindSafe(|| {
        let mut steps = 0;
        let place = fixture.place("killed");
        distil(&fixture.teacher, &fixture.dataset, &fixture.config, &how, &place, false, &mut |event| {
            if let Event::Step { .. } = event {
                steps += 1;
                assert!(steps < 14, "killed");
            }
        })
    }));
    assert!(killed.is_err());
    let refused = |teacher: &Model, how: &Distil| {
        let place = fixture.place("killed");
        let found = distil(teacher, &fixture.dataset, &fixture.config, how, &place, true, &mut |_| {});
        found.err().unwrap().to_string()
    };
    assert!(refused(&fixture.teacher, &Distil { alpha: 0.4, ..how.clone() }).contains("another"));
    let mut other = Model::read(&fixture.place("teacher").join(MODEL)).unwrap();
    other.network.weights[0] += 1.0;
    assert!(refused(&other, &how).contains("another"));
    let mut resumed = 0;
    let place = fixture.place("killed");
    distil(&fixture.teacher, &fixture.dataset, &fixture.config, &how, &place, true, &mut |event| {
        if let Event::Resumed { steps } = event {
            resumed = steps;
        }
    })
    .unwrap();
    assert_eq!(resumed, 12);
    assert!(files(&fixture.place("straight").join(MODEL)) == files(&place.join(MODEL)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let fixture = Fixture::new();
    let refused = |text: &str, parts: &[&str]| {
        let error = how(text).student(&fixture.config).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    };
    refused("alpha = 1.5", &["distil.alpha"]);
    refused("temperature = 0.0", &["distil.temperature"]);
    refused("representation = -1.0", &["distil.representation"]);
    refused("without = [\"tste\"]", &["distil.without", "did you mean `taste`?"]);
    refused("without = [\"item\"]", &["distil.without", "`liked` lists `item`", "leave `liked` out too"]);
    refused("model = { dimenson = 4 }", &["distil.model", "did you mean `model.dimension`?"]);
    refused("model = { encoder = { type = \"dine\" } }", &["distil.model", "did you mean `din`?"]);
    refused("train = { epochz = 4 }", &["distil.train", "did you mean `train.epochs`?"]);
    refused("train = { batch_size = 0 }", &["train.batch_size"]);
    refused("model = { head = { type = \"heteroscedastic\" } }", &["distil.model.head.type", "teacher's"]);
    refused("rank = { task = \"lik\" }", &["distil.rank.task", "did you mean `like`?"]);
    for key in ["weight = 0.0", "temperature = -1.0", "samples = 0", "top = 0", "list = 1"] {
        refused(&format!("rank = {{ {key} }}"), &["distil.rank", key.split(' ').next().unwrap()]);
    }
    let error = toml::from_str::<Distil>("alfa = 0.5").unwrap_err().to_string();
    assert!(error.contains("alfa") && error.contains("alpha"), "{error}");
    // What only training finds: updates of several workers, another data set.
    let error = fixture.distil(&how("train = { asynchronous = true }"), "asynchronous", false).err().unwrap();
    assert!(error.to_string().contains("train.asynchronous"), "{error}");
    let other = fixture.dataset.without(&["hour".to_owned()]).unwrap();
    let found = distil(&fixture.teacher, &other, &fixture.config, &how(""), &fixture.place("x"), false, &mut |_| {});
    assert!(found.err().unwrap().to_string().contains("another schema"));
    // A config is written out and read again.
    let all = how(&format!("rank = {{ top = 3 }}\n{SMALL}"));
    assert_eq!(toml::from_str::<Distil>(&toml::to_string(&all).unwrap()).unwrap(), all);
}
