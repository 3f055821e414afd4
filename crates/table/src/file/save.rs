//! Writing a table.

use super::{BUFFER, Column, Contents, Counts, Description, FORMAT, KEY};
use crate::config::Optimizer;
use crate::index::{Entry, Waiting};
use crate::shrink::Shrinkage;
use crate::stripe::Stripe;
use crate::table::{Layout, Table};
use kitestring_core::{Error, Result};
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{PoisonError, RwLockReadGuard};

impl Table {
    /// Writes the table with everything that training goes on from, beside its place and then renamed. Updates wait until
    /// it is written.
    ///
    /// # Errors
    /// What the file system says; what stood at the path is then untouched.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.write_file(path, Contents::All)
    }

    /// Writes the rows alone, as inference reads them: [`Self::load`] gives a table without optimizer state.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn export(&self, path: &Path) -> Result<()> {
        self.write_file(path, Contents::Rows)
    }

    fn write_file(&self, path: &Path, contents: Contents) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(error, format!("cannot write table `{}`", self.name), path);
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut beside = builder.tempfile_in(folder).map_err(failed)?;
        self.write_to(&mut BufWriter::with_capacity(BUFFER, beside.as_file_mut()), contents).map_err(failed)?;
        beside.as_file().sync_all().map_err(failed)?;
        beside.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn write_to(&self, out: &mut impl Write, contents: Contents) -> std::io::Result<()> {
        let stripes: Vec<_> = (0..self.stripes.len()).map(|stripe| self.read(stripe)).collect();
        let shrinkage = self.shrinkage.read().unwrap_or_else(PoisonError::into_inner);
        let saved = Saved::new(self.layout, &stripes, &shrinkage);
        let mut config = *self.config();
        let columns = Column::all(&config, contents);
        if contents == Contents::Rows {
            config.optimizer = Optimizer::sgd();
        }
        let description = Description {
            format: FORMAT,
            name: self.name.clone(),
            config,
            seed: self.common.seed,
            step: self.step(),
            contents,
        };
        let mut end = 0;
        let tensors = columns.iter().map(|column| {
            let (dtype, shape) = (column.dtype(), column.shape(&saved.counts()));
            let start = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (column.name().to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        });
        let metadata = HashMap::from([(KEY.to_owned(), serde_json::to_string(&description)?)]);
        let metadata = Metadata::new(Some(metadata), tensors.collect()).map_err(std::io::Error::other)?;
        let mut header = serde_json::to_vec(&metadata)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let shrinks = contents == Contents::Rows && self.config().optimizer.shrinks_lazily();
        for column in columns {
            saved.write(column, shrinks, out)?;
        }
        out.flush()
    }
}

/// What is written, in the order in which it is written.
struct Saved<'a> {
    layout: Layout,
    stripes: &'a [RwLockReadGuard<'a, Stripe>],
    shrinkage: &'a Shrinkage,
    /// In an open space, the slots of each stripe by id, and who waits, by id.
    slots: Vec<Vec<u32>>,
    waiting: Vec<Waiting>,
}

impl<'a> Saved<'a> {
    fn new(layout: Layout, stripes: &'a [RwLockReadGuard<'a, Stripe>], shrinkage: &'a Shrinkage) -> Self {
        let (mut slots, mut waiting) = (Vec::new(), Vec::new());
        for index in stripes.iter().filter_map(|stripe| stripe.index.as_ref()) {
            let seen = (0..index.entries.len() as u32).filter(|slot| index.entries[*slot as usize].sightings > 0);
            let mut seen: Vec<u32> = seen.collect();
            seen.sort_unstable_by_key(|slot| index.entries[*slot as usize].id);
            slots.push(seen);
            waiting.extend(index.waiting.iter().copied());
        }
        waiting.sort_unstable();
        Self { layout, stripes, shrinkage, slots, waiting }
    }

    fn counts(&self) -> Counts {
        let rows = match self.layout {
            Layout::Direct { rows, .. } => rows as usize,
            Layout::Open { .. } => self.slots.iter().map(Vec::len).sum(),
        };
        Counts { rows, waiting: self.waiting.len(), shrinkage: self.shrinkage.sums.len() }
    }

    fn each(&self, mut work: impl FnMut(&Stripe, u32) -> std::io::Result<()>) -> std::io::Result<()> {
        match self.layout {
            Layout::Direct { rows, .. } => (0..rows).try_for_each(|id| {
                let (stripe, slot) = self.layout.place(id);
                work(&self.stripes[stripe], slot)
            }),
            Layout::Open { .. } => self
                .stripes
                .iter()
                .zip(&self.slots)
                .try_for_each(|(stripe, slots)| slots.iter().try_for_each(|slot| work(stripe, *slot))),
        }
    }

    fn entry(stripe: &Stripe, slot: u32) -> Option<&Entry> {
        stripe.index.as_ref().and_then(|index| index.entries.get(slot as usize))
    }

    fn write(&self, column: Column, shrinks: bool, out: &mut impl Write) -> std::io::Result<()> {
        let number = |out: &mut dyn Write, number: Option<u32>| out.write_all(&number.unwrap_or(0).to_le_bytes());
        match column {
            Column::Ids => self.each(|stripe, slot| {
                let id = Self::entry(stripe, slot).map_or(0, |entry| entry.id);
                out.write_all(&id.to_le_bytes())
            }),
            Column::Part { start, width, .. } if shrinks => {
                let mut current = vec![0.0; width];
                self.each(|stripe, slot| {
                    let stamp = stripe.stamps.get(slot as usize).copied().unwrap_or(0);
                    let factor = self.shrinkage.factor(stamp, self.shrinkage.step());
                    current.copy_from_slice(&stripe.rows.row(slot)[start..start + width]);
                    current.iter_mut().for_each(|value| *value *= factor);
                    out.write_all(bytemuck::cast_slice(&current))
                })
            }
            Column::Part { start, width, .. } => self
                .each(|stripe, slot| out.write_all(bytemuck::cast_slice(&stripe.rows.row(slot)[start..start + width]))),
            Column::Stamps => self.each(|stripe, slot| number(out, stripe.stamps.get(slot as usize).copied())),
            Column::Updates => self.each(|stripe, slot| number(out, stripe.updates.get(slot as usize).copied())),
            Column::LastSeen => {
                self.each(|stripe, slot| number(out, Self::entry(stripe, slot).map(|entry| entry.last)))
            }
            Column::Sightings => {
                self.each(|stripe, slot| number(out, Self::entry(stripe, slot).map(|entry| entry.sightings)))
            }
            Column::Shrinkage => out.write_all(bytemuck::cast_slice(&self.shrinkage.sums)),
            Column::WaitingIds => self.waiting.iter().try_for_each(|waiting| out.write_all(&waiting.id.to_le_bytes())),
            Column::WaitingLastSeen => self.waiting.iter().try_for_each(|waiting| number(out, Some(waiting.last))),
            Column::WaitingSightings => {
                self.waiting.iter().try_for_each(|waiting| number(out, Some(waiting.sightings)))
            }
        }
    }
}
