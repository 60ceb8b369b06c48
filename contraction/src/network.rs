//! Tensor networks as graphs.

use std::collections::BTreeMap;

use petgraph::graph::{NodeIndex, UnGraph};
use thiserror::Error;

/// A named dimension of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Name; two tensors that share it are joined by a bond.
    pub name: String,
    /// Dimension, at least 1.
    pub dim: usize,
}

/// A node: a tensor, known by its name and legs only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Name, for messages and reports.
    pub name: String,
    /// Its legs.
    pub legs: Vec<Leg>,
}

/// An edge: a leg shared by two tensors and summed over. Two tensors may be joined by several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Name of the leg.
    pub name: String,
    /// Bond dimension.
    pub dim: usize,
}

/// Why a tensor cannot join a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A dimension of zero.
    #[error("leg `{leg}` of tensor `{tensor}` has dimension 0; every leg needs at least 1")]
    EmptyLeg {
        /// The tensor.
        tensor: String,
        /// Its leg.
        leg: String,
    },
    /// One tensor has two legs of the same name.
    #[error("tensor `{tensor}` has two legs named `{leg}`; take the trace first or rename one")]
    RepeatedLeg {
        /// The tensor.
        tensor: String,
        /// Its leg.
        leg: String,
    },
    /// The two ends of a bond differ in dimension.
    #[error(
        "leg `{leg}` has dimension {first} elsewhere but {second} in tensor `{tensor}`; both ends of a bond must agree"
    )]
    DimensionMismatch {
        /// The tensor.
        tensor: String,
        /// Its leg.
        leg: String,
        /// Dimension known so far.
        first: usize,
        /// Dimension in `tensor`.
        second: usize,
    },
    /// A third tensor wants a bond that joins two already.
    #[error("leg `{leg}` of tensor `{tensor}` already joins two tensors; a bond has two ends")]
    BondTaken {
        /// The tensor.
        tensor: String,
        /// Its leg.
        leg: String,
    },
}

/// A tensor network: tensors, bonds between them and open legs.
#[derive(Debug, Clone, Default)]
pub struct Network {
    graph: UnGraph<Tensor, Bond>,
    open: BTreeMap<String, (NodeIndex, usize)>,
}

impl Network {
    /// A network without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor and the bonds to those that have legs of the same names; returns its number, counted from 0.
    ///
    /// # Errors
    /// When a dimension is 0, a name repeats within the tensor, the dimensions of a bond's ends differ, or the bond has two
    /// ends already. The network is then unchanged.
    pub fn add_tensor(&mut self, name: &str, legs: &[(&str, usize)]) -> Result<usize, Error> {
        for (k, &(leg, dim)) in legs.iter().enumerate() {
            let (tensor, leg_name) = (name.to_owned(), leg.to_owned());
            if dim == 0 {
                return Err(Error::EmptyLeg { tensor, leg: leg_name });
            }
            if legs[..k].iter().any(|&(other, _)| other == leg) {
                return Err(Error::RepeatedLeg { tensor, leg: leg_name });
            }
            match self.open.get(leg) {
                Some(&(_, first)) if first != dim => {
                    return Err(Error::DimensionMismatch { tensor, leg: leg_name, first, second: dim });
                }
                None if self.graph.edge_weights().any(|bond| bond.name == leg) => {
                    return Err(Error::BondTaken { tensor, leg: leg_name });
                }
                _ => {}
            }
        }
        let own = legs.iter().map(|&(name, dim)| Leg { name: name.to_owned(), dim });
        let node = self.graph.add_node(Tensor { name: name.to_owned(), legs: own.collect() });
        for &(leg, dim) in legs {
            match self.open.remove(leg) {
                Some((other, _)) => {
                    self.graph.add_edge(other, node, Bond { name: leg.to_owned(), dim });
                }
                None => {
                    self.open.insert(leg.to_owned(), (node, dim));
                }
            }
        }
        Ok(node.index())
    }

    /// The tensors in the order in which they were added.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.graph.node_weights().collect::<Vec<_>>().into_iter()
    }

    /// Legs that belong to one tensor only, by name: the legs of the network's value.
    pub fn open_legs(&self) -> Vec<Leg> {
        self.open.iter().map(|(name, &(_, dim))| Leg { name: name.clone(), dim }).collect()
    }

    /// The underlying graph.
    pub fn graph(&self) -> &UnGraph<Tensor, Bond> {
        &self.graph
    }
}
