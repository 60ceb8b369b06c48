//! Evaluates the constant part of a graph, following the ONNX text of each op and nothing of the code under test.

use adntn_onnx::{Model, pb};
use pb::tensor_proto::DataType;

/// Shape and row-major values.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// The value `name` of a graph, from initializers and Constant nodes alone.
pub fn evaluate(model: &Model, name: &str) -> Tensor {
    let graph = model.graph();
    if let Some(t) = graph.initializer.iter().find(|t| t.name() == name) {
        return floats(t);
    }
    let node = graph.node.iter().find(|n| n.output.iter().any(|o| o == name)).unwrap_or_else(|| panic!("no `{name}`"));
    let input = |k: usize| evaluate(model, &node.input[k]);
    let vector = |k: usize| integers(model, &node.input[k]);
    let modern_slice = model.opset() >= 10;
    match node.op_type() {
        "Constant" => floats(node.attribute[0].t.as_ref().unwrap()),
        "Identity" => input(0),
        "Reshape" => reshape(input(0), &vector(1)),
        "MatMul" => matmul(&input(0), &input(1)),
        "Transpose" => transpose(&input(0), ints(node, "perm")),
        "Slice" if modern_slice => slice(&input(0), &vector(1), &vector(2), &vector(3)),
        "Slice" => slice(&input(0), ints(node, "starts"), ints(node, "ends"), ints(node, "axes")),
        "Mul" => elementwise(&input(0), &input(1), |a, b| a * b),
        "Sub" => elementwise(&input(0), &input(1), |a, b| a - b),
        "Floor" => map(input(0), f32::floor),
        "Cast" => {
            assert_eq!(node.attribute[0].i(), i64::from(DataType::Float as i32));
            input(0)
        }
        "Split" => {
            let lengths = if model.opset() >= 13 { vector(1) } else { ints(node, "split").to_vec() };
            let at = node.output.iter().position(|o| o == name).unwrap();
            let (shape, values) = input(0);
            assert_eq!((lengths.len(), shape), (node.output.len(), vec![lengths.iter().sum::<i64>() as usize]));
            let start = lengths[..at].iter().sum::<i64>() as usize;
            let end = start + lengths[at] as usize;
            (vec![end - start], values[start..end].to_vec())
        }
        "Tanh" => map(input(0), f32::tanh),
        "Relu" => map(input(0), |x| x.max(0.0)),
        "LeakyRelu" => {
            let alpha = node.attribute.iter().find(|a| a.name() == "alpha").map_or(0.01, |a| a.f());
            map(input(0), |x| if x < 0.0 { alpha * x } else { x })
        }
        "Softsign" => map(input(0), |x| x / (1.0 + x.abs())),
        other => panic!("the interpreter has no {other}"),
    }
}

fn map((shape, values): Tensor, f: impl Fn(f32) -> f32) -> Tensor {
    (shape, values.into_iter().map(f).collect())
}

/// `f` of elements, either side broadcast.
fn elementwise((a_shape, a): &Tensor, (b_shape, b): &Tensor, f: impl Fn(f32, f32) -> f32) -> Tensor {
    let rank = a_shape.len().max(b_shape.len());
    let padded = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
    let (a_shape, b_shape) = (padded(a_shape), padded(b_shape));
    let to: Vec<usize> = a_shape.iter().zip(&b_shape).map(|(&x, &y)| x.max(y)).collect();
    let value = |flat: usize, shape: &[usize], values: &[f32]| {
        let (mut rest, mut at, mut stride) = (flat, 0, 1);
        for axis in (0..rank).rev() {
            let index = rest % to[axis];
            rest /= to[axis];
            assert!(shape[axis] == to[axis] || shape[axis] == 1);
            if shape[axis] != 1 {
                at += index * stride;
            }
            stride *= shape[axis];
        }
        values[at]
    };
    let count: usize = to.iter().product();
    let out = (0..count).map(|k| f(value(k, &a_shape, a), value(k, &b_shape, b))).collect();
    (to, out)
}

fn reshape((shape, values): Tensor, to: &[i64]) -> Tensor {
    if to == [-1] {
        return (vec![values.len()], values);
    }
    let to: Vec<usize> = to.iter().map(|&d| usize::try_from(d).unwrap()).collect();
    assert!(to.iter().all(|&d| d > 0), "static shapes only");
    assert_eq!(to.iter().product::<usize>(), shape.iter().product::<usize>());
    (to, values)
}

