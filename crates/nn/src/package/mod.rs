//! A ranker in an artifact: what goes into its pages, and what the engine makes of them.
//!
//! | page | holds |
//! |---|---|
//! | `weights/NAME` | a weight's numbers in `f32`; or, where it is [coded](Description::coded), a scale a column in `f32`, then a code of eight bits a number |
//! | `states/NAME` | running statistics in `f32` |
//! | `rows/TABLE/…` | rows, as [`RowCodes`] says |
//!
//! The graph itself is in no page: the config of the slots makes it, as it made the one that was trained.

#[cfg(feature = "train")]
mod aware;
#[cfg(feature = "train")]
pub mod learning;
#[cfg(feature = "train")]
mod personal;
mod runtime;

#[cfg(feature = "train")]
pub use personal::{Learns, Personal};
pub use runtime::Runtime;

use crate::graph::{Graph, Weight};
use crate::kernels::int8::Int8Path;
use crate::network::Network;
use crate::quantization::affine::{Affine, Weights};
use crate::quantization::product::{Codes, Product};
use crate::quantization::rows::Bits;
use crate::ranker::{ModelConfig, Ranker, RankerTable};
use kitestring_core::artifact::Artifact;
use kitestring_core::json::Read;
use kitestring_core::{Error, Result, Schema};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the numbers of a row are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowCodes {
    /// Four bytes a number.
    #[default]
    F32,
    /// A scale and a least number a row, and a byte a number.
    Int8,
    /// The same, and half a byte a number.
    Int4,
}

kitestring_core::choices!(RowCodes { F32, Int8, Int4 });

impl RowCodes {
    fn bits(self) -> Option<Bits> {
        match self {
            Self::F32 => None,
            Self::Int8 => Some(Bits::Eight),
            Self::Int4 => Some(Bits::Four),
        }
    }

    /// Bytes of a row of so many numbers.
    pub fn row_bytes(self, width: usize) -> usize {
        self.bits().map_or(4 * width, |bits| bits.row_bytes(width))
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn encode(self, row: &[f32], into: &mut Vec<u8>) -> Result<()> {
        match self.bits() {
            Some(bits) => bits.encode(row, into),
            None if row.iter().all(|number| number.is_finite()) => {
                into.extend(row.iter().flat_map(|number| number.to_le_bytes()));
                Ok(())
            }
            None => Err(Error::numeric("an embedding row that is not finite")),
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// Bytes that are no such row's.
    pub fn decode(self, bytes: &[u8], row: &mut [f32]) -> Result<()> {
        if let Some(bits) = self.bits() {
            return bits.decode(bytes, row);
        }
        let (numbers, rest) = bytes.as_chunks::<4>();
        if numbers.len() != row.len() || !rest.is_empty() {
            return Err(Error::format("an embedding row is damaged"));
        }
        row.iter_mut().zip(numbers).for_each(|(into, number)| *into = f32::from_le_bytes(*number));
        Ok(())
    }
}

/// What enters a product in codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activations {
    /// The name of the weight it is multiplied with.
    pub weight: String,
    /// The first row of the part of the weight, where it is a part.
    #[serde(default)]
    pub row: usize,
    /// Its codes.
    pub codes: Affine,
}

kitestring_core::fields!(Activations { weight, codes; row } else Self {
    weight: String::new(),
    row: 0,
    codes: Read::blank(),
});

impl Activations {
    /// The matrix of the graph it is multiplied with.
    fn product(&self, graph: &Graph) -> Result<Weight> {
        let named = |product: &Weight| graph.name_of(*product) == Some((&self.weight, self.row));
        graph.products().into_iter().find(named).ok_or_else(|| self.unknown())
    }

    /// The matrix of the graph it is multiplied with, and its part of the weight's codes.
    fn part(&self, graph: &Graph, coded: &Weights) -> Result<(Weight, Weights)> {
        let product = self.product(graph)?;
        let [rows, columns] = product.shape();
        let part = coded.codes.get(self.row * columns..(self.row + rows) * columns).ok_or_else(|| self.unknown())?;
        Ok((product, Weights { codes: part.to_vec(), scales: coded.scales.clone() }))
    }

    fn unknown(&self) -> Error {
        Error::format("the graph has no such product").in_field(format!("{}[{}]", self.weight, self.row))
    }
}

/// How the engine runs the network of an artifact: what its manifest holds as `model`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Row dimensions and the five slots.
    pub ranker: ModelConfig,
    /// The number of scenarios at each level, with the unseen one.
    pub scenarios: Vec<usize>,
    /// How each table's rows are stored, in the order of the schema's tables.
    pub rows: Vec<RowCodes>,
    /// The names of the weights that are in codes.
    #[serde(default)]
    pub coded: BTreeSet<String>,
    /// The products that are done in codes: of coded weights alone. Other coded weights are numbers again in memory.
    #[serde(default)]
    pub activations: Vec<Activations>,
}

kitestring_core::fields!(Description { ranker, scenarios, rows; coded, activations } else Self {
    ranker: Read::blank(),
    scenarios: Vec::new(),
    rows: Vec::new(),
    coded: BTreeSet::new(),
    activations: Vec::new(),
});

/// The network of an artifact, ready for the engine.
#[derive(Debug, Clone)]
pub struct Packaged {
    /// How it is run.
    pub description: Description,
    /// The forward pass.
    pub graph: Arc<Graph>,
    /// The tables it reads.
    pub tables: Vec<RankerTable>,
    /// Weights and running statistics, those in codes as the numbers they stand for.
    pub network: Network,
    /// The products that are done in codes: none where the processor has no instructions that make them quicker.
    pub codes: Arc<Codes>,
}

impl Description {
    /// The description as a manifest holds it.
    ///
    /// # Errors
    /// Never: it is plain data.
    pub fn to_value(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(|error| Error::internal("a description as JSON").caused_by(error))
    }

