//! Models whose inputs and outputs are not all `[samples, …]`, and files that are not what they seem.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write as _;
use std::path::Path;

use adntn_fit::data::{Dataset, ImageOptions, InputSpec, Reading};
use adntn_fit::runner::{Element, Loaded, Output, Runner};
use adntn_onnx::pb;
use ndarray::{Array1, Array2, Array3, ArrayD, IxDyn, arr0};
use ndarray_npy::{NpzWriter, WritableElement, write_npy};
use prost::Message as _;
use tract_onnx::prelude::DatumType;

const FLOAT: i32 = pb::tensor_proto::DataType::Float as i32;
const INT64: i32 = pb::tensor_proto::DataType::Int64 as i32;

/// A graph input or output; extents that are no numbers are names.
fn value(name: &str, element: i32, dims: &[&str]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::dimension::Value;
    use pb::type_proto;
    let dim = |text: &&str| pb::tensor_shape_proto::Dimension {
        value: Some(text.parse().map_or_else(|_| Value::DimParam((*text).into()), Value::DimValue)),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(element),
        shape: Some(pb::TensorShapeProto { dim: dims.iter().map(dim).collect() }),
    };
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// An output of which nothing is declared.
fn bare(name: &str) -> pb::ValueInfoProto {
    pb::ValueInfoProto { name: Some(name.into()), ..Default::default() }
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> pb::NodeProto {
    let attribute = |(name, ints): &(&str, &[i64])| {
        let one = matches!(*name, "axis" | "keepdims" | "to" | "transB");
        pb::AttributeProto {
            name: Some((*name).into()),
            r#type: Some(if one { 2 } else { 7 }),
            i: one.then(|| ints[0]),
            ints: if one { Vec::new() } else { ints.to_vec() },
            ..Default::default()
        }
    };
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("{op} of {output}")),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        attribute: attributes.iter().map(attribute).collect(),
        ..Default::default()
    }
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(FLOAT),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

fn model(
    nodes: Vec<pb::NodeProto>,
    inputs: Vec<pb::ValueInfoProto>,
    outputs: Vec<pb::ValueInfoProto>,
    initializer: Vec<pb::TensorProto>,
) -> Loaded {
    try_model(nodes, inputs, outputs, initializer).unwrap()
}

fn try_model(
    nodes: Vec<pb::NodeProto>,
    inputs: Vec<pb::ValueInfoProto>,
    outputs: Vec<pb::ValueInfoProto>,
    initializer: Vec<pb::TensorProto>,
) -> Result<Loaded, adntn_fit::Error> {
    let graph = pb::GraphProto {
        name: Some("g".into()),
        node: nodes,
        initializer,
        input: inputs,
        output: outputs,
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }],
        graph: Some(graph),
        ..Default::default()
    };
    Loaded::new(model.encode_to_vec().into())
}

/// Arrays by name in a `.npz` file.
struct Npz(NpzWriter<std::fs::File>);

impl Npz {
    fn new(path: &Path) -> Self {
        Npz(NpzWriter::new_compressed(std::fs::File::create(path).unwrap()))
    }

    fn with<T: WritableElement>(mut self, name: &str, array: &ArrayD<T>) -> Self {
        self.0.add_array(name, array).unwrap();
        self
    }

    fn finish(self) {
        self.0.finish().unwrap();
    }
}

fn ramp(shape: &[usize]) -> ArrayD<f32> {
    let count = shape.iter().product::<usize>();
    ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(|v| v as f32 / 7.0).collect()).unwrap()
}

fn load(path: &Path, loaded: &Loaded) -> Dataset {
    Dataset::load(path, loaded.inputs(), &Reading::default()).unwrap()
}

fn refusal(path: &Path, specs: &[InputSpec]) -> String {
    let message = Dataset::load(path, specs, &Reading::default()).unwrap_err().to_string();
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
    message
}

fn outputs(loaded: Loaded, data: &Dataset) -> (Runner, Vec<Output>) {
    let runner = loaded.into_runner(data).unwrap();
    let outputs = runner.outputs(data).unwrap();
    (runner, outputs)
}

/// `y = x·scale`, where scale has the extents given.
fn scaled(dims: &[&str]) -> Loaded {
    model(
        vec![node("Mul", &["x", "scale"], "y", &[])],
        vec![value("x", FLOAT, &["N", "4"]), value("scale", FLOAT, dims)],
        vec![value("y", FLOAT, &["N", "4"])],
        vec![],
    )
}

