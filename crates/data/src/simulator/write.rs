//! Puts a simulated marketplace into files: logs as a service would have them, and the truth beside them.

use super::columns::{self, Column};
use super::config::Config;
use super::world::World;
use super::{EPOCH, Impression, Occasion, Session, Simulator};
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use kitestring_core::error::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The resolved config among the files. Its presence says that a folder holds a simulation.
const RESOLVED: &str = "simulator.toml";

/// Impressions that are turned into columns at once: few enough to stay in the cache of a core.
const BLOCK: usize = 4_096;

/// Rows of a row group, which is what the writer holds in memory.
const ROW_GROUP: usize = 256 * 1_024;

/// What was simulated.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Impressions.
    pub impressions: u64,
    /// Sessions.
    pub sessions: u64,
    /// Users with at least one session.
    pub users: u64,
    /// Clicks.
    pub clicks: u64,
    /// Conversions.
    pub conversions: u64,
    /// Impressions of the uniformly random pages.
    pub random_impressions: u64,
    /// Clicks on the uniformly random pages.
    pub random_clicks: u64,
    /// Occasions.
    pub occasions: u64,
    /// Days from the first impression to the last.
    pub days: f64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Simulates a marketplace into a folder. `progress` is told now and then how many impressions there are.
///
/// The files are written beside the folder and renamed when all are complete; a simulation that was there is replaced.
///
/// # Errors
/// A config error for a wrong config or a folder that holds something else, an I/O error for a refusing machine.
pub fn write(config: &Config, folder: &Path, progress: &mut dyn FnMut(u64)) -> Result<Summary> {
    let mut simulator = Simulator::new(config)?;
    check_is_free(folder)?;
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|error| Error::io(error, "cannot make the folder", parent))?;
    let beside = tempfile::Builder::new()
        .prefix(".simulation-")
        .tempdir_in(parent)
        .map_err(|error| Error::io(error, "cannot make a folder", parent))?;
    let room = beside.path();
    std::fs::create_dir(room.join("truth")).map_err(|error| Error::io(error, "cannot make a folder", room))?;

    let text =
        toml::to_string(config).map_err(|error| Error::internal("the config has no TOML form").caused_by(error))?;
    let resolved = room.join(RESOLVED);
    std::fs::write(&resolved, text).map_err(|error| Error::io(error, "cannot write", &resolved))?;
    write_world(simulator.world(), room)?;
    let mut summary = write_sessions(&mut simulator, room, progress)?;
    summary.bytes = size(room)?;

    put_in_place(beside, folder)?;
    Ok(summary)
}

fn check_is_free(folder: &Path) -> Result<()> {
    let taken = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some() && !folder.join(RESOLVED).is_file(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(error, "cannot write into", folder)),
    };
    if taken {
        return Err(Error::config("the folder holds something that is no simulation")
            .in_file(folder.display().to_string())
            .mend("name an empty or a new one"));
    }
    Ok(())
}

fn put_in_place(beside: tempfile::TempDir, folder: &Path) -> Result<()> {
    let refused = |error| Error::io(error, "cannot put the files in their place", folder);
    let old = beside.path().with_extension("old");
    let replaces = folder.exists();
    if replaces {
        std::fs::rename(folder, &old).map_err(refused)?;
    }
    if let Err(error) = std::fs::rename(beside.path(), folder) {
        if replaces {
            std::fs::rename(&old, folder).map_err(refused)?;
        }
        return Err(refused(error));
    }
    // It is in its place: there is nothing left to remove at the old one.
    let _ = beside.keep();
    make_readable(folder).map_err(refused)?;
    if replaces { std::fs::remove_dir_all(&old).map_err(refused) } else { Ok(()) }
}

/// Temporary folders are closed to others; the result is an ordinary folder.
#[cfg(unix)]
fn make_readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

