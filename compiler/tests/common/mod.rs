//! Small models with known faults, and running the command on them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use adntn_onnx::pb;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A shipped fixture.
pub fn fixture(name: &str) -> PathBuf {
    root().join("onnx-fixtures").join(name)
}

/// Runs `adntn-compile` in `dir`; without a cache, unless the arguments are about one.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    let about_caches = ["--no-cache", "--cache-dir", "--plan", "--work", "--print-config"];
    let uncached = !args.iter().any(|arg| about_caches.contains(arg));
    let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
    command.current_dir(dir).args(args).args(uncached.then_some("--no-cache")).env("NO_COLOR", "1").output().unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The command must refuse `args` and leave `dir` as it was; what it said.
pub fn refused(dir: &Path, args: &[&str]) -> String {
    let before = listing(dir);
    let output = run(dir, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{args:?}: {text}");
    assert_eq!(listing(dir), before, "{args:?} left something behind");
    text.trim_end().to_owned()
}

fn listing(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.path(), if e.path().is_file() { e.metadata().unwrap().len() } else { 0 }))
        .collect();
    files.sort();
    files
}

/// Compares what the command said with what was reviewed.
pub fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/cli"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A float32 tensor with its values in `raw_data`.
pub fn tensor(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(pb::tensor_proto::DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

/// A node without attributes.
pub fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn value(name: &str, dims: &[Option<i64>]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::dimension::Value;
    use pb::type_proto;
    let dim = dims
        .iter()
        .map(|d| pb::tensor_shape_proto::Dimension {
            value: Some(d.map_or(Value::DimParam("N".into()), Value::DimValue)),
            ..Default::default()
        })
        .collect();
    let tensor = type_proto::Tensor {
        elem_type: Some(pb::tensor_proto::DataType::Float as i32),
        shape: Some(pb::TensorShapeProto { dim }),
    };
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// Smooth numbers, so that the weights compress.
pub fn smooth(rows: usize, columns: usize) -> Vec<f32> {
    let wave = |r: usize, c: usize| {
        ((r as f32) * 0.21).sin() * ((c as f32) * 0.13).cos() + 0.3 * ((r + 2 * c) as f32 * 0.05).sin()
    };
    (0..rows * columns).map(|k| wave(k / columns, k % columns) * 0.3).collect()
}

/// `x [N,48] → MatMul 48×64 → Add → Relu → MatMul 64×8 → y [N,8]`.
pub fn perceptron() -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: Some("perceptron".into()),
        node: vec![
            node("MatMul", "hidden", &["x", "hidden.weight"], "product"),
            node("Add", "shift", &["product", "hidden.bias"], "sum"),
            node("Relu", "relu", &["sum"], "active"),
            node("MatMul", "head", &["active", "head.weight"], "y"),
        ],
        initializer: vec![
            tensor("hidden.weight", &[48, 64], &smooth(48, 64)),
            tensor("hidden.bias", &[64], &[0.1; 64]),
            tensor("head.weight", &[64, 8], &smooth(64, 8)),
        ],
        input: vec![value("x", &[None, Some(48)])],
        output: vec![value("y", &[None, Some(8)])],
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    }
}

/// The perceptron after `change`, written to `dir/name`.
pub fn write(dir: &Path, name: &str, change: impl FnOnce(&mut pb::ModelProto)) -> PathBuf {
    let mut model = perceptron();
    change(&mut model);
    let path = dir.join(name);
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// The model's graph.
pub fn graph(model: &mut pb::ModelProto) -> &mut pb::GraphProto {
    model.graph.as_mut().unwrap()
}

/// Puts a node of `domain` at the end of the graph, and the domain into the model.
pub fn push_foreign(model: &mut pb::ModelProto, domain: &str, mut node: pb::NodeProto) {
    node.domain = Some(domain.into());
    graph(model).node.push(node);
    if !model.opset_import.iter().any(|o| o.domain() == domain) {
        let version = if domain == "ai.onnx.ml" { 3 } else { 1 };
        model.opset_import.push(pb::OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) });
    }
}

/// Gives the perceptron a classifier's end as scikit-learn's are exported: a label by name and a map of probabilities.
pub fn classify(model: &mut pb::ModelProto) {
    graph(model).node.push(node("Softmax", "softmax", &["y"], "scores"));
    push_foreign(model, "ai.onnx.ml", node("ZipMap", "zip", &["scores"], "map"));
    let graph = graph(model);
    graph.node.push(node("ArgMax", "argmax", &["scores"], "best"));
    let axis = pb::AttributeProto {
        name: Some("axis".into()),
        r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
        i: Some(1),
        ..Default::default()
    };
    graph.node.last_mut().unwrap().attribute.push(axis);
    push_foreign(model, "ai.onnx.ml", node("LabelEncoder", "names", &["best"], "label"));
    let output = |name: &str| pb::ValueInfoProto { name: Some(name.into()), ..Default::default() };
    self::graph(model).output = vec![output("label"), output("map")];
}

/// `count` standard-uniform samples for the perceptron as `dir/name` (.npy).
pub fn samples(dir: &Path, name: &str, count: usize) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f32> = (0..count * 48).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    ndarray_npy::write_npy(dir.join(name), &ndarray::Array2::from_shape_vec((count, 48), values).unwrap()).unwrap();
}

/// Checks `out.onnx` of `dir` in ONNX Runtime, OpenVINO and the ONNX checker, against tract's outputs on `inputs`.
pub fn check_in_runtimes(dir: &Path, original: &Path, inputs: Option<&Path>) {
    let mut command = Command::new(python());
    command.arg(root().join("compiler/tests/runtimes/check_model.py")).arg(original).arg(dir.join("out.onnx"));
    if let Some(inputs) = inputs {
        let expected = dir.join("expected.npz");
        write_tract_outputs(&dir.join("out.onnx"), inputs, &expected);
        command.arg("--inputs").arg(inputs).arg("--expected").arg(expected);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}{text}", original.display(), String::from_utf8_lossy(&output.stdout));
}

/// The Python that has onnx, onnxruntime and openvino: the one named by the environment, else the repository's own.
pub fn python() -> String {
    std::env::var("ADNTN_PYTHON").unwrap_or_else(|_| {
        let output = Command::new(root().join(".ci/venv")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

fn write_tract_outputs(model: &Path, inputs: &Path, to: &Path) {
    use adntn_fit::{data::Dataset, runner::Loaded};
    let model = adntn_onnx::Model::open(model).unwrap();
    let loaded = Loaded::new(model.apply(&adntn_onnx::Patch::default()).unwrap().to_bytes()).unwrap();
    let data = Dataset::load(inputs, loaded.inputs(), &adntn_fit::data::Reading::default()).unwrap();
    let outputs = loaded.into_runner(&data).unwrap().outputs(&data).unwrap();
    let mut file = ndarray_npy::NpzWriter::new(std::fs::File::create(to).unwrap());
    for (output, info) in outputs.iter().zip(&model.graph().output) {
        let array = ndarray::ArrayD::from_shape_vec(output.shape.clone(), output.values.clone()).unwrap();
        file.add_array(info.name(), &array).unwrap();
    }
    file.finish().unwrap();
}
