//! Which axis of an input or output counts the samples.

use std::collections::HashMap;

use tract_onnx::pb::{ValueInfoProto, tensor_shape_proto::dimension, type_proto};

/// An extent as a model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dim {
    Fixed(usize),
    Named(String),
    Open,
}

/// The declared extents of a graph input or output; `None` where it declares none.
pub(super) fn declared(value: &ValueInfoProto) -> Option<Vec<Dim>> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter().map(|d| match &d.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).map_or(Dim::Open, Dim::Fixed),
        // Exporters that know no names number the extents, or give all the same mark.
        Some(dimension::Value::DimParam(name)) if name.is_empty() || name == "?" || name.starts_with("unk__") => {
            Dim::Open
        }
        Some(dimension::Value::DimParam(name)) => Dim::Named(name.clone()),
        None => Dim::Open,
    });
    Some(dims.collect())
}

/// The axis of each input that counts the samples, and the name of that extent where it has one.
///
/// A name that says batch decides. Without one it is the first extent where that is open. Beside inputs with an open first
/// extent, one that begins with a fixed extent, or with a name that is not the batch's but an inner extent of another input, has
/// no sample axis. Where all is fixed, most inputs of two and more dimensions begin with the batch; vectors and scalars alone are
/// taken one at a time.
pub(super) fn assign(inputs: &[Vec<Dim>]) -> (Vec<Option<usize>>, Option<String>) {
    let names = || inputs.iter().flatten().filter_map(|d| if let Dim::Named(name) = d { Some(name) } else { None });
    let firsts = || inputs.iter().filter_map(|dims| dims.first());
    if let Some(batch) = names().find(|name| says_batch(name)).cloned() {
        let axis = |dims: &Vec<Dim>| {
            let named = dims.iter().position(|d| *d == Dim::Named(batch.clone()));
            named.or_else(|| matches!(dims.first(), Some(Dim::Open)).then_some(0))
        };
        return (inputs.iter().map(axis).collect(), Some(batch));
    }
    if firsts().any(|d| !matches!(d, Dim::Fixed(_))) {
        let batch = firsts().find_map(|d| if let Dim::Named(name) = d { Some(name.clone()) } else { None });
        let inner = |name: &String| {
            inputs.iter().any(|dims| dims.iter().skip(1).any(|d| matches!(d, Dim::Named(other) if other == name)))
        };
        let axis = |dims: &Vec<Dim>| match dims.first() {
            Some(Dim::Open) => Some(0),
            Some(Dim::Named(name)) => (Some(name) == batch.as_ref() || !inner(name)).then_some(0),
            Some(Dim::Fixed(_)) | None => None,
        };
        return (inputs.iter().map(axis).collect(), batch);
    }
    let mut votes: HashMap<usize, usize> = HashMap::new();
    let mut best: Option<usize> = None;
    for dims in inputs.iter().filter(|dims| dims.len() >= 2) {
        let Some(Dim::Fixed(n)) = dims.first() else { continue };
        let own = *votes.entry(*n).and_modify(|v| *v += 1).or_insert(1);
        // The first input's extent wins a tie.
        if best.is_none_or(|b| own > votes.get(&b).copied().unwrap_or(0)) {
            best = Some(*n);
        }
    }
    let axis = |dims: &Vec<Dim>| best.and_then(|n| (dims.first() == Some(&Dim::Fixed(n))).then_some(0));
    (inputs.iter().map(axis).collect(), None)
}

fn says_batch(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "n" | "b" | "bs" | "samples" | "num_samples" | "n_samples" | "nb") || name.contains("batch")
}

/// How the samples lie in an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Along this axis, so many entries of it for each sample.
    Axis { axis: usize, each: usize },
    /// A run is one sample.
    Run,
    /// Nowhere: the output is a constant, belongs to all samples of a run, or has as many rows as the data make it.
    None,
}

/// How the samples lie in an output that has the extents `one` with `few` samples and `other` with `more` samples.
pub(super) fn compare(one: &[usize], few: usize, other: &[usize], more: usize) -> Rows {
    if one.len() != other.len() {
        return Rows::None;
    }
    let mut changed = (0..one.len()).filter(|&axis| one[axis] != other[axis]);
    let (Some(axis), None) = (changed.next(), changed.next()) else { return Rows::None };
    let each = one[axis] / few.max(1);
    let grows = one[axis] == each * few && other[axis] == each * more && each > 0;
    // Several rows for each sample lie sample by sample only where the samples are the outermost axis.
    if grows && (each == 1 || axis == 0) { Rows::Axis { axis, each } } else { Rows::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(inputs: &[&[&str]]) -> Vec<Option<usize>> {
        let dim = |text: &&str| match text.parse() {
            Ok(n) => Dim::Fixed(n),
            Err(_) if *text == "?" => Dim::Open,
            Err(_) => Dim::Named((*text).into()),
        };
        assign(&inputs.iter().map(|dims| dims.iter().map(dim).collect()).collect::<Vec<_>>()).0
    }

    #[test]
    fn inputs_tell_which_axis_counts_the_samples() {
        for (inputs, expected) in [
            (&[&["N", "64"][..], &[]][..], vec![Some(0), None]),
            (&[&["N", "64"], &["64"]], vec![Some(0), None]),
            (&[&["T", "N", "64"]], vec![Some(1)]),
            (&[&["seq", "batch_size", "8"], &["batch_size"]], vec![Some(1), Some(0)]),
            (&[&["batch", "seq"], &["seq"]], vec![Some(0), None]),
            (&[&["batch", "seq"], &["?", "4"]], vec![Some(0), Some(0)]),
            (&[&["s0", "s1"], &["s0", "s1"], &["s1"]], vec![Some(0), Some(0), None]),
            (&[&["?", "8"], &["1", "8"]], vec![Some(0), None]),
            (&[&["64"]], vec![None]),
            (&[&["1", "3", "8", "8"]], vec![Some(0)]),
            (&[&["1", "512"], &["2", "1", "128"], &[]], vec![Some(0), None, None]),
            (&[&["8", "64"], &["8"], &["3", "8"]], vec![Some(0), Some(0), None]),
            (&[&["9", "64"], &["3", "8"], &["3", "4"]], vec![None, Some(0), Some(0)]),
        ] {
            assert_eq!(axes(inputs), expected, "{inputs:?}");
        }
    }

    #[test]
    fn outputs_are_compared_at_two_batch_sizes() {
        assert_eq!(compare(&[4, 9], 4, &[3, 9], 3), Rows::Axis { axis: 0, each: 1 });
        assert_eq!(compare(&[7, 4, 9], 4, &[7, 3, 9], 3), Rows::Axis { axis: 1, each: 1 });
        assert_eq!(compare(&[20, 9], 4, &[15, 9], 3), Rows::Axis { axis: 0, each: 5 });
        assert_eq!(compare(&[4, 4], 4, &[4, 4], 3), Rows::None);
        assert_eq!(compare(&[4, 4], 4, &[3, 3], 3), Rows::None);
        assert_eq!(compare(&[], 4, &[], 3), Rows::None);
    }
}
