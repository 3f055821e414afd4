//! Errors of a TOML config in a reader's words: the key, the form that is expected there, and the key that may have been meant.

use crate::config::{EarlyStopping, RunConfig, TrainConfig};
use kitestring_core::Error;
use kitestring_core::error::did_you_mean;

/// Names that others give to keys of ours: PyTorch, Keras, LightGBM, FuxiCTR, RecBole.
const SYNONYMS: [(&str, &str); 32] = [
    ("lr", "learning_rate"),
    ("eta", "learning_rate"),
    ("step_size", "learning_rate"),
    ("weight_decay", "l2"),
    ("reg", "l2"),
    ("regularization", "l2"),
    ("embedding_regularizer", "rows"),
    ("l2_reg", "l2"),
    ("batch", "batch_size"),
    ("bs", "batch_size"),
    ("train_batch_size", "batch_size"),
    ("eval_batch_size", "batch_size"),
    ("epoch", "epochs"),
    ("num_epochs", "epochs"),
    ("n_epochs", "epochs"),
    ("max_epochs", "epochs"),
    ("num_iterations", "epochs"),
    ("dim", "dimension"),
    ("embedding_dim", "dimension"),
    ("embedding_size", "dimension"),
    ("emb_dim", "dimension"),
    ("threads", "workers"),
    ("num_threads", "workers"),
    ("num_workers", "workers"),
    ("n_jobs", "workers"),
    ("scheduler", "schedule"),
    ("lr_scheduler", "schedule"),
    ("gradient_clipping", "clip_norm"),
    ("max_grad_norm", "clip_norm"),
    ("topk", "cutoffs"),
    ("random_seed", "seed"),
    ("random_state", "seed"),
];

/// A TOML error with its line and key, the form expected there, and "did you mean" for an unknown key or variant. `text` is what was parsed;
/// empty where it was no text.
pub fn explain(error: &toml::de::Error, text: &str) -> Error {
    let key = key(error);
    let message = error.message().lines().next().unwrap_or_default();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let mut explained = match quoted.as_slice() {
        [name, known @ ..] if message.starts_with("unknown field") => unknown_key(&key, name, known),
        [name, known @ ..] if message.starts_with("unknown variant") => unknown_variant(&key, name, known),
        [name, ..] if message.starts_with("missing field") => {
            let at = join(&key, name);
            Error::config("this key is missing").in_field(at.as_str()).mend(format!("add `{name} = …`"))
        }
        _ => match message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: ")) {
            Some(rest) => other_form(&key, rest),
            None if key.is_empty() => Error::config(message),
            None => Error::config(message).in_field(key.as_str()),
        },
    };
    if let Some(span) = error.span()
        && !text.is_empty()
    {
        let before = text.get(..span.start).unwrap_or(text);
        explained = explained.at_line(before.matches('\n').count() as u64 + 1);
    }
    explained
}

/// The key at which a config is wrong, `key.of.key`; empty where it is not known.
fn key(error: &toml::de::Error) -> String {
    // The key is shown only where the text is not.
    let mut error = error.clone();
    error.set_input(None);
    let shown = error.to_string();
    let line = shown.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    line.unwrap_or_default().to_owned()
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn unknown_key(key: &str, name: &str, known: &[&str]) -> Error {
    // The path may end in the key itself, or in the table that has it.
    let parent = key.strip_suffix(name).map_or(key, |parent| parent.trim_end_matches('.'));
    let place = if parent.is_empty() { "the config".to_owned() } else { format!("[{parent}]") };
    let error = Error::config(format!("{place} has no key `{name}`")).in_field(join(parent, name));
    let lower = name.to_lowercase();
    let meant = SYNONYMS.iter().find(|(other, _)| *other == lower).map_or(lower.as_str(), |(_, ours)| ours);
    if known.contains(&meant) {
        return error.mend(format!("did you mean `{}`?", join(parent, meant)));
    }
    if let Some(near) = did_you_mean(name, known.iter().copied()) {
        return error.mend(format!("did you mean `{}`?", join(parent, near)));
    }
    if let Some(elsewhere) = find(meant) {
        return error.mend(format!("did you mean `{elsewhere}`?"));
    }
    let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    error.mend(format!("the keys there are {}", known.join(", ")))
}

/// The shortest path of a key of this name in the default config.
fn find(name: &str) -> Option<String> {
    fn walk(table: &toml::Table, path: &str, name: &str, found: &mut Vec<String>) {
        for (key, value) in table {
            let path = join(path, key);
            if key == name {
                found.push(path.clone());
            }
            if let toml::Value::Table(table) = value {
                walk(table, &path, name, found);
            }
        }
    }
    let train = TrainConfig { early_stopping: Some(EarlyStopping::default()), ..Default::default() };
    let table = toml::Table::try_from(RunConfig { train, ..RunConfig::default() }).ok()?;
    let mut found = Vec::new();
    walk(&table, "", name, &mut found);
    found.into_iter().min_by_key(|path| (path.matches('.').count(), path.len()))
}

fn unknown_variant(key: &str, name: &str, known: &[&str]) -> Error {
    let mut error = Error::config(format!("there is no choice `{name}` here"));
    if !key.is_empty() {
        error = error.in_field(key);
    }
    match did_you_mean(name, known.iter().copied()) {
        Some(near) => error.mend(format!("did you mean `{near}`?")),
        None => error.mend(format!("choose one of {}", known.join(", "))),
    }
}

/// A value of another form than the key has: serde's `string "three", expected u32`.
fn other_form(key: &str, message: &str) -> Error {
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let value = match found.split_once(' ') {
        Some(("string", text)) => text.to_owned(),
        Some((_, rest)) => rest.trim_start_matches("point ").replace('`', ""),
        None => match found {
            "map" => "a table".to_owned(),
            "sequence" => "a list".to_owned(),
            other => other.to_owned(),
        },
    };
    let form = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" | "boolean" => "true or false",
        "a string" | "string" | "a borrowed string" => "a text",
        "a sequence" => "a list",
        other if other.starts_with("internally tagged enum") => "a table with a `type`",
        other if other.starts_with("struct") || other == "a map" => "a table",
        other => other,
    };
    let error = Error::config(format!("expected {form}, found {value}"));
    if key.is_empty() {
        return error;
    }
    let error = error.in_field(key);
    let bare = value.trim_matches('"');
    match form {
        "a table with a `type`" if value.starts_with('"') => error.mend(format!("write it as `{key}.type = {value}`")),
        "a list" if value != "a table" => error.mend(format!("write it as `{key} = [{value}]`")),
        "a table" if key.ends_with("early_stopping") => {
            error.mend(format!("write it as `{key} = {{ metric = \"auc\", patience = 2 }}`"))
        }
        "a number" | "a whole number of at least 0" if bare.parse::<f64>().is_ok() && bare != value => {
            error.mend(format!("leave the quotes out: `{key} = {bare}`"))
        }
        "true or false" if ["yes", "on", "1", "True"].contains(&bare) => {
            error.mend(format!("write it as `{key} = true`"))
        }
        "true or false" if ["no", "off", "0", "False"].contains(&bare) => {
            error.mend(format!("write it as `{key} = false`"))
        }
        _ => match default_of(key) {
            Some(value) => error.mend(format!("write it as, say, `{key} = {value}`, the default")),
            // Some numbers have no default: they follow from the data.
            None if form == "a whole number of at least 0" => error.mend(format!("write it as, say, `{key} = 3`")),
            None => error,
        },
    }
}

