//! A generator: a specification with numbers in it.

use rand::{Rng, RngExt};

use crate::plan::Plan;
use crate::workspace::Workspace;
use crate::{Activation, Activations, Core, CoreKind, Error, GeneratorSpec, Real, Shape};

/// A tensor network with σ between its levels whose contraction is a weight W.
///
/// All parameters lie in one vector: the cores in the order of [`Shape::cores`], each row-major, then the scales of the
/// outputs if there are any, then the overall scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator<T = f32> {
    spec: GeneratorSpec,
    shape: Shape,
    plan: Plan,
    params: Vec<T>,
}

impl<T: Real> Generator<T> {
    /// A generator with the given parameters.
    ///
    /// # Errors
    /// When the specification is inconsistent, or the parameters are not finite or of the wrong number.
    pub fn new(spec: GeneratorSpec, params: Vec<T>) -> Result<Self, Error> {
        let shape = Shape::new(&spec)?;
        if params.len() != shape.parameters() {
            return Err(Error::ParameterCount { given: params.len(), needed: shape.parameters() });
        }
        if let Some(index) = params.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "parameters", index });
        }
        let plan = Plan::new(&spec, &shape);
        Ok(Generator { spec, shape, plan, params })
    }

    /// Random cores whose variance is preserved from level to level, scaled so that W has the variance 1 / `inputs`; the scales
    /// of the outputs are 1.
    ///
    /// # Errors
    /// When the specification is inconsistent.
    pub fn random(spec: GeneratorSpec, rng: &mut impl Rng) -> Result<Self, Error> {
        let shape = Shape::new(&spec)?;
        let mut params = vec![T::ZERO; shape.parameters()];
        let mut fill = |core: &mut [T], variance: f64| {
            let bound = (3.0 * variance).sqrt();
            core.iter_mut().for_each(|x| *x = T::from_f64(rng.random_range(-bound..=bound)));
        };
        for core in &shape.cores {
            let variance = if core.kind == CoreKind::Top { 0.25 } else { 1.0 / core.p as f64 };
            fill(&mut params[core.range.clone()], variance);
        }
        params[shape.core_parameters()..].fill(T::ONE);
        let mut generator = Generator::new(spec, params)?;
        let mut ws = Workspace::new();
        let w = generator.forward(&mut ws);
        let mean_square = w.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>() / w.len() as f64;
        let scale = (1.0 / (generator.spec.inputs as f64 * mean_square)).sqrt();
        if scale.is_finite() {
            generator.set_scale(T::from_f64(scale));
        }
        Ok(generator)
    }

    /// The specification.
    pub fn spec(&self) -> &GeneratorSpec {
        &self.spec
    }

    /// Dimensions of every level.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Number of parameters; the overall scale counts as one.
    pub fn parameter_count(&self) -> usize {
        self.params.len()
    }

    /// All parameters: cores, then the overall scale.
    pub fn params(&self) -> &[T] {
        &self.params
    }

    /// All parameters, to be changed.
    pub fn params_mut(&mut self) -> &mut [T] {
        &mut self.params
    }

    /// The elements of a core, row-major; see [`Core`] for its rows and columns.
    ///
    /// # Panics
    /// When the core is that of a generator with more parameters.
    pub fn core(&self, core: &Core) -> &[T] {
        &self.params[core.range.clone()]
    }

    /// The top tensor, shape `shape().levels[0]`, row-major.
    pub fn top(&self) -> &[T] {
        &self.params[self.shape.top()]
    }

    /// The factors of W's rows; empty if the generator has none.
    pub fn output_scale(&self) -> &[T] {
        &self.params[self.shape.output_scale()]
    }

    /// The overall scale: W = scale · T of the last level, each row times its factor in `output_scale`.
    pub fn scale(&self) -> T {
        self.params.last().copied().unwrap_or(T::ONE)
    }

    /// Sets the overall scale.
    pub fn set_scale(&mut self, scale: T) {
        if let Some(last) = self.params.last_mut() {
            *last = scale;
        }
    }

    /// Moves the overall scale into a core of the last level when that is linear, so that W stays the same and the scale is 1.
    pub fn absorb_scale(&mut self) {
        if let Some(core) = self.plan.linear_core.clone() {
            let scale = self.scale();
            self.params[core].iter_mut().for_each(|x| *x *= scale);
            self.set_scale(T::ONE);
        }
    }

    /// The same generator with parameters of another precision.
    pub fn cast<U: Real>(&self) -> Generator<U> {
        let params = self.params.iter().map(|x| U::from_f64(x.to_f64())).collect();
        Generator { spec: self.spec.clone(), shape: self.shape.clone(), plan: self.plan.clone(), params }
    }

    /// Largest absolute value of every level's tensor if σ were the identity; scale not applied.
    pub(crate) fn linear_maxima(&self, ws: &mut Workspace<T>) -> Vec<T> {
        let mut linear = self.clone();
        linear.spec.activations = Activations::Uniform(Activation::Identity);
        linear.plan = Plan::new(&linear.spec, &linear.shape);
        linear.set_scale(T::ONE);
        linear.forward(ws);
        let levels = linear.plan.level_ends.iter().map(|&end| &ws.tensors[end]);
        levels.map(|t| t.iter().fold(T::ZERO, |most, x| if x.abs() > most { x.abs() } else { most })).collect()
    }

    /// W as outputs × inputs, row-major, without padding. Allocates; for reports and emission, not for inner loops.
    pub fn matrix(&self) -> Vec<T> {
        let mut ws = Workspace::new();
        let leaf = self.forward(&mut ws);
        let mut out = Vec::new();
        self.spec.layout.scatter(leaf, self.spec.outputs, self.spec.inputs, &mut out);
        out
    }
}