fn size(room: &Path) -> Result<u64> {
    let refused = |error| Error::io(error, "cannot read", room);
    let mut bytes = 0;
    for folder in [room.to_path_buf(), room.join("truth")] {
        for entry in std::fs::read_dir(&folder).map_err(refused)? {
            let meta = entry.and_then(|entry| entry.metadata()).map_err(refused)?;
            bytes += if meta.is_file() { meta.len() } else { 0 };
        }
    }
    Ok(bytes)
}

fn write_world(world: &World, room: &Path) -> Result<()> {
    numbered(room.join("users.parquet"), columns::users(), &world.users)?;
    numbered(room.join("truth/users.parquet"), columns::users_truth(), &world.users)?;
    numbered(room.join("items.parquet"), columns::items(), &world.items)?;
    numbered(room.join("truth/items.parquet"), columns::items_truth(), &world.items)
}

fn numbered<T: Clone>(path: PathBuf, columns: Vec<Column<(i64, T)>>, rows: &[T]) -> Result<()> {
    let mut table = Table::create(path, columns)?;
    for (block, rows) in rows.chunks(BLOCK).enumerate() {
        let start = (block * BLOCK) as i64;
        table.write(&rows.iter().enumerate().map(|(id, row)| (start + id as i64, row.clone())).collect::<Vec<_>>())?;
    }
    table.finish()
}

fn write_sessions(simulator: &mut Simulator, room: &Path, progress: &mut dyn FnMut(u64)) -> Result<Summary> {
    let scenarios = simulator.config().scenarios.clone();
    let table = |name: &str| room.join(name);
    let mut log = Table::create(table("impressions.parquet"), columns::impressions(&scenarios))?;
    let mut truth = Table::create(table("truth/impressions.parquet"), columns::impressions_truth())?;
    let mut occasions = Table::create(table("occasions.parquet"), columns::occasions(&scenarios))?;
    let mut occasions_truth = Table::create(table("truth/occasions.parquet"), columns::occasions_truth())?;

    let mut summary = Summary::default();
    let mut seen = vec![false; simulator.world().users.len()];
    let mut last = EPOCH;
    let mut first = None;
    let mut session = Session::default();
    let mut block: Vec<Impression> = Vec::with_capacity(2 * BLOCK);
    let mut thrown: Vec<(Impression, Occasion)> = Vec::new();
    while simulator.next_into(&mut session) {
        summary.sessions += 1;
        summary.occasions += session.occasions.len() as u64;
        summary.users += u64::from(!std::mem::replace(&mut seen[session.user as usize], true));
        for impression in &session.impressions {
            summary.clicks += u64::from(impression.click);
            summary.conversions += u64::from(impression.conversion);
            summary.random_impressions += u64::from(impression.random);
            summary.random_clicks += u64::from(impression.random & impression.click);
            last = last.max(impression.time);
        }
        summary.impressions += session.impressions.len() as u64;
        first = first.or(session.impressions.first().map(|impression| impression.time));
        let start = session.impressions.first().map_or(0, |impression| impression.id);
        for occasion in session.occasions.drain(..) {
            thrown.push((session.impressions[(occasion.impression - start) as usize].clone(), occasion));
        }
        block.append(&mut session.impressions);
        if block.len() >= BLOCK {
            log.write(&block)?;
            truth.write(&block)?;
            occasions.write(&thrown)?;
            occasions_truth.write(&thrown)?;
            block.clear();
            thrown.clear();
            progress(summary.impressions);
        }
    }
    log.write(&block)?;
    truth.write(&block)?;
    occasions.write(&thrown)?;
    occasions_truth.write(&thrown)?;
    log.finish()?;
    truth.finish()?;
    occasions.finish()?;
    occasions_truth.finish()?;
    progress(summary.impressions);
    summary.days = (last - first.unwrap_or(last)) as f64 / super::DAY as f64;
    Ok(summary)
}

