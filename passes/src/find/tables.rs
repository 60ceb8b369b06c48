//! Tables of which a Gather takes rows.

use adntn_onnx::pb;

use super::{Finder, NoWeight, int_attribute};
use crate::candidate::{DenseUse, LayerKind, Root, Stored};
use crate::folded::Folding;
use crate::origin::{Origin, is_standard};
use crate::skip::SkipReason;

impl Finder<'_> {
    /// The table of a Gather; small and integer constants, of which shapes are made, are none.
    pub(super) fn table_use(&self, index: usize, node: &pb::NodeProto) -> Result<(Root, DenseUse), NoWeight> {
        let value = self.input(index, 0);
        if self.folded.get(value) == Some(Folding::Replaced) {
            return Err(Some((value.to_owned(), SkipReason::Generator)));
        }
        let Origin::Root(root) = self.origins.of(value) else { return Err(None) };
        let Some(rank) = self.table_rank(&root) else { return Err(None) };
        match int_attribute(node, "axis").unwrap_or(0) {
            axis if axis == 0 || axis == -rank => {
                Ok((root, DenseUse { node: index, input: 0, kind: LayerKind::Gather, stored: Stored::OutputInput }))
            }
            axis => Err(Some((value.to_owned(), SkipReason::TableAxis { axis }))),
        }
    }

    /// Adds the Transpose nodes that read a table to its `uses`: behind them are layers that are tied to it.
    pub(super) fn add_tied(&self, root: &Root, uses: &mut Vec<DenseUse>) {
        if uses.iter().all(|u| u.kind != LayerKind::Gather) {
            return;
        }
        let nodes = &self.model.graph().node;
        let readers = self.model.index().uses(&self.root_name(root)).iter();
        let tied = readers.filter(|u| is_standard(&nodes[u.node], "Transpose"));
        let usage = |u: &adntn_onnx::Use| DenseUse {
            node: u.node,
            input: u.input,
            kind: LayerKind::Gather,
            stored: Stored::OutputInput,
        };
        uses.extend(tied.map(usage));
        uses.sort_by_key(|u| (u.node, u.input));
    }

    /// The rank of a constant table of numbers that is large enough to be a weight.
    fn table_rank(&self, root: &Root) -> Option<i64> {
        use pb::tensor_proto::DataType;
        let tensor = self.tensor(root)?;
        let floating = [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double];
        let elements = tensor.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
        let is_table = floating.iter().any(|&t| tensor.data_type() == t as i32)
            && tensor.dims.len() > 1
            && elements.is_some_and(|n| n >= self.options.min_elements);
        i64::try_from(tensor.dims.len()).ok().filter(|_| is_table)
    }
}
