//! Every operator against ONNX Runtime (or onnx.reference) forward and central differences backward: one row each.

mod common;
mod table;

use common::{Row, check_gradients, difference, initial, network, open, reference_output, run_reference};
use prost::Message as _;

fn check(row: &Row, folder: &std::path::Path) -> Result<(), String> {
    let model = open(&row.model());
    let built = network(&model, &[], &row.output_names(), &row.leaves()).map_err(|error| error.to_string())?;
    let outputs = built.evaluate(Vec::new(), &initial(&built)).map_err(|error| error.to_string())?;
    for (number, output) in outputs.iter().enumerate() {
        let expected = reference_output(folder, &row.name, number).ok_or("no implementation ran it")?;
        if output.shape != expected.shape {
            return Err(format!("shape {:?}, should be {:?}", output.shape, expected.shape));
        }
        let off = difference(&output.values, &expected.values);
        if off.is_nan() || off > 1e-4 {
            return Err(format!("output {number} is off by {off}: {:?}, {:?}", output.values, expected.values));
        }
    }
    check_gradients(&built, &[], built.depends_on_trainable().contains(&true))
}

#[test]
fn operators_agree_with_other_implementations_and_with_differences() {
    let rows = table::rows();
    let folder = tempfile::tempdir().unwrap();
    for row in &rows {
        std::fs::write(folder.path().join(format!("{}.onnx", row.name)), row.model().encode_to_vec()).unwrap();
    }
    run_reference(folder.path());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| check(row, folder.path()).err().map(|problem| format!("{}: {problem}", row.name)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
