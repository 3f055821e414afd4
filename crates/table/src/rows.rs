//! Memory for rows: aligned to cache lines, in chunks that never move.

use kitestring_core::{Error, Result};
use memmap2::MmapMut;

/// Rows of equal stride in chunks of a power of two of rows.
///
/// A chunk is an anonymous mapping: zero without being touched, aligned to a page, and asking for huge pages, which
/// spares random access most of its address translation.
#[derive(Debug)]
pub(crate) struct Rows {
    chunks: Vec<MmapMut>,
    /// Binary logarithm of the rows of a chunk.
    shift: u32,
    /// Numbers from one row to the next.
    stride: usize,
}

/// Chunks of at least this many bytes hold whole huge pages.
const HUGE_PAGE: usize = 2 << 20;

impl Rows {
    /// No rows yet; chunks will have the greatest power of two of rows that is at most `chunk_rows`.
    pub(crate) fn new(stride: usize, chunk_rows: usize) -> Self {
        Self { chunks: Vec::new(), shift: chunk_rows.ilog2(), stride }
    }

    /// Makes room for at least this many rows, of zeros.
    pub(crate) fn grow(&mut self, rows: usize) -> Result<()> {
        while self.capacity() < rows {
            self.push_chunk(1 << self.shift)?;
        }
        Ok(())
    }

    /// One chunk of exactly this many rows; for a table whose size is known.
    pub(crate) fn push_chunk(&mut self, rows: usize) -> Result<()> {
        let bytes = (rows * self.stride * size_of::<f32>()).max(1);
        let chunk = MmapMut::map_anon(bytes).map_err(|error| {
            Error::new(kitestring_core::Kind::Io, format!("no memory for {rows} more rows ({bytes} bytes)"))
                .caused_by(error)
                .mend("take fewer rows, a smaller dimension or a machine with more memory")
        })?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGE {
            // A kernel without huge pages refuses, and nothing is lost but speed.
            let _ = chunk.advise(memmap2::Advice::HugePage);
        }
        self.chunks.push(chunk);
        Ok(())
    }

    /// Rows there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes() / (self.stride * size_of::<f32>())
    }

    /// Bytes mapped.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    #[inline(always)]
    pub(crate) fn row(&self, slot: u32) -> &[f32] {
        let chunk: &[f32] = bytemuck::cast_slice(&self.chunks[(slot >> self.shift) as usize]);
        let start = (slot & ((1 << self.shift) - 1)) as usize * self.stride;
        &chunk[start..start + self.stride]
    }

    pub(crate) fn row_mut(&mut self, slot: u32) -> &mut [f32] {
        let chunk: &mut [f32] = bytemuck::cast_slice_mut(&mut self.chunks[(slot >> self.shift) as usize]);
        let start = (slot & ((1 << self.shift) - 1)) as usize * self.stride;
        &mut chunk[start..start + self.stride]
    }

    /// A view for a loop over many rows: what lies in the first chunk, as all rows of a direct space do, is found without
    /// looking up the chunk.
    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_> {
        View { first: self.chunks.first().map_or(&[], |chunk| bytemuck::cast_slice(chunk)), rows: self }
    }

    /// [`Self::view`] for changes.
    #[inline(always)]
    pub(crate) fn view_mut(&mut self) -> ViewMut<'_> {
        let (shift, stride) = (self.shift, self.stride);
        match self.chunks.split_first_mut() {
            Some((first, rest)) => ViewMut { first: bytemuck::cast_slice_mut(first), rest, shift, stride },
            None => ViewMut { first: &mut [], rest: &mut [], shift, stride },
        }
    }
}

pub(crate) struct View<'a> {
    first: &'a [f32],
    rows: &'a Rows,
}

impl View<'_> {
    #[inline(always)]
    pub(crate) fn row(&self, slot: u32) -> &[f32] {
        let start = slot as usize * self.rows.stride;
        self.first.get(start..start + self.rows.stride).unwrap_or_else(|| self.rows.row(slot))
    }
}

pub(crate) struct ViewMut<'a> {
    first: &'a mut [f32],
    rest: &'a mut [MmapMut],
    shift: u32,
    stride: usize,
}

impl ViewMut<'_> {
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, slot: u32) -> &mut [f32] {
        let start = slot as usize * self.stride;
        if start + self.stride <= self.first.len() {
            return &mut self.first[start..start + self.stride];
        }
        let chunk: &mut [f32] = bytemuck::cast_slice_mut(&mut self.rest[(slot >> self.shift) as usize - 1]);
        let start = (slot & ((1 << self.shift) - 1)) as usize * self.stride;
        &mut chunk[start..start + self.stride]
    }
}