#[test]
fn inputs_without_sample_axis_take_one_value_or_one_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let x = ramp(&[5, 4]);
    for (dims, own) in [(&[][..], &[][..]), (&["4"][..], &[4][..])] {
        let two = ArrayD::from_elem(IxDyn(own), 2.0f32);
        let mut shapes = vec![own.to_vec(), [&[1], own].concat(), [&[5], own].concat()];
        for shape in shapes.drain(..) {
            // Equal values in every form: all samples are run together.
            Npz::new(&path).with("x", &x).with("scale", &ArrayD::from_elem(IxDyn(&shape), 2.0f32)).finish();
            let loaded = scaled(dims);
            let data = load(&path, &loaded);
            assert_eq!((data.samples(), data.most_at_once()), (5, None), "{shape:?}");
            let (runner, y) = outputs(loaded, &data);
            assert_eq!((runner.batch(), y[0].shape.clone(), y[0].per_sample), (5, vec![5, 4], true));
            assert!(y[0].values.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
        }
        let each = Array1::from_iter((0..5).map(|k| k as f32));
        let each = each.into_dyn().into_shape_with_order(IxDyn(&[&[5][..], &vec![1; own.len()]].concat())).unwrap();
        let each = each.broadcast(IxDyn(&[&[5], own].concat())).unwrap().to_owned();
        Npz::new(&path).with("x", &x).with("scale", &each).finish();
        let loaded = scaled(dims);
        let data = load(&path, &loaded).select(&[4, 0, 2]).unwrap();
        let (runner, y) = outputs(loaded, &data);
        assert_eq!((runner.batch(), y[0].shape.clone()), (1, vec![3, 4]));
        let expected = [4usize, 0, 2].iter().flat_map(|&k| (0..4).map(move |c| (k * 4 + c) as f32 / 7.0 * k as f32));
        assert!(y[0].values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
        // Seven values serve neither one nor five samples.
        let wrong = ArrayD::from_elem(IxDyn(&[&[7], own].concat()), two[IxDyn(&vec![0; own.len()])]);
        Npz::new(&path).with("x", &x).with("scale", &wrong).finish();
        assert!(refusal(&path, scaled(dims).inputs()).contains("'scale' has 7 samples, 'x' has 5"));
    }
    Npz::new(&path).with("x", &x).with("scale", &ramp(&[5, 3])).finish();
    let message = refusal(&path, scaled(&["4"]).inputs());
    assert!(
        message.contains("'scale' has no sample axis: give one array [4] for all samples or [samples, 4]"),
        "{message}"
    );
}

#[test]
fn models_without_batch_are_run_sample_by_sample() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let loaded = || {
        let (x, y) = (value("x", FLOAT, &["4"]), value("y", FLOAT, &["3"]));
        let w = tensor("w", &[4, 3], &(0..12).map(|v| v as f32).collect::<Vec<_>>());
        model(vec![node("MatMul", &["x", "w"], "y", &[])], vec![x], vec![y], vec![w])
    };
    let x = ramp(&[4, 4]);
    write_npy(&path, &x).unwrap();
    // The array could be the input itself only if it had one axis.
    let model = loaded();
    let data = load(&path, &model);
    assert_eq!((data.samples(), data.most_at_once()), (4, Some(1)));
    let (_, y) = outputs(model, &data);
    assert_eq!((y[0].shape.clone(), y[0].per_sample), (vec![4, 3], true));
    let expected: f32 = (0..4).map(|k| x[[2, k]] * (3 * k + 1) as f32).sum();
    assert!((y[0].values[2 * 3 + 1] - expected).abs() < 1e-4);
    write_npy(&path, &ramp(&[16])).unwrap();
    assert!(refusal(&path, loaded().inputs()).contains("[4] for all samples or [samples, 4]"));
    write_npy(&path, &ramp(&[4])).unwrap();
    assert!(refusal(&path, loaded().inputs()).contains("axis that counts samples"));
    // Made-up samples too.
    let made = Dataset::synthetic(loaded().inputs(), 6, 1).unwrap();
    assert_eq!(outputs(loaded(), &made).1[0].shape, [6, 3]);
    // A folder of samples without the axis.
    let folder = dir.path().join("samples");
    std::fs::create_dir(&folder).unwrap();
    for k in 0..3 {
        write_npy(folder.join(format!("{k}.npy")), &(ramp(&[4]) + k as f32)).unwrap();
    }
    assert_eq!(load(&folder, &loaded()).samples(), 3);
}

