//! Results on standard output.

use kitestring_core::{Error, Result};
use std::io::{ErrorKind, Write};

/// Writes a text to standard output. Nobody listening any more (`kitestring … | head`) is no failure.
///
/// # Errors
/// What the system says, such as a full disk behind a redirection.
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io(error, "could not write the results", "standard output"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`say`].
pub fn say_line(text: &str) -> Result<()> {
    say(&format!("{text}\n"))
}

/// Says how many malformed rows were dropped; nothing where none was.
pub fn dropped(rows: u64) -> String {
    match rows {
        0 => String::new(),
        1 => "1 malformed row was dropped\n".into(),
        rows => format!("{rows} malformed rows were dropped\n"),
    }
}

/// Columns set under each other: the first flush left, the others flush right.
pub fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["".to_owned(), "test".into()], vec!["click.auc".into(), "0.7".into()]];
        assert_eq!(columns(&rows), "           test\nclick.auc   0.7\n");
    }
}
