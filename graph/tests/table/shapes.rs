//! Operators that move values, and the arithmetic of shapes.

use crate::common::{Row, row};

pub fn rows() -> Vec<Row> {
    let x = |name: &str, op, opset| row(name, op, opset).leaf(&[2, 3, 4]);
    let image = |name: &str, op, opset| row(name, op, opset).leaf(&[1, 2, 3, 4]);
    let integers = |name: &str, op, opset| row(name, op, opset).tensor(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    vec![
        x("identity", "Identity", 13),
        x("dropout", "Dropout", 13),
        x("dropout-7", "Dropout", 7).float("ratio", 0.3),
        x("flatten", "Flatten", 13),
        x("flatten-axis", "Flatten", 13).int("axis", -1),
        x("flatten-all", "Flatten", 13).int("axis", 0),
        x("reshape", "Reshape", 13).vector(&[0, -1]),
        x("reshape-ranks", "Reshape", 13).vector(&[4, 1, 3, 2]),
        integers("reshape-integers", "Reshape", 13).vector(&[-1]),
        x("transpose", "Transpose", 13).ints("perm", &[2, 0, 1]),
        x("transpose-reversed", "Transpose", 13),
        integers("transpose-integers", "Transpose", 13),
        row("squeeze", "Squeeze", 13).leaf(&[1, 3, 1, 2]).vector(&[-2]),
        row("squeeze-11", "Squeeze", 11).leaf(&[1, 3, 1, 2]).ints("axes", &[0, 2]),
        row("squeeze-all", "Squeeze", 13).leaf(&[1, 3, 1, 2]),
        x("unsqueeze", "Unsqueeze", 13).vector(&[0, -1]),
        x("unsqueeze-11", "Unsqueeze", 11).ints("axes", &[1, 3]),
        row("expand", "Expand", 13).leaf(&[3, 1]).vector(&[2, 1, 4]),
        row("expand-integers", "Expand", 13).tensor(&[2, 1], &[5, 6]).vector(&[2, 3]),
        x("concat", "Concat", 13).leaf(&[2, 1, 4]).leaf(&[2, 2, 4]).int("axis", 1),
        x("concat-last", "Concat", 13).leaf(&[2, 3, 2]).int("axis", -1),
        integers("concat-integers", "Concat", 13).tensor(&[2, 1], &[7, 8]).int("axis", 1),
        x("split", "Split", 13).vector(&[1, 2]).int("axis", 1).outputs(2),
        x("split-11", "Split", 11).ints("split", &[3, 1]).int("axis", -1).outputs(2),
        x("split-equal", "Split", 13).int("axis", 2).outputs(2),
        x("split-uneven", "Split", 18).int("axis", 1).int("num_outputs", 2).outputs(2),
        x("slice", "Slice", 13).vector(&[1, 0]).vector(&[3, i64::MAX]).vector(&[2, 1]).vector(&[1, 2]),
        x("slice-backward", "Slice", 13).vector(&[-1]).vector(&[i64::MIN]).vector(&[2]).vector(&[-1]),
        x("slice-default", "Slice", 13).vector(&[0, 1]).vector(&[1, -1]),
        x("slice-9", "Slice", 9).ints("starts", &[1]).ints("ends", &[1000]).ints("axes", &[1]),
        integers("slice-integers", "Slice", 13).vector(&[1]).vector(&[3]).vector(&[1]),
        x("gather", "Gather", 13).tensor(&[2, 2], &[2, -3, 0, 2]).int("axis", 1),
        x("gather-scalar", "Gather", 13).tensor(&[], &[1]).int("axis", -1),
        integers("gather-integers", "Gather", 13).tensor(&[], &[-1]),
        x("tile", "Tile", 13).vector(&[2, 1, 3]),
        x("pad", "Pad", 13).vector(&[0, 1, 2, 1, 0, 3]).fixed(&[], &[0.5]),
        x("pad-negative", "Pad", 13).vector(&[0, -1, 2, 0, 0, -1]),
        x("pad-reflect", "Pad", 13).vector(&[0, 2, 1, 0, 1, 3]).text("mode", "reflect"),
        x("pad-edge", "Pad", 13).vector(&[1, 0, 4, 0, 3, 0]).text("mode", "edge"),
        x("pad-axes", "Pad", 18).vector(&[1, 2]).absent().vector(&[-1]),
        x("pad-2", "Pad", 2).ints("pads", &[0, 1, 0, 1, 0, 2]).float("value", -1.0),
        row("depth-to-space", "DepthToSpace", 13).leaf(&[1, 8, 2, 3]).int("blocksize", 2),
        row("depth-to-space-crd", "DepthToSpace", 13).leaf(&[1, 8, 2, 3]).int("blocksize", 2).text("mode", "CRD"),
        row("space-to-depth", "SpaceToDepth", 13).leaf(&[1, 2, 4, 6]).int("blocksize", 2),
        image("resize-scales", "Resize", 13).absent().fixed(&[4], &[1.0, 1.0, 2.0, 2.0]),
        image("resize-sizes", "Resize", 13).absent().absent().vector(&[1, 2, 5, 3]),
        image("resize-asymmetric", "Resize", 11)
            .fixed(&[0], &[])
            .fixed(&[4], &[1.0, 1.0, 2.5, 0.5])
            .text("coordinate_transformation_mode", "asymmetric")
            .text("nearest_mode", "floor"),
        image("resize-linear", "Resize", 13).absent().fixed(&[4], &[1.0, 1.0, 2.0, 1.5]).text("mode", "linear"),
        image("resize-corners", "Resize", 13)
            .absent()
            .absent()
            .vector(&[1, 2, 5, 7])
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "align_corners"),
        image("resize-10", "Resize", 10).fixed(&[4], &[1.0, 1.0, 2.0, 2.0]),
        image("upsample-9", "Upsample", 9).fixed(&[4], &[1.0, 1.0, 2.0, 3.0]),
        x("shape", "Shape", 13),
        x("shape-part", "Shape", 15).int("start", -2).int("end", 2),
        x("size", "Size", 13),
        x("cast-float", "Cast", 13).int("to", 1),
        row("cast-integer", "Cast", 13).fixed(&[4], &[-1.7, 1.7, 0.0, 2.5]).int("to", 7),
        row("cast-truth", "Cast", 13).fixed(&[3], &[-1.7, 0.0, 2.5]).int("to", 9),
        integers("cast-to-float", "Cast", 13).int("to", 1),
        row("range", "Range", 13).tensor(&[], &[10]).tensor(&[], &[-2]).tensor(&[], &[-3]),
        row("range-floats", "Range", 13).fixed(&[], &[0.5]).fixed(&[], &[2.0]).fixed(&[], &[0.25]),
        row("constant-of-shape", "ConstantOfShape", 13).vector(&[2, 3]),
    ]
}
