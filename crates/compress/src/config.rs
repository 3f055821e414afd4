//! What a device can carry, and the passes that make a ranker fit it.

use crate::passes::Pass;
use kitestring_core::{Error, Result};
use kitestring_train::config::assignment;
use kitestring_train::config_error::explain;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A device and the way to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompressConfig {
    /// What the device can carry.
    #[serde(default)]
    pub device: Device,
    /// What is done, in this order.
    #[serde(default)]
    pub passes: Vec<Pass>,
}

/// What a class of devices can carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// What it is called.
    pub name: String,
    /// Candidates that a request brings, and that are ranked together.
    pub candidates: usize,
    /// What an artifact may take at most.
    pub limits: Limits,
    /// How fast one core of it is.
    pub speed: Speed,
}

impl Default for Device {
    fn default() -> Self {
        Self { name: "device".into(), candidates: 100, limits: Limits::default(), speed: Speed::default() }
    }
}

/// What an artifact may take at most; what is absent has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_bytes: Option<u64>,
    /// Bytes of memory: the file where it is mapped, and what the runtime makes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Microseconds a candidate on this device, as [`Speed`] has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microseconds: Option<f64>,
    /// What the ranker may lose of the first binary task's AUC, to the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc_loss: Option<f64>,
    /// The share by which the RMSE of the first task that is not binary may rise over the teacher's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmse_rise: Option<f64>,
}

/// What one core of a device does in a second where everything is in its caches. Measured with `kitestring device bench` on one, or taken
/// from its data sheet, of which products reach about half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Speed {
    /// Operations on `f32`; a multiply and an add are two.
    pub flops: f64,
    /// Operations on codes of eight bits.
    pub int8: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
}

impl Default for Speed {
    /// A core made to save power, in order and at 1.8 GHz, with 128-bit vectors: half of 14 and 57 billion operations.
    fn default() -> Self {
        Self { flops: 7e9, int8: 28e9, bytes: 4e9 }
    }
}

impl CompressConfig {
    /// Reads a config and applies overrides of the form `key.of.key=value`; a pass is named by its number from 0 (`passes.1.rows=int4`).
    ///
    /// # Errors
    /// A config error with file and key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::io(error, "could not read the config", path))?;
        Self::parse(&text, overrides).map_err(|error| error.in_file(file))
    }

    /// [`Self::read`] from a text.
    ///
    /// # Errors
    /// A config error with the key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        let mut value: toml::Value = toml::from_str(text).map_err(|error| explain(&error, text))?;
        // As written, so that a mistake in the file is shown with its line.
        toml::from_str::<Self>(text).map_err(|error| explain(&error, text))?;
        for text in overrides {
            let (key, to) = assignment(text)?;
            set(&mut value, &key, to)?;
        }
        let config: Self = value.try_into().map_err(|error| explain(&error, "").in_file("--set"))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        if self.device.candidates == 0 {
            return Err(Error::config("a request brings at least one candidate").in_field("device.candidates"));
        }
        let Speed { flops, int8, bytes } = self.device.speed;
        if ![flops, int8, bytes].iter().all(|speed| *speed > 0.0 && speed.is_finite()) {
            return Err(Error::config("a speed is a positive number").in_field("device.speed"));
        }
        for (number, pass) in self.passes.iter().enumerate() {
            pass.check().map_err(|error| {
                let field = error.place().field.clone().unwrap_or_default();
                error.in_field(format!("passes.{number}.{field}"))
            })?;
        }
        Ok(())
    }
}

/// Sets a key of a tree of tables and lists.
fn set(value: &mut toml::Value, key: &str, to: toml::Value) -> Result<()> {
    let unknown = || Error::config("there is no such key").in_field(key.to_owned());
    let mut at = value;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        at = match at {
            toml::Value::Table(table) if parts.peek().is_none() => {
                table.insert(part.to_owned(), to);
                return Ok(());
            }
            toml::Value::Table(table) => {
                table.entry(part.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()))
            }
            toml::Value::Array(list) => part.parse().ok().and_then(|at: usize| list.get_mut(at)).ok_or_else(unknown)?,
            _ => return Err(unknown()),
        };
    }
    *at = to;
    Ok(())
}
