//! Every int8 path is exact: those of this processor, those of 64-bit Arms under an emulator, and that of WebAssembly in node, as
//! `bench/device-size` built them.
#![allow(clippy::unwrap_used)]

use kitestring_nn::kernels::int8::Int8Path;
use std::path::PathBuf;
use std::process::Command;

fn skipped(name: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{name}: {why}");
    println!("skipped: {name}: {why}");
}

/// What was built for another processor, and what runs it; nothing where one of them is not there, after saying so.
fn built(name: &str, file: &str, runner: &str) -> Option<PathBuf> {
    let built = std::env::var_os("KITESTRING_DEVICE").map(|folder| PathBuf::from(folder).join("paths").join(file));
    let Some(built) = built.filter(|built| built.exists()) else {
        skipped(name, "KITESTRING_DEVICE names no folder with what bench/device-size makes");
        return None;
    };
    if !Command::new(runner).arg("--version").output().is_ok_and(|output| output.status.success()) {
        skipped(name, &format!("there is no {runner}"));
        return None;
    }
    Some(built)
}

#[test]
fn paths_of_this_processor() {
    let found = kitestring_paths::check().unwrap();
    assert!(!found.is_empty());
    if let Some(fastest) = Int8Path::fastest() {
        assert_eq!(found[0].0, fastest);
    }
}

#[test]
fn paths_of_a_64_bit_arm() {
    let Some(program) = built("int8 on a 64-bit Arm", "kitestring-paths", "qemu-aarch64") else { return };
    // With products of matrices, with dot products alone, and without either.
    let paths = ["neon-i8mm", "neon-dotprod", "neon"];
    for (processor, expected) in [("max", &paths[..]), ("neoverse-n1", &paths[1..]), ("cortex-a53", &paths[2..])] {
        let mut command = Command::new("qemu-aarch64");
        let output = command.args(["-cpu", processor, "-L", "/usr/aarch64-linux-gnu"]).arg(&program).output().unwrap();
        assert!(output.status.success(), "{processor}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(found, expected, "{processor}");
    }
}

#[test]
fn path_of_webassembly() {
    let Some(module) = built("int8 in node", "kitestring_paths.wasm", "node") else { return };
    let script = "WebAssembly.instantiate(require('fs').readFileSync(process.argv[1]), {}) \
                  .then(module => console.log(module.instance.exports.paths()))";
    let output = Command::new("node").args(["-e", script]).arg(module).output().unwrap();
    let bits: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert_eq!(bits, 1 << Int8Path::ALL.iter().position(|path| *path == Int8Path::WasmSimd).unwrap());
}
