//! Activations, arithmetic, comparisons, reductions.

use crate::common::{Row, row};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let x = &[3, 4];
    for op in ["Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Sin", "Cos", "Softplus", "Softsign", "Neg", "Abs"] {
        rows.push(row(&op.to_lowercase(), op, 13).leaf(x));
    }
    for op in ["Sqrt", "Log", "Reciprocal"] {
        rows.push(row(&op.to_lowercase(), op, 13).leaf_in(x, 0.5, 3.0));
    }
    for (op, opset) in [("HardSwish", 14), ("Mish", 18), ("Elu", 13), ("Celu", 12), ("Selu", 13), ("LeakyRelu", 13)] {
        rows.push(row(&op.to_lowercase(), op, opset).leaf_in(x, -3.9, 3.9));
    }
    rows.extend([
        row("hard-sigmoid", "HardSigmoid", 13).leaf_in(x, -4.0, 4.0),
        row("hard-sigmoid-settings", "HardSigmoid", 13).leaf(x).float("alpha", 0.4).float("beta", 0.3),
        row("elu-alpha", "Elu", 13).leaf(x).float("alpha", 0.5),
        row("celu-alpha", "Celu", 12).leaf(x).float("alpha", 0.5),
        row("leaky-relu-alpha", "LeakyRelu", 13).leaf(x).float("alpha", 0.3),
        row("prelu", "PRelu", 13).leaf(&[2, 3, 4]).leaf(&[3, 1]),
        row("gelu", "Gelu", 20).leaf(x),
        row("gelu-tanh", "Gelu", 20).leaf(x).text("approximate", "tanh"),
        row("clip", "Clip", 13).leaf(x).fixed(&[], &[-0.7]).fixed(&[], &[1.3]),
        row("clip-high", "Clip", 13).leaf(x).absent().fixed(&[], &[0.8]),
        row("clip-6", "Clip", 6).leaf(x).float("min", -0.7).float("max", 1.3),
        row("pow-square", "Pow", 13).leaf(x).fixed(&[], &[2.0]),
        row("pow-cube", "Pow", 13).leaf(x).fixed(&[], &[3.0]),
        row("pow-root", "Pow", 13).leaf_in(x, 0.5, 2.0).fixed(&[1], &[0.5]),
        row("pow-leaf", "Pow", 13).leaf_in(&[3, 4], 0.5, 2.0).leaf(&[4]),
        row("sum", "Sum", 13).leaf(&[2, 3]).leaf(&[3]).leaf(&[2, 1]),
        row("mean", "Mean", 13).leaf(&[2, 3]).leaf(&[3]).leaf(&[2, 1]),
        row("max", "Max", 13).leaf(&[3, 5]).leaf_in(&[5], -1.3, 1.4),
        row("min", "Min", 13).leaf(&[3, 5]).leaf_in(&[3, 1], -1.3, 1.4),
        row("where", "Where", 13).truths(&[3, 1], &[1, 0, 1]).leaf(&[3, 4]).leaf(&[4]),
        row("softmax-large", "Softmax", 13).leaf_in(&[2, 5], -90.0, 90.0),
    ]);
    for op in ["Add", "Sub", "Mul", "Div"] {
        let name = op.to_lowercase();
        rows.push(row(&name, op, 14).leaf(&[2, 3, 4]).leaf_in(&[2, 3, 4], 0.5, 2.0));
        rows.push(row(&format!("{name}-broadcast"), op, 7).leaf(&[3, 1]).leaf_in(&[2, 1, 4], 0.5, 2.0));
        rows.push(row(&format!("{name}-scalar"), op, 13).leaf(&[2, 3]).leaf_in(&[], 0.5, 2.0));
        rows.push(row(&format!("{name}-integers"), op, 13).tensor(&[2, 1], &[-7, 9]).tensor(&[2], &[2, -3]));
    }
    for op in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        let (own, other) = (&[1.0, 2.0, 3.0, 2.0], &[2.0, 2.0]);
        rows.push(row(&op.to_lowercase(), op, 16).fixed(&[2, 2], own).fixed(&[2], other));
    }
    for op in ["And", "Or", "Xor"] {
        rows.push(row(&op.to_lowercase(), op, 13).truths(&[4], &[0, 0, 1, 1]).truths(&[4], &[0, 1, 0, 1]));
    }
    rows.push(row("not", "Not", 13).truths(&[2], &[0, 1]));
    rows.push(row("mod", "Mod", 13).vector(&[-7, 7, 5]).vector(&[3, -3, 5]));
    for kind in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"] {
        let op: &'static str = format!("Reduce{kind}").leak();
        let name = format!("reduce-{}", kind.to_lowercase());
        rows.push(row(&name, op, 18).leaf(&[2, 3, 4]).vector(&[-1, 0]));
        rows.push(row(&format!("{name}-all"), op, 11).leaf(&[2, 3]).int("keepdims", 0));
        rows.push(row(&format!("{name}-axis"), op, 11).leaf(&[2, 3, 4]).ints("axes", &[1]).int("keepdims", 0));
    }
    rows.push(row("reduce-logsum", "ReduceLogSum", 18).leaf_in(&[2, 3], 0.5, 2.0).vector(&[1]));
    rows.push(row("reduce-sum-13", "ReduceSum", 13).leaf(&[2, 3, 4]).vector(&[1]).int("keepdims", 0));
    rows.push(row("reduce-prod-integers", "ReduceProd", 13).tensor(&[2, 3], &[1, 2, 3, 4, 5, 6]).ints("axes", &[1]));
    rows
}
