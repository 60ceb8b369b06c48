//! One function a model; what each is for stands in the `.toml` beside its file.

use adntn_onnx::pb;
use pb::tensor_proto::DataType::{Bool, Float, Float16, Int8, Int32, Int64};

use super::build::{
    bias, body, float, float_tensor, floats, int, ints, model, node, raw_tensor, smooth, tensor, value, versions,
    weight,
};

const N: i64 = -1;

pub fn all() -> Vec<(&'static str, pb::ModelProto)> {
    vec![
        ("gemm-initializer", gemm(&[48, 32], true)),
        ("gemm-input-output", gemm(&[32, 48], false)),
        ("gemm-alpha-beta", gemm_alpha_beta()),
        ("gemm-transposed-activation", gemm_transposed_activation()),
        ("gemm-left", gemm_left()),
        ("gemm-opset7", versions(gemm(&[37, 41], true), 4, 7)),
        ("gemm-opset11", versions(gemm(&[41, 37], false), 6, 11)),
        ("gemm-16-legs", gemm(&[64, 64], true)),
        ("gemm-linear", gemm(&[64, 64], true)),
        ("gemm-separated", gemm(&[64, 32], true)),
        ("gemm-separated-input-output", gemm(&[32, 64], false)),
        ("gemm-last-level-curved", gemm(&[48, 32], true)),
        ("gemm-attn", gemm(&[48, 32], true)),
        ("gemm-mera", gemm(&[48, 32], false)),
        ("gemm-arity-3", gemm(&[48, 64], true)),
        ("gemm-output-scale", gemm(&[47, 32], true)),
        ("conv2d-kernel-legs", conv(&[16, 8, 3, 3], &[8, 9, 9], 1)),
        ("gemm-dense", gemm(&[32, 48], false)),
        ("gemm-dense-constant", constant_node()),
        ("matmul-right", matmul_right()),
        ("matmul-left", matmul_left()),
        ("matmul-of-transpose", matmul_of_transpose()),
        ("conv1d", conv(&[32, 12, 3], &[12, 16], 1)),
        ("conv2d", conv(&[16, 8, 3, 3], &[8, 9, 9], 1)),
        ("conv-grouped", conv(&[32, 4, 3, 3], &[8, 9, 9], 2)),
        ("constant-node", constant_node()),
        ("constant-floats", constant_floats()),
        ("identity-chain", identity_chain()),
        ("shared", shared()),
        ("shared-in-two-orientations", shared_orientations()),
        ("shared-with-other-nodes", shared_with_others()),
        ("table", table()),
        ("table-tied", table_tied()),
        ("table-tied-transposed", table_tied_transposed()),
        ("table-left-alone", table_left_alone()),
        ("padded-primes", padded_primes()),
        ("overridable-input", overridable(8)),
        ("ir3-listed-inputs", versions(overridable(3), 3, 7)),
        ("ir3-opset9", versions(overridable(3), 3, 9)),
        ("weight-in-if", weight_in_if()),
        ("weight-is-output", weight_is_output()),
        ("weight-is-sparse", weight_is_sparse()),
        ("weight-types", weight_types()),
        ("left-alone", left_alone()),
        ("opset6", versions(conv(&[16, 8, 3, 3], &[8, 9, 9], 1), 4, 6)),
    ]
}

/// `W·x + b` with the weight under the name a trainer gave it.
fn gemm(dims: &[i64], output_input: bool) -> pb::ModelProto {
    let (o, i) = if output_input { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
    let attributes = if output_input { vec![int("transB", 1)] } else { vec![] };
    model(
        vec![value("x", Float, &[N, i])],
        vec![value("y", Float, &[N, o])],
        vec![weight("head.fc.weight", dims, 1), bias("head.fc.bias", o)],
        vec![node("Gemm", "/head/fc/Gemm", &["x", "head.fc.weight", "head.fc.bias"], &["y"], attributes)],
    )
}

fn gemm_alpha_beta() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("onnx::Gemm_7", &[48, 32], 2), bias("b", 48)],
        vec![node(
            "Gemm",
            "/c/c.2/Gemm",
            &["x", "onnx::Gemm_7", "b"],
            &["y"],
            vec![float("alpha", 0.5), float("beta", 2.0), int("transB", 1)],
        )],
    )
}

fn gemm_transposed_activation() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[32, N])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("fc.weight", &[32, 48], 3)],
        vec![node("Gemm", "", &["x", "fc.weight"], &["y"], vec![int("transA", 1)])],
    )
}