fn matmul((a_shape, a): &Tensor, (b_shape, b): &Tensor) -> Tensor {
    assert!(a_shape.len() >= 2 && b_shape.len() >= 2);
    let rank = a_shape.len().max(b_shape.len());
    let padded = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
    let (a_shape, b_shape) = (padded(a_shape), padded(b_shape));
    let (m, k, n) = (a_shape[rank - 2], a_shape[rank - 1], b_shape[rank - 1]);
    assert_eq!(k, b_shape[rank - 2]);
    let batch: Vec<usize> = (0..rank - 2)
        .map(|axis| {
            let (x, y) = (a_shape[axis], b_shape[axis]);
            assert!(x == y || x == 1 || y == 1);
            x.max(y)
        })
        .collect();
    let batches: usize = batch.iter().product();
    let mut out = Vec::with_capacity(batches * m * n);
    for flat in 0..batches {
        let offset = |shape: &[usize], size: usize| {
            let (mut rest, mut at, mut stride) = (flat, 0, size);
            for axis in (0..rank - 2).rev() {
                let index = rest % batch[axis];
                rest /= batch[axis];
                if shape[axis] != 1 {
                    at += index * stride;
                }
                stride *= shape[axis];
            }
            at
        };
        let (at_a, at_b) = (offset(&a_shape, m * k), offset(&b_shape, k * n));
        for row in 0..m {
            for column in 0..n {
                let sum: f64 =
                    (0..k).map(|j| f64::from(a[at_a + row * k + j]) * f64::from(b[at_b + j * n + column])).sum();
                out.push(sum as f32);
            }
        }
    }
    ([batch, vec![m, n]].concat(), out)
}

fn transpose((shape, values): &Tensor, perm: &[i64]) -> Tensor {
    let perm: Vec<usize> = perm.iter().map(|&p| p as usize).collect();
    let to: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
    let mut out = Vec::with_capacity(values.len());
    for flat in 0..values.len() {
        let mut index = vec![0; shape.len()];
        let mut rest = flat;
        for axis in (0..to.len()).rev() {
            index[perm[axis]] = rest % to[axis];
            rest /= to[axis];
        }
        out.push(values[index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)]);
    }
    (to, out)
}

fn slice((shape, values): &Tensor, starts: &[i64], ends: &[i64], axes: &[i64]) -> Tensor {
    let mut ranges: Vec<(usize, usize)> = shape.iter().map(|&n| (0, n)).collect();
    for ((&axis, &start), &end) in axes.iter().zip(starts).zip(ends) {
        ranges[axis as usize] = (start as usize, (end as usize).min(shape[axis as usize]));
    }
    let to: Vec<usize> = ranges.iter().map(|r| r.1 - r.0).collect();
    let count: usize = to.iter().product();
    let out = (0..count)
        .map(|flat| {
            let (mut rest, mut at, mut stride) = (flat, 0, 1);
            for axis in (0..to.len()).rev() {
                at += (ranges[axis].0 + rest % to[axis]) * stride;
                rest /= to[axis];
                stride *= shape[axis];
            }
            values[at]
        })
        .collect();
    (to, out)
}

fn floats(t: &pb::TensorProto) -> Tensor {
    let raw = t.raw_data.as_ref().unwrap();
    let values: Vec<f32> = match DataType::try_from(t.data_type()).unwrap() {
        DataType::Float => raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DataType::Float16 => raw.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        DataType::Int8 => raw.iter().map(|&b| f32::from(b as i8)).collect(),
        DataType::Uint8 => raw.iter().map(|&b| f32::from(b)).collect(),
        other => panic!("no floats from {other:?}"),
    };
    let shape: Vec<usize> = t.dims.iter().map(|&d| d as usize).collect();
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{}", t.name());
    (shape, values)
}

fn integers(model: &Model, name: &str) -> Vec<i64> {
    let graph = model.graph();
    if let Some(t) = graph.initializer.iter().find(|t| t.name() == name) {
        return int64s(t);
    }
    let node = graph.node.iter().find(|n| n.output.iter().any(|o| o == name)).unwrap();
    match node.op_type() {
        "Constant" => {
            assert!(model.opset() >= 9, "older Constants hold floats only");
            int64s(node.attribute[0].t.as_ref().unwrap())
        }
        "Cast" => {
            assert_eq!(node.attribute[0].i(), i64::from(DataType::Int64 as i32));
            let source = graph.node.iter().find(|n| n.output == node.input).unwrap();
            let t = source.attribute[0].t.as_ref().unwrap();
            assert_eq!(t.data_type(), DataType::Double as i32);
            t.raw_data.as_ref().unwrap().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as i64).collect()
        }
        other => panic!("no integers from {other}"),
    }
}

fn int64s(t: &pb::TensorProto) -> Vec<i64> {
    assert_eq!(t.data_type(), DataType::Int64 as i32);
    match &t.raw_data {
        Some(raw) => raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        None => t.int64_data.clone(),
    }
}

fn ints<'n>(node: &'n pb::NodeProto, name: &str) -> &'n [i64] {
    &node.attribute.iter().find(|a| a.name() == name).unwrap().ints
}
