//! What the documents say of the code is current. `KITESTRING_WRITE=1` writes it anew.
#![allow(clippy::unwrap_used)]

use kitestring_nn::slots::VariantInfo;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Tests run side by side, and some may write what others read.
static README: Mutex<()> = Mutex::new(());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A table of variants: a line each, with the keys of its config and their defaults.
fn table(all: Vec<VariantInfo>, slot: &str) -> String {
    let mut text =
        format!("| {slot} | `type` | what it does | published | keys and defaults |\n|---|---|---|---|---|\n");
    for variant in all {
        let keys = variant.defaults.as_object().unwrap().iter().filter(|(key, _)| *key != "type");
        let keys = keys.map(|(key, value)| format!("`{key} = {}`", toml(value))).collect::<Vec<_>>().join(" ");
        let [slot, name, summary, source] = [variant.slot, variant.name, variant.summary, variant.source];
        let (slot, name) = match (slot.contains('.') || name.is_empty(), name.is_empty()) {
            (true, true) => (format!("`{slot}`"), String::new()),
            (true, false) => (format!("`{slot}`"), format!("`{name}`")),
            (false, _) => (slot.to_owned(), format!("`{name}`")),
        };
        text += &format!("| {slot} | {name} | {summary} | {source} | {keys} |\n");
    }
    text
}

/// A value as it stands in a config.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(keys) if keys.is_empty() => "{}".into(),
        serde_json::Value::Object(keys) => {
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        serde_json::Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        serde_json::Value::Null => "…".into(),
        // Defaults are f32: as f64 they have digits that nobody wrote.
        serde_json::Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap() as f32),
        other => other.to_string(),
    }
}

/// Holds a table of README.md between `<!-- NAME: … -->` and `<!-- end of NAME -->` against what it should be.
fn check_table(name: &str, current: &str) {
    let path = root().join("README.md");
    let _one = README.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(&path).unwrap();
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = text.split_once(&format!("<!-- {name}:")).unwrap();
    let (mark, rest) = rest.split_once("-->\n").unwrap();
    let (table, after) = rest.split_once(&end).unwrap();
    assert!(current.lines().count() > 8, "{current}");
    if std::env::var_os("KITESTRING_WRITE").is_some() {
        std::fs::write(&path, format!("{before}<!-- {name}:{mark}-->\n{current}{end}{after}")).unwrap();
    } else {
        assert!(table == current, "README.md's table of {name} is old; KITESTRING_WRITE=1 writes it anew:\n{current}");
    }
}

#[test]
fn the_table_of_slot_variants_is_current() {
    check_table("slots", &table(kitestring_nn::slots::catalogue(), "slot"));
}

#[test]
fn the_table_of_retrievers_is_current() {
    check_table("retrievers", &table(kitestring_retrieve::catalogue::catalogue(), "section"));
}

/// The targets of the links in a document that lead into the repository.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inside = targets.filter(|target| !target.starts_with("http") && !target.starts_with('#'));
    inside.map(|target| target.split('#').next().unwrap_or(target).to_owned()).collect()
}

#[test]
fn links_lead_somewhere() {
    let _one = README.lock().unwrap_or_else(PoisonError::into_inner);
    let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from);
    let docs =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let mut seen = 0;
    for document in documents.into_iter().chain(docs.filter(|path| path.extension().is_some_and(|end| end == "md"))) {
        let text = std::fs::read_to_string(root().join(&document)).unwrap();
        let folder = document.parent().unwrap();
        for link in links(&text) {
            assert!(root().join(folder).join(&link).exists(), "{}: no such file: {link}", document.display());
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} links");
}
