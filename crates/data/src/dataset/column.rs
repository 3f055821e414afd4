//! Columns of a stored table, used where they lie.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use kitestring_core::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Whole numbers of any width.
#[derive(Debug, Clone)]
pub(super) enum Whole {
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
    U64(ScalarBuffer<u64>),
}

impl Whole {
    fn new(array: &ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().values().clone()),
            DataType::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().values().clone()),
            DataType::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().values().clone()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().values().clone()),
            _ => return None,
        })
    }

    #[inline(always)]
    pub(super) fn get(&self, row: usize) -> u64 {
        match self {
            Self::U8(values) => values[row].into(),
            Self::U16(values) => values[row].into(),
            Self::U32(values) => values[row].into(),
            Self::U64(values) => values[row],
        }
    }

    /// Appends a range of values; false where there is no such range.
    #[inline]
    pub(super) fn extend(&self, range: Range<usize>, into: &mut Vec<u64>) -> bool {
        macro_rules! extend {
            ($values:expr) => {
                $values.get(range).map(|values| into.extend(values.iter().map(|value| u64::from(*value)))).is_some()
            };
        }
        match self {
            Self::U8(values) => extend!(values),
            Self::U16(values) => extend!(values),
            Self::U32(values) => extend!(values),
            Self::U64(values) => extend!(values),
        }
    }
}

/// Lists of whole numbers.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    pub(super) offsets: OffsetBuffer<i32>,
    pub(super) values: Whole,
}

impl Lists {
    /// The range of a list. Arrow has checked that offsets ascend within the values.
    #[inline]
    pub(super) fn range(&self, list: usize) -> Range<usize> {
        self.offsets[list] as usize..self.offsets[list + 1] as usize
    }
}

/// A stored table and where it lies, for messages.
pub(super) struct Stored<'a> {
    pub(super) table: &'a RecordBatch,
    pub(super) path: &'a Path,
}

impl Stored<'_> {
    /// Checks the number of rows.
    pub(super) fn expect_rows(&self, rows: u64) -> Result<()> {
        let found = self.table.num_rows() as u64;
        if found == rows { Ok(()) } else { Err(self.wrong(format!("{found} rows where {rows} were written"))) }
    }

    fn wrong(&self, what: String) -> Error {
        Error::format(what).in_file(self.path.display().to_string()).mend("prepare the data set again")
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        let column =
            self.table.column_by_name(name).ok_or_else(|| self.wrong(format!("there is no column `{name}`")))?;
        if column.null_count() > 0 {
            return Err(self.wrong(format!("column `{name}` has nulls")));
        }
        Ok(column)
    }

    fn mistyped(&self, name: &str, column: &ArrayRef) -> Error {
        self.wrong(format!("column `{name}` is of type {}", column.data_type()))
    }

    pub(super) fn whole(&self, name: &str) -> Result<Whole> {
        let column = self.column(name)?;
        Whole::new(column).ok_or_else(|| self.mistyped(name, column))
    }

    /// Whole numbers of four bytes, which can be lent as they are.
    pub(super) fn plain(&self, name: &str) -> Result<ScalarBuffer<u32>> {
        let column = self.column(name)?;
        let column = column.as_primitive_opt::<UInt32Type>().ok_or_else(|| self.mistyped(name, column))?;
        Ok(column.values().clone())
    }

    pub(super) fn floats(&self, name: &str) -> Result<ScalarBuffer<f32>> {
        let column = self.column(name)?;
        let column = column.as_primitive_opt::<Float32Type>().ok_or_else(|| self.mistyped(name, column))?;
        Ok(column.values().clone())
    }

    pub(super) fn integers(&self, name: &str) -> Result<ScalarBuffer<i64>> {
        let column = self.column(name)?;
        let column = column.as_primitive_opt::<Int64Type>().ok_or_else(|| self.mistyped(name, column))?;
        Ok(column.values().clone())
    }

    pub(super) fn lists(&self, name: &str) -> Result<Lists> {
        let column = self.column(name)?;
        let list = column.as_list_opt::<i32>().ok_or_else(|| self.mistyped(name, column))?;
        let values = Whole::new(list.values()).ok_or_else(|| self.mistyped(name, column))?;
        Ok(Lists { offsets: list.offsets().clone(), values })
    }

    /// Lists of whole numbers of four bytes.
    pub(super) fn plain_lists(&self, name: &str) -> Result<(OffsetBuffer<i32>, ScalarBuffer<u32>)> {
        let Lists { offsets, values } = self.lists(name)?;
        match values {
            Whole::U32(values) => Ok((offsets, values)),
            _ => Err(self.wrong(format!("the lists of column `{name}` are not of four-byte numbers"))),
        }
    }
}
