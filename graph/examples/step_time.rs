//! Time of a training step on the fully connected tail of AlexNet: 1024 → 4096 → 4096 → 10 at batch 256, both large
//! weights and all biases leaves; and of its matrix products alone: `cargo run --release -p adntn-graph --example step_time`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use adntn_graph::Array;
use adntn_onnx::pb;
use common::{floats, initial, model, network, open, spread};

fn main() {
    step_of_the_tail_of_alexnet();
    products_alone();
}

fn step_of_the_tail_of_alexnet() {
    const BATCH: usize = 256;
    let widths = [1024, 4096, 4096, 10];
    let (mut nodes, mut weights, mut trainable) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = "x".to_owned();
    for layer in 0..3 {
        let (from, to) = (widths[layer], widths[layer + 1]);
        let (weight, bias) = (format!("w{layer}"), format!("b{layer}"));
        let bound = (3.0 / from as f32).sqrt();
        weights.push(floats(&weight, &[to, from], spread(to * from, -bound, bound, layer)));
        weights.push(floats(&bias, &[to], vec![0.01; to]));
        let turn =
            pb::AttributeProto { name: Some("transB".into()), r#type: Some(2), i: Some(1), ..Default::default() };
        nodes.push(pb::NodeProto {
            op_type: Some("Gemm".into()),
            input: vec![last.clone(), weight.clone(), bias.clone()],
            output: vec![format!("h{layer}")],
            attribute: vec![turn],
            ..Default::default()
        });
        last = format!("h{layer}");
        if layer < 2 {
            let output = format!("r{layer}");
            nodes.push(pb::NodeProto {
                op_type: Some("Relu".into()),
                input: vec![last],
                output: vec![output.clone()],
                ..Default::default()
            });
            last = output;
            trainable.push(weight);
        }
        trainable.push(bias);
    }
    let outputs = vec![last];
    let proto = model(nodes, weights, &["x"], &outputs, 13);
    let model = open(&proto);
    let built = network(&model, &["x"], &outputs, &trainable).unwrap();
    let leaves = initial(&built);
    let input = Array::new(vec![BATCH, 1024], spread(BATCH * 1024, 0.0, 1.0, 9)).unwrap();
    let cotangent = Array::new(vec![BATCH, 10], spread(BATCH * 10, -1e-3, 1e-3, 3)).unwrap();
    let milliseconds = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
    let mut steps = Vec::new();
    let before = processor_seconds();
    for _ in 0..12 {
        let start = Instant::now();
        let pass = built.forward(vec![input.clone()], &leaves).unwrap();
        let forward = milliseconds(start);
        let start = Instant::now();
        let gradients = pass.backward(std::slice::from_ref(&cotangent)).unwrap();
        let backward = milliseconds(start);
        let start = Instant::now();
        drop(gradients);
        steps.push((forward + backward, forward, backward, milliseconds(start)));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (total, forward, backward, release) = steps[steps.len() / 2];
    println!(
        "median of {}: {total:.1} ms (forward {forward:.1}, backward {backward:.1}), release {release:.1}",
        steps.len()
    );
    println!("fastest: {:.1} ms (forward {:.1}, backward {:.1})", steps[0].0, steps[0].1, steps[0].2);
    let operations = 2.0 * BATCH as f64 * ((1024.0 * 4096.0) * 2.0 + (4096.0 * 4096.0 + 40_960.0) * 3.0);
    println!("{:.1} GFLOP, {:.0} GFLOP/s at the fastest", operations / 1e9, operations / steps[0].0 / 1e6);
    println!("{:.1} ms of processor time a step", (processor_seconds() - before) / steps.len() as f64 * 1e3);
}

fn products_alone() {
    // m, n, k and strides (column, row) of the factors: x·Wᵀ, dY·W, dYᵀ·X.
    for (name, (m, n, k), a, b) in [
        ("x·Wᵀ ", (256, 4096, 4096), (1, 4096), (4096, 1)),
        ("dY·W ", (256, 4096, 4096), (1, 4096), (1, 4096)),
        ("dYᵀ·x", (4096, 4096, 256), (4096, 1), (1, 4096)),
    ] {
        let (left, right) = (vec![0.5_f32; m * k], vec![0.25_f32; k * n]);
        for threads in [gemm::Parallelism::None, gemm::Parallelism::Rayon(0)] {
            let mut times = Vec::new();
            let before = processor_seconds();
            for _ in 0..5 {
                let mut out = vec![0.0_f32; m * n];
                let start = Instant::now();
                #[allow(unsafe_code)]
                // SAFETY: shapes and strides stay inside the vectors.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        out.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        left.as_ptr(),
                        a.0,
                        a.1,
                        right.as_ptr(),
                        b.0,
                        b.1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        threads,
                    );
                }
                times.push(start.elapsed().as_secs_f64());
            }
            let best = times.into_iter().fold(f64::INFINITY, f64::min);
            let rate = 2.0 * (m * n * k) as f64 / best / 1e9;
            let processor = (processor_seconds() - before) / 5.0 * 1e3;
            println!(
                "{name} {threads:?}: {:.1} ms, {rate:.0} GFLOP/s, {processor:.1} ms of processor time",
                best * 1e3
            );
        }
    }
}

/// What this process has used on all processors, which other processes do not lengthen as much as they do the time.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}
