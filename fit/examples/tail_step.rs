//! Takes training steps on the fully connected tail of AlexNet for another program: 1024 → 4096 → 4096 → 10, batch 256, both
//! large weights made by TTN generators (σ = tanh), cores and biases trained by distillation. Driven by `bench/step`.
//!
//! `tail_step LEGS CHI THREADS FOLDER` leaves parameters and a batch in FOLDER as little-endian f32, prints a line of JSON about
//! them, then reads numbers of steps, one a line, and answers each with the seconds of every step as JSON.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use adntn_fit::Error;
use adntn_fit::data::Dataset;
use adntn_fit::distill::{
    Augment, Budget, Control, Loss, Objective, Part, Places, Problem, Progress, Samples, Settings, State, Student,
    train,
};
use adntn_fit::quality::{Judge, Metric, Rule};
use adntn_fit::runner::Loaded;
use adntn_graph::{Array, Network, Request};
use adntn_networks::{Activation, Bonds, CoreKind, Generator, GeneratorSpec, LayoutKind, LegLayout, Side, Topology};
use adntn_onnx::{Model, Patch, pb};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const BATCH: usize = 256;
const WIDTHS: [usize; 4] = [1024, 4096, 4096, 10];
/// Steps of a pass; the last one is followed by a check.
const PASS: usize = 16;
/// Passes that can be asked for.
const PASSES: usize = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [legs, chi, threads, folder] = arguments.as_slice() else {
        println!("usage: tail_step LEGS CHI THREADS FOLDER");
        std::process::exit(2);
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build().unwrap();
    pool.install(|| run(legs.parse().unwrap(), chi.parse().unwrap(), Path::new(folder)));
}

fn run(legs: usize, chi: usize, folder: &Path) {
    let model = model();
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let (inputs, outputs, trainable) = (names(&["x"]), names(&["y"]), names(&["w0", "w1", "b0", "b1", "b2"]));
    let network = Network::new(&model, &Request { inputs: &inputs, outputs: &outputs, trainable: &trainable }).unwrap();
    let (fit, selection) = (samples(&model, PASS * BATCH, 1), samples(&model, BATCH, 2));

    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let generators: Vec<Generator> =
        (0..2).map(|layer| generator(WIDTHS[layer], WIDTHS[layer + 1], legs, chi, &mut rng)).collect();
    let (x, teacher, _) = selection.batch(&(0..BATCH).collect::<Vec<_>>());
    write(folder, "x", &x[0].values);
    write(folder, "teacher", &teacher[0]);
    write(folder, "last", &stored(&model, "w2"));
    for (layer, generator) in generators.iter().enumerate() {
        write(folder, &format!("params{layer}"), generator.params());
    }
    let description = json!({ "generators": generators.iter().map(describe).collect::<Vec<_>>() });

    let parts = generators.into_iter().enumerate().map(|(layer, generator)| Part::Generator {
        generator: Box::new(generator),
        dims: vec![WIDTHS[layer + 1], WIDTHS[layer]],
        transposed: false,
    });
    let bias =
        |layer: usize| Part::Plain(Array { shape: vec![WIDTHS[layer + 1]], values: vec![0.0; WIDTHS[layer + 1]] });
    let student = Student::new(parts.chain((0..3).map(bias)).collect());
    let settings = Settings { epochs: PASSES, batch: BATCH, ..Settings::for_samples(PASS * BATCH) };
    let objective = Objective { loss: Loss::Logits { temperature: 2.0 }, weight: 1.0, labels: 0.0, variance: 1.0 };
    let judge = Judge::new(vec![Rule::new("y", Metric::TopClass)], selection.reference(1), None, None).unwrap();
    let problem = Problem {
        network: &network,
        fit: &fit,
        selection: &selection,
        objectives: &[objective],
        own_outputs: 1,
        judge: &judge,
        settings: &settings,
        fixed_batch: None,
    };
    train(&problem, student, None, &mut Server { description, left: 0, times: Vec::new(), since: None }).unwrap();
}

fn samples(model: &Model, count: usize, seed: u64) -> Samples {
    let mut patch = Patch::default();
    patch.add_outputs.push(pb::ValueInfoProto { name: Some("features".into()), ..Default::default() });
    let loaded = Loaded::new(model.apply(&patch).unwrap().to_bytes()).unwrap();
    let data = Dataset::synthetic(loaded.inputs(), count, seed).unwrap();
    let runner = loaded.into_runner(&data).unwrap();
    let places = Places { inputs: &[1], outputs: &[0] };
    let mut budget = Budget { bytes: 1 << 32, half: false };
    Samples::cache(&runner, &data, places, &Augment::default(), &mut budget, |_, _| true).unwrap()
}

