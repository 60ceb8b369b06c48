//! Neighbouring cores of a level made into one.
//!
//! On a large tensor a product with a small core takes as long as writing its result, page by page, does. Two isometries of
//! 8×8 are one of 64×64, in which a disentangler between their legs disappears; it is formed by a few tiny nodes from the cores
//! as they are stored, so that the file stays small, and the large tensor is written once instead of two or three times.

use crate::Error;
use crate::lowering::level::{Act, Axis, Factor, Level};
use crate::lowering::program::{Program, Value};

/// Below so many elements the running tensor stays in a cache, and further nodes cost more than they save.
const LARGE: usize = 1 << 20;
/// Largest side of a core made of several: beyond it the arithmetic costs more than the memory traffic.
const WIDEST: usize = 64;

/// Fuses what pays among the acts of `level`, whose running tensor has `axes` before them.
pub(super) fn fuse(level: &mut Level, axes: &[Axis]) {
    if level.size_after() < LARGE {
        return;
    }
    let acts = std::mem::take(&mut level.acts);
    let (isometries, mut disentanglers): (Vec<Act>, Vec<Act>) =
        acts.into_iter().partition(|act| matches!(act.takes[..], [Axis::Parent(_)]));
    let place = |act: &Act| axes.iter().position(|&axis| axis == act.takes[0]);
    let mut isometries: Vec<(Option<usize>, Act)> = isometries.into_iter().map(|act| (place(&act), act)).collect();
    isometries.sort_by_key(|(place, _)| *place);
    let mut fused: Vec<(Option<usize>, Act)> = Vec::new();
    for (place, act) in isometries {
        if let Some((last_place, last)) = fused.last_mut()
            && last_place.map(|p| p + last.takes.len()) == place
            && level.size(&last.takes) * level.size(&act.takes) <= WIDEST
            && level.size(&last.gives) * level.size(&act.gives) <= WIDEST
        {
            join(last, act);
        } else {
            fused.push((place, act));
        }
    }
    for (_, act) in &mut fused {
        let inside = |d: &Act| d.takes.iter().all(|axis| act.gives.contains(axis));
        let (own, others) = disentanglers.into_iter().partition::<Vec<Act>, _>(inside);
        disentanglers = others;
        for disentangler in own {
            for (taken, given) in disentangler.takes.iter().zip(&disentangler.gives) {
                act.gives.iter_mut().filter(|axis| *axis == taken).for_each(|axis| *axis = *given);
            }
            act.factors.extend(disentangler.factors);
        }
    }
    level.acts = fused.into_iter().map(|(_, act)| act).chain(disentanglers).collect();
}

fn join(left: &mut Act, right: Act) {
    let first = left.label.split('-').next().unwrap_or_default();
    let leg = right.label.rsplit("/leg").next().unwrap_or_default();
    left.label = format!("{first}-{leg}");
    left.takes.extend(right.takes);
    left.gives.extend(right.gives);
    left.factors.extend(right.factors);
}

/// The core of `act` as a tensor of shape `shape` with its axes in the order `order`.
pub(super) fn core(
    program: &mut Program,
    level: &Level,
    act: &Act,
    order: &[Axis],
    shape: &[usize],
) -> Result<Value, Error> {
    let label = |factor: &Factor| format!("{}/core", factor.label);
    if let [only] = &act.factors[..] {
        return Ok(program.constant(&label(only), shape, level.core(only, order)));
    }
    let is_isometry = |factor: &&Factor| matches!(factor.takes[..], [Axis::Parent(_)]);
    let (isometries, disentanglers): (Vec<&Factor>, Vec<&Factor>) = act.factors.iter().partition(is_isometry);
    // The outer product in the order asked for, or, where disentanglers follow, with the legs last and in tree order.
    let made: Vec<Axis> = isometries.iter().flat_map(|factor| &factor.gives).copied().collect();
    let mut axes = if disentanglers.is_empty() { order.to_vec() } else { [&act.takes[..], &made].concat() };
    let mut product: Option<(Value, Vec<Axis>)> = None;
    for factor in isometries {
        let is_own = |axis: &Axis| factor.takes.contains(axis) || factor.gives.contains(axis);
        let view = |of: &dyn Fn(&Axis) -> bool| -> Vec<usize> {
            axes.iter().map(|axis| if of(axis) { level.dim(*axis) } else { 1 }).collect()
        };
        let value = program.constant(&label(factor), &view(&is_own), level.core(factor, &axes));
        let own: Vec<Axis> = axes.iter().copied().filter(|axis| is_own(axis)).collect();
        product = Some(match product {
            None => (value, own),
            Some((left, before)) => {
                let left = program.reshape(left, &view(&|axis| before.contains(axis)), &act.label)?;
                (program.multiply(left, value, &act.label)?, [before, own].concat())
            }
        });
    }
    let Some((mut value, _)) = product else {
        return Err(Error::Order { layer: program.layer().to_owned(), message: "a core has no isometry".to_owned() });
    };
    for factor in disentanglers {
        let at = axes.iter().position(|axis| *axis == factor.takes[0]).unwrap_or(0);
        let (rows, m, n) =
            (level.size(&axes[..at]), level.size(&factor.takes), level.size(&axes[at + factor.takes.len()..]));
        axes[at..at + factor.gives.len()].copy_from_slice(&factor.gives);
        let view = program.reshape(value, &[rows, m, n], &factor.label)?;
        let core = level.core(factor, &[&factor.gives[..], &factor.takes].concat());
        let core = program.constant(&label(factor), &[m, m], core);
        value = program.matmul(core, view, &factor.label)?;
    }
    let dims: Vec<usize> = axes.iter().map(|&axis| level.dim(axis)).collect();
    let order: Vec<usize> = order.iter().filter_map(|axis| axes.iter().position(|a| a == axis)).collect();
    let value = program.transpose(value, &dims, &order, &act.label)?;
    program.reshape(value, shape, &act.label)
}
