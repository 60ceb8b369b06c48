//! Running a model in tract: batches in parallel, results in order.

mod axes;
mod check;
mod guard;
mod made_up;
mod optimise;
mod output;
mod prepare;
mod rewrite;

use std::ops::Range;

use bytes::Bytes;
use prost::Message as _;
use rayon::prelude::*;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, Tensor, TypedFact, TypedOp,
};
use tract_onnx::tract_hir::infer::Factoid as _;

use axes::{Dim, Rows};
pub use guard::is_guarded;
use guard::{Last, guarded, node_text};
pub use made_up::MadeUp;
use optimise::optimised;
pub use output::{Element, Output};
use prepare::Table;
pub use prepare::{Likeness, StandIn};

use crate::data::{Dataset, InputSpec};
use crate::error::Error;
use crate::text;

/// Samples sent through the model at once where its batch dimension is open.
const BATCH: usize = 32;
/// A batch that divides the samples evenly is taken from so many samples on; else the last batch is smaller than the others.
const EVEN_BATCH: usize = 16;

type Plan = tract_onnx::tract_core::plan::SimplePlan<TypedFact, Box<dyn TypedOp>>;

/// A model as tract understands it, not yet specialised to a batch size.
#[derive(Debug)]
pub struct Loaded {
    model: InferenceModel,
    inputs: Vec<InputSpec>,
    /// Declared extents of the inputs.
    dims: Vec<Vec<Dim>>,
    /// The axis of each output that has the declared name of the batch.
    declared: Vec<Option<usize>>,
    stand_ins: Vec<StandIn>,
    tables: Vec<Table>,
    /// A node that tract has no operator for, and the operator.
    unknown: Option<(String, String)>,
}

/// A model ready to run on batches of a fixed size, and on what is left over of the samples it was made for.
#[derive(Debug)]
pub struct Runner {
    plan: std::sync::Arc<Plan>,
    batch: usize,
    rest: Option<(usize, std::sync::Arc<Plan>)>,
    rows: Vec<Rows>,
}

impl Loaded {
    /// Parses a serialised model whose tensors are all embedded.
    ///
    /// # Errors
    /// [`Error::Runtime`] in tract's words when it does not understand the model.
    pub fn new(bytes: Bytes) -> Result<Self, Error> {
        let mut proto = guarded("load", || Ok(ModelProto::decode(bytes)?), || None)?;
        // Declared shapes of inner values may name the batch dimension that is fixed below.
        let tract = tract_onnx::onnx().with_ignore_value_info(true);
        let known = |operator: &str| tract.op_register.0.contains_key(operator);
        let stand_ins = prepare::prepare(&mut proto, known);
        let parsed = guarded("load", || tract.model_for_proto_model(&proto), || None);
        let model = match parsed {
            Err(Error::Runtime { problem, action }) if problem.starts_with("it panicked") => {
                let place = guard::while_parsing(&mut proto).unwrap_or_else(|| "a node it does not name".into());
                let problem = problem.replacen("a node it does not name", &place, 1);
                return Err(Error::Runtime { action, problem });
            }
            other => other?,
        };
        let graph = proto.graph.unwrap_or_default();
        let declared = |name: &str| graph.input.iter().find(|i| i.name == name).and_then(axes::declared);
        let mut inputs = guarded("load", || inputs(&model), || None)?;
        let dims: Vec<Vec<Dim>> = inputs.iter().map(|i| declared(&i.name).unwrap_or_default()).collect();
        let (sample_axes, batch) = axes::assign(&dims);
        for (input, axis) in inputs.iter_mut().zip(sample_axes) {
            input.sample_axis = axis;
            if input.shape.contains(&Some(0)) {
                let problem =
                    format!("its input '{}' is {} and holds nothing", text::name(&input.name), input.shape_text());
                return Err(Error::Runtime { action: "run", problem });
            }
        }
        let of_batch = |output| {
            let batch = Dim::Named(batch.clone()?);
            let dims: Vec<Dim> = axes::declared(output)?;
            let mut axes = (0..dims.len()).filter(|&axis| dims[axis] == batch);
            axes.next().filter(|_| axes.next().is_none())
        };
        let declared = graph.output.iter().map(of_batch).collect();
        let (tables, unknown) = (prepare::tables(&graph), prepare::unknown(&graph, known));
        Ok(Loaded { model, inputs, dims, declared, stand_ins, tables, unknown })
    }

