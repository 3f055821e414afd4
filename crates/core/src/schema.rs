//! The declared meaning of a user's columns: features, scenario levels, tasks and special columns.
//!
//! A schema is written in TOML by the user and travels, as JSON, with every data set, model and artifact.

use crate::error::{Error, Result};
use crate::json::{self, Read, Value};
use serde::{Deserialize, Serialize};

/// The declared meaning of the columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Column of the user; histories, GAUC and splits by user need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Column of the item; negatives and ranking over all items need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Column that orders a user's events: numbers, or dates and times. Without it file order is time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Column of the display position, counted from one; 0 or empty is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Column of the arm of a randomized treatment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treatment: Option<String>,
    /// Column of the logged probability of what was done, in (0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity: Option<String>,
    /// Column of the sample's weight in the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// What the model reads.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// Tables that are not a known vocabulary with a minimum count of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableRule>,
    /// Scenario levels, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scenarios: Vec<Level>,
    /// What the model predicts.
    #[serde(default)]
    pub tasks: Vec<Task>,
}

crate::fields!(Schema {
    user,
    item,
    time,
    position,
    treatment,
    propensity,
    weight,
    features,
    tables,
    scenarios,
    tasks,
});

/// How a feature's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// One id a sample.
    Categorical,
    /// One number a sample.
    Numeric,
    /// A set of ids a sample, pooled by the encoder.
    Multi,
    /// Ids in the order of time, oldest first.
    Sequence,
}

crate::choices!(FeatureKind { Categorical, Numeric, Multi, Sequence });

/// Whose property a feature is. It decides which value a sample gets when its item is exchanged for a candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The user's: the same for all candidates.
    User,
    /// The item's: looked up again for every candidate.
    Item,
    /// The moment's.
    #[default]
    Context,
}

crate::choices!(Of { User, Item, Context });

/// What the model reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name, unique.
    pub name: String,
    /// How its values are read.
    pub kind: FeatureKind,
    /// The column it is read from, if not the one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The id space it shares with others, if not one of its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whose property it is.
    #[serde(default)]
    pub of: Of,
    /// Splits a text column into the ids of a multi-valued feature or a sequence. List columns need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The longest list kept: the last ids of a sequence, the first ones of a multi-valued feature.
    #[serde(default = "default_length")]
    pub length: usize,
    /// Builds a sequence from the user's earlier events instead of reading a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// What is done to a number, fitted on training rows only.
    #[serde(default)]
    pub transform: Transform,
}

crate::fields!(Feature {
    name, kind; column, table, of, separator, length, history, transform
} else Self::new("", FeatureKind::Categorical));

fn default_length() -> usize {
    50
}

/// A sequence of the user's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The categorical feature whose values are listed.
    pub of: String,
    /// Only events where this binary task is positive; all events when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Which events are seen from a sample.
    #[serde(default, skip_serializing_if = "Which::is_default")]
    pub which: Which,
}

crate::fields!(History { of; when, which } else Self { of: String::new(), when: None, which: Which::Earlier });

/// Which of a user's events a sample sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those of strictly earlier times: rows of one moment do not see each other, unless `data.ties` says so. Of more than `length` the last
    /// ones.
    #[default]
    Earlier,
    /// All in the split `train`, for logs that have lost their order. Of more than `length` that many are drawn, others every epoch. A
    /// training sample sees its own item, so a ranker must not read it; a retriever's query never meets its item before the vectors do.
    /// (To leave the own item out is no way out: that it is missing then tells as much.)
    All,
}

crate::choices!(Which { Earlier, All });

impl Which {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is done to a number. Anything fitted is fitted on training rows only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// As it is.
    #[default]
    None,
    /// Zero mean, unit variance.
    Standardize,
    /// `sign(x) · ln(1 + |x|)`, then standardized.
    Log,
    /// The number of its quantile bucket, of this many: the feature becomes categorical.
    Bucketize(u32),
}

impl Read for Transform {
    fn blank() -> Self {
        Self::None
    }

