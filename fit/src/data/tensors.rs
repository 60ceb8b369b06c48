//! Safetensors files as samples, mapped.

use std::fs::File;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tract_onnx::prelude::DatumType;

use super::column::Column;
use super::{InputSpec, LABELS, Loaded, element_name};
use crate::error::Error;

/// Reads arrays by input name, and `labels`.
pub(super) fn load(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let map = || -> Result<memmap2::Mmap, Error> {
        let file = File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
        crate::mapped::map(&file).map_err(|e| fail(format!("cannot be read ({e})")))
    };
    let whole = map()?;
    let tensors =
        SafeTensors::deserialize(&whole).map_err(|e| fail(format!("is not a readable .safetensors file ({e})")))?;
    let names: Vec<String> = tensors.names().into_iter().map(|n| n.to_owned()).collect();
    let mut columns = Vec::new();
    for spec in specs {
        let Ok(view) = tensors.tensor(&spec.name) else { return Err(fail(super::no_array(&spec.name, &names))) };
        if element(view.dtype()) != Some(spec.element) {
            return Err(fail(format!(
                "array '{}' has type {:?}, the model wants {}: save it with that type",
                spec.name,
                view.dtype(),
                element_name(spec.element)
            )));
        }
        if spec.element == DatumType::Bool && view.data().iter().any(|&b| b > 1) {
            return Err(fail(format!("array '{}' holds bytes that are no truth values", spec.name)));
        }
        let offset = view.data().as_ptr() as usize - whole.as_ptr() as usize;
        let column = Column::mapped(map()?, offset, view.shape().to_vec(), spec.element);
        columns.push(column.ok_or_else(|| fail(format!("array '{}' is cut short", spec.name)))?);
    }
    let labels = match tensors.tensor(LABELS) {
        Ok(view) if specs.iter().all(|s| s.name != LABELS) => {
            let labels = labels(&view).filter(|_| view.shape().len() == 1);
            Some(labels.ok_or_else(|| fail(format!("array '{LABELS}' {}", super::numpy::LABELS_ARE)))?)
        }
        _ => None,
    };
    Ok((columns, labels))
}

fn labels(view: &safetensors::tensor::TensorView<'_>) -> Option<Vec<i64>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
        Dtype::U32 => bytes.as_chunks().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).collect(),
        Dtype::I16 => bytes.as_chunks().0.iter().map(|b| i64::from(i16::from_le_bytes(*b))).collect(),
        Dtype::U16 => bytes.as_chunks().0.iter().map(|b| i64::from(u16::from_le_bytes(*b))).collect(),
        Dtype::U8 => bytes.iter().map(|&b| i64::from(b)).collect(),
        _ => return None,
    })
}

fn element(dtype: Dtype) -> Option<DatumType> {
    Some(match dtype {
        Dtype::F32 => DatumType::F32,
        Dtype::F64 => DatumType::F64,
        Dtype::I64 => DatumType::I64,
        Dtype::I32 => DatumType::I32,
        Dtype::I8 => DatumType::I8,
        Dtype::U8 => DatumType::U8,
        Dtype::BOOL => DatumType::Bool,
        _ => return None,
    })
}