#[test]
fn samples_may_be_another_axis_than_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let loaded = |declared: bool| {
        let output = if declared { value("y", FLOAT, &["T", "batch", "4"]) } else { bare("y") };
        model(
            vec![node("Relu", &["x"], "y", &[]), node("Transpose", &["y"], "z", &[("perm", &[1, 2, 0])])],
            vec![value("x", FLOAT, &["T", "batch", "4"])],
            vec![output, bare("z")],
            vec![],
        )
    };
    let x = ramp(&[2, 37, 4]);
    write_npy(&path, &x).unwrap();
    for declared in [true, false] {
        let model = loaded(declared);
        let data = load(&path, &model);
        assert_eq!(data.samples(), 37);
        let picked = data.select(&(0..37).rev().collect::<Vec<_>>()).unwrap();
        let (runner, y) = outputs(model, &picked);
        assert_eq!((runner.batch(), runner.sample_axes()), (32, vec![Some(1), Some(0)]));
        assert_eq!((y[0].shape.clone(), y[1].shape.clone()), (vec![37, 2, 4], vec![37, 4, 2]));
        for (sample, step, channel) in [(0, 0, 0), (36, 1, 3), (10, 1, 2)] {
            let want = x[[step, 36 - sample, channel]];
            assert_eq!(y[0].values[(sample * 2 + step) * 4 + channel], want);
            assert_eq!(y[1].values[(sample * 4 + channel) * 2 + step], want);
        }
        assert_eq!(data.hashes().len(), 37);
        assert!(data.hashes().windows(2).all(|h| h[0] != h[1]));
    }
    write_npy(&path, &ramp(&[2, 5, 3])).unwrap();
    assert!(refusal(&path, loaded(true).inputs()).contains("samples along dimension 2"));
}

#[test]
fn outputs_know_their_elements_and_whether_they_count_samples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let loaded = || {
        model(
            vec![
                node("ArgMax", &["x"], "class", &[("axis", &[1]), ("keepdims", &[0])]),
                node("ReduceMean", &["x"], "loss", &[("keepdims", &[0])]),
                node("Greater", &["x", "half"], "over", &[]),
                node("Identity", &["fixed"], "table", &[]),
                node("Reshape", &["x", "flat"], "rows", &[]),
            ],
            vec![value("x", FLOAT, &["N", "4"])],
            ["class", "loss", "over", "table", "rows", "x"].map(bare).to_vec(),
            vec![
                tensor("half", &[], &[0.5]),
                tensor("fixed", &[5, 2], &[0.0; 10]),
                pb::TensorProto { data_type: Some(INT64), ..tensor_i64("flat", &[-1, 2]) },
            ],
        )
    };
    let x = ramp(&[5, 4]);
    write_npy(&path, &x).unwrap();
    let model = loaded();
    let data = load(&path, &model);
    let (runner, outputs) = outputs(model, &data);
    let axes = [Some(0), None, Some(0), None, Some(0), Some(0)];
    assert_eq!(runner.sample_axes(), axes);
    assert_eq!(outputs.iter().map(|o| o.per_sample).collect::<Vec<_>>(), axes.map(|a| a.is_some()));
    let elements: Vec<Element> = outputs.iter().map(|o| o.element).collect();
    use Element::{Bool, Float, Integer};
    assert_eq!(elements, [Integer, Float, Bool, Float, Float, Float]);
    assert_eq!(outputs[0].integers, Some(vec![3; 5]));
    assert_eq!(
        outputs[2].integers.as_ref().unwrap().iter().sum::<i64>(),
        x.iter().filter(|v| **v > 0.5).count() as i64
    );
    // Two rows for each sample stay with it; an input that is an output is what it was.
    assert_eq!((outputs[4].shape.clone(), outputs[5].values.clone()), (vec![5, 2, 2], x.iter().copied().collect()));
}

