//! The samples of a split.

use super::Shared;
use super::column::{Stored, Whole};
use super::features::{Sparse, dangling, numeric, sparse};
use super::file;
use super::manifest::{ShardInfo, SplitInfo};
use super::negatives::Negatives;
use super::order::Order;
use super::outcomes::Outcome;
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use kitestring_core::{Batch, Error, Ids, Result, Seed};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Samples located at once: as many as fit on the stack with ease, so that reading needs no memory of its own.
const BLOCK: usize = 256;

/// The item of a place that is its row's own.
const OWN: u32 = u32::MAX;

/// The samples of a split: its rows, each followed by the negatives drawn for it.
///
/// Reading is random access into mapped files. Any order costs the same while the files fit in memory.
pub struct Split {
    index: usize,
    shared: Arc<Shared>,
    shards: Vec<Shard>,
    /// The first sample of each shard, and one past the last of all.
    starts: Vec<u64>,
    negatives: Option<Negatives>,
    candidates: Option<Candidates>,
}

/// A file of rows.
struct Shard {
    copies: u64,
    users: usize,
    sparse: Vec<Sparse>,
    numeric: Vec<ScalarBuffer<f32>>,
    scenarios: Vec<Whole>,
    labels: Vec<ScalarBuffer<f32>>,
    user: Option<Whole>,
    item: Option<Whole>,
    time: Option<ScalarBuffer<i64>>,
    position: Option<Whole>,
    treatment: Option<Whole>,
    propensity: Option<ScalarBuffer<f32>>,
    weight: Option<ScalarBuffer<f32>>,
    source: Whole,
}

/// Where a sample is, and the item that takes its own's place.
#[derive(Clone, Copy)]
struct Place {
    shard: u32,
    row: u32,
    item: u32,
}

/// Candidates given for the positives of a split.
pub struct Candidates {
    user: ScalarBuffer<u32>,
    item: ScalarBuffer<u32>,
    lists: (OffsetBuffer<i32>, ScalarBuffer<u32>),
}

impl Candidates {
    /// The items that a positive (user and item by their numbers) is ranked against; 0 is an unknown item. None where nothing was given for
    /// it.
    pub fn of(&self, user: u64, item: u64) -> Option<&[u32]> {
        let key = |at: usize| (u64::from(self.user[at]), u64::from(self.item[at]));
        let (mut low, mut high) = (0, self.user.len());
        while low < high {
            let middle = low.midpoint(high);
            if key(middle) < (user, item) { low = middle + 1 } else { high = middle }
        }
        let (offsets, values) = &self.lists;
        (low < self.user.len() && key(low) == (user, item))
            .then(|| &values[offsets[low] as usize..offsets[low + 1] as usize])
    }

    /// The number of positives with candidates.
    pub fn len(&self) -> usize {
        self.user.len()
    }

    /// Whether no positive has candidates.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }
}

impl Shard {
    fn open(path: &Path, bytes: Option<u64>, info: &ShardInfo, shared: &Shared) -> Result<Self> {
        let table = file::read(path, bytes)?;
        let stored = Stored { table: &table, path };
        stored.expect_rows(info.rows)?;
        let (schema, manifest) = (&shared.manifest.schema, &shared.manifest);
        if manifest.user.is_some() && info.users >= manifest.user_shards {
            return Err(Error::format("a shard of users that there is not").in_file(path.display().to_string()));
        }
        let list = |name: &str| manifest.histories.get(name).copied();
        Ok(Self {
            copies: info.copies.into(),
            users: info.users,
            sparse: schema
                .sparse()
                .map(|feature| sparse(&stored, feature, list(&feature.name)))
                .collect::<Result<_>>()?,
            numeric: schema.numeric().map(|feature| numeric(&stored, feature)).collect::<Result<_>>()?,
            scenarios: schema
                .scenarios
                .iter()
                .map(|level| stored.whole(&format!("scenario.{}", level.name)))
                .collect::<Result<_>>()?,
            labels: schema
                .tasks
                .iter()
                .map(|task| stored.floats(&format!("label.{}", task.name)))
                .collect::<Result<_>>()?,
            user: manifest.user.map(|_| stored.whole("user")).transpose()?,
            item: manifest.item.map(|_| stored.whole("item")).transpose()?,
            time: schema.time.as_ref().map(|_| stored.integers("time")).transpose()?,
            position: schema.position.as_ref().map(|_| stored.whole("position")).transpose()?,
            treatment: schema.treatment.as_ref().map(|_| stored.whole("treatment")).transpose()?,
            propensity: schema.propensity.as_ref().map(|_| stored.floats("propensity")).transpose()?,
            weight: schema.weight.as_ref().map(|_| stored.floats("weight")).transpose()?,
            source: stored.whole("source")?,
        })
    }
}

