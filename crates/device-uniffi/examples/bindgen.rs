//! What UniFFI makes of the built library, without having to install it: `bindgen LIBRARY FOLDER` writes Kotlin, Python and Swift.

use std::process::ExitCode;
use uniffi::{GenerateOptions, TargetLanguage, generate};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, folder] = arguments.as_slice() else {
        eprintln!("usage: bindgen LIBRARY FOLDER");
        return ExitCode::from(2);
    };
    let options = GenerateOptions {
        languages: vec![TargetLanguage::Kotlin, TargetLanguage::Python, TargetLanguage::Swift],
        source: library.into(),
        out_dir: folder.into(),
        ..GenerateOptions::default()
    };
    match generate(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
