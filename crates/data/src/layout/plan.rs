//! What it takes to make the wanted columns: columns to read, joins and rules in an order that works, filters.

use super::derive::Deriver;
use super::join::SideTable;
use super::value::meets;
use crate::chunk::Chunk;
use crate::config::{Condition, Derive, Filter, Layout};
use crate::reader::{BadRows, Input, unknown};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use kitestring_core::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The way from a file's columns to the wanted ones. Columns live in numbered places.
pub(super) struct Plan {
    /// The name of each place.
    names: Vec<String>,
    /// The places filled by reading.
    read: Vec<usize>,
    steps: Vec<Step>,
    filters: Vec<(usize, Condition)>,
    wanted: Vec<usize>,
}

enum Step {
    Join {
        table: Option<SideTable>,
        /// The number of the join in the layout.
        number: usize,
        keys: Vec<usize>,
        columns: Vec<usize>,
    },
    Derive {
        place: usize,
        from: Option<usize>,
        deriver: Box<Deriver>,
    },
}

/// A plan in the making.
struct Planner<'a> {
    plan: Plan,
    layout: &'a Layout,
    split: Option<&'a str>,
    input: &'a Input,
    sides: &'a [Input],
    /// The derived columns being resolved.
    open: Vec<&'a str>,
}

/// Whether a rule applies to a split.
fn applies(only: &[String], split: Option<&str>) -> bool {
    only.is_empty() || split.is_some_and(|split| only.iter().any(|name| name == split))
}

impl Plan {
    /// Works out how to get the wanted columns, and reads the side tables that takes.
    ///
    /// # Errors
    /// An unknown column; what is wrong with a side table.
    pub fn new(
        layout: &Layout,
        split: Option<&str>,
        input: &Input,
        sides: &[Input],
        wanted: &[&str],
        bad: &BadRows,
    ) -> Result<Self> {
        let plan = Self { names: vec![], read: vec![], steps: vec![], filters: vec![], wanted: vec![] };
        let mut planner = Planner { plan, layout, split, input, sides, open: vec![] };
        for name in wanted {
            let place = planner.place(name)?;
            planner.plan.wanted.push(place);
        }
        for Filter { column, keep, .. } in layout.filters.iter().filter(|filter| applies(&filter.only, split)) {
            let place = planner.place(column)?;
            planner.plan.filters.push((place, keep.clone()));
        }
        let mut plan = planner.plan;
        for step in &mut plan.steps {
            if let Step::Join { table, number, columns, .. } = step {
                let (join, side) = (&layout.joins[*number], &sides[*number]);
                let keys: Vec<&str> = join.on.pairs().iter().map(|(_, right)| *right).collect();
                let columns: Vec<&str> = columns.iter().map(|place| plan.names[*place].as_str()).collect();
                *table = Some(SideTable::load(side, &keys, &columns, join.collect, bad)?);
            }
        }
        Ok(plan)
    }

    /// The names of the columns to read.
    pub fn read(&self) -> Vec<&str> {
        self.read.iter().map(|place| self.names[*place].as_str()).collect()
    }

    /// The wanted columns of the rows kept of a chunk. Adds to each join's count the rows without partner.
    pub fn apply(&mut self, chunk: Chunk, alone_of_join: &[AtomicU64], bad: &BadRows) -> Result<Chunk> {
        let count = chunk.rows.num_rows();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.names.len()];
        for (place, column) in self.read.iter().zip(chunk.rows.columns()) {
            columns[*place] = Some(column.clone());
        }
        let get = |columns: &[Option<ArrayRef>], place: usize| {
            columns[place].clone().ok_or_else(|| Error::internal("a column is used before it is made"))
        };
        let mut kept = vec![true; count];
        let wrong = |row: usize, place: usize, error: Error, kept: &mut [bool]| {
            if kept[row] {
                kept[row] = false;
                bad.tolerate(chunk.blame(error, row, &self.names[place]))?;
            }
            Ok(())
        };
        for step in &mut self.steps {
            match step {
                Step::Join { table, number, keys, columns: joined } => {
                    let table = table.as_ref().ok_or_else(|| Error::internal("a side table was not read"))?;
                    let keys = keys.iter().map(|place| get(&columns, *place)).collect::<Result<Vec<_>>>()?;
                    let (partners, alone) = table.partners(&keys.iter().collect::<Vec<_>>())?;
                    alone_of_join[*number].fetch_add(alone, Ordering::Relaxed);
                    for (number, place) in joined.iter().enumerate() {
                        columns[*place] = Some(table.column(number, &partners)?);
                    }
                }
                Step::Derive { place, from, deriver } => {
                    let source = from.map(|from| get(&columns, from)).transpose()?;
                    let blamed = from.unwrap_or(*place);
                    let wrong = |row, error| wrong(row, blamed, error, &mut kept);
                    columns[*place] = Some(deriver.column(source.as_ref(), count, wrong)?);
                }
            }
        }
        for (place, condition) in &self.filters {
            let met = meets(condition, &get(&columns, *place)?, |row, error| wrong(row, *place, error, &mut kept))?;
            kept.iter_mut().zip(met).for_each(|(kept, met)| *kept &= met);
        }
        let columns = self.wanted.iter().map(|place| get(&columns, *place)).collect::<Result<Vec<_>>>()?;
        let fields = self.wanted.iter().zip(&columns);
        let fields = fields.map(|(place, column)| Field::new(&self.names[*place], column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|cause| Error::internal("the columns differ in length").caused_by(cause))?;
        let chunk = Chunk { rows, ..chunk };
        if kept.contains(&false) { chunk.keep(kept.into_iter().collect()) } else { Ok(chunk) }
    }
}