    /// The pages of a network.
    ///
    /// # Errors
    /// If the network is not the graph's, or a weight to be coded is not finite.
    pub fn pages(&self, graph: &Graph, network: &Network) -> Result<Vec<(String, Vec<u8>)>> {
        network.check(graph)?;
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let mut pages = Vec::new();
        for info in graph.weights() {
            let numbers = &network.weights[info.offset..info.offset + info.shape[0] * info.shape[1]];
            let page = if self.coded.contains(&info.name) {
                let coded = Weights::per_column(numbers, info.shape[1]).map_err(|error| error.in_field(&info.name))?;
                let mut page = bytes(&coded.scales);
                page.extend(coded.codes.iter().map(|code| code.cast_unsigned()));
                page
            } else {
                bytes(numbers)
            };
            pages.push((format!("weights/{}", info.name), page));
        }
        for info in graph.states() {
            pages.push((format!("states/{}", info.name), bytes(&network.state[info.offset..info.offset + info.len])));
        }
        Ok(pages)
    }

    /// Reads the network of an artifact's pages.
    fn read(&self, graph: &Graph, artifact: &Artifact) -> Result<(Network, Codes)> {
        // Every number takes a byte at least, so that what is said is not believed before there is room for it.
        let (numbers, bytes) = (graph.weight_count() + graph.state_count(), artifact.bytes().len());
        if numbers > bytes {
            return Err(Error::format(format!("a network of {numbers} numbers in an artifact of {bytes} bytes")));
        }
        let mut network = Network { weights: vec![0.0; graph.weight_count()], state: vec![0.0; graph.state_count()] };
        let mut coded = BTreeMap::new();
        for info in graph.weights() {
            let name = format!("weights/{}", info.name);
            let count = info.shape[0] * info.shape[1];
            let into = &mut network.weights[info.offset..info.offset + count];
            if self.coded.contains(&info.name) {
                let weights = weights_in_codes(artifact.page(&name)?, info.shape);
                let weights = weights.ok_or_else(|| Error::format("codes of another shape").in_field(&name))?;
                into.copy_from_slice(&weights.decode());
                coded.insert(info.name.as_str(), weights);
            } else {
                into.copy_from_slice(artifact.numbers(&name, count)?);
            }
        }
        for info in graph.states() {
            let numbers = artifact.numbers(&format!("states/{}", info.name), info.len)?;
            network.state[info.offset..info.offset + info.len].copy_from_slice(numbers);
        }
        let (mut codes, is_quicker) = (Codes::default(), Int8Path::fastest().is_some());
        for of in &self.activations {
            let coded = coded.get(of.weight.as_str()).ok_or_else(|| of.unknown())?;
            let (product, weights) = of.part(graph, coded)?;
            let scale = of.codes.scale;
            if !(scale.is_finite() && scale > 0.0) {
                return Err(Error::format("a scale that is no positive number").in_field(&of.weight));
            }
            let in_codes = Product::new(&weights, of.codes)?;
            // Where a processor has no instructions for them, products of the numbers that the codes stand for are quicker.
            if is_quicker {
                codes.insert(product, in_codes)?;
            }
        }
        Ok((network, codes))
    }
}

fn weights_in_codes(page: &[u8], [rows, columns]: [usize; 2]) -> Option<Weights> {
    let (scales, codes) = page.split_at_checked(4 * columns)?;
    let scales: Vec<f32> = scales.as_chunks::<4>().0.iter().map(|scale| f32::from_le_bytes(*scale)).collect();
    let sound = codes.len() == rows * columns && scales.iter().all(|scale| scale.is_finite());
    sound.then(|| Weights { codes: bytemuck::cast_slice(codes).to_vec(), scales })
}

impl Packaged {
    /// The products in codes as an ONNX model names them, from the artifact that this was made of.
    ///
    /// # Errors
    /// Another artifact.
    #[cfg(feature = "export")]
    pub fn quantized(&self, artifact: &Artifact) -> Result<BTreeMap<String, crate::onnx::Quantized>> {
        let graph = &self.graph;
        let mut found = BTreeMap::new();
        for of in &self.description.activations {
            let info = graph.weights().iter().find(|info| info.name == of.weight).ok_or_else(|| of.unknown())?;
            let page = artifact.page(&format!("weights/{}", of.weight))?;
            let coded = weights_in_codes(page, info.shape).ok_or_else(|| of.unknown())?;
            let (product, weights) = of.part(graph, &coded)?;
            let whole = product.shape() == info.shape;
            let name = if whole { of.weight.clone() } else { format!("{}[{}]", of.weight, of.row) };
            found.insert(name, crate::onnx::Quantized { input: of.codes, weights });
        }
        Ok(found)
    }

