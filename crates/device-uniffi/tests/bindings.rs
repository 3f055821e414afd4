//! The Python and Kotlin examples print what the native session says, and the Swift that is checked in is current.
#![allow(clippy::unwrap_used)]

#[path = "../../device-c/tests/example/mod.rs"]
mod example;
#[path = "../../device-c/tests/example/learn.rs"]
mod learn;

use std::path::{Path, PathBuf};
use std::process::Command;
use uniffi::{GenerateOptions, TargetLanguage};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn skipped(name: &str, why: &str) {
    assert!(std::env::var("CI").is_ok_and(|ci| ci != "true") || std::env::var("CI").is_err(), "{name}: {why}");
    println!("skipped: {name}: {why}");
}

fn works(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).output().is_ok_and(|output| output.status.success())
}

/// Runs a command that must succeed and gives what it printed.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The library of this build, as cargo left it.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libkitestring_uniffi.so")
}

/// Writes what UniFFI makes of the library for a language.
fn bindings(language: TargetLanguage, folder: &Path) {
    let options = GenerateOptions {
        languages: vec![language],
        source: library().to_str().unwrap().into(),
        out_dir: folder.to_str().unwrap().into(),
        ..GenerateOptions::default()
    };
    uniffi::generate(options).unwrap();
}

#[test]
fn the_swift_is_current() {
    let folder = tempfile::tempdir().unwrap();
    bindings(TargetLanguage::Swift, folder.path());
    let place = here().join("bindings/swift");
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["kitestring.swift", "kitestringFFI.h", "kitestringFFI.modulemap"]);
    for file in files {
        let made = std::fs::read(folder.path().join(&file)).unwrap();
        if std::env::var_os("KITESTRING_WRITE").is_some() {
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(&file), &made).unwrap();
        }
        let found = std::fs::read(place.join(&file)).unwrap_or_default();
        assert!(
            found == made,
            "bindings/swift/{file:?} is not current; run the test with KITESTRING_WRITE=1, and look at what changed"
        );
    }
}

/// Swift names arguments, so an example that was forgotten shows: each call it makes must be one that there is.
#[test]
fn the_swift_example_calls_what_there_is() {
    let swift = std::fs::read_to_string(here().join("bindings/swift/kitestring.swift")).unwrap();
    for call in [
        "init(folder: String, trusted: [String])",
        "func install(artifact: Data, provided: [String])",
        "func update(delta: Data, provided: [String])",
        "func set(feature: String, value: Value)",
        "func setScenarios(values: [String])",
        "func setCandidates(features: [String], candidates: [[Value]], version: String? ",
        "func append(event: [String: String])",
        "func observe(declaration: String, log: String?, now: Int64)",
        "func push(event: Event, now: Int64)",
        "func forget(now: Int64)",
        "public struct Event: ",
        "func rank()throws  -> Ranking",
        "return .texts(texts: ",
    ] {
        assert!(swift.contains(call), "the Swift has no `{call}`");
    }
}

/// What a Python script prints, beside what UniFFI made; nothing where that cannot be, after saying so.
fn in_python(name: &str, script: &str) -> Option<String> {
    if !works("python3", "--version") {
        skipped(name, "there is no python3");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    bindings(TargetLanguage::Python, folder.path());
    std::fs::copy(library(), folder.path().join("libkitestring_uniffi.so")).unwrap();
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(done(python.arg(here().join(script)).arg(folder.path())))
}

#[test]
fn the_python_example_ranks() {
    let Some(found) = in_python("Python example", "examples/rank.py") else { return };
    assert_eq!(found, example::native());
}

#[test]
fn python_goes_on_with_a_newer_artifact() {
    let Some(found) = in_python("Python renewal", "tests/renew.py") else { return };
    assert_eq!(found, "renewed\n");
}

#[test]
fn python_learns_what_the_native_session_learns() {
    let Some(found) = in_python("learning in Python", "tests/learn.py") else { return };
    let found: [Vec<f32>; 2] = serde_json::from_str(&found).unwrap();
    assert_eq!(found, learn::native());
}

/// Without the commas behind the last of a list, which Kotlin has since 1.4. None stands in a text: what UniFFI writes has none such.
fn without_last_commas(kotlin: &str) -> String {
    let mut kept = String::with_capacity(kotlin.len());
    let mut rest = kotlin;
    while let Some(at) = rest.find(',') {
        kept.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut next = rest.trim_start();
        while let Some((_, behind)) = next.strip_prefix("/*").and_then(|comment| comment.split_once("*/")) {
            next = behind.trim_start();
        }
        if !next.starts_with([')', ']']) {
            kept.push(',');
        }
    }
    kept + rest
}

#[test]
fn the_kotlin_example_ranks() {
    let (name, jna) = ("Kotlin example", "/usr/share/java/jna.jar");
    if !works("kotlinc", "-version") || !works("java", "-version") || !Path::new(jna).exists() {
        return skipped(name, "there is no kotlinc, no java or no jna.jar");
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    bindings(TargetLanguage::Kotlin, folder.path());
    let binding = folder.path().join("uniffi/kitestring/kitestring.kt");
    let text = without_last_commas(&std::fs::read_to_string(&binding).unwrap());
    std::fs::write(&binding, text).unwrap();
    let jar = folder.path().join("rank.jar");
    let mut compiler = Command::new("kotlinc");
    compiler.args(["-nowarn", "-include-runtime", "-cp", jna, "-d"]).arg(&jar).arg(&binding);
    done(compiler.arg(here().join("tests/kotlin/Since14.kt")).arg(here().join("examples/Rank.kt")));
    let mut java = Command::new("java");
    java.arg("-cp").arg(format!("{}:{jna}", jar.display()));
    java.arg(format!("-Djna.library.path={}", library().parent().unwrap().display()));
    assert_eq!(done(java.args(["RankKt"]).arg(folder.path())), example::native());
}

#[test]
fn the_readme_shows_the_example() {
    example::shown(&here().join("README.md"), &here().join("examples/rank.py"));
}