fn tensor_i64(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

#[test]
fn numbers_of_samples_without_divisor_end_in_a_smaller_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let w: Vec<f32> = (0..12).map(|v| (v as f32).sin()).collect();
    let loaded = || {
        let (x, y) = (value("x", FLOAT, &["N", "4"]), value("y", FLOAT, &["N", "3"]));
        model(vec![node("MatMul", &["x", "w"], "y", &[])], vec![x], vec![y], vec![tensor("w", &[4, 3], &w)])
    };
    let x = ramp(&[67, 4]);
    write_npy(&path, &x).unwrap();
    let data = load(&path, &loaded());
    for (count, batch) in [(67, 32), (64, 32), (48, 24), (37, 32), (13, 13), (1, 1)] {
        let part = data.select(&(0..count).collect::<Vec<_>>()).unwrap();
        let (runner, y) = outputs(loaded(), &part);
        assert_eq!((runner.batch(), y[0].shape.clone()), (batch, vec![count, 3]));
        for (row, k) in [(0, 0), (count - 1, 2)] {
            let want: f32 = (0..4).map(|c| x[[row, c]] * w[c * 3 + k]).sum();
            assert!((y[0].values[row * 3 + k] - want).abs() < 1e-4);
        }
    }
}

#[test]
fn what_tract_cannot_run_is_cut_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    write_npy(&path, &ramp(&[5, 4])).unwrap();
    let x = || vec![value("x", FLOAT, &["N", "4"])];
    // An unknown operator behind the scores: they are measured themselves.
    let classifier = || {
        model(
            vec![
                node("Softmax", &["x"], "scores", &[("axis", &[1])]),
                node("ArgMax", &["scores"], "class", &[("axis", &[1]), ("keepdims", &[0])]),
                node("LabelEncoder", &["class"], "label", &[]),
                node("ZipMap", &["scores"], "map", &[]),
            ],
            x(),
            vec![bare("label"), bare("map")],
            vec![],
        )
    };
    let loaded = classifier();
    let found: Vec<(&str, &str)> = loaded.stand_ins().iter().map(|s| (s.value.as_str(), s.operator.as_str())).collect();
    assert_eq!(found, [("class", "LabelEncoder"), ("scores", "ZipMap")]);
    let data = load(&path, &loaded);
    let (_, y) = outputs(loaded, &data);
    assert_eq!((y[0].element, y[1].shape.clone()), (Element::Integer, vec![5, 4]));
    // With a layer behind it, it is no tail.
    let inner = model(
        vec![node("Mystery", &["x"], "m", &[]), node("MatMul", &["m", "w"], "y", &[])],
        x(),
        vec![bare("y")],
        vec![tensor("w", &[4, 4], &[0.0; 16])],
    );
    assert!(inner.stand_ins().is_empty());
    let message = inner.into_runner(&data).unwrap_err().to_string();
    assert!(message.contains("lacks the operator of node 'Mystery of m' (Mystery)"), "{message}");

    // Optional inputs given as "" are as good as left out.
    let conv = model(
        vec![node("Conv", &["x", "w", ""], "y", &[])],
        vec![value("x", FLOAT, &["N", "1", "3", "3"])],
        vec![bare("y")],
        vec![tensor("w", &[2, 1, 3, 3], &[1.0; 18])],
    );
    write_npy(&path, &ramp(&[5, 1, 3, 3])).unwrap();
    let data = load(&path, &conv);
    assert_eq!(outputs(conv, &data).1[0].shape, [5, 2, 1, 1]);
}

#[test]
fn rows_that_a_table_has_not_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ids.npy");
    let loaded = model(
        vec![node("Cast", &["ids"], "wide", &[("to", &[7])]), node("Gather", &["E", "wide"], "y", &[])],
        vec![value("ids", pb::tensor_proto::DataType::Int32 as i32, &["N", "2"])],
        vec![bare("y")],
        vec![tensor("E", &[128, 3], &[0.5; 384])],
    );
    write_npy(&path, &Array2::<i64>::from_elem((4, 2), 127)).unwrap();
    loaded.check_data(&load(&path, &loaded)).unwrap();
    for bad in [199, -129] {
        write_npy(&path, &Array2::<i64>::from_shape_vec((1, 2), vec![0, bad]).unwrap()).unwrap();
        let message = loaded.check_data(&load(&path, &loaded)).unwrap_err().to_string();
        assert!(
            message.contains(&format!("array 'ids' holds {bad}, but table 'E'")) && message.contains("128 rows"),
            "{message}"
        );
    }
    write_npy(&path, &Array2::<i64>::from_elem((4, 2), 1 << 40)).unwrap();
    assert!(refusal(&path, loaded.inputs()).contains("1099511627776, which the model's int32 cannot hold"));
}