/// The weight as the A operand, plain and transposed.
fn gemm_left() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[32, N])],
        vec![value("y", Float, &[36, N])],
        vec![weight("first.weight", &[48, 32], 4), weight("second.weight", &[48, 36], 5)],
        vec![
            node("Gemm", "first", &["first.weight", "x"], &["h"], vec![]),
            node("Gemm", "second", &["second.weight", "h"], &["y"], vec![int("transA", 1)]),
        ],
    )
}

fn matmul_right() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 5, 32])],
        vec![value("y", Float, &[N, 5, 48])],
        vec![weight("proj.weight", &[32, 48], 6)],
        vec![node("MatMul", "/proj/MatMul", &["x", "proj.weight"], &["y"], vec![])],
    )
}

fn matmul_left() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[32, N])],
        vec![value("y", Float, &[48, N])],
        vec![weight("W", &[48, 32], 7)],
        vec![node("MatMul", "", &["W", "x"], &["y"], vec![])],
    )
}

fn matmul_of_transpose() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("fc.weight", &[48, 32], 8)],
        vec![
            node("Transpose", "turn", &["fc.weight"], &["turned"], vec![ints("perm", &[1, 0])]),
            node("MatMul", "mm", &["x", "turned"], &["y"], vec![]),
        ],
    )
}

fn conv(dims: &[i64], input: &[i64], groups: i64) -> pb::ModelProto {
    let kernel = &dims[2..];
    let spatial = input[1..].iter().zip(kernel).map(|(n, k)| n - k + 1);
    let output: Vec<i64> = [N, dims[0]].into_iter().chain(spatial).collect();
    model(
        vec![value("x", Float, &[&[N], input].concat())],
        vec![value("y", Float, &output)],
        vec![weight("features.0.weight", dims, 9), bias("features.0.bias", dims[0])],
        vec![node(
            "Conv",
            "/features/features.0/Conv",
            &["x", "features.0.weight", "features.0.bias"],
            &["y"],
            vec![int("group", groups), ints("kernel_shape", kernel)],
        )],
    )
}

fn constant_node() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48])],
        vec![],
        vec![
            node("Constant", "", &[], &["/l/Constant_output_0"], vec![tensor("value", weight("", &[32, 48], 10))]),
            node("MatMul", "/l/MatMul", &["x", "/l/Constant_output_0"], &["y"], vec![]),
        ],
    )
}

fn constant_floats() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 1200])],
        vec![value("y", Float, &[N])],
        vec![],
        vec![
            node("Constant", "c", &[], &["v"], vec![floats("value_floats", smooth(1200, 1, 11))]),
            node("MatMul", "mm", &["x", "v"], &["y"], vec![]),
        ],
    )
}

fn identity_chain() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("linear_3.w_0", &[32, 48], 12)],
        vec![
            node("Identity", "copy", &["linear_3.w_0"], &["copied"], vec![]),
            node("Identity", "", &["copied"], &["copied_again"], vec![]),
            node("MatMul", "MatMul_0", &["x", "copied_again"], &["y"], vec![]),
        ],
    )
}

/// One weight for two layers, the second behind an Identity.
fn shared() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 40])],
        vec![value("y", Float, &[N, 40])],
        vec![weight("twin.weight", &[40, 40], 13)],
        vec![
            node("Gemm", "left", &["x", "twin.weight"], &["h"], vec![int("transB", 1)]),
            node("Identity", "alias", &["twin.weight"], &["twin.alias"], vec![]),
            node("Gemm", "right", &["h", "twin.alias"], &["y"], vec![int("transB", 1)]),
        ],
    )
}

fn shared_orientations() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 40])],
        vec![value("y", Float, &[N, 40])],
        vec![weight("tied.weight", &[40, 40], 14)],
        vec![
            node("Gemm", "encode", &["x", "tied.weight"], &["h"], vec![int("transB", 1)]),
            node("MatMul", "decode", &["h", "tied.weight"], &["y"], vec![]),
        ],
    )
}

fn shared_with_others() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48]), value("size", Float, &[48, 1])],
        vec![weight("fc.weight", &[48, 32], 15), raw_tensor("axes", &[1], Int64, 1_i64.to_le_bytes().to_vec())],
        vec![
            node("Gemm", "fc", &["x", "fc.weight"], &["y"], vec![int("transB", 1)]),
            node("ReduceL2", "penalty", &["fc.weight", "axes"], &["size"], vec![]),
        ],
    )
}

