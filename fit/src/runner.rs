//! Running a model in tract: batches in parallel, results in order.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use prost::Message as _;
use rayon::prelude::*;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, Tensor, TypedFact, TypedModel,
    TypedOp,
};
use tract_onnx::tract_hir::infer::Factoid as _;

use crate::data::{Dataset, InputSpec};
use crate::error::Error;

/// Samples sent through the model at once where its batch dimension is open.
const BATCH: usize = 32;

type Plan = tract_onnx::tract_core::plan::SimplePlan<TypedFact, Box<dyn TypedOp>>;

/// A model as tract understands it, not yet specialised to a batch size.
#[derive(Debug)]
pub struct Loaded {
    model: InferenceModel,
    inputs: Vec<InputSpec>,
}

/// A model ready to run on batches of a fixed size.
#[derive(Debug)]
pub struct Runner {
    plan: std::sync::Arc<Plan>,
    batch: usize,
}

/// One output tensor of a run, float32, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Extents of the array.
    pub shape: Vec<usize>,
    /// Elements.
    pub values: Vec<f32>,
}

std::thread_local! {
    /// How many calls into tract this thread is in.
    static GUARDED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Whether this thread runs code of tract, whose panics are caught and become errors.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDED.with(std::cell::Cell::get) > 0
}

/// tract panics on some malformed graphs; a compiler must not.
fn guarded<T>(action: &'static str, f: impl FnOnce() -> tract_onnx::prelude::TractResult<T>) -> Result<T, Error> {
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(Error::Runtime { action, problem: one_line(&format!("{e:#}")) }),
        Err(_) => Err(Error::Runtime { action, problem: "it panicked".into() }),
    }
}

fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl Loaded {
    /// Parses a serialised model whose tensors are all embedded.
    ///
    /// # Errors
    /// [`Error::Runtime`] in tract's words when it does not understand the model.
    pub fn new(bytes: Bytes) -> Result<Self, Error> {
        guarded("load", || {
            let proto = ModelProto::decode(bytes)?;
            // Declared shapes of inner values may name the batch dimension that is fixed below.
            let tract = tract_onnx::onnx().with_ignore_value_info(true);
            let model = tract.model_for_proto_model(&proto)?;
            let mut inputs = Vec::new();
            for outlet in model.input_outlets()? {
                let fact = model.outlet_fact(*outlet)?;
                let shape = fact
                    .shape
                    .dims()
                    .map(|d| d.concretize().and_then(|d| usize::try_from(d.to_i64().ok()?).ok()))
                    .collect();
                let name = model.node(outlet.node).name.clone();
                let element = fact.datum_type.concretize().unwrap_or(DatumType::F32);
                inputs.push(InputSpec { name, element, shape });
            }
            Ok(Loaded { model, inputs })
        })
    }

    /// The model's inputs, in order.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// How many samples the model takes at once: its fixed batch size, if it has one.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.inputs.iter().find_map(|i| i.shape.first().copied().flatten())
    }

    /// Infers the shape and type of every value for one sample, open dimensions taken as one.
    ///
    /// # Errors
    /// [`Error::Runtime`] when tract lacks an operator or finds shapes that contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        let shapes: Vec<Vec<usize>> =
            self.inputs.iter().map(|i| i.shape.iter().map(|d| d.unwrap_or(1)).collect()).collect();
        guarded("load", || self.specialise(&shapes).into_typed()).map(drop)
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

    /// Specialises and optimises the model for batches that divide `data` evenly.
    ///
    /// # Errors
    /// [`Error::Runtime`] when tract cannot infer shapes or lacks an operator.
    pub fn into_runner(self, data: &Dataset) -> Result<Runner, Error> {
        let batch = self.fixed_batch().unwrap_or_else(|| largest_divisor(data.samples(), BATCH));
        let mut shapes = data.shapes();
        for shape in &mut shapes {
            if let Some(first) = shape.first_mut() {
                *first = batch;
            }
        }
        guarded("load", || {
            let model: TypedModel = self.specialise(&shapes).into_optimized()?;
            drop(self);
            Ok(Runner { plan: Plan::new(model)?, batch })
        })
    }
}

fn largest_divisor(n: usize, at_most: usize) -> usize {
    (1..=at_most.min(n).max(1)).rev().find(|b| n.is_multiple_of(*b)).unwrap_or(1)
}

impl Runner {
    /// Samples in a batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Runs every batch of `data` and hands the outputs of each to `consume`, in order.
    ///
    /// # Errors
    /// [`Error::Runtime`] when a node fails; whatever `consume` returns.
    pub fn for_each(
        &self,
        data: &Dataset,
        mut consume: impl FnMut(Range<usize>, Vec<Tensor>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ranges: Vec<Range<usize>> =
            (0..data.samples() / self.batch).map(|i| i * self.batch..(i + 1) * self.batch).collect();
        for wave in ranges.chunks(rayon::current_num_threads().max(1)) {
            let results: Vec<Result<Vec<Tensor>, Error>> =
                wave.par_iter().map(|r| self.run(data.inputs(r.clone())?)).collect();
            for (range, outputs) in wave.iter().zip(results) {
                consume(range.clone(), outputs?)?;
            }
        }
        Ok(())
    }

    fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        guarded("run", || {
            let inputs = inputs.into_iter().map(tract_onnx::prelude::IntoTValue::into_tvalue).collect();
            let outputs = self.plan.run(inputs)?;
            Ok(outputs.into_iter().map(|v| Tensor::clone(&v)).collect())
        })
    }

    /// Runs all of `data` and returns every output, batches joined along the first dimension.
    ///
    /// # Errors
    /// [`Error::Runtime`] when a node fails, [`Error::NotFinite`] when an output holds NaN or infinity.
    pub fn outputs(&self, data: &Dataset) -> Result<Vec<Output>, Error> {
        let mut joined: Vec<Output> = Vec::new();
        self.for_each(data, |_, tensors| {
            for (index, tensor) in tensors.iter().enumerate() {
                let part = Output::from_tensor(tensor)?;
                match joined.get_mut(index) {
                    None => joined.push(part),
                    Some(whole) => {
                        if let (Some(total), Some(more)) = (whole.shape.first_mut(), part.shape.first()) {
                            *total += more;
                        }
                        whole.values.extend(part.values);
                    }
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

impl Output {
    /// Converts any numeric tensor to float32.
    ///
    /// # Errors
    /// [`Error::Runtime`] for a tensor that is not numeric.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self, Error> {
        let fail =
            |e: tract_onnx::prelude::TractError| Error::Runtime { action: "run", problem: one_line(&format!("{e:#}")) };
        let floats = tensor.cast_to::<f32>().map_err(fail)?;
        let view = floats.to_plain_array_view::<f32>().map_err(fail)?;
        Ok(Output { shape: tensor.shape().to_vec(), values: view.iter().copied().collect() })
    }
}
