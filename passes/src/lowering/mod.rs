//! From a generator to a straight-line program of Reshape, MatMul and elementwise steps that forms its weight.
//!
//! One rule per level: a core acts on one leg of the running tensor (or on a run of neighbouring legs) and puts new legs in
//! its place. [`inplace`] keeps the legs in tree order and lets the order search choose which core acts first; [`sweep`]
//! lowers the last level so that the legs come out in the order of the stored weight. The program knows nothing of ONNX;
//! [`crate::emit`] writes it as nodes.

mod inplace;
mod legs;
mod order;
mod program;
mod sweep;

use adntn_networks::{Activation, Generator, Leg, Side, Topology};

pub(crate) use program::{Op, Program, Step, Value};

use crate::Error;
use crate::candidate::Stored;

/// Lowers `generator` to a program whose result is the weight with dims `dims` in memory order `stored`.
pub(crate) fn lower(generator: &Generator, stored: Stored, dims: &[usize], layer: &str) -> Result<Program, Error> {
    let spec = generator.spec();
    match spec.topology {
        Topology::Ttn => {}
        other => return Err(Error::Topology { layer: layer.to_owned(), topology: other.to_string() }),
    }
    let levels = &generator.shape().levels;
    let last = levels.len() - 1;
    let mut program = Program::new(layer);
    let mut running = program.constant("level0/core", &levels[0], generator.top().to_vec());
    let mut level = 0;
    while level < last {
        let sigma = spec.activation_at(level);
        running = program.activation(running, sigma, &format!("level{level}"))?;
        // Levels without σ between them are one multilinear region; the last level has an order of its own.
        let mut end = level + 1;
        while end + 1 < last && spec.activation_at(end) == Activation::Identity {
            end += 1;
        }
        if end < last {
            running = inplace::region(&mut program, generator, level, end, running)?;
        } else {
            running = last_level(&mut program, generator, stored, running)?;
        }
        level = end;
    }
    let sigma = spec.activation_at(last);
    running = program.activation(running, sigma, &format!("level{last}"))?;
    if sigma != Activation::Identity && generator.scale() != 1.0 {
        running = program.scale(running, generator.scale())?;
    }
    let (rows, columns) = front_back(stored, spec.outputs, spec.inputs);
    let (padded_rows, padded_columns) = front_back(stored, spec.layout.outputs(), spec.layout.inputs());
    if (rows, columns) != (padded_rows, padded_columns) {
        running = program.reshape(running, &[padded_rows, padded_columns], "unpad")?;
        running = program.slice(running, &[rows, columns], "unpad")?;
    }
    running = program.reshape(running, dims, "weight")?;
    program.finish(running);
    Ok(program)
}

/// The last level, with the legs brought into stored order; the overall scale is in its first core unless σ follows.
fn last_level(program: &mut Program, generator: &Generator, stored: Stored, running: Value) -> Result<Value, Error> {
    let spec = generator.spec();
    let levels = &generator.shape().levels;
    let last = levels.len() - 1;
    let scale = match spec.activation_at(last) {
        Activation::Identity => generator.scale(),
        _ => 1.0,
    };
    let front = match stored {
        Stored::OutputInput => Side::Output,
        Stored::InputOutput => Side::Input,
    };
    let parents = sweep::parents(generator, front, scale);
    match sweep::order(&parents) {
        Some(order) => sweep::last_level(program, &parents, &order, running),
        None => {
            let tree_order = sweep::in_place(program, &parents.iter().collect::<Vec<_>>(), false, running)?;
            let legs = spec.layout.legs();
            let axis = |side, place| legs.iter().position(|l: &Leg| (l.side, l.place) == (side, place)).unwrap_or(0);
            let back = if front == Side::Output { Side::Input } else { Side::Output };
            let order: Vec<usize> = [front, back]
                .into_iter()
                .flat_map(|side| (0..legs.iter().filter(|l| l.side == side).count()).map(move |place| (side, place)))
                .map(|(side, place)| axis(side, place))
                .collect();
            program.transpose(tree_order, &spec.layout.dims(), &order, "weight")
        }
    }
}

fn front_back<T>(stored: Stored, output: T, input: T) -> (T, T) {
    match stored {
        Stored::OutputInput => (output, input),
        Stored::InputOutput => (input, output),
    }
}