#[test]
fn ids_masks_and_lengths_are_made_up() {
    let named = |ids: &str, mask: &str| {
        model(
            vec![
                node("Gather", &["E", ids], "rows", &[]),
                node("Gather", &["P", "position_ids"], "places", &[]),
                node("Add", &["rows", "places"], "sum", &[]),
                node("Cast", &[mask], "kept", &[("to", &[1])]),
                node("Unsqueeze", &["kept", "last"], "column", &[]),
                node("Mul", &["sum", "column"], "y", &[]),
            ],
            vec![
                value(ids, INT64, &["batch", "length"]),
                value("position_ids", INT64, &["1", "length"]),
                value(mask, INT64, &["batch", "length"]),
            ],
            vec![bare("y")],
            vec![
                tensor("E", &[40, 3], &[0.5; 120]),
                tensor("P", &[512, 3], &[0.25; 1536]),
                pb::TensorProto { data_type: Some(INT64), ..tensor_i64("last", &[2]) },
            ],
        )
    };
    let loaded = named("ids", "attention_mask");
    let made = loaded.made_up(24, 7).unwrap();
    assert_eq!(made.how.len(), 3);
    assert!(made.how[0] == "`ids` of random numbers below 40, the rows of a table", "{:?}", made.how);
    assert_eq!(made.how[2], "`attention_mask` of ones");
    assert!(made.data.is_synthetic() && made.data.samples() == 24);
    loaded.check_data(&made.data).unwrap();
    let inputs = made.data.inputs(0..24).unwrap();
    let numbers = |input: usize| {
        let view = inputs[input].to_plain_array_view::<i64>().unwrap();
        (*view.iter().min().unwrap(), *view.iter().max().unwrap())
    };
    let (low, high) = numbers(0);
    assert!((0..8).contains(&low) && (32..40).contains(&high), "{low} to {high}");
    assert_eq!(numbers(2), (1, 1));
    let (_, y) = outputs(loaded, &made.data);
    assert_eq!(y[0].shape, [24, 16, 3]);
    assert!(y[0].values.iter().all(|&v| v == 0.75));
    // Whole numbers of which nothing is known are not made up.
    let unknown = named("ids", "state").made_up(24, 7).unwrap_err().to_string();
    assert!(unknown.contains("'state'") && unknown.contains("no inputs can be made up"), "{unknown}");
}

fn spec(element: DatumType, shape: &[Option<usize>]) -> InputSpec {
    InputSpec { name: "x".into(), element, shape: shape.to_vec(), sample_axis: Some(0) }
}

/// A `.npy` file with this header and these bytes.
fn npy(path: &Path, header: &str, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn arrays_of_all_types_are_converted_without_loss_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let values = |element: DatumType| {
        let data = Dataset::load(&path, &[spec(element, &[None, Some(2)])], &Reading::default()).unwrap();
        Output::from_tensor(&data.inputs(0..data.samples()).unwrap()[0]).unwrap().values
    };
    // 1 and -2 as float16 and in the other order of bytes.
    npy(&path, "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2)}", &[0x00, 0x3c, 0x00, 0xc0]);
    for element in [DatumType::F16, DatumType::F32, DatumType::F64] {
        assert_eq!(values(element), [1.0, -2.0]);
    }
    npy(&path, "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2)}", &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
    assert_eq!(values(DatumType::F32), [1.0, -2.0]);
    npy(&path, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2)}", &[0, 1, 0, 2, 0, 3, 0, 4]);
    assert_eq!(values(DatumType::I64), [1.0, 3.0, 2.0, 4.0]);
    npy(&path, "{'descr': '|b1', 'fortran_order': False, 'shape': (1, 2)}", &[0, 1]);
    assert_eq!(values(DatumType::I64), [0.0, 1.0]);
    assert_eq!(values(DatumType::Bool), [0.0, 1.0]);

    for (header, bytes, element, words) in [
        ("{'descr': '|b1', 'fortran_order': False, 'shape': (1, 2)}", &[0u8, 7][..], DatumType::Bool, "holds 7"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 2)}", &[], DatumType::F32, "no samples"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", &[0; 4], DatumType::F32, "shape []"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2)}", &[0; 8], DatumType::F32, "Python objects"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 2)}", &[0; 8], DatumType::F32, "promises 72 bytes"),
        (
            "{'descr': '<u8', 'fortran_order': False, 'shape': (1, 2)}",
            &[255; 16],
            DatumType::I64,
            "18446744073709551615",
        ),
        ("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2)}", &[0, 0x7c, 0, 0], DatumType::F32, "infinity"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 2)}", &[0; 16], DatumType::F32, "'<c8'"),
        ("((((((\n\n(((((", &[], DatumType::F32, "no NumPy header"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2)}",
            &[],
            DatumType::F32,
            "larger than any memory",
        ),
    ] {
        npy(&path, header, bytes);
        let message = refusal(&path, &[spec(element, &[None, Some(2)])]);
        assert!(message.contains("x.npy") && message.contains(words), "{message}");
    }
    std::fs::write(&path, "").unwrap();
    assert!(refusal(&path, &[spec(DatumType::F32, &[None])]).contains("ends within the header"));
}