/// A Parquet file that rows are written to.
struct Table<T> {
    path: PathBuf,
    columns: Vec<Column<T>>,
    schema: Arc<Schema>,
    writer: ArrowWriter<BufWriter<File>>,
}

impl<T> Table<T> {
    fn create(path: PathBuf, columns: Vec<Column<T>>) -> Result<Self> {
        let file = File::create(&path).map_err(|error| Error::io(error, "cannot make the file", &path))?;
        let schema = Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(Some(ROW_GROUP));
        for column in columns.iter().filter(|column| column.repeats) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column.field.name().as_str()), true);
        }
        let options = ArrowWriterOptions::new().with_properties(properties.build());
        let writer = ArrowWriter::try_new_with_options(BufWriter::new(file), schema.clone(), options)
            .map_err(|error| unwritten(error, &path))?;
        Ok(Self { path, columns, schema, writer })
    }

    fn write(&mut self, rows: &[T]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let arrays = self.columns.iter().map(|column| (column.make)(rows)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(|error| Error::internal("the columns do not fit together").caused_by(error))?;
        self.writer.write(&batch).map_err(|error| unwritten(error, &self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(|error| unwritten(error, &self.path))?;
        let file = self.writer.inner_mut();
        std::io::Write::flush(file).map_err(|error| Error::io(error, "cannot write", &self.path))
    }
}

/// The error of a writer: what the machine said, where it is the machine that refused.
fn unwritten(error: parquet::errors::ParquetError, path: &Path) -> Error {
    let parquet::errors::ParquetError::External(source) = error else {
        return Error::internal("cannot write Parquet").in_file(path.display().to_string()).caused_by(error);
    };
    match source.downcast::<std::io::Error>() {
        Ok(refused) => Error::io(*refused, "cannot write", path),
        Err(other) => Error::internal("cannot write Parquet").in_file(path.display().to_string()).caused_by(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float32Type, Int8Type, Int64Type};
    use arrow_schema::DataType;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    const FILES: [&str; 9] = [
        "impressions.parquet",
        "items.parquet",
        "occasions.parquet",
        "simulator.toml",
        "truth/impressions.parquet",
        "truth/items.parquet",
        "truth/occasions.parquet",
        "truth/users.parquet",
        "users.parquet",
    ];

    fn config() -> Config {
        Config { users: 300, items: 400, events: 12_000, ..Config::default() }
    }

    fn read(path: &Path) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        arrow_select::concat::concat_batches(&schema, &batches).unwrap()
    }

    fn names(batch: &RecordBatch) -> Vec<String> {
        batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn the_same_seed_writes_the_same_bytes() {
        let room = tempfile::tempdir().unwrap();
        let (a, b) = (room.path().join("a"), room.path().join("b"));
        let mut told = Vec::new();
        let summary = write(&config(), &a, &mut |count| told.push(count)).unwrap();
        assert_eq!(summary, write(&config(), &b, &mut |_| ()).unwrap());
        for file in FILES {
            assert_eq!(std::fs::read(a.join(file)).unwrap(), std::fs::read(b.join(file)).unwrap(), "{file}");
        }
        assert!(summary.impressions >= 12_000 && summary.clicks > summary.conversions && summary.conversions > 0);
        assert_eq!(told.last(), Some(&summary.impressions));
        let text = std::fs::read_to_string(a.join("simulator.toml")).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config());

        // Another seed replaces it, and nothing is left beside.
        write(&Config { seed: 2, ..config() }, &a, &mut |_| ()).unwrap();
        assert_ne!(std::fs::read(a.join(FILES[0])).unwrap(), std::fs::read(b.join(FILES[0])).unwrap());
        assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join("thesis.txt"), "mine").unwrap();
        let error = write(&config(), room.path(), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("holds something that is no simulation"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 1);
        let file = room.path().join("thesis.txt");
        assert!(write(&config(), &file, &mut |_| ()).is_err());
        assert!(write(&config(), &file.join("deeper"), &mut |_| ()).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn truth_lies_beside_the_logs_row_by_row_and_not_in_them() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("simulated");
        write(&config(), &folder, &mut |_| ()).unwrap();
        let page = include_str!("../../../../docs/simulator.md");
        let mut logged: Vec<String> = Vec::new();
        for (name, key) in
            [("users", "user_id"), ("items", "item_id"), ("impressions", "impression_id"), ("occasions", "occasion_id")]
        {
            let log = read(&folder.join(format!("{name}.parquet")));
            let truth = read(&folder.join(format!("truth/{name}.parquet")));
            assert!(log.num_rows() > 0);
            assert_eq!(log.column_by_name(key).unwrap(), truth.column_by_name(key).unwrap(), "{name}");
            let shared: Vec<String> = names(&truth).into_iter().filter(|column| names(&log).contains(column)).collect();
            assert_eq!(shared, [key], "{name}");
            for column in names(&truth).iter().chain(&names(&log)) {
                let family = column.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches('_');
                let described = [format!("`{column}`"), format!("`{family}_0`")].iter().any(|name| page.contains(name));
                assert!(described, "docs/simulator.md does not describe `{column}` of {name}");
            }
            logged.extend(names(&log));
        }
        for secret in
            ["relevance", "bias", "intent", "uplift", "confound", "circle", "quality", "taste", "focus", "_probability"]
        {
            assert!(logged.iter().all(|column| !column.contains(secret)), "{secret} is logged");
        }
    }

    #[test]
    fn files_agree_with_the_sessions() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("simulated");
        write(&config(), &folder, &mut |_| ()).unwrap();
        let sessions: Vec<Session> = Simulator::new(&config()).unwrap().collect();
        let shown: Vec<&Impression> = sessions.iter().flat_map(|session| &session.impressions).collect();
        let thrown: Vec<&Occasion> = sessions.iter().flat_map(|session| &session.occasions).collect();

        let log = read(&folder.join("impressions.parquet"));
        assert_eq!(log.num_rows(), shown.len());
        let column = |name: &str| log.column_by_name(name).unwrap();
        let items = column("item_id").as_primitive::<Int64Type>();
        let clicks = column("click").as_primitive::<Int8Type>();
        let channels = column("channel").as_string::<i32>();
        for (row, shown) in shown.iter().enumerate() {
            assert_eq!(items.value(row), i64::from(shown.item));
            assert_eq!(clicks.value(row), i8::from(shown.click));
            assert_eq!(channels.value(row), config().scenarios[usize::from(shown.scenario)].channel);
        }
        for (name, kind) in [("time", DataType::Int64), ("device", DataType::Utf8), ("propensity", DataType::Float32)] {
            assert_eq!(column(name).data_type(), &kind, "{name}");
        }
        let truth = read(&folder.join("truth/impressions.parquet"));
        let relevance = truth.column_by_name("relevance").unwrap().as_primitive::<Float32Type>();
        assert!(shown.iter().enumerate().all(|(row, shown)| relevance.value(row) == shown.truth.relevance));

        let log = read(&folder.join("occasions.parquet"));
        assert_eq!(log.num_rows(), thrown.len());
        let treatment = log.column_by_name("treatment").unwrap().as_primitive::<Int8Type>();
        let clicks = log.column_by_name("window_click").unwrap().as_primitive::<Int8Type>();
        let cached = log.column_by_name("cached_items").unwrap().as_list::<i32>();
        for (row, occasion) in thrown.iter().enumerate() {
            assert_eq!(treatment.value(row), i8::from(occasion.treated));
            assert_eq!(clicks.value(row), i8::from(occasion.arms[usize::from(occasion.treated)].clicks > 0));
            let items = cached.value(row);
            assert_eq!(items.len(), occasion.cached.len());
            assert_eq!(items.as_primitive::<Int64Type>().value(0), i64::from(occasion.cached[0]));
        }
    }
}
