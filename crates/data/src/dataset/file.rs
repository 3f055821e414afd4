//! One table, one record batch, one Arrow IPC file, uncompressed so that it can be used where it lies.

use super::map::map;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, root_as_footer};
use arrow_schema::{Field, Schema};
use kitestring_core::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// Writes columns of one length as one file and returns its size in bytes.
pub(crate) fn write(path: &Path, columns: Vec<(String, ArrayRef)>) -> Result<u64> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect())
        .map_err(|cause| Error::internal("columns do not make a table").caused_by(cause))?;
    let failed = |cause: std::io::Error| Error::io(cause, "cannot write", path);
    let file = File::create(path).map_err(failed)?;
    let arrow = |cause: arrow_schema::ArrowError| match cause {
        arrow_schema::ArrowError::IoError(_, cause) => failed(cause),
        cause => Error::internal("cannot encode a table").in_file(path.display().to_string()).caused_by(cause),
    };
    let mut writer = arrow_ipc::writer::FileWriter::try_new(BufWriter::new(file), &schema).map_err(arrow)?;
    writer.write(&batch).map_err(arrow)?;
    let mut buffer = writer.into_inner().map_err(arrow)?;
    buffer.flush().map_err(failed)?;
    Ok(buffer.get_ref().metadata().map_err(failed)?.len())
}

/// Maps a file and returns its table without copying it.
///
/// # Errors
/// A missing file, a size other than the expected one, or anything that is not such a table.
pub(crate) fn read(path: &Path, bytes: Option<u64>) -> Result<RecordBatch> {
    let shown = || path.display().to_string();
    let file = File::open(path).map_err(|cause| Error::io(cause, "cannot open", path))?;
    let size = file.metadata().map_err(|cause| Error::io(cause, "cannot read the size", path))?.len();
    let damaged = |what: &str| Error::format(what).in_file(shown()).mend("prepare the data set again");
    match bytes {
        Some(bytes) if bytes != size => {
            let what = format!(
                "{} bytes where {bytes} were written: the file is {}",
                size,
                if size < bytes { "truncated" } else { "not the one written" }
            );
            return Err(damaged(&what));
        }
        _ if size < 12 => return Err(damaged("truncated")),
        _ => {}
    }
    let buffer = map(&file).map_err(|cause| Error::io(cause, "cannot map", path))?;
    decode(&buffer).map_err(|what| damaged(&format!("not a readable table: {what}")))
}

fn decode(buffer: &Buffer) -> Result<RecordBatch, String> {
    let text = |cause: arrow_schema::ArrowError| cause.to_string();
    let trailer_at = buffer.len() - 10;
    let trailer: [u8; 10] = buffer[trailer_at..].try_into().map_err(|_| "truncated")?;
    let length = read_footer_length(trailer).map_err(text)?;
    let footer_at = trailer_at.checked_sub(length).ok_or("the footer is longer than the file")?;
    let footer = root_as_footer(&buffer[footer_at..trailer_at]).map_err(|cause| cause.to_string())?;
    let schema = footer.schema().ok_or("no schema")?;
    let schema = arrow_ipc::convert::try_fb_to_schema(schema).map_err(text)?;
    let blocks = footer.recordBatches().ok_or("no table")?;
    if blocks.len() != 1 {
        return Err(format!("{} record batches where there must be one", blocks.len()));
    }
    let block = blocks.get(0);
    let data = slice(buffer, block)?;
    check_buffers(&data, block)?;
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    decoder.read_record_batch(block, &data).map_err(text)?.ok_or_else(|| "no table".into())
}

fn slice(buffer: &Buffer, block: &Block) -> Result<Buffer, String> {
    let start = usize::try_from(block.offset()).map_err(|_| "a negative offset")?;
    let metadata = usize::try_from(block.metaDataLength()).map_err(|_| "a negative length")?;
    let body = usize::try_from(block.bodyLength()).map_err(|_| "a negative length")?;
    let length = metadata.checked_add(body).ok_or("a length out of range")?;
    if start.checked_add(length).is_none_or(|end| end > buffer.len()) {
        return Err("a block that ends past the file".into());
    }
    Ok(buffer.slice_with_length(start, length))
}

/// The decoder slices buffers without looking, so a damaged offset would panic there.
fn check_buffers(data: &Buffer, block: &Block) -> Result<(), String> {
    let body = block.bodyLength();
    let metadata = data.get(..block.metaDataLength() as usize).ok_or("truncated")?;
    // A continuation marker and a length, or in old files a length alone.
    let skip = if metadata.starts_with(&[0xff; 4]) { 8 } else { 4 };
    let message =
        arrow_ipc::root_as_message(metadata.get(skip..).ok_or("truncated")?).map_err(|cause| cause.to_string())?;
    let buffers = message.header_as_record_batch().and_then(|batch| batch.buffers());
    for buffer in buffers.iter().flat_map(|buffers| buffers.iter()) {
        let end = buffer.offset().checked_add(buffer.length());
        if buffer.offset() < 0 || buffer.length() < 0 || end.is_none_or(|end| end > body) {
            return Err("a column that ends past its block".into());
        }
    }
    Ok(())
}