fn generator(inputs: usize, outputs: usize, legs: usize, chi: usize, rng: &mut ChaCha8Rng) -> Generator {
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, outputs, inputs, legs).unwrap();
    let spec = GeneratorSpec::new(Topology::Ttn, outputs, inputs, layout, Bonds::Uniform(chi), Activation::Tanh);
    Generator::random(spec, rng).unwrap()
}

/// Times steps as it is asked to, and ends the fit with its input.
struct Server {
    description: Value,
    left: usize,
    times: Vec<f64>,
    since: Option<Instant>,
}

impl Control for Server {
    fn progress(&mut self, progress: &Progress) {
        match self.since {
            // The first step makes room for everything and is not counted; the loss before it is what others must find too.
            None => {
                self.description["loss"] = json!(progress.check.loss);
                println!("{}", self.description);
            }
            Some(since) => {
                if !progress.step.is_multiple_of(PASS) {
                    self.times.push(since.elapsed().as_secs_f64());
                    self.left -= 1;
                }
                if self.left > 0 {
                    self.since = Some(Instant::now());
                    return;
                }
                println!("{}", json!(self.times));
            }
        }
        std::io::stdout().flush().unwrap();
        self.times.clear();
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        self.left = line.trim().parse().unwrap_or(0);
        self.since = Some(Instant::now());
    }

    fn stop(&mut self) -> bool {
        self.since.is_some() && self.left == 0
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Error> {
        Ok(())
    }
}

fn describe(generator: &Generator) -> Value {
    let (shape, spec) = (generator.shape(), generator.spec());
    let core = |core: &adntn_networks::Core| {
        let (level, leg) = match core.kind {
            CoreKind::Top => (0, 0),
            CoreKind::Isometry { level, leg } | CoreKind::Disentangler { level, leg } => (level, leg),
        };
        json!({"level": level, "leg": leg, "start": core.range.start, "p": core.p, "q": core.q})
    };
    let leg =
        |leg: &adntn_networks::Leg| json!({"output": leg.side == Side::Output, "dim": leg.dim, "place": leg.place});
    json!({
        "parameters": generator.parameter_count(),
        "levels": shape.levels,
        "cores": shape.cores.iter().map(core).collect::<Vec<_>>(),
        "legs": spec.layout.legs().iter().map(leg).collect::<Vec<_>>(),
        "outputs": spec.outputs,
        "inputs": spec.inputs,
    })
}

/// x → Relu → Gemm → Relu → Gemm → Relu → Gemm → y.
fn model() -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut nodes, mut initializer) = (vec![node("Relu", &["x"], "features")], Vec::new());
    let mut last = "features".to_owned();
    for layer in 0..3 {
        let (from, to) = (WIDTHS[layer], WIDTHS[layer + 1]);
        let bound = (6.0 / from as f32).sqrt();
        let weight: Vec<f32> = (0..from * to).map(|_| rng.random_range(-bound..bound)).collect();
        initializer.push(tensor(&format!("w{layer}"), &[to, from], &weight));
        initializer.push(tensor(&format!("b{layer}"), &[to], &vec![0.0; to]));
        let output = if layer < 2 { format!("h{layer}") } else { "y".into() };
        let mut gemm = node("Gemm", &[&last, &format!("w{layer}"), &format!("b{layer}")], &output);
        gemm.attribute = vec![pb::AttributeProto {
            name: Some("transB".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
            i: Some(1),
            ..Default::default()
        }];
        nodes.push(gemm);
        if layer < 2 {
            last = format!("r{layer}");
            nodes.push(node("Relu", &[&output], &last));
        }
    }
    let graph = pb::GraphProto {
        name: Some("tail".into()),
        node: nodes,
        initializer,
        input: vec![value("x", 1024)],
        output: vec![value("y", 10)],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

fn tensor(name: &str, dims: &[usize], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: Some(pb::tensor_proto::DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

fn stored(model: &Model, name: &str) -> Vec<f32> {
    let tensor = model.graph().initializer.iter().find(|t| t.name() == name).unwrap();
    let bytes = tensor.raw_data.as_ref().unwrap();
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(output.into()),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn value(name: &str, width: i64) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |value| Dimension { value: Some(value), ..Default::default() };
    let tensor = pb::type_proto::Tensor {
        elem_type: Some(pb::tensor_proto::DataType::Float as i32),
        shape: Some(pb::TensorShapeProto { dim: vec![dim(Value::DimParam("N".into())), dim(Value::DimValue(width))] }),
    };
    let kind = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..Default::default() }
}

fn write(folder: &Path, name: &str, values: &[f32]) {
    std::fs::write(folder.join(name), values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
}
