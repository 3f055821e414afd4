//! The parts of the page. Each gives nothing where the report has nothing to say on its subject.

pub(super) mod attention;
pub(super) mod curves;
pub(super) mod data;
pub(super) mod gates;
pub(super) mod groups;
pub(super) mod headline;
pub(super) mod index;
pub(super) mod learning;
pub(super) mod position;
pub(super) mod recall;
pub(super) mod shipped;
pub(super) mod tables;
pub(super) mod truth;
pub(super) mod uncertainty;

use super::data::Report;
use super::page::Section;

/// All parts that have something to say, in reading order.
pub(super) fn all(report: &Report) -> Vec<Section> {
    let parts = [
        headline::metrics(&report.metrics),
        tables::notes(&report.notes),
        report.summary.as_ref().and_then(data::section),
        report.learning.as_ref().and_then(learning::section),
        curves::section(&report.tasks),
        uncertainty::section(&report.uncertainty),
        groups::section(&report.groupings),
        truth::section(&report.truth),
        report.attention.as_ref().and_then(attention::section),
        gates::section(&report.gates),
        position::section(&report.position_bias),
        tables::rankings(&report.rankings),
        recall::section(&report.recall),
        report.index.as_ref().and_then(index::section),
        report.shipped.as_ref().and_then(shipped::section),
        tables::importance(&report.importance),
        report.speed.as_ref().and_then(tables::speed),
        tables::caveats(&report.caveats),
        tables::reproduction(report),
    ];
    parts.into_iter().flatten().collect()
}