fn table() -> pb::ModelProto {
    model(
        vec![value("tokens", Int64, &[N, 7])],
        vec![value("y", Float, &[N, 7, 48])],
        vec![
            weight("embedding.weight", &[50, 48], 24),
            raw_tensor("last", &[], Int64, (-1_i64).to_le_bytes().to_vec()),
        ],
        vec![
            node("Gather", "embed", &["embedding.weight", "tokens"], &["h"], vec![int("axis", 0)]),
            node("Identity", "again", &["embedding.weight"], &["copy"], vec![]),
            node("Gather", "end", &["copy", "last"], &["e"], vec![]),
            node("Add", "add", &["h", "e"], &["y"], vec![]),
        ],
    )
}

fn table_tied() -> pb::ModelProto {
    model(
        vec![value("tokens", Int32, &[N])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("embedding.weight", &[48, 32], 15)],
        vec![
            node("Gather", "embed", &["embedding.weight", "tokens"], &["h"], vec![]),
            node("Gemm", "unembed", &["h", "embedding.weight"], &["y"], vec![int("transB", 1)]),
        ],
    )
}

fn table_tied_transposed() -> pb::ModelProto {
    model(
        vec![value("tokens", Int64, &[N])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("embedding.weight", &[48, 32], 15)],
        vec![
            node("Gather", "embed", &["embedding.weight", "tokens"], &["h"], vec![]),
            node("Transpose", "turn", &["embedding.weight"], &["head"], vec![ints("perm", &[1, 0])]),
            node("MatMul", "unembed", &["h", "head"], &["y"], vec![]),
        ],
    )
}

fn table_left_alone() -> pb::ModelProto {
    model(
        vec![value("tokens", Int64, &[N])],
        vec![value("y", Float, &[48, N]), value("z", Float, &[N, 6, 8])],
        vec![
            weight("columns", &[48, 50], 25),
            weight("cube", &[50, 6, 8], 26),
            weight("small", &[5, 8], 27),
            raw_tensor("axes", &[1], Int64, 1_i64.to_le_bytes().to_vec()),
        ],
        vec![
            node("Gather", "pick", &["columns", "tokens"], &["y"], vec![int("axis", 1)]),
            node("Gather", "cubes", &["cube", "tokens"], &["c"], vec![]),
            node("Gather", "little", &["small", "tokens"], &["s"], vec![]),
            node("Unsqueeze", "lift", &["s", "axes"], &["l"], vec![]),
            node("Add", "add", &["c", "l"], &["z"], vec![]),
        ],
    )
}

fn padded_primes() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 41])],
        vec![value("y", Float, &[N, 43])],
        vec![weight("a.weight", &[37, 41], 16), weight("b.weight", &[37, 43], 17)],
        vec![
            node("Gemm", "a", &["x", "a.weight"], &["h"], vec![int("transB", 1)]),
            node("MatMul", "b", &["h", "b.weight"], &["y"], vec![]),
        ],
    )
}

/// Every initializer is a graph input too: overridable from IR version 4 on, customary before.
fn overridable(ir: i64) -> pb::ModelProto {
    model(
        vec![value("x", Float, &[1, 32]), value("fc.weight", Float, &[48, 32]), value("fc.bias", Float, &[48])],
        vec![value("y", Float, &[1, 48])],
        vec![weight("fc.weight", &[48, 32], 18 + ir as usize), bias("fc.bias", 48)],
        vec![node("Gemm", "fc", &["x", "fc.weight", "fc.bias"], &["y"], vec![int("transB", 1)])],
    )
}

/// A layer inside a branch, and a weight that a branch reads.
fn weight_in_if() -> pb::ModelProto {
    let branch = |name: &str, op: &str, other: &str| pb::GraphProto {
        name: Some(name.to_owned()),
        node: vec![node(op, &format!("{name}_node"), &["h", other], &[&format!("{name}_y")], vec![])],
        output: vec![value(&format!("{name}_y"), Float, &[N, 36])],
        ..Default::default()
    };
    let branches = vec![
        body("then_branch", branch("then", "MatMul", "inner.weight")),
        body("else_branch", branch("else", "Add", "h")),
    ];
    model(
        vec![value("x", Float, &[N, 36]), value("flag", Bool, &[])],
        vec![value("y", Float, &[N, 36]), value("z", Float, &[N, 36])],
        vec![weight("outer.weight", &[36, 36], 20), weight("inner.weight", &[36, 36], 21)],
        vec![
            node("MatMul", "outer", &["x", "outer.weight"], &["h"], vec![]),
            node("If", "choose", &["flag"], &["y"], branches),
            node("MatMul", "also_inner", &["h", "inner.weight"], &["z"], vec![]),
        ],
    )
}