    fn read(&mut self, value: &Value) -> Result<(), json::Error> {
        *self = match json::variant(value)? {
            ("none", None) => Self::None,
            ("standardize", None) => Self::Standardize,
            ("log", None) => Self::Log,
            ("bucketize", Some(count)) => Self::Bucketize(json::from_value(count)?),
            (name, _) => {
                return Err(json::Error::unknown("variant", name, ["none", "standardize", "log", "bucketize"]));
            }
        };
        Ok(())
    }
}

/// How the ids of a table come about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRule {
    /// The table.
    pub name: String,
    /// Its ids.
    pub vocabulary: Vocabulary,
}

crate::fields!(TableRule { name, vocabulary; } else Self { name: String::new(), vocabulary: Vocabulary::Open });

/// How values become ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// Values seen at least this often in training rows, each with a row of its own. The others share a row, and a missing value has another.
    Known {
        /// The least number of training rows.
        min_count: u32,
    },
    /// The value's hash modulo this many rows.
    Hashed {
        /// Number of rows.
        buckets: u64,
    },
    /// The value's 64-bit hash itself: the table grows as ids are admitted.
    Open,
}

impl Read for Vocabulary {
    fn blank() -> Self {
        Self::default()
    }

    fn read(&mut self, value: &Value) -> Result<(), json::Error> {
        let (name, fields) = json::variant(value)?;
        *self = match (name, fields) {
            ("known", Some(_)) => Self::Known { min_count: 0 },
            ("hashed", Some(_)) => Self::Hashed { buckets: 0 },
            ("open", None) => Self::Open,
            _ => return Err(json::Error::unknown("variant", name, ["known", "hashed", "open"])),
        };
        match (self, fields) {
            (Self::Known { min_count }, Some(fields)) => json::read_fields(fields, 1, "min_count", &mut [min_count]),
            (Self::Hashed { buckets }, Some(fields)) => json::read_fields(fields, 1, "buckets", &mut [buckets]),
            _ => Ok(()),
        }
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::Known { min_count: 1 }
    }
}

/// One level of the scenario tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// The column it is read from, if not the one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

crate::fields!(Level { name; column } else Self { name: String::new(), column: None });

/// What a label is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// 0 or 1.
    #[default]
    Binary,
    /// Any number.
    Regression,
    /// A count, 0, 1, 2 …
    Count,
}

crate::choices!(TaskKind { Binary, Regression, Count });

/// What the model predicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name, unique.
    pub name: String,
    /// What its label is.
    #[serde(default)]
    pub kind: TaskKind,
    /// The column it is read from, if not the one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A binary label is 1 where the column is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// A binary label is 1 where the column is this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// The task that must be positive before this one can be: buying after clicking. ESMM follows this chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

crate::fields!(Task { name; kind, column, at_least, equals, after } else Self::binary(""));

impl Feature {
    /// A feature of a kind, everything else at its default.
    pub fn new(name: impl Into<String>, kind: FeatureKind) -> Self {
        Self {
            name: name.into(),
            kind,
            column: None,
            table: None,
            of: Of::Context,
            separator: None,
            length: default_length(),
            history: None,
            transform: Transform::None,
        }
    }

    /// The column it is read from.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }

    /// Its id space.
    pub fn table(&self) -> &str {
        self.table.as_deref().unwrap_or(&self.name)
    }

    /// Whether its values are ids of a table: everything but a number that stays a number.
    pub fn is_sparse(&self) -> bool {
        self.kind != FeatureKind::Numeric || matches!(self.transform, Transform::Bucketize(_))
    }

    /// Whether a sample may have any number of its ids.
    pub fn is_ragged(&self) -> bool {
        matches!(self.kind, FeatureKind::Multi | FeatureKind::Sequence)
    }
}

impl Level {
    /// The column it is read from.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

impl Task {
    /// A binary task read from the column of its name.
    pub fn binary(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: TaskKind::Binary, column: None, at_least: None, equals: None, after: None }
    }