    /// The model's inputs, in order.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// How many samples the model takes at once: its fixed batch size, if it has one.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.inputs.iter().find_map(|i| i.shape.get(i.sample_axis?).copied().flatten())
    }

    /// Outputs that tract cannot compute, and what is measured in their places.
    #[must_use]
    pub fn stand_ins(&self) -> &[StandIn] {
        &self.stand_ins
    }

    /// Infers the shape and type of every value for one sample, open dimensions taken as one.
    ///
    /// # Errors
    /// [`Error::Runtime`] when tract lacks an operator or finds shapes that contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        let shapes = self.least_shapes();
        self.guarded(&shapes, || self.specialise(&shapes).into_typed().map(drop))
    }

    /// Runs the model once on zeros, on one sample or as many as it is tied to, open dimensions taken as one.
    ///
    /// # Errors
    /// [`Error::Runtime`] when it cannot be optimised or run.
    pub fn rehearse(self) -> Result<(), Error> {
        let shapes = self.least_shapes();
        let plan = self.plan(&shapes)?;
        let types: Vec<DatumType> = self.inputs.iter().map(|input| input.element).collect();
        drop(self);
        let run = || {
            let zeros = types.iter().zip(&shapes).map(|(element, shape)| Tensor::zero_dt(*element, shape));
            let inputs = zeros.map(|zeros| zeros.map(tract_onnx::prelude::IntoTValue::into_tvalue));
            plan.run(inputs.collect::<tract_onnx::prelude::TractResult<_>>()?).map(drop)
        };
        guarded("run", run, || None)
    }

    fn least_shapes(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(|input| input.shape.iter().map(|dim| dim.unwrap_or(1)).collect()).collect()
    }

    fn specialise(&self, shapes: &[Vec<usize>]) -> InferenceModel {
        let mut model = self.model.clone();
        for (index, (spec, shape)) in self.inputs.iter().zip(shapes).enumerate() {
            let fact = InferenceFact::dt_shape(spec.element, shape.as_slice());
            // Fails only for an index past the inputs.
            let _ = model.set_input_fact(index, fact);
        }
        model
    }

    /// Runs `f`, which works on the model with inputs of these shapes.
    fn guarded<T>(
        &self,
        shapes: &[Vec<usize>],
        f: impl FnOnce() -> tract_onnx::prelude::TractResult<T>,
    ) -> Result<T, Error> {
        let done = guarded("load", f, || guard::while_analysing(&self.specialise(shapes)));
        match (done, &self.unknown) {
            (Err(Error::Runtime { action, .. }), Some((node, operator))) => {
                let problem = format!("it lacks the operator of {}", node_text(node, operator));
                Err(Error::Runtime { action, problem })
            }
            (done, _) => done,
        }
    }

    fn plan(&self, shapes: &[Vec<usize>]) -> Result<std::sync::Arc<Plan>, Error> {
        self.guarded(shapes, || Plan::new(optimised(self.specialise(shapes))?))
    }

    /// Specialises and optimises the model for batches of `data`, and for what is left over.
    ///
    /// # Errors
    /// [`Error::Runtime`] when tract cannot infer shapes or lacks an operator.
    pub fn into_runner(self, data: &Dataset) -> Result<Runner, Error> {
        let samples = data.samples();
        let fixed = data.most_at_once().or(self.fixed_batch());
        let mut batch = fixed.unwrap_or_else(|| open_batch(samples));
        let mut plan = self.plan(&data.shapes(batch));
        if plan.is_err() && fixed.is_none() && batch > 1 {
            // The batch may be open in name only.
            if let Ok(one) = self.plan(&data.shapes(1)) {
                (batch, plan) = (1, Ok(one));
            }
        }
        let plan = plan?;
        let rest = match samples % batch {
            0 => None,
            left if fixed.is_none() => Some((left, self.plan(&data.shapes(left))?)),
            _ => None,
        };
        let rows = self.rows(data, batch, &plan);
        Ok(Runner { plan, batch, rest, rows })
    }

    /// How the samples lie in each output.
    fn rows(&self, data: &Dataset, batch: usize, plan: &Plan) -> Vec<Rows> {
        let outputs = plan.model().outputs.len();
        let shape = |index: usize| Some(plan.model().output_fact(index).ok()?.shape.as_concrete()?.to_vec());
        let counted: Vec<Option<usize>> =
            self.inputs.iter().filter_map(|i| i.shape.get(i.sample_axis?).copied()).collect();
        if counted.iter().all(Option::is_some) {
            // Every run is a batch of the only size there is.
            let alone = data.most_at_once().is_some() || counted.is_empty();
            let axis = |shape: Vec<usize>| match shape.first() {
                Some(&first) if first == batch && !alone => Rows::Axis { axis: 0, each: 1 },
                _ if batch == 1 => Rows::Run,
                _ => Rows::None,
            };
            return (0..outputs).map(|index| shape(index).map_or(Rows::None, axis)).collect();
        }
        // Inferred only where the model's own words do not say it.
        let other = if batch > 1 { batch - 1 } else { 2 };
        let mut inferred: Option<Option<Vec<Option<Vec<usize>>>>> = None;
        let of = |index: usize| {
            let Some(shape) = shape(index) else { return Rows::None };
            let declared = self.declared.get(index).copied().flatten();
            if let Some(axis) = declared.filter(|&axis| shape.get(axis) == Some(&batch)) {
                return Rows::Axis { axis, each: 1 };
            }
            let rows = match inferred.get_or_insert_with(|| self.output_shapes(&data.shapes(other))) {
                Some(shapes) => match shapes.get(index).and_then(Option::as_ref) {
                    Some(with_other) => axes::compare(&shape, batch, with_other, other),
                    None => Rows::None,
                },
                None if shape.first() == Some(&batch) => Rows::Axis { axis: 0, each: 1 },
                None => Rows::None,
            };
            if rows == Rows::None && batch == 1 { Rows::Run } else { rows }
        };
        (0..outputs).map(of).collect()
    }

    /// The extents of all outputs for inputs of these extents, as far as they can be inferred.
    fn output_shapes(&self, shapes: &[Vec<usize>]) -> Option<Vec<Option<Vec<usize>>>> {
        let infer = || {
            let mut model = self.specialise(shapes);
            model.analyse(false)?;
            let of = |outlet| {
                let fact = model.outlet_fact(outlet).ok()?;
                let dims = fact.shape.as_concrete_finite().ok()??;
                Some(dims.to_vec())
            };
            Ok(model.output_outlets()?.iter().map(|&outlet| of(outlet)).collect())
        };
        guarded("load", infer, || None).ok()
    }
}

