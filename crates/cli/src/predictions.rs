//! Predictions in the order of the rows, and how they are written.

use crate::commands::{create_beside, put};
use crate::kept_columns::{KeptColumns, texts};
use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use kitestring_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Rows written at once.
const BLOCK: usize = 65_536;

/// Predictions in the order of the files.
#[derive(Default)]
pub struct Predictions {
    /// The name of each column of predictions.
    pub names: Vec<String>,
    /// The files, in the order they are written.
    pub files: Vec<String>,
    /// The file by its number, the line, and the place in `columns`.
    pub rows: Vec<(u32, u64, usize)>,
    /// Predictions in the order of samples.
    pub columns: Vec<Vec<f32>>,
    /// What candidates are ranked by, in the order of samples.
    pub scores: Vec<f32>,
    /// Columns of the data, in the order of `rows`.
    pub kept: KeptColumns,
    /// The rank of each row within its group, from 1, in the order of `rows`, where it was asked for.
    pub ranks: Option<Vec<u32>>,
}

/// The file and line of each row.
const PLACE: [&str; 2] = ["file", "line"];
const RANK: &str = "rank";

impl Predictions {
    /// Adds the columns of a split, which are the same for all.
    pub fn add(&mut self, columns: impl Iterator<Item = (String, Vec<f32>)>) {
        for (number, (name, column)) in columns.enumerate() {
            if number == self.columns.len() {
                self.names.push(name);
                self.columns.push(Vec::new());
            }
            self.columns[number].extend(column);
        }
    }

    /// Notes where the next sample came from.
    pub fn note(&mut self, file: &str, line: u64) {
        let number = match self.files.iter().rposition(|known| known == file) {
            Some(number) => number,
            None => {
                self.files.push(file.to_owned());
                self.files.len() - 1
            }
        };
        self.rows.push((number as u32, line, self.rows.len()));
    }

    /// The file and line of each row.
    pub fn places(&self) -> Vec<(&str, u64)> {
        self.rows.iter().map(|row| (self.files.get(row.0 as usize).map_or("", String::as_str), row.1)).collect()
    }

    /// Ranks the rows of each group, the best score first; of equal scores the earlier row. Rows without a group are one.
    pub fn rank(&mut self, groups: &[Option<String>]) {
        let mut members: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
        for (row, group) in groups.iter().enumerate() {
            members.entry(group.as_deref()).or_default().push(row);
        }
        let score =
            |row: &usize| self.rows.get(*row).and_then(|row| self.scores.get(row.2)).copied().unwrap_or(f32::NAN);
        let mut ranks = vec![0; self.rows.len()];
        for mut rows in members.into_values() {
            rows.sort_by(|one, other| score(other).total_cmp(&score(one)));
            for (rank, row) in (1..).zip(rows) {
                if let Some(place) = ranks.get_mut(row) {
                    *place = rank;
                }
            }
        }
        self.ranks = Some(ranks);
    }

    /// The names that columns of the data must not take.
    fn taken(&self) -> Vec<String> {
        PLACE.iter().chain([&RANK]).map(|name| (*name).to_owned()).chain(self.names.iter().cloned()).collect()
    }

    /// Writes a file, CSV or Parquet by its name.
    ///
    /// # Errors
    /// What the system says; the file is then as it was.
    pub fn write(&self, out: &Path) -> Result<()> {
        let fail = |error| Error::io(error, "could not write the file", out);
        let mut file = create_beside(out)?;
        if extension(out) == "csv" {
            let mut writer = std::io::BufWriter::new(file.as_file_mut());
            self.csv(&mut |text| writer.write_all(text.as_bytes()).map_err(fail))?;
            writer.flush().map_err(fail)?;
        } else {
            self.parquet(file.as_file_mut())
                .map_err(|error| Error::io(std::io::Error::other(error), "could not write the file", out))?;
        }
        put(file, out)
    }

    /// The rows as CSV (RFC 4180), in blocks.
    ///
    /// # Errors
    /// What `write` says; a kept column without a text.
    pub fn csv(&self, write: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let quoted: Vec<String> = self.files.iter().map(|file| quote(file)).collect();
        let taken = self.taken();
        let mut head: Vec<String> = PLACE.map(str::to_owned).into();
        let mut kept = Vec::new();
        for (name, column) in self.kept.named(&taken) {
            head.push(name);
            kept.push(texts(column)?);
        }
        head.extend(self.names.iter().cloned());
        head.extend(self.ranks.as_ref().map(|_| RANK.to_owned()));
        let mut text = head.iter().map(|name| quote(name)).collect::<Vec<_>>().join(",") + "\n";
        for (number, (file, line, place)) in self.rows.iter().enumerate() {
            text += &format!("{},{line}", quoted.get(*file as usize).map_or("", String::as_str));
            for column in &kept {
                text.push(',');
                text += &quote(column.get(number).and_then(Option::as_deref).unwrap_or_default());
            }
            for column in &self.columns {
                text += &format!(",{}", column.get(*place).copied().unwrap_or(f32::NAN));
            }
            if let Some(rank) = self.ranks.as_ref().and_then(|ranks| ranks.get(number)) {
                text += &format!(",{rank}");
            }
            text.push('\n');
            if number % BLOCK == BLOCK - 1 {
                write(&text)?;
                text.clear();
            }
        }
        write(&text)
    }