#[test]
fn archives_are_unpacked_no_further_than_they_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let two = [spec(DatumType::F32, &[None, Some(2)])];
    let archive = |header: &str, bytes: &[u8]| {
        let inner = dir.path().join("inner.npy");
        npy(&inner, header, bytes);
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        zip.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&std::fs::read(&inner).unwrap()).unwrap();
        zip.finish().unwrap();
    };
    archive("{'descr': '<f4', 'fortran_order': False, 'shape': (16000000000000, 2)}", &[0; 64]);
    assert!(refusal(&path, &two).contains("promises 128000000000000 bytes"));
    // A bomb of another shape is not unpacked, one with more than its header says no further than that.
    archive("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 3)}", &vec![0; 12_000_000]);
    assert!(refusal(&path, &two).contains("shape [1000000, 3]"));
    archive("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", &vec![0; 12_000_000]);
    assert!(refusal(&path, &two).contains("more than its header says"));
    // One that fits is put into a file where memory ends.
    archive("{'descr': '<f4', 'fortran_order': True, 'shape': (500000, 2)}", &vec![0; 4_000_000]);
    let narrow = Reading { memory: 1000, ..Reading::default() };
    assert_eq!(Dataset::load(&path, &two, &narrow).unwrap().samples(), 500_000);

    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(refusal(&path, &two).contains("a.npz"));
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x55;
    std::fs::write(&path, &damaged).unwrap();
    assert!(refusal(&path, &two).contains("cannot be read"));
}

#[test]
fn folders_hold_a_file_for_each_input() {
    let dir = tempfile::tempdir().unwrap();
    write_npy(dir.path().join("x.npy"), &ramp(&[5, 4])).unwrap();
    write_npy(dir.path().join("scale.npy"), &arr0(3.0f64)).unwrap();
    let loaded = scaled(&[]);
    let data = load(dir.path(), &loaded);
    assert_eq!(outputs(loaded, &data).1[0].values[5], 5.0 / 7.0 * 3.0);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("x.npy");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let one = [spec(DatumType::F32, &[None, Some(2)])];
    assert!(refusal(&pipe, &one).contains("not a regular file"));
    assert!(refusal(Path::new("/dev/zero"), &one).contains("not a regular file"));
    assert!(refusal(dir.path(), &one).contains("not a regular file"));
    let samples = dir.path().join("samples.npz");
    Npz::new(&samples).with("x", &ramp(&[3, 2])).finish();
    let labels = Reading { labels: Some(pipe.clone()), ..Reading::default() };
    let message = Dataset::load(&samples, &one, &labels).unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
    std::fs::rename(&pipe, dir.path().join("a.png")).unwrap();
    std::fs::remove_file(&samples).unwrap();
    let image = [spec(DatumType::F32, &[None, Some(3), Some(4), Some(4)])];
    assert!(refusal(dir.path(), &image).contains("a.png: is not a regular file"));
}

#[test]
fn images_that_would_become_too_large_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    image::GrayImage::new(1, 2_000_000).save(dir.path().join("long.png")).unwrap();
    let specs = [spec(DatumType::F32, &[None, Some(3), Some(32), Some(32)])];
    let message = refusal(dir.path(), &specs);
    assert!(message.contains("long.png") && message.contains("1×2000000"), "{message}");
    // Resizing every side is bounded too.
    image::GrayImage::new(8, 8).save(dir.path().join("long.png")).unwrap();
    let images = ImageOptions { resize: Some(1 << 20), ..ImageOptions::default() };
    let reading = Reading { images, ..Reading::default() };
    assert!(Dataset::load(dir.path(), &specs, &reading).unwrap_err().to_string().contains("long.png"));
}

