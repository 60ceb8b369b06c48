//! Tables of which a Gather takes rows: embeddings of tokens, alone and tied to a layer.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use adntn_compiler::Report;
use adntn_onnx::pb;
use common::{check_in_runtimes, graph, node, run, stderr, tensor, write};
use ndarray::Array2;
use ndarray_npy::NpzWriter;
use pb::tensor_proto::DataType;

const ROWS: usize = 3000;
const COLUMNS: usize = 48;

fn compile(dir: &Path, more: &[&str]) -> Report {
    let mut args = vec!["in.onnx", "out.onnx", "--report", "report.json"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

/// Numbers without any pattern, from about −1 to 1.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| (next() + next() + next()) / 3.0).collect()
}

fn with(mut node: pb::NodeProto, key: &str, ints: &[i64]) -> pb::NodeProto {
    use pb::attribute_proto::AttributeType::{Int, Ints};
    let mut attribute = pb::AttributeProto { name: Some(key.into()), ..Default::default() };
    match ints {
        [one] if key != "axes" => (attribute.r#type, attribute.i) = (Some(Int as i32), Some(*one)),
        _ => (attribute.r#type, attribute.ints) = (Some(Ints as i32), ints.to_vec()),
    }
    node.attribute.push(attribute);
    node
}

/// `ids [N,length] → rows of a table → their mean, weighed by the mask → perceptron, or the table itself → y`.
fn embedding(dir: &Path, tied: bool) -> PathBuf {
    write(dir, "in.onnx", |model| {
        let graph = graph(model);
        let input = |name: &str| {
            let mut value = graph.input[0].clone();
            value.name = Some(name.into());
            let Some(pb::type_proto::Value::TensorType(tensor)) = &mut value.r#type.as_mut().unwrap().value else {
                panic!()
            };
            tensor.elem_type = Some(DataType::Int64 as i32);
            tensor.shape.as_mut().unwrap().dim[1].value =
                Some(pb::tensor_shape_proto::dimension::Value::DimParam("length".into()));
            value
        };
        let inputs = vec![input("ids"), input("attention_mask")];
        graph.input = inputs;
        let float = [DataType::Float as i64];
        let before = vec![
            node("Gather", "embed", &["table", "ids"], "rows"),
            with(node("Cast", "cast", &["attention_mask"], "mask"), "to", &float),
            node("Unsqueeze", "lift", &["mask", "last"], "weights"),
            node("Mul", "weigh", &["rows", "weights"], "weighed"),
            with(with(node("ReduceMean", "mean", &["weighed"], "x"), "axes", &[1]), "keepdims", &[0]),
        ];
        graph.initializer.push(tensor("table", &[ROWS as i64, COLUMNS as i64], &noise(ROWS * COLUMNS)));
        graph.initializer.push(pb::TensorProto {
            name: Some("last".into()),
            dims: vec![1],
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(2_i64.to_le_bytes().to_vec().into()),
            ..Default::default()
        });
        let after = std::mem::take(&mut graph.node);
        graph.node = before;
        if tied {
            graph.node.push(with(node("Gemm", "unembed", &["x", "table"], "y"), "transB", &[1]));
            graph.initializer.retain(|t| matches!(t.name(), "table" | "last"));
            let Some(pb::type_proto::Value::TensorType(tensor)) = &mut graph.output[0].r#type.as_mut().unwrap().value
            else {
                panic!()
            };
            tensor.shape.as_mut().unwrap().dim[1].value =
                Some(pb::tensor_shape_proto::dimension::Value::DimValue(ROWS as i64));
        } else {
            graph.node.extend(after);
        }
    })
}

/// Sentences of random tokens, padded; `used` tokens occur.
fn sentences(path: &Path, samples: usize, used: usize) {
    let length = 12;
    let mut ids = Array2::<i64>::zeros((samples, length));
    let mut mask = ids.clone();
    let numbers = noise(samples * length);
    for ((at, id), mask) in ids.indexed_iter_mut().zip(&mut mask) {
        let number = &numbers[at.0 * length + at.1];
        if at.1 < 4 + at.0 % 9 {
            (*id, *mask) = (((number.abs() * 1e6) as usize % used) as i64, 1);
        }
    }
    let mut npz = NpzWriter::new(std::fs::File::create(path).unwrap());
    npz.add_array("ids", &ids).unwrap();
    npz.add_array("attention_mask", &mask).unwrap();
    npz.finish().unwrap();
}

/// The table is replaced, the file is so many times smaller, and runtimes make the same of it without a node left.
fn is_smaller(dir: &Path, original: &Path, report: &Report, op: &str) {
    let table = report.layers.iter().find(|layer| layer.weight == "table").unwrap();
    assert!(table.replaced && table.op == op && table.shape == [ROWS as i64, COLUMNS as i64], "{table:?}");
    assert!(report.file_ratio().unwrap() > 3.5, "{report:?}");
    let quality = report.quality.as_ref().unwrap();
    assert!(quality.within_tolerance && quality.loss <= 0.02, "{quality:?}");
    sentences(&dir.join("others.npz"), 20, ROWS);
    check_in_runtimes(dir, original, Some(&dir.join("others.npz")));
}

#[test]
fn a_table_shrinks_without_data() {
    let dir = tempfile::tempdir().unwrap();
    let original = embedding(dir.path(), false);
    let report = compile(dir.path(), &[]);
    is_smaller(dir.path(), &original, &report, "Gather");
    let told = report.notes.iter().find(|note| note.contains("made up")).unwrap();
    assert!(told.contains("`ids` of random numbers below 3000, the rows of a table"), "{told}");
    assert!(told.contains("`attention_mask` of ones"), "{told}");
    // A second time nothing is left to do, and that is said of tables too.
    std::fs::rename(dir.path().join("out.onnx"), dir.path().join("in.onnx")).unwrap();
    let again = compile(dir.path(), &[]);
    assert!(again.layers.iter().all(|layer| !layer.replaced), "{:?}", again.layers);
    assert!(again.skipped.iter().any(|s| s.op == "Gather" && s.reason == "already replaced"), "{:?}", again.skipped);
}

#[test]
fn float16_is_the_least() {
    let dir = tempfile::tempdir().unwrap();
    let original = embedding(dir.path(), false);
    let report = compile(dir.path(), &["-t", "0.1%"]);
    let forms: Vec<_> = report.layers.iter().map(|layer| layer.form.as_deref()).collect();
    assert_eq!(forms[0], Some("float16"), "{forms:?}");
    assert!(report.file_ratio().unwrap() > 1.9 && report.quality.as_ref().unwrap().within_tolerance);
    sentences(&dir.path().join("others.npz"), 20, ROWS);
    check_in_runtimes(dir.path(), &original, Some(&dir.path().join("others.npz")));
}

#[test]
fn a_table_shrinks_with_samples() {
    let dir = tempfile::tempdir().unwrap();
    let original = embedding(dir.path(), false);
    sentences(&dir.path().join("samples.npz"), 240, ROWS);
    let report = compile(dir.path(), &["-c", "samples.npz", "-t", "2%"]);
    is_smaller(dir.path(), &original, &report, "Gather");
}

#[test]
fn a_table_shrinks_with_the_layer_that_is_tied_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let original = embedding(dir.path(), true);
    is_smaller(dir.path(), &original, &compile(dir.path(), &[]), "Gemm");
    sentences(&dir.path().join("samples.npz"), 240, ROWS);
    is_smaller(dir.path(), &original, &compile(dir.path(), &["-c", "samples.npz", "-t", "2%"]), "Gemm");
}

#[test]
fn samples_that_take_one_row_say_nothing_of_a_table() {
    let dir = tempfile::tempdir().unwrap();
    embedding(dir.path(), false);
    sentences(&dir.path().join("samples.npz"), 240, 1);
    let report = compile(dir.path(), &["-c", "samples.npz"]);
    let table = report.layers.iter().find(|layer| layer.weight == "table").unwrap();
    let reason = table.reason.as_ref().unwrap();
    assert!(!table.replaced && reason.contains("its inputs are all the same"), "{reason}");
}

#[test]
fn tables_take_part_in_training_through_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let original = embedding(dir.path(), false);
    sentences(&dir.path().join("samples.npz"), 4000, ROWS);
    let report = compile(dir.path(), &["-c", "samples.npz", "-t", "5%"]);
    let form = |weight: &str| report.layers.iter().find(|l| l.weight == weight).unwrap().form.clone().unwrap();
    for weight in ["table", "hidden.weight"] {
        assert!(form(weight).contains("trained through the network"), "{}", form(weight));
    }
    assert!(report.quality.as_ref().unwrap().within_tolerance, "{:?}", report.quality);
    sentences(&dir.path().join("others.npz"), 20, ROWS);
    check_in_runtimes(dir.path(), &original, Some(&dir.path().join("others.npz")));
}