/// The default of a key, as TOML on one line.
fn default_of(key: &str) -> Option<String> {
    let table = toml::Table::try_from(RunConfig::default()).ok()?;
    let mut parts = key.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    (!value.is_table()).then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINIMAL: &str = r#"
[schema]
features = [{ name = "item", kind = "categorical" }]
tasks = [{ name = "click" }]
"#;

    fn told(assignment: &str) -> String {
        let error = RunConfig::parse(MINIMAL, "x.toml", &[assignment.to_owned()]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn a_wrong_form_names_the_key_and_the_form() {
        for (assignment, expected) in [
            (
                "train.epochs=three",
                "--set: `train.epochs`: expected a whole number of at least 0, found \"three\"; write it as, say, `train.epochs = ",
            ),
            (
                "train.early_stopping=true",
                "--set: `train.early_stopping`: expected a table, found true; write it as `train.early_stopping = { metric",
            ),
            ("train.epochs=-1", "`train.epochs`: expected a whole number of at least 0, found -1"),
            ("train.epochs=2.5", "`train.epochs`: expected a whole number of at least 0, found 2.5"),
            ("train.epochs='3'", "leave the quotes out: `train.epochs = 3`"),
            ("train.learning_rate=fast", "`train.learning_rate`: expected a number, found \"fast\""),
            (
                "train.asynchronous=yes",
                "`train.asynchronous`: expected true or false, found \"yes\"; write it as `train.asynchronous = true`",
            ),
            (
                "train.optimizer=adam",
                "`train.optimizer`: expected a table with a `type`, found \"adam\"; write it as `train.optimizer.type = \"adam\"`",
            ),
            (
                "evaluate.cutoffs=5",
                "`evaluate.cutoffs`: expected a list, found 5; write it as `evaluate.cutoffs = [5]`",
            ),
        ] {
            let told = told(assignment);
            assert!(told.contains(expected), "{assignment}: {told}");
        }
    }

    #[test]
    fn an_unknown_key_suggests_by_meaning_case_and_place() {
        for (assignment, meant) in [
            ("train.lr=0.1", "train.learning_rate"),
            ("lr=0.1", "train.learning_rate"),
            ("optimizer.type=adam", "train.optimizer"),
            ("train.Epochs=3", "train.epochs"),
            ("train.weight_decay=0.1", "train.l2"),
            ("train.batch=4", "train.batch_size"),
            ("model.embedding_dim=3", "model.dimension"),
            ("dropout=0.2", "model.body.dropout"),
            ("patience=3", "train.early_stopping.patience"),
            ("trian.epochs=3", "train"),
        ] {
            let told = told(assignment);
            assert!(told.ends_with(&format!("; did you mean `{meant}`?")), "{assignment}: {told}");
        }
        assert!(
            told("train.device=cuda").contains("the keys there are `batch_size`, "),
            "{}",
            told("train.device=cuda")
        );
        assert!(told("train.optimizer.type=Adam").ends_with("did you mean `adam`?"));
    }

    #[test]
    fn a_mistake_in_a_file_has_its_line_and_key() {
        let wrong = |more: &str| RunConfig::parse(&format!("{MINIMAL}{more}"), "x.toml", &[]).unwrap_err().to_string();
        let told = wrong("[train]\nepochs = \"three\"\n");
        assert!(told.starts_with("x.toml:6: `train.epochs`: expected a whole number"), "{told}");
        let told = wrong("[train]\nlr = 0.1\n");
        assert!(told.starts_with("x.toml:6: `train.lr`: [train] has no key `lr`; did you mean"), "{told}");
        let told = wrong("[train\n");
        assert!(told.starts_with("x.toml:5: "), "{told}");
    }
}