    /// Makes what the engine runs of an artifact.
    ///
    /// # Errors
    /// A description that cannot be read or does not fit the artifact's pages: those of another version of the engine.
    pub fn open(artifact: &Artifact) -> Result<Self> {
        let manifest = artifact.manifest();
        let description: Description = kitestring_core::json::from_value(&manifest.model).map_err(|error| {
            let error = Error::format("the artifact's model cannot be read").caused_by(error);
            error.mend("update the app, or make the artifact again with this version")
        })?;
        let ranker = Ranker::new(&manifest.schema, &description.ranker, &description.scenarios)?;
        check_rows(&manifest.schema, &description, &ranker, artifact)?;
        let (network, codes) = description.read(&ranker.graph, artifact)?;
        Ok(Self { description, graph: Arc::new(ranker.graph), tables: ranker.tables, network, codes: Arc::new(codes) })
    }
}

fn check_rows(schema: &Schema, description: &Description, ranker: &Ranker, artifact: &Artifact) -> Result<()> {
    let tables = &artifact.manifest().tables;
    let (found, expected) = (description.rows.len(), schema.table_names().len());
    if (found, tables.len()) != (expected, expected) {
        return Err(Error::format(format!("rows of {found} tables, and the schema has {expected}")));
    }
    for ((table, codes), info) in ranker.tables.iter().zip(&description.rows).zip(tables) {
        let bytes = codes.row_bytes(table.width);
        if info.row_bytes as usize != bytes {
            let what = format!("rows of {} bytes, expected {bytes}", info.row_bytes);
            return Err(Error::format(what).in_field(&table.name));
        }
    }
    Ok(())
}
