//! Layers with weights, pools, norms, softmax.

use crate::common::{Row, row};

pub fn rows() -> Vec<Row> {
    let conv = |name: &str| row(name, "Conv", 13);
    let turned = |name: &str| row(name, "ConvTranspose", 13);
    let max = |name: &str| row(name, "MaxPool", 12);
    let average = |name: &str| row(name, "AveragePool", 19);
    let batch = |name: &str, opset| {
        row(name, "BatchNormalization", opset).leaf(&[2, 3, 4]).leaf(&[3]).leaf(&[3]).leaf(&[3]).leaf_in(&[3], 0.5, 2.0)
    };
    vec![
        conv("conv-1d").leaf(&[2, 3, 7]).leaf(&[4, 3, 3]).leaf(&[4]),
        conv("conv-1d-dilated").leaf(&[2, 3, 9]).leaf(&[4, 3, 3]).ints("dilations", &[2]).ints("pads", &[2, 1]),
        conv("conv-2d").leaf(&[2, 3, 5, 6]).leaf(&[4, 3, 3, 2]),
        conv("conv-2d-bias").leaf(&[2, 3, 5, 6]).leaf(&[4, 3, 3, 2]).leaf(&[4]).ints("pads", &[1, 1, 1, 1]),
        conv("conv-2d-stride").leaf(&[2, 3, 8, 7]).leaf(&[4, 3, 3, 3]).leaf(&[4]).ints("strides", &[2, 3]),
        conv("conv-2d-asymmetric").leaf(&[2, 2, 5, 5]).leaf(&[3, 2, 3, 3]).leaf(&[3]).ints("pads", &[0, 1, 2, 1]),
        conv("conv-2d-groups").leaf(&[2, 4, 5, 5]).leaf(&[6, 2, 3, 3]).leaf(&[6]).int("group", 2),
        conv("conv-2d-depthwise").leaf(&[2, 4, 5, 5]).leaf(&[4, 1, 3, 3]).int("group", 4).ints("pads", &[1, 1, 1, 1]),
        conv("conv-2d-1x1").leaf(&[2, 4, 3, 3]).leaf(&[5, 4, 1, 1]).leaf(&[5]),
        conv("conv-2d-same-upper").leaf(&[1, 2, 5, 6]).leaf(&[3, 2, 2, 3]).text("auto_pad", "SAME_UPPER"),
        conv("conv-2d-same-lower")
            .leaf(&[1, 2, 5, 6])
            .leaf(&[3, 2, 2, 3])
            .ints("strides", &[2, 2])
            .text("auto_pad", "SAME_LOWER"),
        conv("conv-2d-valid").leaf(&[1, 2, 5, 6]).leaf(&[3, 2, 2, 3]).text("auto_pad", "VALID"),
        conv("conv-2d-dilated")
            .leaf(&[1, 2, 7, 7])
            .leaf(&[3, 2, 3, 3])
            .ints("dilations", &[2, 3])
            .ints("pads", &[1; 4]),
        conv("conv-3d").leaf(&[1, 2, 4, 3, 4]).leaf(&[3, 2, 2, 2, 3]).leaf(&[3]).ints("pads", &[1, 0, 1, 0, 1, 1]),
        max("max-pool-1d").leaf(&[2, 2, 7]).ints("kernel_shape", &[3]).ints("strides", &[2]),
        max("max-pool-2d").leaf(&[1, 2, 6, 6]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]),
        max("max-pool-2d-overlap").leaf(&[1, 2, 6, 7]).ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]),
        max("max-pool-2d-padded").leaf(&[1, 2, 5, 5]).ints("kernel_shape", &[3, 3]).ints("pads", &[1; 4]),
        max("max-pool-2d-asymmetric")
            .leaf_in(&[1, 2, 5, 5], -5.0, -1.0)
            .ints("kernel_shape", &[3, 2])
            .ints("pads", &[0, 1, 2, 0]),
        max("max-pool-2d-ceil")
            .leaf(&[1, 2, 6, 6])
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1),
        max("max-pool-2d-dilated").leaf(&[1, 1, 7, 7]).ints("kernel_shape", &[2, 3]).ints("dilations", &[3, 2]),
        max("max-pool-2d-same").leaf(&[1, 2, 5, 5]).ints("kernel_shape", &[2, 2]).text("auto_pad", "SAME_UPPER"),
        max("max-pool-3d").leaf(&[1, 2, 4, 4, 5]).ints("kernel_shape", &[2, 2, 3]).ints("strides", &[2, 1, 1]),
        average("average-pool-1d").leaf(&[2, 2, 7]).ints("kernel_shape", &[3]).ints("pads", &[1, 0]),
        average("average-pool-2d").leaf(&[1, 2, 6, 6]).ints("kernel_shape", &[3, 3]).ints("strides", &[3, 3]),
        average("average-pool-2d-padded").leaf(&[1, 2, 5, 5]).ints("kernel_shape", &[3, 3]).ints("pads", &[1; 4]),
        average("average-pool-2d-include")
            .leaf(&[1, 2, 5, 5])
            .ints("kernel_shape", &[3, 2])
            .ints("pads", &[1, 0, 2, 1])
            .int("count_include_pad", 1),
        average("average-pool-2d-ceil")
            .leaf(&[1, 2, 6, 6])
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1),
        average("average-pool-2d-same")
            .leaf(&[1, 2, 5, 5])
            .ints("kernel_shape", &[2, 2])
            .text("auto_pad", "SAME_LOWER"),
        average("average-pool-3d")
            .leaf(&[1, 2, 4, 4, 5])
            .ints("kernel_shape", &[2, 2, 3])
            .ints("pads", &[0, 1, 1, 1, 0, 1]),
        row("global-average-pool", "GlobalAveragePool", 13).leaf(&[2, 3, 4, 5]),
        row("gemm", "Gemm", 13).leaf(&[3, 4]).leaf(&[4, 5]).leaf(&[5]),
        row("gemm-b-transposed", "Gemm", 13).leaf(&[3, 4]).leaf(&[5, 4]).leaf(&[3, 1]).int("transB", 1),
        row("gemm-both", "Gemm", 13).leaf(&[4, 3]).leaf(&[5, 4]).leaf(&[1]).int("transA", 1).int("transB", 1),
        row("gemm-alpha-beta", "Gemm", 13)
            .leaf(&[4, 3])
            .leaf(&[4, 5])
            .leaf(&[3, 5])
            .int("transA", 1)
            .float("alpha", 0.5)
            .float("beta", -2.0),
        row("gemm-plain", "Gemm", 11).leaf(&[3, 4]).leaf(&[4, 5]),
        row("matmul", "MatMul", 13).leaf(&[3, 4]).leaf(&[4, 5]),
        row("matmul-rows", "MatMul", 13).leaf(&[2, 2, 3, 4]).leaf(&[4, 5]),
        row("matmul-batch", "MatMul", 13).leaf(&[2, 3, 4]).leaf(&[2, 4, 5]),
        row("matmul-broadcast", "MatMul", 13).leaf(&[2, 1, 3, 4]).leaf(&[3, 4, 2]),
        row("matmul-left", "MatMul", 13).leaf(&[3, 4]).leaf(&[2, 4, 5]),
        row("matmul-vector-right", "MatMul", 13).leaf(&[3, 4]).leaf(&[4]),
        row("matmul-vector-left", "MatMul", 13).leaf(&[4]).leaf(&[2, 4, 3]),
        row("matmul-vectors", "MatMul", 13).leaf(&[4]).leaf(&[4]),
        batch("batch-normalization", 15),
        batch("batch-normalization-9", 9).float("epsilon", 0.1),
        row("softmax", "Softmax", 13).leaf(&[2, 3, 4]),
        row("softmax-axis", "Softmax", 13).leaf(&[2, 3, 4]).int("axis", 1),
        row("softmax-11", "Softmax", 11).leaf(&[2, 3, 4]),
        row("softmax-11-axis", "Softmax", 11).leaf(&[2, 3, 4]).int("axis", 2),
        row("log-softmax", "LogSoftmax", 13).leaf(&[2, 3, 4]).int("axis", -2),
        row("log-softmax-11", "LogSoftmax", 11).leaf(&[2, 3, 4]),
        turned("conv-transpose-1d").leaf(&[2, 3, 4]).leaf(&[3, 2, 3]).leaf(&[2]).ints("strides", &[2]),
        turned("conv-transpose-2d").leaf(&[1, 3, 3, 4]).leaf(&[3, 2, 3, 2]).leaf(&[2]),
        turned("conv-transpose-2d-padded")
            .leaf(&[1, 3, 3, 4])
            .leaf(&[3, 2, 3, 3])
            .leaf(&[2])
            .ints("strides", &[2, 2])
            .ints("pads", &[1, 0, 1, 2])
            .ints("output_padding", &[1, 1]),
        turned("conv-transpose-2d-groups").leaf(&[1, 4, 3, 3]).leaf(&[4, 2, 2, 2]).int("group", 2),
        turned("conv-transpose-2d-dilated").leaf(&[1, 2, 3, 3]).leaf(&[2, 2, 2, 2]).ints("dilations", &[2, 1]),
        turned("conv-transpose-2d-same")
            .leaf(&[1, 2, 3, 3])
            .leaf(&[2, 2, 3, 3])
            .ints("strides", &[2, 2])
            .text("auto_pad", "SAME_UPPER"),
        turned("conv-transpose-2d-shape")
            .leaf(&[1, 2, 3, 3])
            .leaf(&[2, 2, 3, 3])
            .ints("strides", &[2, 2])
            .ints("output_shape", &[6, 5]),
        turned("conv-transpose-3d")
            .leaf(&[1, 2, 2, 3, 2])
            .leaf(&[2, 2, 2, 2, 2])
            .leaf(&[2])
            .ints("strides", &[1, 2, 1]),
        row("global-max-pool", "GlobalMaxPool", 13).leaf(&[2, 3, 4, 5]),
        row("instance-normalization", "InstanceNormalization", 13).leaf(&[2, 3, 4, 5]).leaf(&[3]).leaf(&[3]),
        row("layer-normalization", "LayerNormalization", 17).leaf(&[2, 3, 4]).leaf(&[4]).leaf(&[4]),
        row("layer-normalization-axis", "LayerNormalization", 17)
            .leaf(&[2, 3, 4])
            .leaf(&[3, 4])
            .int("axis", 1)
            .float("epsilon", 0.01),
        row("group-normalization", "GroupNormalization", 21)
            .leaf(&[2, 4, 3])
            .leaf(&[4])
            .leaf(&[4])
            .int("num_groups", 2),
        row("lrn", "LRN", 13).leaf(&[2, 6, 2, 2]).int("size", 3).float("alpha", 0.5).float("bias", 2.0),
    ]
}