#[test]
fn labels_come_in_any_type_that_holds_whole_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let x = ramp(&[3, 2]);
    let one = [spec(DatumType::F32, &[None, Some(2)])];
    Npz::new(&path).with("x", &x).with("labels", &Array2::from_elem((3, 1), 2.0f64).into_dyn()).finish();
    assert_eq!(Dataset::load(&path, &one, &Reading::default()).unwrap().labels(), Some(&[2, 2, 2][..]));
    Npz::new(&path).with("x", &x).with("labels", &Array1::from_elem(3, 0.5f32).into_dyn()).finish();
    assert!(refusal(&path, &one).contains("holds 0.5"));
    Npz::new(&path).with("x", &x).with("labels", &Array3::<u8>::zeros((3, 2, 1)).into_dyn()).finish();
    assert!(refusal(&path, &one).contains("one label for each sample"));
}

#[test]
fn panics_of_the_runtime_name_the_node() {
    // Extents of a Conv that no input can have.
    let nodes = vec![node("Relu", &["x"], "a", &[]), node("Conv", &["a", "w"], "y", &[("strides", &[0, 0])])];
    let w = tensor("w", &[2, 1, 3, 3], &[1.0; 18]);
    let loaded = try_model(nodes, vec![value("x", FLOAT, &["N", "1", "3", "3"])], vec![bare("y")], vec![w]);
    let message = match loaded.and_then(|loaded| loaded.check()) {
        Ok(()) => return,
        Err(e) => e.to_string(),
    };
    assert!(message.contains("Conv"), "{message}");
}

#[test]
fn images_of_other_depths_become_eight_bits() {
    let dir = tempfile::tempdir().unwrap();
    let clear = image::Rgba([10, 20, 30, 0]);
    image::RgbaImage::from_pixel(4, 4, clear).save(dir.path().join("a.png")).unwrap();
    let deep: image::ImageBuffer<image::Luma<u16>, Vec<u16>> =
        image::ImageBuffer::from_pixel(4, 4, image::Luma([65535]));
    deep.save(dir.path().join("b.png")).unwrap();
    let specs = [spec(DatumType::F32, &[None, Some(3), Some(4), Some(4)])];
    let images = ImageOptions { white: 255.0, ..ImageOptions::default() };
    let data = Dataset::load(dir.path(), &specs, &Reading { images, ..Reading::default() }).unwrap();
    let pixels = Output::from_tensor(&data.inputs(0..2).unwrap()[0]).unwrap().values;
    // What lies under a transparent pixel counts; sixteen bits are scaled.
    assert!(pixels.chunks(16).zip([10.0, 20.0, 30.0, 255.0, 255.0, 255.0]).all(|(c, v)| (c[0] - v).abs() < 1e-3));
}

#[test]
fn safetensors_whose_offsets_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let two = [spec(DatumType::F32, &[None, Some(2)])];
    let whole = r#""x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}"#;
    for header in [
        format!("{{{whole},{}}}", whole.replace("\"x\"", "\"y\"").replace("[0,8]", "[4,12]")),
        format!("{{{}}}", whole.replace("[0,8]", "[0,800]")),
        format!("{{{}}}", whole.replace("[0,8]", "[8,0]")),
        format!("{{{}}}", whole.replace("[1,2]", "[9223372036854775807,2]")),
        format!("{{{}}}", whole.replace("[1,2]", "[3,2]")),
        "{\n\n".into(),
    ] {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 12]].concat();
        std::fs::write(&path, bytes).unwrap();
        assert!(refusal(&path, &two).contains("a.safetensors: is not a readable .safetensors file"));
    }
    std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(refusal(&path, &two).contains("a.safetensors"));
}

#[test]
fn arrays_that_give_one_extent_two_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let loaded = model(
        vec![node("Add", &["a", "b"], "y", &[])],
        vec![value("a", FLOAT, &["batch", "seq"]), value("b", FLOAT, &["batch", "seq"])],
        vec![bare("y")],
        vec![],
    );
    Npz::new(&path).with("a", &ramp(&[5, 7])).with("b", &ramp(&[5, 7])).finish();
    loaded.check_data(&load(&path, &loaded)).unwrap();
    Npz::new(&path).with("a", &ramp(&[5, 7])).with("b", &ramp(&[5, 9])).finish();
    let message = loaded.check_data(&load(&path, &loaded)).unwrap_err().to_string();
    assert!(message.contains("array 'b' has 9 where the model says 'seq', array 'a' has 7"), "{message}");
}