    /// The column it is read from.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

impl Schema {
    /// The features whose values are ids, in the order of [`crate::Batch::sparse`].
    pub fn sparse(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| feature.is_sparse())
    }

    /// The features whose values are numbers, in the order of [`crate::Batch::numeric`].
    pub fn numeric(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| !feature.is_sparse())
    }

    /// The tables in the order of their first feature.
    pub fn table_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for feature in self.sparse() {
            if !names.contains(&feature.table()) {
                names.push(feature.table());
            }
        }
        names
    }

    /// How the ids of a table come about.
    pub fn vocabulary(&self, table: &str) -> Vocabulary {
        self.tables.iter().find(|rule| rule.name == table).map_or_else(Vocabulary::default, |rule| rule.vocabulary)
    }

    /// The number of the task of a name.
    pub fn task(&self, name: &str) -> Option<usize> {
        self.tasks.iter().position(|task| task.name == name)
    }

    /// The same without some features, and without the rules of tables that no feature reads any more.
    ///
    /// # Errors
    /// A config error: a feature there is not, or a history that stays while the feature it lists goes.
    pub fn without(&self, features: &[String]) -> Result<Self> {
        for name in features {
            known("without", "a feature", name, self.features.iter().map(|feature| feature.name.as_str()))?;
        }
        let gone = |name: &String| features.contains(name);
        let lists = |feature: &&Feature| feature.history.as_ref().is_some_and(|history| gone(&history.of));
        if let Some(feature) = self.features.iter().filter(lists).find(|feature| !gone(&feature.name)) {
            let of = feature.history.as_ref().map_or("", |history| history.of.as_str());
            return Err(Error::config(format!("`{}` lists `{of}`, which is left out", feature.name))
                .in_field("without")
                .mend(format!("leave `{}` out too, or keep `{of}`", feature.name)));
        }
        let mut left = self.clone();
        left.features.retain(|feature| !gone(&feature.name));
        let tables: Vec<String> = left.table_names().into_iter().map(str::to_owned).collect();
        left.tables.retain(|rule| tables.contains(&rule.name));
        left.check()?;
        Ok(left)
    }

    /// Checks that this is an earlier schema with at most more tasks: what a trained model can be grown to.
    ///
    /// # Errors
    /// A config error that names what is missing or another.
    pub fn check_grown_from(&self, earlier: &Self) -> Result<()> {
        for task in &earlier.tasks {
            let field = format!("schema.tasks.{}", task.name);
            match self.task(&task.name).map(|number| &self.tasks[number]) {
                Some(same) if same == task => {}
                Some(_) => {
                    let error = Error::config("the task is another one in the run to start from");
                    return Err(error.in_field(field).mend("keep its keys, or give the new task another name"));
                }
                None => {
                    let error = Error::config("the run to start from has this task: tasks are added, not taken away");
                    return Err(error.in_field(field).mend("keep the task"));
                }
            }
        }
        let feature = |of: &Self, name: &str| of.features.iter().find(|feature| feature.name == name).cloned();
        for name in self.features.iter().chain(&earlier.features).map(|feature| feature.name.as_str()) {
            if feature(self, name) != feature(earlier, name) {
                return Err(Error::config("the feature is not the same in the run to start from")
                    .in_field(format!("schema.features.{name}"))
                    .mend("keep that run's features: only tasks and scenarios can be added"));
            }
        }
        let (mine, theirs) = (self.others(), earlier.others());
        match mine.into_iter().zip(theirs).find(|((_, mine), (_, theirs))| mine != theirs) {
            None => Ok(()),
            Some(((key, _), _)) => Err(Error::config("this is not the same in the run to start from")
                .in_field(format!("schema.{key}"))
                .mend("keep that run's: only tasks and scenarios can be added")),
        }
    }

    /// Everything but the tasks, for a comparison.
    fn others(&self) -> Vec<(&'static str, String)> {
        let Self { user, item, time, position, treatment, propensity, weight, features, tables, scenarios, tasks: _ } =
            self;
        let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
        let columns = [
            ("user", user),
            ("item", item),
            ("time", time),
            ("position", position),
            ("treatment", treatment),
            ("propensity", propensity),
            ("weight", weight),
        ];
        let columns = columns.map(|(key, column)| (key, format!("{column:?}")));
        let lists = [
            ("features", format!("{names:?}")),
            ("tables", format!("{tables:?}")),
            ("scenarios", format!("{scenarios:?}")),
        ];
        columns.into_iter().chain(lists).collect()
    }

    /// Checks what does not need the data: names, references, chains of tasks.
    ///
    /// # Errors
    /// A config error that names the key and the nearest existing name.
    pub fn check(&self) -> Result<()> {
        unique("schema.features", self.features.iter().map(|feature| feature.name.as_str()))?;
        unique("schema.tasks", self.tasks.iter().map(|task| task.name.as_str()))?;
        unique("schema.scenarios", self.scenarios.iter().map(|level| level.name.as_str()))?;
        unique("schema.tables", self.tables.iter().map(|rule| rule.name.as_str()))?;
        if self.features.is_empty() {
            return Err(Error::config("there is no feature").in_field("schema.features").mend("declare at least one"));
        }
        for feature in &self.features {
            self.check_feature(feature)?;
        }
        let tables = self.table_names();
        for rule in &self.tables {
            known("schema.tables", "a feature uses this table", &rule.name, tables.iter().copied())?;
            if matches!(rule.vocabulary, Vocabulary::Hashed { buckets: 0 }) {
                return Err(Error::config("a hashed table needs at least one bucket")
                    .in_field(format!("schema.tables.{}", rule.name)));
            }
        }
        for (index, task) in self.tasks.iter().enumerate() {
            let field = format!("schema.tasks.{}", task.name);
            if let Some(after) = &task.after {
                known(&field, "an earlier task", after, self.tasks[..index].iter().map(|task| task.name.as_str()))?;
            }
            if task.kind != TaskKind::Binary && (task.at_least.is_some() || task.equals.is_some()) {
                return Err(Error::config("`at_least` and `equals` make a binary label").in_field(field));
            }
        }
        Ok(())
    }

    fn check_feature(&self, feature: &Feature) -> Result<()> {
        let field = format!("schema.features.{}", feature.name);
        if feature.is_ragged() && feature.length == 0 {
            return Err(Error::config("`length` must be at least 1").in_field(field));
        }
        if feature.transform != Transform::None && feature.kind != FeatureKind::Numeric {
            return Err(Error::config("only a numeric feature has a `transform`").in_field(field));
        }
        if matches!(feature.transform, Transform::Bucketize(buckets) if buckets < 2) {
            return Err(Error::config("`bucketize` needs at least 2 buckets").in_field(field));
        }
        let Some(history) = &feature.history else { return Ok(()) };
        if feature.kind != FeatureKind::Sequence {
            return Err(Error::config("only a sequence has a `history`").in_field(field));
        }
        if self.user.is_none() {
            return Err(Error::config("a history needs to know whose it is")
                .in_field(field)
                .mend("name the user's column as `schema.user`"));
        }
        let categorical = |feature: &&Feature| feature.kind == FeatureKind::Categorical;
        let names = self.features.iter().filter(categorical).map(|feature| feature.name.as_str());
        known(&field, "a categorical feature", &history.of, names)?;
        if let Some(when) = &history.when {
            let binary = self.tasks.iter().filter(|task| task.kind == TaskKind::Binary);
            known(&field, "a binary task", when, binary.map(|task| task.name.as_str()))?;
        }
        let listed = self.features.iter().find(|other| other.name == history.of);
        if listed.is_some_and(|listed| listed.table() != feature.table()) {
            return Err(Error::config(format!("a history of `{}` shares its table", history.of))
                .in_field(field)
                .mend(format!("set table = \"{}\"", listed.map_or("", Feature::table))));
        }
        Ok(())
    }
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Error::config(format!("`{name}` is declared twice")).in_field(field));
        }
        seen.push(name);
    }
    Ok(())
}

