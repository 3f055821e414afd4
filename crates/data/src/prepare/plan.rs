//! What of a row is kept, and where in its record.

use super::spill::{u32_at, u64_at};
use kitestring_core::schema::{Feature, FeatureKind, Of, Transform, Vocabulary, Which};
use kitestring_core::{Error, Result, Schema, Seed};

/// How a text becomes an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// By the vocabulary of this number. Until training rows are known, a record holds the value's provisional number.
    Vocabulary(usize),
    /// By its hash modulo a number of buckets.
    Buckets(u64),
    /// By its hash.
    Open,
}

impl Ids {
    /// Whether an id takes eight bytes of a record, else four.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Open) || matches!(self, Self::Buckets(buckets) if buckets > u64::from(u32::MAX))
    }
}

/// What a slot of a record holds, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// An id: `u32`, or `u64` where ids are wide. All ones are a missing hash.
    Id(Ids),
    /// Where the ids lie in the part's lists (`u64`, in bytes) and how many they are (`u32`).
    List { ids: Ids, separator: Option<String>, length: usize, last: bool },
    /// `f64`, NaN where missing.
    Number,
    /// `f32`, NaN where missing: the label of this task.
    Label(usize),
    /// `u32`: the provisional number of the path down to this level.
    Level(usize),
    /// `i64`, and behind it what is beyond the whole, `u32`.
    Time,
    /// `u32`, 0 where missing.
    Position,
    /// `f32` in (0, 1].
    Propensity,
    /// `f32`, at least 0.
    Weight,
}

impl Kind {
    fn width(&self) -> usize {
        match self {
            Self::Id(ids) if ids.is_wide() => 8,
            Self::List { .. } | Self::Time => 12,
            Self::Number => 8,
            _ => 4,
        }
    }
}

/// A part of a record.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    /// Its column's place in [`Plan::columns`].
    pub(crate) column: usize,
    /// Its first byte.
    pub(crate) at: usize,
}

/// A vocabulary in the making.
#[derive(Debug, Clone)]
pub(crate) struct VocabularyPlan {
    pub(crate) name: String,
    /// The least number of training rows of an id; none where every value is kept.
    pub(crate) min_count: Option<u32>,
}

/// A list of events of each user that histories are cut from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventList {
    /// The slot listed.
    pub(crate) slot: usize,
    /// The slot of the label that must be positive.
    pub(crate) when: Option<usize>,
    /// Which events samples see.
    pub(crate) which: Which,
    /// The longest history cut from it.
    pub(crate) longest: usize,
}

/// What of a row is kept, and where in its record. The slots of the item's features come first, so that an item's
/// record is a row's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) schema: Schema,
    pub(crate) columns: Vec<String>,
    pub(crate) slots: Vec<Slot>,
    /// Bytes of the item's part of a record.
    pub(crate) item_stride: usize,
    /// Where a record says which file (upper 24 bits) and line (lower 40 bits) it came from: `u64`.
    pub(crate) source_at: usize,
    /// Where a record says which row of its line it is, from 0: `u32`.
    pub(crate) place_at: usize,
    /// Where a record says its given split: `u8`. The next byte is its final split.
    pub(crate) given_at: usize,
    /// Bytes of a record.
    pub(crate) stride: usize,
    pub(crate) vocabularies: Vec<VocabularyPlan>,
    /// How ids of each table come about, in the order of [`Schema::table_names`]; none where they are buckets of numbers.
    pub(crate) tables: Vec<Option<Ids>>,
    /// The slot of each feature; none for a history.
    pub(crate) features: Vec<Option<usize>>,
    /// The lists of events, and which one each feature is cut from.
    pub(crate) event_lists: Vec<EventList>,
    pub(crate) histories: Vec<Option<usize>>,
    pub(crate) labels: Vec<usize>,
    pub(crate) levels: Vec<(usize, usize)>,
    pub(crate) user: Option<(usize, usize)>,
    pub(crate) item: Option<(usize, usize)>,
    /// Always there: without a time column it holds the number of the row.
    pub(crate) time: usize,
    pub(crate) position: Option<usize>,
    pub(crate) treatment: Option<(usize, usize)>,
    pub(crate) propensity: Option<usize>,
    pub(crate) weight: Option<usize>,
}

/// The columns of the user's rows that a schema speaks of, each once.
pub fn columns(schema: &Schema) -> Vec<String> {
    let special = [&schema.user, &schema.item, &schema.time, &schema.position, &schema.treatment, &schema.propensity];
    let special = special.into_iter().chain([&schema.weight]).filter_map(|column| column.as_deref());
    let features = schema.features.iter().filter(|feature| feature.history.is_none()).map(Feature::column);
    let levels = schema.scenarios.iter().map(|level| level.column());
    let mut columns: Vec<String> = Vec::new();
    for column in special.chain(features).chain(levels).chain(schema.tasks.iter().map(|task| task.column())) {
        if !columns.iter().any(|known| known == column) {
            columns.push(column.to_owned());
        }
    }
    columns
}

