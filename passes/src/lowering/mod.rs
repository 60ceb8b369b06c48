//! From a generator to a straight-line program of Reshape, MatMul and elementwise steps that forms its weight.
//!
//! One rule for every core, isometry or disentangler: it acts on one axis of the running tensor (or on neighbouring ones) and
//! puts new legs in their place. [`level`] lists what is to be done on a level, [`schedule`] chooses the order, [`place`] says
//! where each leg goes and [`apply`] writes the products, of cores that [`fuse`] has joined where
//! that spares passes over large tensors; on the last level the legs come out in the order of the stored
//! weight, on the others in tree order. Levels without σ between them and without disentanglers are one multilinear region,
//! which [`inplace`] contracts in the order that the search finds. The program knows nothing of ONNX; [`crate::emit`] writes
//! it as nodes.

mod apply;
mod fuse;
mod inplace;
mod legs;
mod level;
mod order;
mod place;
mod program;
mod schedule;

use adntn_networks::{Activation, Generator, Leg, Side};

pub use program::FOLDABLE_BYTES;
pub(crate) use program::{Op, Program, Step, Value};

use crate::Error;
use crate::candidate::Stored;
use level::Level;

/// Lowers `generator` to a program whose result is the weight with dims `dims` in memory order `stored`.
pub(crate) fn lower(generator: &Generator, stored: Stored, dims: &[usize], layer: &str) -> Result<Program, Error> {
    let spec = generator.spec();
    let levels = &generator.shape().levels;
    let last = levels.len() - 1;
    let is_linear = spec.activation_at(last) == Activation::Identity;
    // The overall scale goes where it costs nothing: into the rows' factors, or into a core that no σ follows.
    let has_rows = !generator.output_scale().is_empty();
    let core_scale = if is_linear && !has_rows { generator.scale() } else { 1.0 };

    let mut program = Program::new(layer);
    let mut running = program.constant("level0/core", &levels[0], generator.top().to_vec());
    let mut level = 0;
    while level < last {
        running = program.activation(running, spec.activation_at(level), &format!("level{level}"))?;
        let end = region_end(generator, level);
        running = match end - level {
            1 if end == last => last_level(&mut program, generator, stored, core_scale, running)?,
            1 => {
                let in_tree_order = (0..levels[end].len()).collect();
                expand(&mut program, Level::new(generator, end, in_tree_order, 1.0), None, running)?
            }
            _ => inplace::region(&mut program, generator, level, end, running)?,
        };
        level = end;
    }
    running = program.activation(running, spec.activation_at(last), &format!("level{last}"))?;
    if !is_linear && !has_rows && generator.scale() != 1.0 {
        let factor = program.constant("scale/factor", &[], vec![generator.scale()]);
        running = program.multiply(running, factor, "scale")?;
    }
    let (rows, columns) = front_back(stored, spec.outputs, spec.inputs);
    let (padded_rows, padded_columns) = front_back(stored, spec.layout.outputs(), spec.layout.inputs());
    if (rows, columns) != (padded_rows, padded_columns) {
        running = program.reshape(running, &[padded_rows, padded_columns], "unpad")?;
        running = program.slice(running, &[rows, columns], "unpad")?;
    }
    if has_rows {
        running = program.reshape(running, &[rows, columns], "output-scale")?;
        let factors = generator.output_scale().iter().map(|x| x * generator.scale()).collect();
        let shape: &[usize] = if stored == Stored::OutputInput { &[rows, 1] } else { &[columns] };
        let factors = program.constant("output-scale/factors", shape, factors);
        running = program.multiply(running, factors, "output-scale")?;
    }
    running = program.reshape(running, dims, "weight")?;
    program.finish(running);
    Ok(program)
}

/// The level to which the multilinear region reaches that begins below `level`, σ of which has been applied.
///
/// The last level is a region of its own, because its legs have an order of their own. So is a level with disentanglers: these
/// share two bonds with what is above them, so that contracting one of them with the isometries around it first has no form
/// as a product in place, and larger cores would seldom pay.
fn region_end(generator: &Generator, level: usize) -> usize {
    let (spec, shape) = (generator.spec(), generator.shape());
    let last = shape.levels.len() - 1;
    let is_plain = |level: usize| shape.disentanglers(level).is_empty();
    let mut end = level + 1;
    while end + 1 < last && spec.activation_at(end) == Activation::Identity && is_plain(end) && is_plain(end + 1) {
        end += 1;
    }
    end
}

/// The last level, with the legs brought into stored order; its first isometry times `scale`.
fn last_level(
    program: &mut Program,
    generator: &Generator,
    stored: Stored,
    scale: f32,
    running: Value,
) -> Result<Value, Error> {
    let legs = generator.spec().layout.legs();
    let (front, _) = front_back(stored, Side::Output, Side::Input);
    let front_legs = legs.iter().filter(|leg| leg.side == front).count();
    let rank = |leg: &Leg| if leg.side == front { leg.place } else { front_legs + leg.place };
    let level = Level::new(generator, generator.shape().levels.len() - 1, legs.iter().map(rank).collect(), scale);
    expand(program, level, Some(front_legs), running)
}

/// All acts of `level` on `running`; `front_legs` legs of the result are rows of the weight, if that is the last level.
fn expand(program: &mut Program, mut level: Level, front_legs: Option<usize>, running: Value) -> Result<Value, Error> {
    let axes = front_legs.map_or_else(|| level.axes.clone(), |front_legs| place::start(&level, front_legs));
    let dims: Vec<usize> = level.axes.iter().map(|&axis| level.dim(axis)).collect();
    let order: Vec<usize> = axes.iter().filter_map(|axis| level.axes.iter().position(|a| a == axis)).collect();
    let running = program.transpose(running, &dims, &order, "parents")?;
    fuse::fuse(&mut level, &axes);
    let plan = schedule::schedule(&level, &axes).ok_or_else(|| Error::Order {
        layer: program.layer().to_owned(),
        message: "a disentangler finds its legs apart; please report this".to_owned(),
    })?;
    apply::apply(program, &level, axes, plan, running)
}

fn front_back<T>(stored: Stored, output: T, input: T) -> (T, T) {
    match stored {
        Stored::OutputInput => (output, input),
        Stored::InputOutput => (input, output),
    }
}