fn known<'a>(field: &str, what: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    Err(Error::config(format!("`{name}` is not {what}")).in_field(field).suggest(name, names))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn schema() -> Schema {
        let mut history = Feature::new("liked", FeatureKind::Sequence);
        history.table = Some("movie".into());
        history.history = Some(History { of: "movie".into(), when: Some("like".into()), which: Which::Earlier });
        Schema {
            user: Some("user".into()),
            features: vec![
                Feature::new("movie", FeatureKind::Categorical),
                history,
                Feature::new("age", FeatureKind::Numeric),
            ],
            tasks: vec![Task::binary("like")],
            ..Schema::default()
        }
    }

    #[test]
    fn a_sound_schema_passes() {
        schema().check().unwrap();
        assert_eq!(schema().table_names(), ["movie"]);
        assert_eq!(schema().numeric().count(), 1);
    }

    #[test]
    fn references_are_checked() {
        let mut wrong = schema();
        wrong.features[1].history.as_mut().unwrap().when = Some("lik".into());
        assert!(wrong.check().unwrap_err().to_string().contains("did you mean `like`?"));
        let mut wrong = schema();
        wrong.features[1].table = None;
        assert!(wrong.check().unwrap_err().to_string().contains("set table = \"movie\""));
        let mut wrong = schema();
        wrong.features.push(Feature::new("age", FeatureKind::Numeric));
        assert!(wrong.check().unwrap_err().to_string().contains("declared twice"));
        let mut wrong = schema();
        wrong.user = None;
        assert!(wrong.check().is_err());
    }

    #[test]
    fn only_tasks_are_added() {
        let mut grown = schema();
        grown.tasks.insert(0, Task::binary("share"));
        grown.check_grown_from(&schema()).unwrap();
        schema().check_grown_from(&schema()).unwrap();
        let refused = |change: &dyn Fn(&mut Schema), texts: [&str; 2]| {
            let mut other = schema();
            change(&mut other);
            let error = other.check_grown_from(&schema()).unwrap_err().to_string();
            assert!(texts.iter().all(|text| error.contains(text)), "{error}");
        };
        refused(&|schema| schema.tasks[0].name = "love".into(), ["schema.tasks.like", "keep the task"]);
        refused(&|schema| schema.tasks[0].at_least = Some(4.0), ["schema.tasks.like", "another name"]);
        refused(&|schema| schema.features[2].transform = Transform::Log, ["schema.features.age", "same"]);
        refused(&|schema| drop(schema.features.pop()), ["schema.features.age", "same"]);
        refused(&|schema| schema.features.swap(0, 2), ["schema.features", "same"]);
        refused(&|schema| schema.user = Some("who".into()), ["schema.user", "same"]);
        let level = Level { name: "page".into(), column: None };
        refused(&|schema| schema.scenarios.push(level.clone()), ["schema.scenarios", "same"]);
    }

    #[test]
    fn features_are_left_out() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut with_rule = schema();
        with_rule.tables.push(TableRule { name: "movie".into(), vocabulary: Vocabulary::Open });
        let left = with_rule.without(&names(&["liked", "movie"])).unwrap();
        assert_eq!((left.features.len(), left.tables.len()), (1, 0));
        let left = with_rule.without(&names(&["liked"])).unwrap();
        assert_eq!((left.features.len(), left.tables.len()), (2, 1));
        assert_eq!(schema().without(&[]).unwrap(), schema());
        let refused = |of: &[&str]| schema().without(&names(of)).unwrap_err().to_string();
        assert!(refused(&["movie"]).contains("`liked` lists `movie`"));
        assert!(refused(&["lked"]).contains("did you mean `liked`?"));
        assert!(refused(&["liked", "movie", "age"]).contains("no feature"));
    }

    #[test]
    fn travels_as_json() {
        let text = serde_json::to_string(&schema()).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema());
        assert!(serde_json::from_str::<Schema>(&text.replace("\"features\"", "\"featurs\"")).is_err());
    }
}
