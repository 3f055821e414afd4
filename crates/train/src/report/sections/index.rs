//! A retriever's index: what it finds, and how fast.

use maud::html;

use super::super::data::Index;
use super::super::format::{count, counted, duration, percent};
use super::super::page::{Section, Table};

pub(super) fn section(index: &Index) -> Option<Section> {
    if index.items == 0 {
        return None;
    }
    let mut table = Table::new(["Way", "Of the exact answer", "A query"]);
    if let Some(recall) = index.recall {
        table.row([index.kind.clone(), percent(recall), duration(index.seconds)]);
    }
    table.row(["exact scan".into(), percent(1.0), duration(index.exact_seconds)]);
    let body = html! {
        p {
            "The vectors of " (counted(index.items, "item")) ", built in " (duration(index.build_seconds)) ". For each of "
            (count(index.queries)) " queries, one by one on one thread, the " (count(index.asked))
            " items with the largest inner products were asked for."
            @if index.recall.is_none() { " Every vector is read, so nothing is missed." }
        }
        (table.html())
    };
    Some(Section { title: "Index", body })
}