fn inputs(model: &InferenceModel) -> tract_onnx::prelude::TractResult<Vec<InputSpec>> {
    let mut inputs = Vec::new();
    for outlet in model.input_outlets()? {
        let fact = model.outlet_fact(*outlet)?;
        let shape =
            fact.shape.dims().map(|d| d.concretize().and_then(|d| usize::try_from(d.to_i64().ok()?).ok())).collect();
        let name = model.node(outlet.node).name.clone();
        let element = fact.datum_type.concretize().unwrap_or(DatumType::F32);
        inputs.push(InputSpec { name, element, shape, sample_axis: None });
    }
    Ok(inputs)
}

/// The largest batch that leaves no samples over, unless that is a small one.
fn open_batch(samples: usize) -> usize {
    let largest = BATCH.min(samples).max(1);
    (EVEN_BATCH..=largest).rev().find(|b| samples.is_multiple_of(*b)).unwrap_or(largest)
}

impl Runner {
    /// Samples in a batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// For each output the axis of tract's array that counts the samples; `None` for one that has none: a constant, a value for
    /// a whole batch, or as many rows as the data make it. [`outputs`](Runner::outputs) puts the axis in front.
    #[must_use]
    pub fn sample_axes(&self) -> Vec<Option<usize>> {
        let axis = |rows: &Rows| match rows {
            Rows::Axis { axis, .. } => Some(*axis),
            Rows::Run | Rows::None => None,
        };
        self.rows.iter().map(axis).collect()
    }

