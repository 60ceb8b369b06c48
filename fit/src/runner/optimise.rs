//! tract's optimisation, kept in proportion to the size of a model.

use tract_onnx::prelude::{InferenceModel, InferenceModelExt as _, OutletId, TractResult, TypedModel};
use tract_onnx::tract_core::optim::Optimizer;

/// Longest run of small operators that are merged into one. tract copies all that it has merged with every operator more: a
/// thousand in a row take seconds, four thousand a minute.
const LONGEST_FUSED: usize = 64;

/// tract's own way to a model that runs fast, without what takes quadratic time.
pub(super) fn optimised(model: InferenceModel) -> TractResult<TypedModel> {
    let mut model = model.into_typed()?;
    model.declutter()?;
    let mut last = Optimizer::codegen();
    if longest_run(&model)? > LONGEST_FUSED {
        last.passes.retain(|pass| format!("{pass:?}") != "fuse");
    }
    model.optimize_with_session(&mut last.session())?;
    Ok(model)
}

/// Nodes in the longest run of which each is the only one to read the one before; products and convolutions begin anew.
fn longest_run(model: &TypedModel) -> TractResult<usize> {
    let mut lengths = vec![0; model.nodes().len()];
    for at in model.eval_order()? {
        let node = model.node(at);
        if ["EinSum", "MatMul", "Conv", "Source", "Const"].iter().any(|heavy| node.op.name().contains(heavy)) {
            continue;
        }
        let alone = |input: &&OutletId| model.outlet_successors(**input).len() == 1;
        let before = node.inputs.iter().filter(alone).map(|input| lengths[input.node]).max();
        lengths[at] = 1 + before.unwrap_or(0);
    }
    Ok(lengths.into_iter().max().unwrap_or(0))
}