fn weight_is_output() -> pb::ModelProto {
    model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 48]), value("shown", Float, &[32, 48])],
        vec![weight("fc.weight", &[32, 48], 22)],
        vec![
            node("MatMul", "fc", &["x", "fc.weight"], &["y"], vec![]),
            node("Identity", "show", &["fc.weight"], &["shown"], vec![]),
        ],
    )
}

/// Half precision and integers.
fn weight_types() -> pb::ModelProto {
    // 0x3000 is 0.125 in half precision.
    let half: Vec<u8> = (0..32 * 48).flat_map(|k: u16| (0x3000 + k % 64).to_le_bytes()).collect();
    let byte: Vec<u8> = (0..32 * 48).map(|k: u32| (k % 17) as u8).collect();
    let int32: Vec<u8> = (0..32 * 48).flat_map(|k: i32| (k % 5).to_le_bytes()).collect();
    model(
        vec![value("x", Float16, &[N, 32]), value("q", Int8, &[N, 32]), value("k", Int32, &[N, 32])],
        vec![value("y", Float16, &[N, 48]), value("r", Int32, &[N, 48]), value("s", Int32, &[N, 48])],
        vec![
            raw_tensor("half.weight", &[32, 48], Float16, half),
            raw_tensor("byte.weight", &[32, 48], Int8, byte),
            raw_tensor("int.weight", &[32, 48], Int32, int32),
        ],
        vec![
            node("MatMul", "half", &["x", "half.weight"], &["y"], vec![]),
            node("MatMulInteger", "byte", &["q", "byte.weight"], &["r"], vec![]),
            node("MatMul", "int", &["k", "int.weight"], &["s"], vec![]),
        ],
    )
}

/// The remaining reasons to leave a layer alone, one layer each, and one candidate among them.
fn left_alone() -> pb::ModelProto {
    let mut infinite = smooth(32, 32, 23);
    infinite[100] = f32::INFINITY;
    model(
        vec![value("x", Float, &[32, 32]), value("image", Float, &[1, 8, 6, 6])],
        vec![
            value("y", Float, &[1, 32, 32]),
            value("upsampled", Float, &[1, 16, 8, 8]),
            value("product", Float, &[32, 32]),
        ],
        vec![
            weight("small.weight", &[32, 31], 24),
            weight("back.weight", &[31, 32], 25),
            float_tensor("infinite.weight", &[32, 32], infinite),
            weight("batched.weight", &[1, 32, 32], 26),
            weight("deconv.weight", &[8, 16, 3, 3], 27),
            weight("good.weight", &[32, 32], 28),
        ],
        vec![
            node("MatMul", "small", &["x", "small.weight"], &["h1"], vec![]),
            node("MatMul", "small_too", &["h1", "back.weight"], &["h2"], vec![]),
            node("MatMul", "infinite", &["h2", "infinite.weight"], &["h3"], vec![]),
            node("MatMul", "good", &["h3", "good.weight"], &["h5"], vec![]),
            node("Relu", "act", &["h5"], &["h6"], vec![]),
            node("MatMul", "attention", &["h5", "h6"], &["h7"], vec![]),
            node("MatMul", "batched", &["h7", "batched.weight"], &["y"], vec![]),
            node("ConvTranspose", "deconv", &["image", "deconv.weight"], &["upsampled"], vec![]),
            node("MatMul", "folded", &["infinite.weight", "infinite.weight"], &["product"], vec![]),
        ],
    )
}

fn weight_is_sparse() -> pb::ModelProto {
    let mut model = model(
        vec![value("x", Float, &[N, 32])],
        vec![value("y", Float, &[N, 32])],
        vec![],
        vec![node("MatMul", "fc", &["x", "sparse.weight"], &["y"], vec![])],
    );
    let places: Vec<u8> = [0_i64, 40, 999].iter().flat_map(|k| k.to_le_bytes()).collect();
    if let Some(graph) = model.graph.as_mut() {
        graph.sparse_initializer.push(pb::SparseTensorProto {
            values: Some(float_tensor("sparse.weight", &[3], vec![1.0, 2.0, 3.0])),
            indices: Some(raw_tensor("sparse.indices", &[3], Int64, places)),
            dims: vec![32, 32],
        });
    }
    model
}
