//! Times one layer forward and backward. `step_time SECONDS NAME...` measures each layer named (all without names) for so many
//! seconds and prints its user time and wall time a step in milliseconds, both forward and backward, and the peak of memory so far.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use adntn_graph::{Array, Network, Request};
use adntn_onnx::{Model, pb};
use pb::attribute_proto::AttributeType;
use prost::Message as _;

/// Name, operator, integer lists, integers, shapes of the inputs.
type Layer = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static [i64])],
    &'static [i64],
    &'static [&'static [usize]],
);

const THREE: &[(&str, &[i64])] = &[("pads", &[1, 1, 1, 1])];
const STRIDED: &[(&str, &[i64])] = &[("pads", &[1, 1, 1, 1]), ("strides", &[2, 2])];
const LAYERS: &[Layer] = &[
    ("conv-3-64-32", "Conv", THREE, &[], &[&[256, 3, 32, 32], &[64, 3, 3, 3], &[64]]),
    ("conv-64-64-32", "Conv", THREE, &[], &[&[64, 64, 32, 32], &[64, 64, 3, 3], &[64]]),
    ("conv-64-192-16", "Conv", THREE, &[], &[&[256, 64, 16, 16], &[192, 64, 3, 3], &[192]]),
    ("conv-192-384-8", "Conv", THREE, &[], &[&[256, 192, 8, 8], &[384, 192, 3, 3], &[384]]),
    ("conv-384-256-8", "Conv", THREE, &[], &[&[256, 384, 8, 8], &[256, 384, 3, 3], &[256]]),
    ("conv-64-128-32-stride", "Conv", STRIDED, &[], &[&[64, 64, 32, 32], &[128, 64, 3, 3], &[128]]),
    ("conv-1x1-256-64-16", "Conv", &[], &[], &[&[64, 256, 16, 16], &[64, 256, 1, 1], &[64]]),
    ("conv-1x1-256-512-4", "Conv", &[], &[], &[&[64, 256, 4, 4], &[512, 256, 1, 1], &[512]]),
    ("conv-groups-4", "Conv", THREE, &[4], &[&[64, 128, 16, 16], &[128, 32, 3, 3], &[128]]),
    ("conv-depthwise", "Conv", THREE, &[128], &[&[64, 128, 16, 16], &[128, 1, 3, 3], &[128]]),
    ("conv-depthwise-stride", "Conv", STRIDED, &[128], &[&[64, 128, 16, 16], &[128, 1, 3, 3], &[128]]),
    ("conv-lenet-5x5", "Conv", &[], &[], &[&[256, 6, 14, 14], &[16, 6, 5, 5], &[16]]),
    ("conv-1d", "Conv", &[("pads", &[2, 2])], &[], &[&[64, 64, 512], &[64, 64, 5], &[64]]),
    ("conv-transpose", "ConvTranspose", &[("strides", &[2, 2])], &[], &[&[64, 64, 16, 16], &[64, 32, 2, 2], &[32]]),
    ("gemm-1024-4096", "Gemm", &[], &[], &[&[256, 1024], &[1024, 4096], &[4096]]),
    ("gemm-small", "Gemm", &[], &[], &[&[64, 120], &[120, 84], &[84]]),
    ("matmul-batch", "MatMul", &[], &[], &[&[128, 128, 64], &[128, 64, 128]]),
    ("add", "Add", &[], &[], &[&[256, 64, 32, 32], &[256, 64, 32, 32]]),
    ("mul-channels", "Mul", &[], &[], &[&[256, 64, 32, 32], &[64, 1, 1]]),
    ("add-row", "Add", &[], &[], &[&[256, 4096], &[4096]]),
    ("relu", "Relu", &[], &[], &[&[256, 64, 32, 32]]),
    ("sigmoid", "Sigmoid", &[], &[], &[&[256, 64, 16, 16]]),
    ("tanh", "Tanh", &[], &[], &[&[256, 64, 16, 16]]),
    ("gelu", "Gelu", &[], &[], &[&[256, 64, 16, 16]]),
    ("softmax", "Softmax", &[], &[], &[&[4096, 1024]]),
    ("softmax-10", "LogSoftmax", &[], &[], &[&[4096, 10]]),
    ("max-pool-2", "MaxPool", &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])], &[], &[&[256, 64, 32, 32]]),
    ("max-pool-3", "MaxPool", &[("kernel_shape", &[3, 3]), ("strides", &[2, 2])], &[], &[&[256, 64, 32, 32]]),
    ("average-pool-2", "AveragePool", &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])], &[], &[&[256, 64, 32, 32]]),
    ("global-average-pool", "GlobalAveragePool", &[], &[], &[&[256, 64, 32, 32]]),
    ("batch-norm", "BatchNormalization", &[], &[], &[&[256, 64, 32, 32], &[64], &[64], &[64], &[64]]),
    ("layer-norm", "LayerNormalization", &[], &[], &[&[4096, 1024], &[1024], &[1024]]),
    ("transpose", "Transpose", &[("perm", &[0, 2, 3, 1])], &[], &[&[256, 64, 32, 32]]),
    ("concat", "Concat", &[], &[], &[&[256, 64, 16, 16], &[256, 64, 16, 16]]),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(1.0, |text| text.parse().unwrap());
    let names: Vec<String> = arguments.collect();
    for layer in LAYERS.iter().filter(|layer| names.is_empty() || names.iter().any(|name| name == layer.0)) {
        measure(layer, seconds);
    }
}