impl Plan {
    /// # Errors
    /// A table shared by features whose ids cannot be the same.
    pub(crate) fn new(schema: &Schema) -> Result<Self> {
        schema.check()?;
        let mut plan = Self {
            columns: columns(schema),
            schema: schema.clone(),
            slots: Vec::new(),
            item_stride: 0,
            source_at: 0,
            place_at: 0,
            given_at: 0,
            stride: 0,
            vocabularies: Vec::new(),
            tables: Vec::new(),
            features: vec![None; schema.features.len()],
            event_lists: Vec::new(),
            histories: vec![None; schema.features.len()],
            labels: Vec::new(),
            levels: Vec::new(),
            user: None,
            item: None,
            time: 0,
            position: None,
            treatment: None,
            propensity: None,
            weight: None,
        };
        plan.add_tables()?;
        for of_item in [true, false] {
            plan.add_features(of_item);
            if of_item {
                plan.item_stride = plan.stride;
            }
        }
        plan.add_special();
        plan.add_histories()?;
        plan.source_at = plan.stride;
        plan.place_at = plan.stride + 8;
        plan.given_at = plan.stride + 12;
        plan.stride += 14;
        Ok(plan)
    }

    fn add_tables(&mut self) -> Result<()> {
        let schema = self.schema.clone();
        for table in schema.table_names() {
            let of_numbers = |feature: &&Feature| feature.kind == FeatureKind::Numeric;
            let users: Vec<_> = schema.sparse().filter(|feature| feature.table() == table).collect();
            let numbers = users.iter().copied().filter(|feature| of_numbers(feature)).count();
            if numbers > 0 {
                let sizes: Vec<_> = users.iter().map(|feature| feature.transform).collect();
                if numbers < users.len() || sizes.windows(2).any(|pair| pair[0] != pair[1]) {
                    return Err(Error::config(format!(
                        "table `{table}` is shared by buckets of numbers and other ids"
                    ))
                    .in_field("schema.features")
                    .mend("give the bucketized feature a table of its own"));
                }
                self.tables.push(None);
                continue;
            }
            let ids = match schema.vocabulary(table) {
                Vocabulary::Known { min_count } => {
                    self.vocabularies.push(VocabularyPlan { name: table.into(), min_count: Some(min_count.max(1)) });
                    Ids::Vocabulary(self.vocabularies.len() - 1)
                }
                Vocabulary::Hashed { buckets } => Ids::Buckets(buckets),
                Vocabulary::Open => Ids::Open,
            };
            self.tables.push(Some(ids));
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind, column: &str) -> usize {
        let column = self.columns.iter().position(|known| known == column).unwrap_or(usize::MAX);
        // A column that is read in the same way twice (a feature and the user's number) is kept once.
        if let Kind::Id(_) = kind
            && let Some(same) = self.slots.iter().position(|slot| slot.kind == kind && slot.column == column)
        {
            return same;
        }
        let at = self.stride;
        self.stride += kind.width();
        self.slots.push(Slot { kind, column, at });
        self.slots.len() - 1
    }

    fn add_features(&mut self, of_item: bool) {
        let schema = self.schema.clone();
        let tables = schema.table_names();
        for (index, feature) in schema.features.iter().enumerate() {
            if (feature.of == Of::Item) != of_item || feature.history.is_some() {
                continue;
            }
            let ids = tables.iter().position(|table| *table == feature.table()).and_then(|table| self.tables[table]);
            let kind = match (feature.kind, ids) {
                (FeatureKind::Numeric, _) | (_, None) => Kind::Number,
                (FeatureKind::Categorical, Some(ids)) => Kind::Id(ids),
                (FeatureKind::Multi | FeatureKind::Sequence, Some(ids)) => Kind::List {
                    ids,
                    separator: feature.separator.clone(),
                    length: feature.length,
                    last: feature.kind == FeatureKind::Sequence,
                },
            };
            self.features[index] = Some(self.add(kind, feature.column()));
        }
    }

    /// The vocabulary that numbers users or items: that of a feature which reads the same column, else one of its own.
    fn add_key(&mut self, name: &str, column: Option<&String>) -> Option<(usize, usize)> {
        let column = column?;
        let of_feature = self.schema.features.iter().enumerate().find_map(|(index, feature)| {
            let slot = self.features[index].filter(|_| feature.column() == column)?;
            match self.slots[slot].kind {
                Kind::Id(Ids::Vocabulary(vocabulary)) => Some((slot, vocabulary)),
                _ => None,
            }
        });
        Some(of_feature.unwrap_or_else(|| {
            self.vocabularies.push(VocabularyPlan { name: name.into(), min_count: None });
            let vocabulary = self.vocabularies.len() - 1;
            (self.add(Kind::Id(Ids::Vocabulary(vocabulary)), column), vocabulary)
        }))
    }

    fn add_special(&mut self) {
        let schema = self.schema.clone();
        self.user = self.add_key("user", schema.user.as_ref());
        self.item = self.add_key("item", schema.item.as_ref());
        self.treatment = schema.treatment.as_ref().map(|column| {
            self.vocabularies.push(VocabularyPlan { name: "treatment".into(), min_count: None });
            let vocabulary = self.vocabularies.len() - 1;
            (self.add(Kind::Id(Ids::Vocabulary(vocabulary)), column), vocabulary)
        });
        for (index, level) in schema.scenarios.iter().enumerate() {
            let name = format!("scenario.{}", level.name);
            self.vocabularies.push(VocabularyPlan { name, min_count: Some(1) });
            let slot = self.add(Kind::Level(index), level.column());
            self.levels.push((slot, self.vocabularies.len() - 1));
        }
        for (index, task) in schema.tasks.iter().enumerate() {
            let slot = self.add(Kind::Label(index), task.column());
            self.labels.push(slot);
        }
        self.time = self.add(Kind::Time, schema.time.as_deref().unwrap_or_default());
        self.position = schema.position.as_ref().map(|column| self.add(Kind::Position, column));
        self.propensity = schema.propensity.as_ref().map(|column| self.add(Kind::Propensity, column));
        self.weight = schema.weight.as_ref().map(|column| self.add(Kind::Weight, column));
    }

    fn add_histories(&mut self) -> Result<()> {
        let schema = self.schema.clone();
        for (index, feature) in schema.features.iter().enumerate() {
            let Some(history) = &feature.history else { continue };
            let listed = schema.features.iter().position(|other| other.name == history.of);
            let slot = listed.and_then(|listed| self.features[listed]);
            // `Schema::check` has seen to both.
            let slot = slot.ok_or_else(|| Error::internal("a history of no feature").in_field(&feature.name))?;
            let when = history.when.as_ref().and_then(|task| schema.task(task)).map(|task| self.labels[task]);
            let known = self
                .event_lists
                .iter_mut()
                .position(|list| (list.slot, list.when, list.which) == (slot, when, history.which));
            let list = known.unwrap_or_else(|| {
                self.event_lists.push(EventList { slot, when, which: history.which, longest: 0 });
                self.event_lists.len() - 1
            });
            let longest = match history.which {
                Which::Earlier => feature.length,
                // What a sample sees is drawn from the whole list.
                Which::All => u32::MAX as usize,
            };
            self.event_lists[list].longest = self.event_lists[list].longest.max(longest);
            self.histories[index] = Some(list);
        }
        Ok(())
    }

    /// The time of a record: whole, and what is beyond. Without a time column it is the number of the row.
    #[inline]
    pub(crate) fn time_of(&self, record: &[u8]) -> (i64, u32) {
        let at = self.slots[self.time].at;
        (u64_at(record, at) as i64, u32_at(record, at + 8))
    }

    /// What tells a row from all others, for draws: its source, and for those behind the first of its line also the place.
    pub(crate) fn key(&self, record: &[u8]) -> u64 {
        let source = u64_at(record, self.source_at);
        match u32_at(record, self.place_at) {
            0 => source,
            place => Seed(source).bits_at(place.into()),
        }
    }

    /// Whether the rows of a user must be brought together.
    pub(crate) fn groups_users(&self) -> bool {
        self.user.is_some()
    }

    /// The numeric features and their slots.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&Feature, usize)> {
        let features = self.schema.features.iter().zip(&self.features);
        features
            .filter(|(feature, _)| feature.kind == FeatureKind::Numeric)
            .filter_map(|(feature, slot)| Some((feature, (*slot)?)))
    }

    /// The number of rows of a table, none where it is open.
    pub(crate) fn table_rows(&self, table: usize, vocabulary_rows: impl Fn(usize) -> u32) -> Option<u64> {
        match self.tables[table] {
            Some(Ids::Vocabulary(vocabulary)) => Some(u64::from(vocabulary_rows(vocabulary))),
            Some(Ids::Buckets(buckets)) => Some(buckets),
            Some(Ids::Open) => None,
            None => {
                let names = self.schema.table_names();
                let mut of_table = self.schema.sparse().filter(|feature| feature.table() == names[table]);
                of_table.find_map(|feature| match feature.transform {
                    Transform::Bucketize(buckets) => Some(u64::from(buckets) + 1),
                    _ => None,
                })
            }
        }
    }
}

/// The error of a column that a file does not have.
pub(crate) fn unknown_column<'a>(column: &str, present: impl Iterator<Item = &'a str>) -> Error {
    Error::config(format!("there is no column `{column}`")).suggest(column, present)
}