impl Split {
    pub(super) fn open(directory: &Path, index: usize, info: &SplitInfo, shared: &Arc<Shared>) -> Result<Self> {
        let bytes = |name: &str| shared.manifest.files.get(name).copied();
        let mut shards = Vec::with_capacity(info.shards.len());
        let mut starts = vec![0];
        for shard in &info.shards {
            shards.push(Shard::open(&directory.join(&shard.file), bytes(&shard.file), shard, shared)?);
            starts.push(starts.last().unwrap_or(&0) + shard.rows * u64::from(shard.copies));
        }
        let candidates = info.candidates.as_ref().map(|name| {
            let path = directory.join(name);
            let table = file::read(&path, bytes(name))?;
            let stored = Stored { table: &table, path: &path };
            let lists = stored.plain_lists("candidates")?;
            Ok(Candidates { user: stored.plain("user")?, item: stored.plain("item")?, lists })
        });
        let drawn = shards.iter().any(|shard| shard.copies > 1);
        let negatives = match (&shared.manifest.negatives, &shared.items) {
            (Some(negatives), Some(items)) if drawn && shared.users.is_some() => {
                Some(Negatives::new(negatives.draw, index, &shared.manifest, items))
            }
            _ if drawn => return Err(Error::format("negatives without items to draw").in_field(&info.name)),
            _ => None,
        };
        Ok(Self { index, shared: shared.clone(), shards, starts, negatives, candidates: candidates.transpose()? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &SplitInfo {
        &self.shared.manifest.splits[self.index]
    }

    /// The number of samples, drawn negatives included.
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// A shuffled order of the samples, another one for every epoch. It takes no memory.
    pub fn order(&self, seed: Seed, epoch: u64) -> Order {
        self.order_of_blocks(1, seed, epoch)
    }

    /// A shuffled order of blocks of so many samples that are stored side by side, which are mostly of the same user.
    pub fn order_of_blocks(&self, block: u64, seed: Seed, epoch: u64) -> Order {
        Order::new(self.rows(), block, seed.child("order").at(epoch))
    }

    /// The candidates given for its positives.
    pub fn candidates(&self) -> Option<&Candidates> {
        self.candidates.as_ref()
    }

    /// The file and line a sample's row came from.
    ///
    /// # Errors
    /// A sample there is not.
    pub fn source(&self, index: u64) -> Result<(&str, u64)> {
        let source = self.shards[self.place(index)?.shard as usize].source.get(self.place(index)?.row as usize);
        let file = self.shared.manifest.sources.get((source >> 40) as usize);
        Ok((file.map_or("", String::as_str), source & ((1 << 40) - 1)))
    }

    /// Fills a batch with these samples, in this order. A batch that was filled before keeps its memory, so that reading
    /// into a warm one allocates nothing.
    ///
    /// Negatives, and what of a long history of all events is seen, are drawn anew for every value of `draws`: derive it from the run's
    /// seed and the epoch to train, and from the seed alone to evaluate.
    ///
    /// # Errors
    /// A sample there is not, or a damaged file.
    pub fn read(&self, indices: &[u64], draws: Seed, batch: &mut Batch) -> Result<()> {
        batch.clear();
        batch.rows = indices.len();
        self.shape(batch);
        for block in indices.chunks(BLOCK) {
            let mut places = [Place { shard: 0, row: 0, item: OWN }; BLOCK];
            for (index, place) in block.iter().zip(&mut places) {
                *place = self.place(*index)?;
                let copies = self.shards[place.shard as usize].copies;
                let copy = (index - self.starts[place.shard as usize]) % copies;
                if copy > 0 {
                    place.item = self.negative(*place, draws.at(*index))?;
                }
            }
            let places = &places[..block.len()];
            for index in 0..batch.sparse.len() {
                self.put_sparse(index, places, (block, draws), &mut batch.sparse[index])?;
            }
            self.put_rows(places, batch);
            batch.index.extend_from_slice(block);
        }
        Ok(())
    }

    /// Calls `visit` with all samples in order, a block of them at a time. Negatives are drawn with seed 0: it is for what does not depend
    /// on which they are.
    ///
    /// # Errors
    /// A damaged file, and what `visit` says.
    pub fn each_block(&self, mut visit: impl FnMut(&Batch) -> Result<()>) -> Result<()> {
        const SAMPLES: u64 = 8192;
        let (mut batch, mut indices) = (Batch::default(), Vec::new());
        for first in (0..self.rows()).step_by(SAMPLES as usize) {
            indices.clear();
            indices.extend(first..self.rows().min(first + SAMPLES));
            self.read(&indices, Seed(0), &mut batch)?;
            visit(&batch)?;
        }
        Ok(())
    }

    /// Calls `visit` with what came of every sample, in order, without its features.
    pub(super) fn each_outcome(&self, draws: Seed, mut visit: impl FnMut(&Outcome<'_>)) -> Result<()> {
        let mut labels = Vec::new();
        for (number, (shard, info)) in self.shards.iter().zip(&self.info().shards).enumerate() {
            for row in 0..info.rows {
                for copy in 0..shard.copies {
                    let (at, place) = (row as usize, Place { shard: number as u32, row: row as u32, item: OWN });
                    labels.clear();
                    labels.extend(shard.labels.iter().map(|values| if copy == 0 { values[at] } else { 0.0 }));
                    let item = match copy {
                        0 => shard.item.as_ref().map(|items| items.get(at)),
                        _ => Some(
                            self.negative(place, draws.at(self.starts[number] + row * shard.copies + copy))?.into(),
                        ),
                    };
                    visit(&Outcome {
                        user: shard.user.as_ref().map(|users| users.get(at)),
                        item,
                        weight: shard.weight.as_ref().map_or(1.0, |weights| weights[at]),
                        labels: &labels,
                    });
                }
            }
        }
        Ok(())
    }

    /// The samples that are a user's own rows, ascending, with their times where the schema has them. Only shards that may hold the user
    /// are looked through, and of them only the column of users.
    pub fn of_user(&self, user: u64) -> impl Iterator<Item = (u64, Option<i64>)> {
        let held = self.shared.users.as_ref().and_then(|users| users.place(user));
        let shards = self.shards.iter().zip(&self.info().shards).zip(&self.starts);
        let shards = shards.filter(move |((shard, _), _)| held.is_some_and(|(held, _)| held == shard.users));
        shards.flat_map(move |((shard, info), start)| {
            let is_own = move |row: &u64| shard.user.as_ref().is_some_and(|users| users.get(*row as usize) == user);
            let time = |row: u64| shard.time.as_ref().map(|times| times[row as usize]);
            (0..info.rows).filter(is_own).map(move |row| (start + row * shard.copies, time(row)))
        })
    }

    /// How many of some rows it has, which are taken out of them. Only files of the given shards of users are looked through.
    pub(super) fn overlap(&self, rows: &mut HashMap<(u32, u32, i64), u64>, shards: &HashSet<usize>) -> u64 {
        let mut found = 0;
        for (shard, info) in self.shards.iter().zip(&self.info().shards) {
            let (Some(user), Some(item), Some(time)) = (&shard.user, &shard.item, &shard.time) else { continue };
            if shards.contains(&shard.users) {
                let key = |row: usize| (user.get(row) as u32, item.get(row) as u32, time[row]);
                found += (0..info.rows as usize).filter_map(|row| rows.remove(&key(row))).sum::<u64>();
            }
        }
        found
    }

    /// Fills a batch with candidates: sample `i` of `indices` once for each of `items[offsets[i]..offsets[i + 1]]`, with
    /// the item and its features exchanged. Labels are missing; `index` says which sample a row is made of.
    ///
    /// Lists of ids that are not the item's are stored once a sample and shared through [`Ids::list_of_row`].
    ///
    /// # Errors
    /// A sample or an item there is not, a schema without an item, or a damaged file.
    pub fn read_candidates(&self, indices: &[u64], offsets: &[u32], items: &[u32], batch: &mut Batch) -> Result<()> {
        let table = self.shared.items.as_ref();
        let table = table.ok_or_else(|| {
            Error::config("candidates need to know the item of a row").in_field("schema.item").mend("name its column")
        })?;
        table.check(items)?;
        let ascending = offsets.is_sorted() && offsets.first() == Some(&0);
        if offsets.len() != indices.len() + 1
            || !ascending
            || offsets.last().is_some_and(|end| *end as usize != items.len())
        {
            return Err(Error::internal("the offsets of candidates do not fit the samples"));
        }
        batch.clear();
        batch.rows = items.len();
        self.shape(batch);
        for (block, first) in indices.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            let mut places = [Place { shard: 0, row: 0, item: OWN }; BLOCK];
            for (index, place) in block.iter().zip(&mut places) {
                *place = self.place(*index)?;
            }
            let places = &places[..block.len()];
            let of = |sample: usize| offsets[first + sample] as usize..offsets[first + sample + 1] as usize;
            for index in 0..batch.sparse.len() {
                let ids = &mut batch.sparse[index];
                if table.sparse[index].is_some() {
                    let here = offsets[first] as usize..offsets[first + block.len()] as usize;
                    items[here].iter().for_each(|item| table.put_sparse(index, *item, ids));
                    continue;
                }
                if ids.is_ragged() {
                    self.put_sparse(index, places, (block, Seed(0)), ids)?;
                    for sample in 0..places.len() {
                        ids.list_of_row.extend(of(sample).map(|_| (first + sample) as u32));
                    }
                    continue;
                }
                for (sample, place) in places.iter().enumerate() {
                    self.put_sparse(index, std::slice::from_ref(place), (&block[sample..=sample], Seed(0)), ids)?;
                    let id = ids.ids.pop().unwrap_or(0);
                    ids.ids.extend(of(sample).map(|_| id));
                }
            }
            let mut candidates = [Place { shard: 0, row: 0, item: OWN }; BLOCK];
            for (sample, place) in places.iter().enumerate() {
                for items in items[of(sample)].chunks(BLOCK) {
                    for (candidate, item) in candidates.iter_mut().zip(items) {
                        *candidate = Place { item: *item, ..*place };
                    }
                    self.put_rows(&candidates[..items.len()], batch);
                    batch.index.extend(items.iter().map(|_| block[sample]));
                }
            }
        }
        batch.labels.fill(f32::NAN);
        Ok(())
    }

    /// Gives a cleared batch its columns.
    fn shape(&self, batch: &mut Batch) {
        let features = self.shared.manifest.schema.sparse();
        batch.sparse.resize_with(self.shared.sparse, Ids::default);
        for (ids, _) in batch.sparse.iter_mut().zip(features).filter(|(_, feature)| feature.is_ragged()) {
            ids.offsets.push(0);
        }
    }

    #[inline]
    fn place(&self, index: u64) -> Result<Place> {
        if index >= self.rows() {
            return Err(Error::config(format!(
                "there is no sample {index}: split `{}` has {}",
                self.name(),
                self.rows()
            )));
        }
        let shard = match self.shards.len() {
            1 => 0,
            _ => self.starts.partition_point(|start| *start <= index) - 1,
        };
        let within = index - self.starts[shard];
        let copies = self.shards[shard].copies;
        let row = if copies == 1 { within } else { within / copies };
        Ok(Place { shard: shard as u32, row: row as u32, item: OWN })
    }

    #[inline]
    fn negative(&self, place: Place, seed: Seed) -> Result<u32> {
        let shared = &*self.shared;
        let user = self.shards[place.shard as usize].user.as_ref();
        match (&self.negatives, &shared.items, &shared.users, user) {
            (Some(negatives), Some(items), Some(users), Some(user)) => {
                negatives.draw(items, users, user.get(place.row as usize), seed)
            }
            _ => Err(Error::internal("negatives without items")),
        }
    }

    /// Appends the ids of one sparse feature, of samples at these places and with these numbers.
    fn put_sparse(
        &self,
        index: usize,
        places: &[Place],
        (samples, draws): (&[u64], Seed),
        ids: &mut Ids,
    ) -> Result<()> {
        let item_column = self.shared.items.as_ref().filter(|items| items.sparse[index].is_some());
        let wrong = || {
            let feature = self.shared.manifest.schema.sparse().nth(index);
            feature.map_or_else(|| Error::internal("no such feature"), dangling)
        };
        for (place, sample) in places.iter().zip(samples) {
            if place.item != OWN
                && let Some(items) = item_column
            {
                items.put_sparse(index, place.item, ids);
                continue;
            }
            let (shard, row) = (&self.shards[place.shard as usize], place.row as usize);
            let (values, range) = match &shard.sparse[index] {
                Sparse::One(values) => {
                    ids.ids.push(values.get(row));
                    continue;
                }
                Sparse::Lists(lists) => (&lists.values, lists.range(row)),
                Sparse::History { start, length, list, of_all } => {
                    let users = self.shared.users.as_ref().map(|users| &users.shards[shard.users].events[*list]);
                    let values = &users.ok_or_else(wrong)?.values;
                    let start = start.get(row) as usize;
                    let range = start..start + length.get(row) as usize;
                    if let Some(longest) = of_all.filter(|longest| range.len() > *longest) {
                        let draws = draws.child("history").at(*sample);
                        // One of each stretch: without order, neighbours still tend to be alike.
                        for stretch in 0..longest {
                            let part = |stretch: usize| range.start + stretch * range.len() / longest;
                            let (from, to) = (part(stretch), part(stretch + 1));
                            let at = from + (draws.bits_at(stretch as u64) % (to - from) as u64) as usize;
                            if !values.extend(at..at + 1, &mut ids.ids) {
                                return Err(wrong());
                            }
                        }
                        ids.offsets.push(ids.ids.len() as u32);
                        continue;
                    }
                    (values, range)
                }
            };
            if !values.extend(range, &mut ids.ids) {
                return Err(wrong());
            }
            ids.offsets.push(ids.ids.len() as u32);
        }
        Ok(())
    }

    /// Appends everything but the ids of sparse features and the index.
    fn put_rows(&self, places: &[Place], batch: &mut Batch) {
        let items = self.shared.items.as_ref();
        let at = |place: &Place| (&self.shards[place.shard as usize], place.row as usize);
        if self.shared.numeric > 0 {
            for place in places {
                let (shard, row) = at(place);
                for (index, values) in shard.numeric.iter().enumerate() {
                    let exchanged = items.filter(|_| place.item != OWN).and_then(|items| items.numeric[index].as_ref());
                    batch.numeric.push(exchanged.map_or_else(|| values[row], |values| values[place.item as usize]));
                }
            }
        }
        if !self.shared.manifest.scenarios.is_empty() {
            for place in places {
                let (shard, row) = at(place);
                batch.scenarios.extend(shard.scenarios.iter().map(|values| values.get(row) as u32));
            }
        }
        for place in places {
            let (shard, row) = at(place);
            let own = place.item == OWN;
            batch.labels.extend(shard.labels.iter().map(|values| if own { values[row] } else { 0.0 }));
        }
        macro_rules! put {
            ($name:ident, |$column:ident, $row:ident, $place:ident| $value:expr) => {
                if self.shards.first().is_some_and(|shard| shard.$name.is_some()) {
                    for $place in places {
                        let (shard, $row) = at($place);
                        if let Some($column) = &shard.$name {
                            batch.$name.push($value);
                        }
                    }
                }
            };
        }
        put!(user, |column, row, place| column.get(row));
        put!(item, |column, row, place| if place.item == OWN { column.get(row) } else { place.item.into() });
        put!(time, |column, row, place| column[row]);
        put!(position, |column, row, place| column.get(row) as u32);
        put!(treatment, |column, row, place| column.get(row) as u32);
        put!(propensity, |column, row, place| column[row]);
        put!(weight, |column, row, place| column[row]);
    }
}