    /// The rows as JSON objects, under the names of the columns.
    ///
    /// # Errors
    /// A kept column without a text.
    pub fn objects(&self) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
        let taken = self.taken();
        let kept: Vec<_> =
            self.kept.named(&taken).map(|(name, column)| Ok((name, texts(column)?))).collect::<Result<_>>()?;
        let object = |(number, (file, line, place)): (usize, &(u32, u64, usize))| {
            let mut object = serde_json::Map::new();
            object.insert("file".into(), self.files.get(*file as usize).cloned().into());
            object.insert("line".into(), (*line).into());
            for (name, column) in &kept {
                object.insert(name.clone(), column.get(number).cloned().flatten().into());
            }
            for (name, column) in self.names.iter().zip(&self.columns) {
                object.insert(name.clone(), column.get(*place).copied().into());
            }
            if let Some(rank) = self.ranks.as_ref().and_then(|ranks| ranks.get(number)) {
                object.insert(RANK.into(), (*rank).into());
            }
            object
        };
        Ok(self.rows.iter().enumerate().map(object).collect())
    }

    fn parquet(&self, file: &mut std::fs::File) -> Result<(), parquet::errors::ParquetError> {
        let taken = self.taken();
        let kept: Vec<(String, &ArrayRef)> = self.kept.named(&taken).collect();
        let batch = |from: usize, rows: &[(u32, u64, usize)]| {
            let file = |row: &(u32, u64, usize)| self.files.get(row.0 as usize).map(String::as_str);
            let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
                ("file", Arc::new(rows.iter().map(file).collect::<StringArray>()), false),
                ("line", Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>()), false),
            ];
            for (name, column) in &kept {
                columns.push((name, column.slice(from, rows.len()), true));
            }
            for (task, column) in self.names.iter().zip(&self.columns) {
                let values = rows.iter().map(|row| column.get(row.2).copied());
                columns.push((task, Arc::new(values.collect::<Float32Array>()), false));
            }
            if let Some(ranks) = self.ranks.as_ref().and_then(|ranks| ranks.get(from..from + rows.len())) {
                columns.push((RANK, Arc::new(UInt32Array::from(ranks.to_vec())), false));
            }
            RecordBatch::try_from_iter_with_nullable(columns)
        };
        let mut writer = ArrowWriter::try_new(file, batch(0, &[])?.schema(), None)?;
        for (block, rows) in self.rows.chunks(BLOCK).enumerate() {
            writer.write(&batch(block * BLOCK, rows)?)?;
        }
        writer.close()?;
        Ok(())
    }
}

/// A file name's extension.
pub fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// A field of a CSV file (RFC 4180).
fn quote(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn predictions() -> Predictions {
        let columns = vec![vec![0.25, 0.5, 0.75]];
        let mut found =
            Predictions { names: vec!["click".into()], scores: columns[0].clone(), columns, ..Predictions::default() };
        for (file, line) in [("a,b.csv", 3), ("a,b.csv", 2), ("c.csv", 1)] {
            found.note(file, line);
        }
        found.rows.sort_unstable();
        found
    }

    fn csv(found: &Predictions) -> String {
        let mut text = String::new();
        found
            .csv(&mut |part| {
                text += part;
                Ok(())
            })
            .unwrap();
        text
    }

    #[test]
    fn csv_is_quoted_and_in_order() {
        assert_eq!(csv(&predictions()), "file,line,click\n\"a,b.csv\",2,0.5\n\"a,b.csv\",3,0.25\nc.csv,1,0.75\n");
    }

    /// Samples come by user, and the rows of a later file may come first.
    #[test]
    fn files_come_in_the_order_they_were_read() {
        let files = ["part-0", "part-1", "part-2"].map(str::to_owned).to_vec();
        let columns = vec![vec![0.25, 0.5, 0.75, 1.0]];
        let mut found = Predictions { files, names: vec!["click".into()], columns, ..Predictions::default() };
        for (file, line) in [("part-2", 1), ("part-0", 2), ("part-1", 1), ("part-0", 1)] {
            found.note(file, line);
        }
        found.rows.sort_unstable();
        assert_eq!(csv(&found), "file,line,click\npart-0,1,1\npart-0,2,0.5\npart-1,1,0.75\npart-2,1,0.25\n");
    }

    #[test]
    fn ranks_are_of_a_group_and_follow_the_score() {
        let mut found = predictions();
        found.rank(&[Some("x".into()), Some("x".into()), None]);
        assert_eq!(found.ranks.as_deref(), Some(&[1, 2, 1][..]));
        found.rank(&[Some("x".into()), Some("y".into()), Some("x".into())]);
        assert_eq!(found.ranks.as_deref(), Some(&[2, 1, 1][..]));
        assert_eq!(csv(&found), "file,line,click,rank\n\"a,b.csv\",2,0.5,2\n\"a,b.csv\",3,0.25,1\nc.csv,1,0.75,1\n");
        assert_eq!(found.objects().unwrap()[0]["rank"], 2);
    }
}
