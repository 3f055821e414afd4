//! An index in a directory: `manifest.json`, and the file of tensors that it names.
//!
//! The tensors go first, under a name that no earlier file has; the manifest is renamed into its place after them. A kill at any moment
//! leaves the old index or the new one. The manifest holds a checksum of the tensors, because safetensors has none. An int8 copy is made
//! anew from the vectors; a graph is stored, so that an opened index gives the answers of the saved one.
//!
//! Who saves holds the lock of the directory, and fails where somebody else has saved there since the index was opened: of two who open an
//! index, change it and save it, the second one is told, and nothing that the first one was told is done is lost.

use super::codes::Codes;
use super::config::{IndexConfig, Kind};
use super::corpus::{Attribute, Corpus, Items};
use super::graph::Graph;
use super::segments::Segment;
use super::state::{Shortcut, State};
use super::{Index, check_queries};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use kitestring_core::seed::mix;
use kitestring_core::{Error, Result};
use kitestring_train::run::temporary_file;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::PoisonError;

/// Files of format 2 have one graph and are read, too.
const FORMAT: u32 = 3;
const MANIFEST: &str = "manifest.json";
/// Locked by those who read or write the directory. It stays: a lock on a file that was removed is a lock on nothing.
const LOCK: &str = ".lock";
/// What a tensor of an attribute's codes is named before the attribute's name.
const ATTRIBUTE: &str = "attribute.";
const MEND: &str = "build it again with kitestring retrieve index";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    /// The version of the model that made the vectors.
    version: String,
    dimension: usize,
    /// Rows, with those that are gone.
    rows: usize,
    /// How many of the first rows the int8 copy or graphs cover.
    covered: usize,
    attributes: Vec<String>,
    config: IndexConfig,
    /// The first graph's.
    search_width: Option<usize>,
    /// The graphs behind the first one.
    #[serde(default)]
    segments: Vec<StoredSegment>,
    /// The file of tensors.
    tensors: String,
    checksum: String,
}

/// A graph behind the first one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSegment {
    /// Its first row.
    first: usize,
    search_width: usize,
}

/// What the tensors of a graph are named, by its number.
fn graph_tensors(number: usize) -> [String; 2] {
    let prefix = if number == 0 { "graph".to_owned() } else { format!("graph.{number}") };
    ["offsets", "neighbours"].map(|part| format!("{prefix}.{part}"))
}

