//! Reading a table.

use super::{BUFFER, Column, Counts, Description, FORMAT, KEY};
use crate::config::Space;
use crate::index::{Entry, Index, Waiting};
use crate::shrink::Shrinkage;
use crate::stripe::{Common, Stripe};
use crate::table::{Layout, Table};
use kitestring_core::{Error, Result};
use safetensors::tensor::Metadata;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::PoisonError;

/// No header of ours comes near; a damaged length shall not allocate.
const LARGEST_HEADER: u64 = 1 << 20;

#[derive(Deserialize)]
struct Numbered {
    format: u32,
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// A file that is not a table, is cut short, has another format number or tensors that do not fit its config; each
    /// names the file.
    pub fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(error, "cannot open the table", path))?;
        read_table(&file).map_err(|fault| match fault {
            Fault::Io(error) => Error::io(error, "cannot read the table", path),
            Fault::Other(error) => error.in_file(path.display().to_string()),
        })
    }
}

enum Fault {
    Io(std::io::Error),
    Other(Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn damaged(what: impl Into<String>) -> Error {
    Error::format(what).mend("restore the file from a copy, or train the table again")
}

/// The header: the description, the tensors, and where their data starts.
fn read_header(file: &File) -> Result<(Description, Metadata, u64), Fault> {
    let length = file.metadata()?.len();
    let mut file = file;
    let mut prefix = [0; 8];
    if length < 8 {
        return Err(damaged(format!("a file of {length} bytes is not a table")).into());
    }
    file.read_exact(&mut prefix)?;
    let header = u64::from_le_bytes(prefix);
    if header > LARGEST_HEADER {
        return Err(damaged("this is not a safetensors file of a table").into());
    }
    if 8 + header > length {
        return Err(
            damaged(format!("the file is cut short: its header alone is {header} bytes, it has {length}")).into()
        );
    }
    let mut text = vec![0; header as usize];
    file.read_exact(&mut text)?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| damaged("the safetensors header is damaged").caused_by(error))?;
    let entries = metadata.metadata().as_ref();
    let Some(description) = entries.and_then(|entries| entries.get(KEY)) else {
        return Err(damaged(format!("the file is not a table: its metadata has no `{KEY}`")).into());
    };
    let unreadable = |error| damaged("the table's description is damaged").caused_by(error).in_field(KEY);
    let Numbered { format } = serde_json::from_str(description).map_err(unreadable)?;
    if format != FORMAT {
        return Err(Error::format(format!("the table has format {format}, this version reads format {FORMAT}"))
            .mend("use the version of Kitestring that wrote it, or train the table again")
            .into());
    }
    let description = serde_json::from_str(description).map_err(unreadable)?;
    let expected = 8 + header + metadata.data_len() as u64;
    if length != expected {
        let fault = if length < expected { "cut short" } else { "too long" };
        return Err(damaged(format!("the file is {fault}: expected {expected} bytes, found {length}")).into());
    }
    Ok((description, metadata, 8 + header))
}

fn read_table(file: &File) -> Result<Table, Fault> {
    let (Description { name, config, seed, step, contents, .. }, metadata, data) = read_header(file)?;
    config.check()?;
    let columns = Column::all(&config, contents);
    let rows_of = |name: &str| metadata.info(name).and_then(|info| info.shape.first().copied()).unwrap_or(0);
    let counts = Counts {
        rows: match config.space {
            Space::Direct { rows } => rows as usize,
            Space::Open(_) => rows_of(Column::Ids.name()),
        },
        waiting: rows_of(Column::WaitingIds.name()),
        shrinkage: rows_of(Column::Shrinkage.name()),
    };
    for column in &columns {
        let (name, expected) = (column.name(), column.shape(&counts));
        let Some(info) = metadata.info(name) else {
            return Err(damaged("the tensor is missing").in_field(name).into());
        };
        if info.dtype != column.dtype() || info.shape != expected {
            let found = format!("{:?} {:?}", info.dtype, info.shape);
            let expected = format!("{:?} {expected:?}", column.dtype());
            return Err(damaged(format!("the table's config needs {expected}, found {found}")).in_field(name).into());
        }
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut table = Table::blank(name, Common { config, seed })?;
    table.step = step.into();
    let step = u32::try_from(step).unwrap_or(u32::MAX);
    let mut filled = Filled { table: &mut table, step, places: Vec::new(), waiting: Vec::new() };
    for column in columns {
        let offset = metadata.info(column.name()).map_or(0, |info| info.data_offsets.0);
        reader.seek(SeekFrom::Start(data + offset as u64))?;
        filled.read(column, &counts, &mut reader)?;
    }
    filled.finish();
    Ok(table)
}

/// A table while it is read.
struct Filled<'a> {
    table: &'a mut Table,
    /// The step at which the file was written; rows without counters count as seen then, once.
    step: u32,
    /// In an open space, the stripe and slot of each row of the file.
    places: Vec<(u32, u32)>,
    waiting: Vec<Waiting>,
}

fn read_u32(reader: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_u64(reader: &mut impl Read) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

impl Filled<'_> {
    fn each(
        &mut self,
        rows: usize,
        mut work: impl FnMut(&mut Stripe, u32) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let layout = self.table.layout;
        for row in 0..rows {
            let (stripe, slot) = match layout {
                Layout::Direct { .. } => layout.place(row as u64),
                Layout::Open { .. } => self.places.get(row).map_or((0, 0), |(stripe, slot)| (*stripe as usize, *slot)),
            };
            work(self.table.stripes[stripe].get_mut().unwrap_or_else(PoisonError::into_inner), slot)?;
        }
        Ok(())
    }

    fn read(&mut self, column: Column, counts: &Counts, reader: &mut impl Read) -> Result<(), Fault> {
        let rows = counts.rows;
        let set = |column: &mut Vec<u32>, slot: u32, value: u32| {
            if let Some(at) = column.get_mut(slot as usize) {
                *at = value;
            }
        };
        match column {
            Column::Ids => {
                for _ in 0..rows {
                    let id = read_u64(reader)?;
                    let (place, _) = self.table.layout.place(id);
                    let common = self.table.common;
                    let stripe = self.table.stripes[place].get_mut().unwrap_or_else(PoisonError::into_inner);
                    if stripe.index.as_ref().is_some_and(|index| index.find(id).is_some()) {
                        return Err(damaged(format!("id {id} has two rows")).in_field(column.name()).into());
                    }
                    let slot = stripe.admit(&common, id, (1, self.step), self.step)?;
                    self.places.push((place as u32, slot));
                }
            }
            Column::Part { start, width, .. } => {
                self.each(rows, |stripe, slot| {
                    let part = &mut stripe.rows.row_mut(slot)[start..start + width];
                    reader.read_exact(bytemuck::cast_slice_mut(part))
                })?;
            }
            Column::Stamps => self.each(rows, |stripe, slot| {
                set(&mut stripe.stamps, slot, read_u32(reader)?);
                Ok(())
            })?,
            Column::Updates => self.each(rows, |stripe, slot| {
                set(&mut stripe.updates, slot, read_u32(reader)?);
                Ok(())
            })?,
            Column::LastSeen => self.each(rows, |stripe, slot| {
                let last = read_u32(reader)?;
                entry_of(stripe, slot).for_each(|entry| entry.last = last);
                Ok(())
            })?,
            Column::Sightings => self.each(rows, |stripe, slot| {
                let sightings = read_u32(reader)?.max(1);
                entry_of(stripe, slot).for_each(|entry| entry.sightings = sightings);
                Ok(())
            })?,
            Column::Shrinkage => {
                let mut sums = vec![0.0f64; counts.shrinkage];
                reader.read_exact(bytemuck::cast_slice_mut(&mut sums))?;
                *self.table.shrinkage.get_mut().unwrap_or_else(PoisonError::into_inner) = Shrinkage { sums };
            }
            Column::WaitingIds => {
                for _ in 0..counts.waiting {
                    self.waiting.push(Waiting { id: read_u64(reader)?, last: 0, sightings: 1 });
                }
            }
            Column::WaitingLastSeen => {
                for waiting in &mut self.waiting {
                    waiting.last = read_u32(reader)?;
                }
            }
            Column::WaitingSightings => {
                for waiting in &mut self.waiting {
                    waiting.sightings = read_u32(reader)?;
                }
            }
        }
        Ok(())
    }

    /// Enters who waits.
    fn finish(self) {
        let Self { table, waiting, .. } = self;
        for waiting in waiting {
            let stripe = table.layout.place(waiting.id).0;
            if let Some(index) = index_of(table, stripe) {
                index.wait(waiting);
            }
        }
    }
}

fn entry_of(stripe: &mut Stripe, slot: u32) -> impl Iterator<Item = &mut Entry> {
    stripe.index.iter_mut().filter_map(move |index| index.entries.get_mut(slot as usize))
}

fn index_of(table: &mut Table, stripe: usize) -> Option<&mut Index> {
    table.stripes[stripe].get_mut().unwrap_or_else(PoisonError::into_inner).index.as_mut()
}
