//! What a device learned for its own user: a few numbers beside an artifact, and never in it.
//!
//! | bytes | hold |
//! |---|---|
//! | 8 | `KITEOWN` and the format number 1 |
//! | 4 | the length of what follows as JSON, little-endian like every number here |
//! | … | the artifact's version and what was learned, JSON |
//! | 4 each | the numbers, `f32` |
//! | 32 | the SHA-256 of all before |
//!
//! They are made of what the user did, so they are as private as that: nothing here sends them anywhere.

use super::Packaged;
use crate::graph::Graph;
use crate::network::Network;
use kitestring_core::artifact::Digest;
use kitestring_core::hash::stable_hash;
use kitestring_core::{Error, Result, Seed};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"KITEOWN\x01";

/// What is learned on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Learns {
    /// Layers as they are: all weights whose names are these or begin with one of these and a dot. They are numbers of 32 bits from then on,
    /// whatever codes the artifact has them in.
    Layers {
        /// Names, as `kitestring device show` lists them.
        names: Vec<String>,
    },
    /// A [patch](crate::ops::patch) before every layer, all of them made of a few numbers (MetaPatch). What they are combined of is drawn, the
    /// same for every device with one version of the artifact.
    Patch {
        /// How many numbers.
        numbers: usize,
        /// The width that a patch goes through.
        rank: usize,
    },
}

impl Default for Learns {
    fn default() -> Self {
        Self::Patch { numbers: 16, rank: 8 }
    }
}

/// A network that learns, and where in its weights the learned numbers are.
pub(super) struct Learner {
    pub graph: Arc<Graph>,
    pub network: Network,
    pub learned: Vec<Range<usize>>,
}

impl Learns {
    /// Whether a weight is learned.
    pub(super) fn names(&self, weight: &str) -> bool {
        let is_of = |name: &String| {
            weight.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self {
            Self::Layers { names } => names.iter().any(is_of),
            Self::Patch { .. } => weight == "patch.numbers",
        }
    }

    /// The artifact's network as it learns, nothing learned yet.
    pub(super) fn learner(&self, packaged: &Packaged, version: &str) -> Result<Learner> {
        let (base, mut network) = (&packaged.graph, packaged.network.clone());
        let graph = match self {
            Self::Layers { names } => {
                let known = || base.weights().iter().map(|info| info.name.as_str());
                for name in names {
                    let alone = Self::Layers { names: vec![name.clone()] };
                    if !known().any(|weight| alone.names(weight)) {
                        let error = Error::config("the ranker has no such layer").in_field(name);
                        return Err(error.suggest(name, known()));
                    }
                }
                Arc::clone(base)
            }
            Self::Patch { numbers, rank } => {
                if *numbers == 0 || *rank == 0 || numbers.saturating_mul(*rank) > 1 << 16 {
                    return Err(Error::config(
                        "a patch has at least one number and a rank of at least one, and is small",
                    ));
                }
                let graph = Arc::new(base.patched(*rank, *numbers));
                let drawn = graph.initial_weights(Seed(stable_hash(version)));
                network.weights.extend_from_slice(&drawn[base.weight_count()..]);
                graph
            }
        };
        let learned = graph.weights().iter().filter(|info| self.names(&info.name));
        let learned = learned.map(|info| info.offset..info.offset + info.shape[0] * info.shape[1]).collect();
        Ok(Learner { graph, network, learned })
    }
}

impl Learner {
    /// The learned numbers, one after another.
    pub fn numbers(&self) -> Vec<f32> {
        self.learned.iter().flat_map(|range| &self.network.weights[range.clone()]).copied().collect()
    }

    /// Puts numbers in the place of the learned ones.
    ///
    /// # Errors
    /// More or fewer.
    pub fn set(&mut self, numbers: &[f32]) -> Result<()> {
        let expected: usize = self.learned.iter().map(Range::len).sum();
        if numbers.len() != expected {
            let found = numbers.len();
            return Err(Error::format(format!("{found} learned numbers, and the ranker has {expected}")));
        }
        let mut rest = numbers;
        for range in &self.learned {
            let (now, later) = rest.split_at(range.len());
            self.network.weights[range.clone()].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }
}

/// What a device learned.
#[derive(Clone, PartialEq)]
pub struct Personal {
    /// The version of the artifact it belongs to.
    pub(super) version: String,
    pub(super) learns: Learns,
    pub(super) numbers: Vec<f32>,
}

/// Numbers tell of what a user did.
impl std::fmt::Debug for Personal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Personal({} numbers of {:?} for {})", self.numbers.len(), self.learns, self.version)
    }
}

/// What stands before the numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: String,
    learns: Learns,
}

impl Personal {
    /// The version of the artifact it belongs to.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What was learned.
    pub fn learns(&self) -> &Learns {
        &self.learns
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// As a file.
    ///
    /// # Errors
    /// Never: it is plain data.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = Header { version: self.version.clone(), learns: self.learns.clone() };
        let header = serde_json::to_vec(&header).map_err(|error| Error::internal("a header").caused_by(error))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        bytes.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        let digest = Digest::of(&bytes);
        bytes.extend(digest.0);
        Ok(bytes)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// One that is damaged or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::format("what was learned on the device is damaged").mend("learn anew");
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if Digest::of(body).0 != *digest {
            return Err(damaged());
        }
        let body = body.strip_prefix(MAGIC).ok_or_else(|| {
            Error::format("this was not learned by a device, or by one of another format").mend("learn anew")
        })?;
        let (len, body) = body.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (header, numbers) = body.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        let Header { version, learns } = serde_json::from_slice(header).map_err(|error| damaged().caused_by(error))?;
        let (numbers, []) = numbers.as_chunks::<4>() else { return Err(damaged()) };
        let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(damaged());
        }
        Ok(Self { version, learns, numbers })
    }

    /// Makes the network of an artifact of some version that of its user. What is learned of patches is worked into them once, so that scoring
    /// generates nothing.
    ///
    /// # Errors
    /// Numbers for another version, or that do not fit.
    pub(super) fn apply(&self, packaged: &mut Packaged, version: &str) -> Result<()> {
        if self.version != version {
            let what = format!("the device learned for model {}, and has {version}", self.version);
            return Err(Error::data(what).mend("learn anew"));
        }
        let mut learner = self.learns.learner(packaged, version)?;
        learner.set(&self.numbers)?;
        match self.learns {
            Learns::Layers { .. } => {
                packaged.codes = Arc::new(packaged.codes.without(&learner.learned));
                packaged.network = learner.network;
            }
            Learns::Patch { rank, .. } => {
                let graph = packaged.graph.patched(rank, 1);
                let weights = &mut packaged.network.weights;
                weights.resize(graph.weight_count(), 1.0);
                for (patch, into) in learner.graph.patches().zip(graph.patches()) {
                    let all = &learner.network.weights;
                    into.down.of_mut(weights).copy_from_slice(patch.down.of(all));
                    patch.generate(patch.numbers.of(all), all, into.basis.of_mut(weights));
                }
                packaged.graph = Arc::new(graph);
            }
        }
        Ok(())
    }
}