impl Index {
    /// Writes the index into a directory, which is made where it is missing; one that holds an index holds this one then. Searches go on
    /// meanwhile, changes wait. When it returns, the index is on the disk.
    ///
    /// # Errors
    /// What the file system says; an index that was opened from there, or saved there, and that somebody else has changed there since. What
    /// was there is then untouched.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let fail = |error| Error::io(error, "could not write the index", directory);
        std::fs::create_dir_all(directory).map_err(fail)?;
        let path = directory.join(MANIFEST);
        let lock = File::options().write(true).create(true).truncate(false).open(directory.join(LOCK)).map_err(fail)?;
        lock.lock().map_err(fail)?;
        let place = directory.canonicalize().map_err(fail)?;
        let before = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = stored.as_ref().filter(|(directory, _)| *directory == place)
            && before.as_ref().is_none_or(|before| before.checksum != *known)
        {
            return Err(Error::data("the index was changed by somebody else meanwhile")
                .in_file(path.display().to_string())
                .mend("open it again, and make the change again"));
        }
        let state = self.state();
        let corpus = &state.corpus;
        let gone: Vec<u8> = corpus.gone.iter().map(|gone| u8::from(*gone)).collect();
        let rows = corpus.len();
        let mut tensors: Vec<Tensor<'_>> = vec![
            ("ids".to_owned(), Dtype::U64, vec![rows], bytes(&corpus.ids)),
            ("vectors".to_owned(), Dtype::F32, vec![rows, corpus.dimension], bytes(&corpus.vectors)),
            ("gone".to_owned(), Dtype::U8, vec![rows], bytes(&gone)),
            ("queries".to_owned(), Dtype::F32, vec![self.queries.len()], bytes(&self.queries)),
        ];
        for (name, codes) in &corpus.attributes {
            tensors.push((format!("{ATTRIBUTE}{name}"), Dtype::U32, vec![rows], bytes(codes)));
        }
        let graphs: &[Segment] = if let Shortcut::Graphs(graphs) = &state.shortcut { graphs } else { &[] };
        for (number, segment) in graphs.iter().enumerate() {
            let parts: [&[u32]; 2] = segment.graph.parts().into();
            for (name, numbers) in graph_tensors(number).into_iter().zip(parts) {
                tensors.push((name, Dtype::U32, vec![numbers.len()], bytes(numbers)));
            }
        }
        let checksum = tensors.iter().fold(0, |sum, (name, _, shape, bytes)| checksum(sum, name, shape, bytes));
        // Named by what it holds: the same index has the same name, another one another.
        let checksum = format!("{checksum:016x}");
        let name = format!("index-{checksum}.safetensors");
        let mut beside = temporary_file(directory).map_err(fail)?;
        write(&mut BufWriter::new(beside.as_file_mut()), &tensors).map_err(fail)?;
        beside.as_file().sync_all().map_err(fail)?;
        beside.persist(directory.join(&name)).map_err(|error| fail(error.error))?;
        let manifest = Manifest {
            format: FORMAT,
            version: self.version.clone(),
            dimension: corpus.dimension,
            rows,
            covered: state.covered(),
            attributes: corpus.attributes.iter().map(|(name, _)| name.clone()).collect(),
            config: self.config.clone(),
            search_width: state.search_width(),
            segments: graphs
                .iter()
                .skip(1)
                .map(|segment| StoredSegment { first: segment.first, search_width: segment.width })
                .collect(),
            tensors: name,
            checksum,
        };
        let text = serde_json::to_vec_pretty(&manifest);
        let text = text.map_err(|error| Error::internal("the index's manifest").caused_by(error))?;
        let mut beside = temporary_file(directory).map_err(fail)?;
        beside.write_all(&text).map_err(fail)?;
        beside.as_file().sync_all().map_err(fail)?;
        beside.persist(&path).map_err(|error| fail(error.error))?;
        sync_directory(directory).map_err(fail)?;
        *stored = Some((place, manifest.checksum));
        if let Some(old) = before.map(|before| before.tensors)
            && old != manifest.tensors
            && is_name(&old)
        {
            // What no manifest names does no harm.
            let _ = std::fs::remove_file(directory.join(old));
        }
        Ok(())
    }

    /// Opens an index that vectors of a model's version were saved in.
    ///
    /// # Errors
    /// A missing or damaged file, another format, another version of the model; each names the file and how to mend it.
    pub fn open(directory: &Path, expected_version: &str) -> Result<Self> {
        let path = directory.join(MANIFEST);
        // One that was written by an older version, or copied, has no lock yet, and nobody who writes.
        let lock = File::open(directory.join(LOCK)).ok();
        if let Some(lock) = &lock {
            lock.lock_shared().map_err(|error| Error::io(error, "could not lock the index", directory))?;
        }
        let text =
            std::fs::read(&path).map_err(|error| Error::io(error, "could not read the index", &path).mend(MEND))?;
        let place = path.display().to_string();
        let damaged = |what: &str| Error::format(what).in_file(&place).mend(MEND);
        let value: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|error| damaged("this is no manifest of an index").caused_by(error))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if !format.is_some_and(|format| (2..=u64::from(FORMAT)).contains(&format)) {
            let found = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
            return Err(damaged(&format!("index format {found}, expected {FORMAT}")));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|error| damaged("a damaged manifest").caused_by(error))?;
        if manifest.version != expected_version {
            let what =
                format!("its vectors are of model `{}`, queries of model `{expected_version}`", manifest.version);
            return Err(damaged(&what));
        }
        manifest.config.check().map_err(|error| damaged("a damaged config").caused_by(error))?;
        if !is_name(&manifest.tensors) {
            return Err(damaged("it names no file beside it").in_field("tensors"));
        }
        let path = directory.join(&manifest.tensors);
        let bytes =
            std::fs::read(&path).map_err(|error| Error::io(error, "could not read the index", &path).mend(MEND))?;
        let read = read(&manifest, &bytes).map_err(|error| error.in_file(path.display().to_string()).mend(MEND));
        let (state, queries) = read?;
        let index = Self::of(state, manifest.config, manifest.version, queries);
        if let Ok(place) = directory.canonicalize() {
            *index.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, manifest.checksum));
        }
        Ok(index)
    }
}

type Tensor<'a> = (String, Dtype, Vec<usize>, &'a [u8]);

/// Writes tensors as safetensors without a second copy of them in memory. The library does that only into a file of its own, which nobody
/// else may read and which is not on the disk yet when it takes its name.
fn write(out: &mut impl Write, tensors: &[Tensor<'_>]) -> std::io::Result<()> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let start = end;
        end += bytes.len();
        (name.clone(), TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (start, end) })
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(std::io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|(_, _, _, bytes)| out.write_all(bytes))?;
    out.flush()
}

/// Puts what was renamed in a directory on the disk; a no-op where directories cannot be opened.
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// A name without a way out of its directory.
fn is_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name)
}

fn bytes<T: Pod>(numbers: &[T]) -> &[u8] {
    cast_slice(numbers)
}

/// Sixty-four bits of all tensors before and this one.
fn checksum(sum: u64, name: &str, shape: &[usize], bytes: &[u8]) -> u64 {
    let sum = shape.iter().fold(hash(sum, name.as_bytes()), |sum, size| hash(sum, &(*size as u64).to_le_bytes()));
    hash(sum, bytes)
}

fn hash(mut sum: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    for word in words.iter().chain([&last, &(bytes.len() as u64).to_le_bytes()]) {
        sum = mix(sum.rotate_left(1) ^ u64::from_le_bytes(*word));
    }
    sum
}