    /// Runs every batch of `data` and hands the outputs of each to `consume`, in order. The last batch may be smaller.
    ///
    /// # Errors
    /// [`Error::Runtime`] when a node fails, [`Error::Shape`] when samples are left over that the runner was not made for,
    /// whatever `consume` returns.
    pub fn for_each(
        &self,
        data: &Dataset,
        mut consume: impl FnMut(Range<usize>, Vec<Tensor>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let samples = data.samples();
        let mut ranges: Vec<Range<usize>> =
            (0..samples / self.batch).map(|i| i * self.batch..(i + 1) * self.batch).collect();
        match samples % self.batch {
            0 => {}
            left if self.rest.as_ref().is_some_and(|(n, _)| *n == left) => ranges.push(samples - left..samples),
            left => {
                return Err(Error::Shape(format!("{left} samples are left over from batches of {}", self.batch)));
            }
        }
        for wave in ranges.chunks(rayon::current_num_threads().max(1)) {
            let results: Vec<Result<Vec<Tensor>, Error>> =
                wave.par_iter().map(|r| self.run(data.inputs(r.clone())?, r.len())).collect();
            for (range, outputs) in wave.iter().zip(results) {
                consume(range.clone(), outputs?)?;
            }
        }
        Ok(())
    }

    fn run(&self, inputs: Vec<Tensor>, samples: usize) -> Result<Vec<Tensor>, Error> {
        let plan = match &self.rest {
            Some((n, rest)) if *n == samples => rest,
            _ => &self.plan,
        };
        let last = Last::default();
        let run = || {
            let inputs = inputs.into_iter().map(tract_onnx::prelude::IntoTValue::into_tvalue).collect();
            let outputs = plan.spawn()?.run_plan_with_eval(inputs, |context, state, node, inputs| {
                last.enter(node.id);
                tract_onnx::tract_core::plan::eval(context, state, node, inputs)
            })?;
            Ok(outputs.into_iter().map(|v| Tensor::clone(&v)).collect())
        };
        guarded("run", run, || {
            let node = plan.model().nodes().get(last.node()?)?;
            Some(node_text(&node.name, &node.op.name()))
        })
    }

    /// Runs all of `data` and returns every output with the samples along the first axis, as [`Output::per_sample`] says. An output
    /// without sample axis has the values of all batches: along its first axis where the other extents of all batches are equal,
    /// as one list of elements otherwise. Where every run is one sample, an output without sample axis gets one in front.
    ///
    /// # Errors
    /// [`Error::Runtime`] when a node fails, [`Error::NotFinite`] when an output holds NaN or infinity.
    pub fn outputs(&self, data: &Dataset) -> Result<Vec<Output>, Error> {
        let mut joined: Vec<Output> = Vec::new();
        self.for_each(data, |_, tensors| {
            for (index, tensor) in tensors.iter().enumerate() {
                let rows = self.rows.get(index).copied().unwrap_or(Rows::None);
                let part = Output::from_tensor(tensor)?.samples_first(rows);
                match joined.get_mut(index) {
                    None => joined.push(part),
                    Some(whole) => whole.append(part),
                }
            }
            Ok(())
        })?;
        if joined.iter().any(|o| o.values.iter().any(|v| !v.is_finite())) {
            return Err(Error::NotFinite { what: "the model's output".into() });
        }
        Ok(joined)
    }
}