fn measure(layer: &Layer, seconds: f64) {
    let network = network(layer);
    let leaves: Vec<Arc<Array>> = network.trainable().iter().map(|name| network.initial(name).unwrap()).collect();
    let (mut steps, mut forward, mut backward) = (0, [0.0; 2], [0.0; 2]);
    let begin = Instant::now();
    while steps < 3 || begin.elapsed().as_secs_f64() < seconds {
        let (user, wall) = (user_seconds(), Instant::now());
        let pass = network.forward(Vec::new(), &leaves).unwrap();
        let (middle_user, middle_wall) = (user_seconds(), Instant::now());
        let cotangents = pass.outputs().to_vec();
        let copied = Instant::now();
        pass.backward(&cotangents).unwrap();
        // The first step also warms up.
        if steps > 0 {
            forward[0] += middle_user - user;
            forward[1] += (middle_wall - wall).as_secs_f64();
            backward[0] += user_seconds() - middle_user;
            backward[1] += copied.elapsed().as_secs_f64();
        }
        steps += 1;
    }
    let each = |total: f64| 1e3 * total / f64::from(steps - 1);
    println!(
        "{:24} {:5} steps  forward {:8.2} ms user {:8.2} wall  backward {:8.2} user {:8.2} wall  peak {:5} MB",
        layer.0,
        steps,
        each(forward[0]),
        each(forward[1]),
        each(backward[0]),
        each(backward[1]),
        peak()
    );
}

/// The layer with all inputs as leaves.
fn network(&(_, op, lists, group, shapes): &Layer) -> Network {
    let names: Vec<String> = (0..shapes.len()).map(|input| format!("in{input}")).collect();
    let initializer = names.iter().zip(shapes).enumerate().map(|(seed, (name, shape))| pb::TensorProto {
        name: Some(name.clone()),
        data_type: Some(1),
        dims: shape.iter().map(|&extent| extent as i64).collect(),
        float_data: values(shape.iter().product(), seed),
        ..Default::default()
    });
    let list = |&(name, values): &(&str, &[i64])| pb::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    };
    let group = group.first().map(|&group| pb::AttributeProto {
        name: Some("group".to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(group),
        ..Default::default()
    });
    let node = pb::NodeProto {
        op_type: Some(op.to_owned()),
        input: names.clone(),
        output: vec!["out".to_owned()],
        attribute: lists.iter().map(list).chain(group).collect(),
        ..Default::default()
    };
    let graph = pb::GraphProto {
        name: Some("layer".to_owned()),
        initializer: initializer.collect(),
        node: vec![node],
        output: vec![pb::ValueInfoProto { name: Some("out".to_owned()), ..Default::default() }],
        ..Default::default()
    };
    let proto = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(20) }],
        graph: Some(graph),
        ..Default::default()
    };
    let model = Model::from_bytes(proto.encode_to_vec().into(), None).unwrap();
    Network::new(&model, &Request { inputs: &[], outputs: &["out".to_owned()], trainable: &names }).unwrap()
}

/// Numbers between 0.1 and 1 without an order: variances must be positive.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u32 * 77 + 12345;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.1 + 0.9 * (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

/// User time of this process so far, in hundredths of a second.
fn user_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let field = text.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap();
    field.parse::<f64>().unwrap() / 100.0
}

/// Megabytes of memory at most so far.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
