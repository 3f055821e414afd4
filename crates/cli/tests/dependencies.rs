//! Every dependency has a licence that `deny.toml` allows and comes from the registry it names.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn texts(rules: &toml::Table, section: &str, key: &str) -> Vec<String> {
    rules[section][key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn licences_and_sources_are_allowed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rules: toml::Table = toml::from_str(&std::fs::read_to_string(root.join("deny.toml")).unwrap()).unwrap();
    let allowed = texts(&rules, "licenses", "allow");
    let excepted = |package: &str| -> Vec<String> {
        let exceptions = rules["licenses"]["exceptions"].as_array().unwrap();
        let of = exceptions.iter().filter(|exception| exception["crate"].as_str() == Some(package));
        of.flat_map(|exception| exception["allow"].as_array().unwrap())
            .map(|licence| licence.as_str().unwrap().to_owned())
            .collect()
    };
    let registries = texts(&rules, "sources", "allow-registry");
    let cargo = std::env::var("CARGO").unwrap();
    let arguments = ["metadata", "--format-version", "1", "--locked", "--all-features"];
    let output = Command::new(cargo).args(arguments).current_dir(&root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{} packages", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let name = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or_default();
        let excepted = excepted(package["name"].as_str().unwrap_or_default());
        let allowed = |licence: &String| allowed.contains(licence) || excepted.contains(licence);
        let parsed = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let fits = parsed.is_ok_and(|expression| expression.evaluate(|requirement| allowed(&requirement.to_string())));
        if !fits {
            wrong.push(format!("{name}: licence `{licence}`"));
        }
        if let Some(source) = package["source"].as_str()
            && !registries.iter().any(|registry| source == format!("registry+{registry}"))
        {
            wrong.push(format!("{name}: source `{source}`"));
        }
    }
    assert!(wrong.is_empty(), "not allowed by deny.toml:\n{}", wrong.join("\n"));
}
