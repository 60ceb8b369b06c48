//! Sparse tensors: the rules of the format beyond those of the two dense tensors that they are made of.
//!
//! Source: `check_sparse_tensor` of the ONNX checker. Indices are positions in the flattened tensor (rank 1) or one row of
//! coordinates for each value (rank 2); either way they ascend and stay inside the shape.

use std::borrow::Cow;

use crate::external::ExternalFiles;
use crate::pb::tensor_proto::DataType;
use crate::{Error, SparseProblem, pb, tensor};

/// Checks a sparse tensor whose `values` and `indices` were checked, and whose external data are in `files`.
pub(crate) fn check(
    sparse: &pb::SparseTensorProto,
    files: &ExternalFiles,
    label: &dyn Fn() -> String,
) -> Result<(), Error> {
    let wrong = |problem| Error::Sparse { tensor: label(), problem };
    let values = sparse.values.as_ref().ok_or_else(|| wrong(SparseProblem::NoValues))?;
    let &[count] = values.dims.as_slice() else {
        return Err(wrong(SparseProblem::ValuesRank { rank: values.dims.len() }));
    };
    if sparse.dims.is_empty() || sparse.dims.iter().any(|&dim| dim <= 0) {
        return Err(wrong(SparseProblem::Dims { dims: sparse.dims.clone() }));
    }
    let Some(indices) = &sparse.indices else {
        return if count == 0 { Ok(()) } else { Err(wrong(SparseProblem::NoIndices { count })) };
    };
    if indices.data_type() != DataType::Int64 as i32 {
        return Err(wrong(SparseProblem::IndexType));
    }
    let rank = sparse.dims.len();
    let by_row = match indices.dims.as_slice() {
        &[rows] if rows == count => false,
        &[rows, columns] if rows == count && columns == rank as i64 => true,
        shape => return Err(wrong(SparseProblem::IndexShape { shape: shape.to_vec(), count, rank })),
    };
    let numbers = if tensor::is_external(indices) {
        Cow::Borrowed(files.slice(indices)?)
    } else {
        let raw = tensor::raw_bytes(indices).map_err(|problem| Error::Tensor { tensor: label(), problem })?;
        Cow::Owned(raw.unwrap_or_default().to_vec())
    };
    let extents =
        if by_row { sparse.dims.clone() } else { vec![tensor::element_count(&sparse.dims).unwrap_or(0) as i64] };
    in_order(&numbers, &extents).map_err(wrong)
}

/// Whether the rows of `numbers` (little-endian, one number for each of `extents`) lie inside and ascend.
fn in_order(numbers: &[u8], extents: &[i64]) -> Result<(), SparseProblem> {
    let mut before: Option<Vec<i64>> = None;
    for (position, row) in numbers.chunks_exact(8 * extents.len()).enumerate() {
        let row: Vec<i64> = row.as_chunks().0.iter().map(|&number| i64::from_le_bytes(number)).collect();
        if row.iter().zip(extents).any(|(index, extent)| !(0..*extent).contains(index)) {
            return Err(SparseProblem::Outside { position, index: row, extents: extents.to_vec() });
        }
        if before.as_ref().is_some_and(|before| *before >= row) {
            return Err(SparseProblem::Unsorted { position });
        }
        before = Some(row);
    }
    Ok(())
}