impl<'a> Planner<'a> {
    /// The place of a column, with what it takes to fill it planned.
    fn place(&mut self, name: &str) -> Result<usize> {
        if let Some(place) = self.plan.names.iter().position(|other| other == name) {
            return Ok(place);
        }
        let in_file = self.input.columns().iter().any(|column| column == name);
        let derived = |derive: &&Derive| derive.name == name && applies(&derive.only, self.split);
        if let Some(derive) = self.layout.derive.iter().find(derived) {
            if in_file {
                return Err(Error::config("a derived column has the name of a column of the file")
                    .in_file(self.input.file())
                    .in_field(name)
                    .mend("give it another name"));
            }
            return self.derived(derive);
        }
        if in_file {
            let place = self.named(name);
            self.plan.read.push(place);
            return Ok(place);
        }
        for number in 0..self.layout.joins.len() {
            if self.joined_columns(number)?.contains(&name) {
                return self.joined(number, name);
            }
        }
        Err(unknown(name, &self.all()?, &self.input.file()))
    }

    fn named(&mut self, name: &str) -> usize {
        self.plan.names.push(name.to_owned());
        self.plan.names.len() - 1
    }

    fn derived(&mut self, derive: &'a Derive) -> Result<usize> {
        if self.open.contains(&derive.name.as_str()) {
            return Err(Error::config("the column is derived from itself").in_field(derive.name.as_str()));
        }
        self.open.push(&derive.name);
        let from = derive.from.as_deref().map(|from| self.place(from)).transpose()?;
        self.open.pop();
        let place = self.named(&derive.name);
        let deriver = Box::new(Deriver::new(derive.rule.clone()));
        self.plan.steps.push(Step::Derive { place, from, deriver });
        Ok(place)
    }

    fn joined(&mut self, number: usize, name: &str) -> Result<usize> {
        let same = |step: &Step| matches!(step, Step::Join { number: other, .. } if *other == number);
        if !self.plan.steps.iter().any(same) {
            let lefts: Vec<&str> = self.layout.joins[number].on.pairs().iter().map(|(left, _)| *left).collect();
            if lefts.contains(&name) {
                return Err(unknown(name, &self.all()?, &self.input.file()));
            }
            // A key that is itself joined from here would go round in circles.
            let label = self.layout.joins[number].source.path.as_str();
            if self.open.contains(&label) {
                return Err(Error::config("the key of a join comes from the join itself").in_field(label));
            }
            self.open.push(label);
            let keys = lefts.into_iter().map(|left| self.place(left)).collect::<Result<_>>()?;
            self.open.pop();
            self.plan.steps.push(Step::Join { table: None, number, keys, columns: vec![] });
        }
        let place = self.named(name);
        for step in &mut self.plan.steps {
            if let Step::Join { number: other, columns, .. } = step
                && *other == number
            {
                columns.push(place);
            }
        }
        Ok(place)
    }

    /// The columns a join adds.
    fn joined_columns(&self, number: usize) -> Result<Vec<&'a str>> {
        let (join, side) = (&self.layout.joins[number], &self.sides[number]);
        if let Some(columns) = &join.columns {
            if let Some(unknown_one) = columns.iter().find(|name| !side.columns().contains(name)) {
                return Err(unknown(unknown_one, side.columns(), &side.file()));
            }
            return Ok(columns.iter().map(String::as_str).collect());
        }
        let keys: Vec<&str> = join.on.pairs().iter().map(|(_, right)| *right).collect();
        Ok(side.columns().iter().map(String::as_str).filter(|name| !keys.contains(name)).collect())
    }

    /// All columns there are, for messages.
    fn all(&self) -> Result<Vec<String>> {
        let mut names = self.input.columns().to_vec();
        let derived = self.layout.derive.iter().filter(|derive| applies(&derive.only, self.split));
        names.extend(derived.map(|derive| derive.name.clone()));
        for number in 0..self.layout.joins.len() {
            names.extend(self.joined_columns(number)?.iter().map(|name| (*name).to_owned()));
        }
        Ok(names)
    }
}
