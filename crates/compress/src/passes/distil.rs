//! A student learns from the ranker so far, with fewer units, experts and dimensions, and without the features that a device lacks
//! ([`crate::distil`]).

use crate::candidate::{Candidate, Kept};
use crate::distil::{Distil, Student, distil};
use crate::pipeline::{Progress, Setting};
use kitestring_core::{Error, Result};
use kitestring_nn::package::RowCodes;
use kitestring_train::run::remove_directory;

pub(super) fn apply(pass: &Distil, teacher: Candidate, setting: &mut Setting<'_>) -> Result<(Candidate, String)> {
    let decided =
        teacher.kept.iter().any(|kept| *kept != Kept::All) || teacher.rows.iter().any(|rows| *rows != RowCodes::F32);
    if decided || !teacher.coded.is_empty() {
        let error = Error::config("a student learns from a ranker with all its rows, in 32 bits");
        return Err(error.in_field("passes").mend("put distil before rows and quantize"));
    }
    let (folder, resume) = (setting.scratch.0.join("student"), setting.scratch.1);
    if !resume {
        remove_directory(&folder)?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| Error::io(error, "could not make the folder", &folder))?;
    let told = &mut |event: kitestring_train::fit::Event<'_>| (setting.observe)(Progress::Training(event));
    let Student { config, dataset, fitted } =
        distil(&teacher.model, &teacher.dataset, &teacher.config, pass, &folder, resume, told)?;
    remove_directory(&folder)?;
    let ((before, rows_before), (network, rows)) = (teacher.model.parameters(), fitted.model.parameters());
    let without =
        if pass.without.is_empty() { String::new() } else { format!(", without {}", pass.without.join(", ")) };
    let said = format!("network {before} to {network} numbers, rows {rows_before} to {rows}{without}");
    Ok((Candidate::new(fitted.model, config, dataset), said))
}
