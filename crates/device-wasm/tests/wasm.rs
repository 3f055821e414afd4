//! The JavaScript example prints in node what the native session says, the page in a browser shows it, and the TypeScript types are current.
#![allow(clippy::unwrap_used)]

#[path = "../../device-c/tests/example/mod.rs"]
mod example;
#[path = "../../device-c/tests/example/learn.rs"]
mod learn;
mod page;

use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_bindgen_cli_support::Bindgen;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn skipped(name: &str, why: &str) {
    assert!(std::env::var("CI").is_ok_and(|ci| ci != "true") || std::env::var("CI").is_err(), "{name}: {why}");
    println!("skipped: {name}: {why}");
}

fn works(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The module as `bench/device-size` built it, before wasm-bindgen: in a folder of its own with learning.
fn built_in(folder: &str) -> Option<PathBuf> {
    let built = PathBuf::from(std::env::var_os("KITESTRING_DEVICE")?).join(folder);
    Some(built.join("kitestring_wasm.wasm")).filter(|module| module.exists())
}

fn built() -> Option<PathBuf> {
    built_in(PLAIN)
}

const PLAIN: &str = "wasm32-unknown-unknown";
const LEARNING: &str = "wasm32-unknown-unknown-learning";

const NOT_BUILT: &str = "KITESTRING_DEVICE names no folder with what bench/device-size makes";

/// What a script prints in node, beside the package that it needs; nothing where that cannot be, after saying so.
fn in_node(name: &str, folder: &str, script: &str) -> Option<String> {
    let Some(module) = built_in(folder) else {
        skipped(name, NOT_BUILT);
        return None;
    };
    if !works("node") {
        skipped(name, "there is no node");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    let package = folder.path().join("package");
    Bindgen::new().input_path(&module).nodejs(true).unwrap().typescript(true).generate(&package).unwrap();
    let copy = folder.path().join("script.cjs");
    std::fs::copy(here().join(script), &copy).unwrap();
    let output = Command::new("node").arg(copy).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_example_ranks_in_node() {
    let Some(said) = in_node("JavaScript example", PLAIN, "examples/rank.cjs") else { return };
    example::close(&said, &example::native(), "wasm in node");
}

#[test]
fn a_ranker_goes_on_with_a_newer_artifact() {
    let Some(said) = in_node("JavaScript renewal", PLAIN, "tests/renew.cjs") else { return };
    assert_eq!(said, "renewed\n");
}

#[test]
fn javascript_learns_what_the_native_session_learns() {
    let Some(said) = in_node("learning in JavaScript", LEARNING, "tests/learn.cjs") else { return };
    let found: [Vec<f32>; 2] = serde_json::from_str(&said).unwrap();
    // Every step of a descent carries the rounding of those before it on.
    for ((found, expected), bound) in found.iter().zip(&learn::native()).zip([1e-5, 1e-3]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= bound, "{found}, expected {expected}");
        }
    }
}

#[test]
fn the_types_are_current() {
    let Some(module) = built() else { return skipped("TypeScript types", NOT_BUILT) };
    let folder = tempfile::tempdir().unwrap();
    Bindgen::new()
        .input_path(&module)
        .web(true)
        .unwrap()
        .omit_default_module_path(false)
        .typescript(true)
        .generate(folder.path())
        .unwrap();
    let made = std::fs::read_to_string(folder.path().join("kitestring_wasm.d.ts")).unwrap();
    // What follows is how the module is loaded, with names that its bytes decide.
    let made = made.split("export type InitInput").next().unwrap();
    let place = here().join("types.d.ts");
    if std::env::var_os("KITESTRING_WRITE").is_some() {
        std::fs::write(&place, made).unwrap();
    }
    let found = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(found == made, "types.d.ts is not current; run the test with KITESTRING_WRITE=1, and look at what changed");
}

/// Scores of the example in the order of candidates, after each step of the page's session: an array a candidate.
#[test]
fn the_page_shows_what_the_native_session_says() {
    let name = "page with a ranker";
    let Some(module) = built() else { return skipped(name, NOT_BUILT) };
    let named = std::env::var("KITESTRING_CHROMIUM").ok().filter(|name| !name.is_empty());
    let candidates = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let Some(browser) = named.into_iter().chain(candidates).find(|name| works(name)) else {
        return skipped(name, "there is no Chromium; name one in KITESTRING_CHROMIUM");
    };
    page::shows(&browser, &module);
}

#[test]
fn the_readme_shows_the_example() {
    example::shown(&here().join("README.md"), &here().join("examples/rank.cjs"));
}
