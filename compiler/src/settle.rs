//! What finally changes in the file.

use adntn_onnx::{Model, Patch};
use adntn_passes::{Rewrite, drop_unused};

use crate::describe;
use crate::error::Error;
use crate::layer::Layer;
use crate::select::Choice;

/// The changes of a compilation.
#[derive(Debug)]
pub(crate) struct Settled {
    /// All of them.
    pub(crate) patch: Patch,
    /// Those that are no generators: biases and dense weights that were trained, and what was rounded.
    pub(crate) rest: Patch,
    /// What the user should know of them.
    pub(crate) notes: Vec<String>,
}

/// Puts the chosen generators, the `rest` and what is `kept` beside them together, and leaves out initializers that nothing
/// reads.
///
/// Generators are taken back, with all that was trained beside them, where the file would be larger than it was: the choice
/// and the layers then say so.
pub(crate) fn settle(
    model: &Model,
    layers: &mut [Layer<'_>],
    choice: &mut Choice,
    kept: Patch,
    rest: Patch,
) -> Result<Settled, Error> {
    let rest = if choice.iter().any(Option::is_some) {
        let mut all = kept;
        all.merge(rest);
        all
    } else {
        rest
    };
    let mut rewrite = Rewrite::from(rest.clone());
    for (layer, key) in layers.iter().zip(choice.iter()) {
        if let Some(key) = key {
            rewrite.merge(layer.rewrite(*key)?);
        }
    }
    let mut settled = Settled { patch: rewrite.into_patch(model), rest, notes: Vec::new() };
    // Both with their data inside, since embedding external data adds a few bytes to any file.
    let (before, after) = (model.apply(&Patch::default())?.len(), model.apply(&settled.patch)?.len());
    if after > before {
        settled.notes.push(format!(
            "With its generators the file would be larger than the original ({after} instead of {before} bytes), so no \
             weight was replaced and nothing that was trained is kept."
        ));
        for (layer, key) in layers.iter_mut().zip(choice.iter_mut()) {
            if key.take().is_some() {
                layer.withdraw("stays dense: the file would be larger than the original");
            }
        }
        (settled.patch, settled.rest) = (Patch::default(), Patch::default());
    }
    let unused = drop_unused(model);
    settled.notes.extend(describe::unused(&unused));
    settled.patch.merge(unused.patch);
    Ok(settled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use adntn_onnx::pb;
    use adntn_passes::{FindOptions, find_candidates_with};
    use prost::Message as _;

    use super::*;
    use crate::options::{CoreType, Options};

    /// `x → MatMul 16×16 → y`.
    fn model() -> Model {
        let named = |name: &str| pb::ValueInfoProto { name: Some(name.into()), ..Default::default() };
        let values = (0..256).map(|k| ((k * k) as f32 * 0.37).sin());
        let weight = pb::TensorProto {
            name: Some("w".into()),
            dims: vec![16, 16],
            data_type: Some(pb::tensor_proto::DataType::Float as i32),
            raw_data: Some(values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()),
            ..Default::default()
        };
        let node = pb::NodeProto {
            op_type: Some("MatMul".into()),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..Default::default()
        };
        let graph = pb::GraphProto {
            node: vec![node],
            initializer: vec![weight],
            input: vec![named("x")],
            output: vec![named("y")],
            ..Default::default()
        };
        let model = pb::ModelProto {
            ir_version: Some(8),
            opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
            graph: Some(graph),
            ..Default::default()
        };
        Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
    }

    #[test]
    fn a_file_that_would_grow_is_left_as_it_was() {
        let model = model();
        let survey = find_candidates_with(&model, &FindOptions { min_elements: 1 });
        let mut options = Options::new("in.onnx", "out.onnx");
        options.core_type = CoreType::Float32;
        let mut layer = Layer::new(&model, &survey.candidates[0], None, false, &options);
        // Few enough parameters, but with its nodes more bytes.
        let key = (0, *layer.families[0].steps().last().unwrap());
        layer.start(key).unwrap();
        assert!(layer.bytes(key) > survey.candidates[0].bytes);
        let mut choice = vec![Some(key)];
        let mut layers = [layer];
        let settled = settle(&model, &mut layers, &mut choice, Patch::default(), Patch::default()).unwrap();
        assert_eq!(choice, [None]);
        assert!(settled.patch.is_empty() && settled.rest.is_empty());
        assert!(settled.notes[0].contains("larger than the original"), "{:?}", settled.notes);
        assert!(layers[0].obstacle().unwrap().contains("larger than the original"));
    }
}
