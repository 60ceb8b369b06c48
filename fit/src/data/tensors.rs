//! Safetensors files as samples, mapped.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tract_onnx::prelude::DatumType;

use super::array::{Array, Store, open};
use super::column::Column;
use super::element::Stored;
use super::{InputSpec, LABELS, Labels, Loaded};
use crate::error::Error;
use crate::text::{name, one_line};

/// Reads arrays by input name, and `labels`.
pub(super) fn load(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let file = open(path)?;
    let map = || crate::mapped::map(&file).map_err(|e| fail(format!("cannot be read ({e})")));
    let whole = map()?;
    let tensors = SafeTensors::deserialize(&whole)
        .map_err(|e| fail(format!("is not a readable .safetensors file ({})", one_line(&e.to_string()))))?;
    let names: Vec<String> = tensors.names().into_iter().map(|n| n.to_owned()).collect();
    let array = |wanted: &str| -> Result<Array, Error> {
        let Ok(view) = tensors.tensor(wanted) else { return Err(fail(super::no_array(wanted, &names))) };
        let shown = name(wanted);
        let Some(stored) = stored(view.dtype()) else {
            return Err(fail(format!("array '{shown}' has type {:?}: save plain numbers", view.dtype())));
        };
        if super::array::size(view.shape(), stored) != Some(view.data().len()) {
            return Err(fail(format!("array '{shown}' has bytes that do not make up its shape {:?}", view.shape())));
        }
        let offset = view.data().as_ptr() as usize - whole.as_ptr() as usize;
        Ok(Array { shape: view.shape().to_vec(), stored, store: Store::Mapped { map: map()?, offset } })
    };
    let mut columns = Vec::new();
    for spec in specs {
        columns.push(Column::of(spec, array(&spec.name)?).map_err(fail)?);
    }
    let labelled = names.iter().any(|n| n == LABELS) && specs.iter().all(|s| s.name != LABELS);
    let labels = if labelled { Some(Labels::Array { path: path.to_path_buf(), array: array(LABELS)? }) } else { None };
    Ok((columns, labels))
}

fn stored(dtype: Dtype) -> Option<Stored> {
    Some(Stored::Known(match dtype {
        Dtype::BF16 => return Some(Stored::Bfloat16),
        Dtype::F16 => DatumType::F16,
        Dtype::F32 => DatumType::F32,
        Dtype::F64 => DatumType::F64,
        Dtype::I64 => DatumType::I64,
        Dtype::I32 => DatumType::I32,
        Dtype::I16 => DatumType::I16,
        Dtype::I8 => DatumType::I8,
        Dtype::U64 => DatumType::U64,
        Dtype::U32 => DatumType::U32,
        Dtype::U16 => DatumType::U16,
        Dtype::U8 => DatumType::U8,
        Dtype::BOOL => DatumType::Bool,
        _ => return None,
    }))
}