/// The state in a file of tensors, and sampled queries. Everything is checked that a search relies on, though the checksum holds.
fn read(manifest: &Manifest, bytes: &[u8]) -> Result<(State, Vec<f32>)> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::format("this is no whole file of an index").caused_by(error))?;
    let Manifest { dimension, rows, covered, .. } = *manifest;
    let mut reader = Reader { tensors, checksum: 0 };
    let ids: Vec<u64> = reader.take("ids", Dtype::U64, Some(&[rows]))?;
    let vectors: Vec<f32> = reader.take("vectors", Dtype::F32, Some(&[rows, dimension]))?;
    let gone: Vec<u8> = reader.take("gone", Dtype::U8, Some(&[rows]))?;
    let queries: Vec<f32> = reader.take("queries", Dtype::F32, None)?;
    let attributes = manifest.attributes.iter();
    let attributes = attributes.map(|name| reader.take(&format!("{ATTRIBUTE}{name}"), Dtype::U32, Some(&[rows])));
    let attributes: Vec<Vec<u32>> = attributes.collect::<Result<_>>()?;
    if covered > rows {
        return Err(Error::format(format!("{covered} of {rows} rows are covered")));
    }
    let graphs = if covered > 0 && matches!(manifest.config.kind, Kind::Graph { .. }) {
        read_graphs(manifest, &mut reader)?
    } else {
        Vec::new()
    };
    if format!("{:016x}", reader.checksum) != manifest.checksum {
        return Err(Error::format("damaged: its checksum is not that of the manifest"));
    }
    let names = manifest.attributes.iter().map(String::as_str);
    let mut corpus = Corpus::new(dimension, names.clone())?;
    check_queries(&queries, dimension)?;
    let codes = names.zip(&attributes).map(|(name, codes)| Attribute { name, codes });
    let codes: Vec<Attribute<'_>> = codes.collect();
    corpus.restore(&Items { ids: &ids, vectors: &vectors, attributes: &codes }, &gone)?;
    let shortcut = if !graphs.is_empty() {
        Shortcut::Graphs(graphs)
    } else if covered > 0 {
        Shortcut::Codes(Codes::new(&vectors[..covered * dimension], dimension))
    } else {
        Shortcut::None
    };
    let mut state = State { corpus, shortcut };
    // Of an older version, which left rows that came later to the exact scan.
    state.cover();
    Ok((state, queries))
}

/// The graphs of a file, one behind the other, over the rows that are covered.
fn read_graphs(manifest: &Manifest, reader: &mut Reader<'_>) -> Result<Vec<Segment>> {
    let width = manifest.search_width.ok_or_else(|| Error::format("its graph has no search width"))?;
    let firsts = std::iter::once(0).chain(manifest.segments.iter().map(|segment| segment.first));
    let ends = manifest.segments.iter().map(|segment| segment.first).chain([manifest.covered]);
    let widths = std::iter::once(width).chain(manifest.segments.iter().map(|segment| segment.search_width));
    let mut graphs = Vec::with_capacity(1 + manifest.segments.len());
    for (number, ((first, end), width)) in firsts.zip(ends).zip(widths).enumerate() {
        let rows = end.checked_sub(first).filter(|rows| *rows > 0);
        let rows = rows.ok_or_else(|| Error::format("its graphs do not follow each other").in_field("segments"))?;
        let [offsets, neighbours] = graph_tensors(number);
        let offsets: Vec<u32> = reader.take(&offsets, Dtype::U32, Some(&[rows + 1]))?;
        let neighbours: Vec<u32> = reader.take(&neighbours, Dtype::U32, None)?;
        let graph = Graph::from_parts(offsets, neighbours).ok_or_else(|| Error::format("its graph leads nowhere"))?;
        graphs.push(Segment { first, graph, width });
    }
    Ok(graphs)
}

struct Reader<'a> {
    tensors: SafeTensors<'a>,
    checksum: u64,
}

impl Reader<'_> {
    fn take<T: Pod>(&mut self, name: &str, dtype: Dtype, shape: Option<&[usize]>) -> Result<Vec<T>> {
        let tensor = self.tensors.tensor(name).map_err(|_| Error::format("the tensor is missing").in_field(name))?;
        let fits = shape.map_or(tensor.shape().len() == 1, |shape| tensor.shape() == shape);
        if tensor.dtype() != dtype || !fits {
            let (found, of) = (tensor.dtype(), tensor.shape());
            let expected = shape.map_or_else(|| "one dimension".to_owned(), |shape| format!("{shape:?}"));
            let what = format!("expected {dtype:?} of {expected}, found {found:?} of {of:?}");
            return Err(Error::format(what).in_field(name));
        }
        self.checksum = checksum(self.checksum, name, tensor.shape(), tensor.data());
        // The tensors of a file need not lie where their numbers may be read in place.
        let mut numbers = vec![T::zeroed(); tensor.data().len() / size_of::<T>()];
        cast_slice_mut(&mut numbers).copy_from_slice(tensor.data());
        Ok(numbers)
    }
}
