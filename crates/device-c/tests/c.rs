//! The header is what the crate says, and the C example prints what the native session says: here, and on a 64-bit Arm.
#![allow(clippy::unwrap_used)]

mod example;

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Runs a command that must succeed and gives what it printed.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The example, compiled with everything that a compiler warns of.
fn compile(compiler: &str, source: &Path, library: &[&str], program: &Path) {
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]).arg(here().join("include"));
    done(command.arg("-o").arg(program).arg(source).args(library));
}

/// Where cargo left the libraries of this build.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Without the sections that say to Rust what the header's beginning says of all calls.
fn without_safety(header: &str) -> String {
    let (mut kept, mut within) = (Vec::new(), false);
    for line in header.lines() {
        if line == "// # Safety" {
            within = true;
            // The empty line before it.
            kept.pop();
        }
        within &= line.starts_with("//");
        if !within {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

#[test]
fn the_header_is_current() {
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ["status", "ranker", "shelf"] {
        builder = builder.with_src(here().join("src").join(source).with_extension("rs"));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = without_safety(std::str::from_utf8(&made).unwrap());
    let place = here().join("include/kitestring.h");
    if std::env::var_os("KITESTRING_WRITE").is_some() {
        std::fs::write(&place, &made).unwrap();
    }
    let found = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(
        found == made,
        "include/kitestring.h is not current; run the test with KITESTRING_WRITE=1, and look at what changed"
    );
}

#[test]
fn the_example_ranks_as_the_session_does() {
    if !works("gcc") {
        return skipped("C example", "there is no gcc");
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    let (source, program) = (here().join("examples/rank.c"), folder.path().join("rank"));
    let (shared, rpath) = (libraries(), format!("-Wl,-rpath,{}", libraries().display()));
    let shared = shared.join("libkitestring_c.so");
    compile("gcc", &source, &[shared.to_str().unwrap(), &rpath], &program);
    assert_eq!(done(Command::new(&program).arg(folder.path())), example::native());
}

/// Everything that an app may hand over by mistake is refused, with a message.
#[test]
fn mistakes_are_refused() {
    if !works("gcc") {
        return skipped("C mistakes", "there is no gcc");
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    let (source, program) = (here().join("tests/mistakes.c"), folder.path().join("mistakes"));
    let (shared, rpath) = (libraries(), format!("-Wl,-rpath,{}", libraries().display()));
    let shared = shared.join("libkitestring_c.so");
    compile("gcc", &source, &[shared.to_str().unwrap(), &rpath], &program);
    let said = done(Command::new(&program).arg(folder.path()));
    assert!(said.ends_with("all refused\n"), "{said}");
}

/// The libraries that apps ship, as `bench/device-size` built them.
#[test]
fn the_example_ranks_on_a_64_bit_arm() {
    let name = "C example on a 64-bit Arm";
    let Some(built) = std::env::var_os("KITESTRING_DEVICE").map(PathBuf::from) else {
        return skipped(name, "KITESTRING_DEVICE names no folder that bench/device-size made");
    };
    let (compiler, emulator) = ("aarch64-linux-gnu-gcc", "qemu-aarch64");
    if !works(compiler) || !works(emulator) {
        return skipped(name, "there is no aarch64-linux-gnu-gcc or no qemu-aarch64");
    }
    let libraries = built.join("aarch64-unknown-linux-gnu");
    if !libraries.exists() {
        return skipped(name, "bench/device-size built none for it");
    }
    let folder = tempfile::tempdir().unwrap();
    example::write(folder.path());
    let source = here().join("examples/rank.c");
    for library in ["libkitestring_c.so", "libkitestring_c.a"] {
        let program = folder.path().join("rank");
        let file = libraries.join(library);
        compile(compiler, &source, &[file.to_str().unwrap(), "-lm", "-lpthread", "-ldl"], &program);
        let mut command = Command::new(emulator);
        command.args(["-L", "/usr/aarch64-linux-gnu", "-E"]).arg(format!("LD_LIBRARY_PATH={}", libraries.display()));
        let found = done(command.arg(&program).arg(folder.path()));
        example::close(&found, &example::native(), library);
        std::fs::remove_dir_all(folder.path().join("shelf")).unwrap();
    }
}

#[test]
fn the_readme_shows_the_example() {
    example::shown(&here().join("README.md"), &here().join("examples/rank.c"));
}
