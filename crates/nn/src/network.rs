//! A graph's weights and running statistics, and their file.

use crate::graph::Graph;
use kitestring_core::{Error, Result, Seed};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

/// The format number in the file's metadata.
const FORMAT: &str = "1";

/// The dense part of a model: everything that is not rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// All weights, as [`Graph::weights`] lays them out.
    pub weights: Vec<f32>,
    /// All running statistics, as [`Graph::states`] lays them out.
    pub state: Vec<f32>,
}

impl Network {
    /// A network as it starts.
    pub fn new(graph: &Graph, seed: Seed) -> Self {
        Self { weights: graph.initial_weights(seed), state: graph.initial_state() }
    }

    /// The network as safetensors: one tensor a weight or statistic, by name.
    ///
    /// # Errors
    /// If the network is not the graph's.
    pub fn to_safetensors(&self, graph: &Graph) -> Result<Vec<u8>> {
        self.check(graph)?;
        let mut tensors = Vec::new();
        for info in graph.weights() {
            let len = info.shape[0] * info.shape[1];
            tensors.push((info.name.clone(), info.shape.to_vec(), &self.weights[info.offset..info.offset + len]));
        }
        for info in graph.states() {
            tensors.push((info.name.clone(), vec![info.len], &self.state[info.offset..info.offset + info.len]));
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, values) in tensors {
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
            views.push((name, view.map_err(|error| Error::internal("a tensor's shape").caused_by(error))?));
        }
        let metadata = HashMap::from([("format".to_owned(), FORMAT.to_owned())]);
        safetensors::serialize(views, Some(metadata)).map_err(|error| Error::internal("safetensors").caused_by(error))
    }

    /// Reads a network of a graph. `file` is for messages.
    ///
    /// # Errors
    /// If the file is damaged, of another format, or of another graph; the error names the weight.
    pub fn from_safetensors(graph: &Graph, bytes: &[u8], file: &str) -> Result<Self> {
        let damaged = |error: safetensors::SafeTensorError| {
            Error::format("this is no whole safetensors file").caused_by(error).in_file(file)
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let format = metadata.metadata().as_ref().and_then(|map| map.get("format").cloned());
        if format.as_deref() != Some(FORMAT) {
            let found = format.unwrap_or_else(|| "none".into());
            return Err(Error::format(format!("format {found}, expected {FORMAT}"))
                .in_file(file)
                .mend("load it with the version of Kitestring that wrote it"));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut network = Self { weights: vec![0.0; graph.weight_count()], state: vec![0.0; graph.state_count()] };
        let read = |name: &str, shape: &[usize], into: &mut [f32]| -> Result<()> {
            let wrong = |what: String| Error::format(what).in_file(file).in_field(name);
            let tensor = tensors.tensor(name).map_err(|_| wrong("the weight is missing".into()))?;
            if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
                return Err(wrong(format!(
                    "expected f32 of {shape:?}, found {:?} of {:?}",
                    tensor.dtype(),
                    tensor.shape()
                )));
            }
            for (into, bytes) in into.iter_mut().zip(tensor.data().chunks_exact(4)) {
                *into = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            Ok(())
        };
        for info in graph.weights() {
            let len = info.shape[0] * info.shape[1];
            read(&info.name, &info.shape, &mut network.weights[info.offset..info.offset + len])?;
        }
        for info in graph.states() {
            read(&info.name, &[info.len], &mut network.state[info.offset..info.offset + info.len])?;
        }
        let expected = graph.weights().len() + graph.states().len();
        if tensors.len() != expected {
            return Err(Error::format(format!("{} tensors, expected {expected}", tensors.len()))
                .in_file(file)
                .mend("this is the network of another model"));
        }
        Ok(network)
    }

    pub(crate) fn check(&self, graph: &Graph) -> Result<()> {
        if self.weights.len() == graph.weight_count() && self.state.len() == graph.state_count() {
            return Ok(());
        }
        Err(Error::internal("this network is not the graph's"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::activation::Activation;

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let x = graph.numeric(3);
        let y = graph.scope("a", |graph| graph.linear(x, 2, Activation::Relu));
        graph.scope("b", |graph| graph.batch_norm(y, true, Activation::None, 1e-5));
        graph
    }

    #[test]
    fn travels_through_safetensors() {
        let graph = graph();
        let network = Network::new(&graph, Seed(1));
        let bytes = network.to_safetensors(&graph).unwrap();
        assert_eq!(Network::from_safetensors(&graph, &bytes, "x").unwrap(), network);
    }

    #[test]
    fn damage_and_strangers_are_refused() {
        let graph = graph();
        let bytes = Network::new(&graph, Seed(1)).to_safetensors(&graph).unwrap();
        assert!(Network::from_safetensors(&graph, &bytes[..bytes.len() / 2], "x").is_err());
        assert!(Network::from_safetensors(&graph, b"", "x").is_err());
        let mut other = Graph::new();
        let x = other.numeric(4);
        other.scope("a", |graph| graph.linear(x, 2, Activation::Relu));
        let error = Network::from_safetensors(&other, &bytes, "n.safetensors").unwrap_err().to_string();
        assert!(error.contains("n.safetensors") && error.contains("a.bias") || error.contains("a.weight"), "{error}");
    }
}
