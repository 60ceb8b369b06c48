//! Fits through a small network: their derivatives, that they get somewhere, and that they can be taken up again.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use adntn_fit::data::Dataset;
use adntn_fit::distill::{
    Augment, Budget, Check, Control, Ended, Loss, Objective, Part, Places, Problem, Progress, Samples, Settings, State,
    Student, train,
};
use adntn_fit::quality::{Judge, Metric, Rule};
use adntn_fit::runner::Loaded;
use adntn_graph::{Array, Network, Request};
use adntn_networks::{
    Activation, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology, start::hierarchical_svd,
};
use adntn_onnx::{Model, Patch, pb};
use prost::Message as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(pb::tensor_proto::DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
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

fn smooth(rows: usize, columns: usize) -> Vec<f32> {
    let wave = |r: usize, c: usize| ((r * 7 + c * 3) as f32 * 0.21).sin() * ((c + r * r) as f32 * 0.13).cos();
    (0..rows * columns).map(|k| 0.3 * wave(k / columns, k % columns)).collect()
}

/// x [N, 12] → tanh → ·A (12×16) + a → tanh → ·B (16×5) → y: the weights are stored inputs × outputs.
fn model() -> Model {
    let graph = pb::GraphProto {
        name: Some("two".into()),
        node: vec![
            node("Tanh", &["x"], "features"),
            node("MatMul", &["features", "A"], "product"),
            node("Add", &["product", "a"], "sum"),
            node("Tanh", &["sum"], "hidden"),
            node("MatMul", &["hidden", "B"], "y"),
        ],
        initializer: vec![
            tensor("A", &[12, 16], &smooth(12, 16)),
            tensor("a", &[16], &[0.1; 16]),
            tensor("B", &[16, 5], &smooth(16, 5)),
        ],
        input: vec![value("x", 12)],
        output: vec![value("y", 5)],
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

fn tail(model: &Model) -> Network {
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let (inputs, outputs, trainable) = (names(&["features"]), names(&["y"]), names(&["A", "a"]));
    Network::new(model, &Request { inputs: &inputs, outputs: &outputs, trainable: &trainable }).unwrap()
}

/// The generator of A, seen as 16 outputs × 12 inputs, and its bias.
fn student(topology: Topology, bond: usize) -> Student {
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 16, 12, 4).unwrap();
    let mut spec = GeneratorSpec::new(topology, 16, 12, layout, Bonds::Uniform(bond), Activation::Tanh);
    spec.output_scale = true;
    let stored = smooth(12, 16);
    let w: Vec<f32> = (0..16 * 12).map(|k| stored[k % 12 * 16 + k / 12]).collect();
    let generator = hierarchical_svd(&w, &spec, None).unwrap();
    let bias = Array::new(vec![16], vec![0.1; 16]).unwrap();
    Student::new(vec![
        Part::Generator { generator: Box::new(generator), dims: vec![12, 16], transposed: true },
        Part::Plain(bias),
    ])
}

fn cached(model: &Model, samples: usize, seed: u64, budget: u64) -> Samples {
    let mut patch = Patch::default();
    patch.add_outputs.push(pb::ValueInfoProto { name: Some("features".into()), ..Default::default() });
    let loaded = Loaded::new(model.apply(&patch).unwrap().to_bytes()).unwrap();
    let data = Dataset::synthetic(loaded.inputs(), samples, seed).unwrap();
    let runner = loaded.into_runner(&data).unwrap();
    let places = Places { inputs: &[1], outputs: &[0] };
    let mut budget = Budget { bytes: budget, half: false };
    Samples::cache(&runner, &data, places, &Augment::default(), &mut budget, |_, _| true).unwrap()
}

const OBJECTIVE: Objective =
    Objective { loss: Loss::Logits { temperature: 1.0 }, weight: 1.0, labels: 0.0, variance: 1.0 };

/// Keeps the states of the passes, and ends the fit after a number of steps.
#[derive(Default)]
struct Keeper {
    states: Vec<State>,
    steps: usize,
    stop_after: Option<usize>,
    losses: Vec<f64>,
}

impl Control for Keeper {
    fn progress(&mut self, progress: &Progress) {
        self.steps = progress.step;
        self.losses.push(progress.loss);
        assert!(progress.seconds_left >= 0.0 && progress.step <= progress.steps && progress.epoch <= progress.epochs);
    }

    fn stop(&mut self) -> bool {
        self.stop_after.is_some_and(|most| self.steps + 1 >= most)
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), adntn_fit::Error> {
        self.states.push(state.clone());
        Ok(())
    }
}

fn settings() -> Settings {
    Settings { epochs: 6, batch: 16, ..Settings::for_samples(128) }
}

#[test]
fn the_gradient_by_the_parameters_is_the_derivative_of_the_loss() {
    let (model, samples) = (model(), cached(&model(), 32, 1, u64::MAX));
    let network = tail(&model);
    for topology in [Topology::Ttn, Topology::Attn] {
        let mut student = student(topology, 3);
        // Away from the start, where many derivatives vanish.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let random = Generator::<f32>::random(
            GeneratorSpec::ttn(
                16,
                12,
                LegLayout::for_matrix(LayoutKind::Interleaved, 16, 12, 4).unwrap(),
                Bonds::Uniform(3),
                Activation::Tanh,
            ),
            &mut rng,
        )
        .unwrap();
        student.params_mut().iter_mut().zip(random.params().iter().cycle()).for_each(|(p, r)| *p += 0.3 * r);
        let chosen: Vec<usize> = (0..32).collect();
        let (inputs, teacher, _) = samples.batch(&chosen);
        let loss = |student: &mut Student| {
            let leaves = student.leaves().unwrap();
            let outputs = network.evaluate(inputs.clone(), &leaves).unwrap();
            OBJECTIVE.evaluate(&outputs[0].values, &teacher[0], None, 32).0
        };
        let leaves = student.leaves().unwrap();
        let pass = network.forward(inputs.clone(), &leaves).unwrap();
        let slope = OBJECTIVE.evaluate(&pass.outputs()[0].values, &teacher[0], None, 32).1;
        let cotangent = Array { shape: pass.outputs()[0].shape.clone(), values: slope };
        let by_leaf = pass.backward(&[cotangent]).unwrap();
        let mut gradient = vec![0.0; student.params().len()];
        student.pull_back(&by_leaf, &mut gradient);
        let largest = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for k in (0..gradient.len()).step_by(3) {
            let h = 1e-2;
            let old = student.params()[k];
            let mut at = |x: f32| {
                student.params_mut()[k] = x;
                loss(&mut student)
            };
            let difference = (at(old + h) - at(old - h)) / f64::from(2.0 * h);
            student.params_mut()[k] = old;
            let error = (difference - f64::from(gradient[k])).abs();
            assert!(error < 0.02 * f64::from(largest), "{topology}, parameter {k}: {difference} {}", gradient[k]);
        }
    }
}

/// Judges students by the teacher's top class.
fn judge(selection: &Samples) -> Judge {
    Judge::new(vec![Rule::new("y", Metric::TopClass)], selection.reference(1), None, None).unwrap()
}

#[test]
fn training_helps_and_keeps_the_best() {
    let model = model();
    let network = tail(&model);
    let (fit, selection) = (cached(&model, 128, 1, u64::MAX), cached(&model, 64, 2, u64::MAX));
    let settings = settings();
    let problem = Problem {
        network: &network,
        fit: &fit,
        selection: &selection,
        objectives: &[OBJECTIVE],
        own_outputs: 1,
        judge: &judge(&selection),
        settings: &settings,
        fixed_batch: None,
    };
    let mut keeper = Keeper::default();
    let trained = train(&problem, student(Topology::Ttn, 3), None, &mut keeper).unwrap();
    assert_eq!((trained.steps, trained.epochs, trained.ended), (48, 6, Ended::Completed));
    assert!(trained.best.loss < 0.5 * trained.start.loss, "{:?} → {:?}", trained.start, trained.best);
    assert!(trained.best.quality >= trained.start.quality);
    assert!(keeper.losses[47] < keeper.losses[0]);
    assert!(
        matches!(&trained.parts[0], Part::Generator { generator, .. } if generator.params().iter().all(|p| p.is_finite()))
    );
}

#[test]
fn a_resumed_fit_ends_bit_by_bit_like_an_uninterrupted_one() {
    let model = model();
    let network = tail(&model);
    // The second run finds its samples in a file.
    let (fit, selection) = (cached(&model, 128, 1, u64::MAX), cached(&model, 64, 2, 0));
    let settings = settings();
    let problem = Problem {
        network: &network,
        fit: &fit,
        selection: &selection,
        objectives: &[OBJECTIVE],
        own_outputs: 1,
        judge: &judge(&selection),
        settings: &settings,
        fixed_batch: None,
    };
    let params = |parts: &[Part]| -> Vec<u32> {
        let of = |part: &Part| match part {
            Part::Generator { generator, .. } => generator.params().to_vec(),
            Part::Plain(array) => array.values.clone(),
            other => panic!("{other:?} was not trained"),
        };
        parts.iter().flat_map(of).map(f32::to_bits).collect()
    };
    let mut whole = Keeper::default();
    let expected = train(&problem, student(Topology::Ttn, 3), None, &mut whole).unwrap();
    let state = whole.states[2].clone();
    let mut rest = Keeper::default();
    let resumed = train(&problem, student(Topology::Ttn, 3), Some(state), &mut rest).unwrap();
    assert_eq!(params(&resumed.parts), params(&expected.parts));
    assert_eq!((resumed.best, resumed.steps), (expected.best, expected.steps));
    assert_eq!(rest.losses.len(), 24);

    let mut stopped = Keeper { stop_after: Some(20), ..Keeper::default() };
    let partial = train(&problem, student(Topology::Ttn, 3), None, &mut stopped).unwrap();
    assert_eq!((partial.steps, partial.ended), (20, Ended::Interrupted));
    assert!(partial.best.loss <= partial.start.loss);
}

#[test]
fn a_network_tied_to_a_batch_is_fed_piece_by_piece() {
    let model = model();
    let network = tail(&model);
    let (fit, selection) = (cached(&model, 64, 1, u64::MAX), cached(&model, 32, 2, u64::MAX));
    let settings = Settings { epochs: 2, ..settings() };
    let run = |fixed_batch| {
        let problem = Problem {
            network: &network,
            fit: &fit,
            selection: &selection,
            objectives: &[OBJECTIVE],
            own_outputs: 1,
            judge: &judge(&selection),
            settings: &settings,
            fixed_batch,
        };
        train(&problem, student(Topology::Ttn, 3), None, &mut Keeper::default()).unwrap().best
    };
    let (whole, pieces): (Check, Check) = (run(None), run(Some(4)));
    assert!((whole.loss - pieces.loss).abs() < 1e-3 * whole.loss, "{whole:?} {pieces:?}");
}

#[test]
fn a_broken_parameter_is_noticed() {
    let mut student = student(Topology::Ttn, 2);
    student.params_mut()[0] = f32::NAN;
    assert!(student.leaves().unwrap_err().to_string().contains("diverged"));
    let _: Vec<Arc<Array>> = {
        student.params_mut()[0] = 0.1;
        student.leaves().unwrap()
    };
}

#[test]
fn values_that_are_the_same_for_all_samples_are_kept_once() {
    let mut patch = Patch::default();
    let model = model();
    patch.add_outputs.push(pb::ValueInfoProto { name: Some("a".into()), ..Default::default() });
    let loaded = Loaded::new(model.apply(&patch).unwrap().to_bytes()).unwrap();
    let data = Dataset::synthetic(loaded.inputs(), 32, 1).unwrap();
    let runner = loaded.into_runner(&data).unwrap();
    let mut budget = Budget { bytes: u64::MAX, half: false };
    let places = Places { inputs: &[1], outputs: &[0] };
    let cached = Samples::cache(&runner, &data, places, &Augment::default(), &mut budget, |_, _| true).unwrap();
    assert_eq!(cached.batch(&[3, 4, 5]).0[0], Array { shape: vec![16], values: vec![0.1; 16] });
    assert_eq!(cached.teacher().next().unwrap().samples(), 32);
    let places = Places { inputs: &[0], outputs: &[0] };
    let stopped = Samples::cache(&runner, &data, places, &Augment::default(), &mut budget, |_, _| false);
    assert!(matches!(stopped, Err(adntn_fit::Error::Interrupted)));
}
