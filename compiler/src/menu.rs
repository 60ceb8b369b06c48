//! The generators on offer for a weight of a given shape.

use adntn_networks::{Bonds, GeneratorSpec, LayoutKind, LegLayout, Shape, Side};

use crate::options::Options;

/// Bond dimensions tried, finest last.
const LADDER: [usize; 23] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128];
/// Numbers of legs tried.
const LEGS: [usize; 3] = [4, 8, 16];
/// Trees whose legs would be smaller than this on average are left out: they pad more than they save.
const MIN_LEG: f64 = 1.9;

/// Generators that differ in their bond dimension only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) layout: LayoutKind,
    unbound: GeneratorSpec,
    /// Bond dimensions that make distinct generators smaller than the weight, ascending.
    pub(crate) bonds: Vec<usize>,
}

impl Family {
    pub(crate) fn spec(&self, bond: usize) -> GeneratorSpec {
        let mut spec = self.unbound.clone();
        spec.bonds = Bonds::Uniform(bond);
        spec
    }

    /// Dimensions of the legs of one side, the slowest varying first.
    pub(crate) fn legs(&self, side: Side) -> Vec<usize> {
        self.unbound.layout.side(side).iter().map(|leg| leg.dim).collect()
    }

    pub(crate) fn leg_count(&self) -> usize {
        self.unbound.layout.legs().len()
    }

    /// Parameters of the generator with this bond dimension; `None` if it is not worth offering.
    ///
    /// An inner level of a size like that of the weight costs the fit memory and time, and a tree with fewer legs does the same
    /// with as few parameters.
    pub(crate) fn parameters(&self, bond: usize) -> Option<usize> {
        let shape = Shape::new(&self.spec(bond)).ok()?;
        let (_, inner) = shape.levels.split_last()?;
        let size = |dims: &Vec<usize>| dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let small = inner.iter().all(|dims| size(dims).is_some_and(|n| n <= shape.elements() / 8));
        small.then(|| shape.parameters())
    }

    /// Smallest and largest parameter count on offer.
    pub(crate) fn parameter_range(&self) -> Option<(usize, usize)> {
        Some((self.parameters(*self.bonds.first()?)?, self.parameters(*self.bonds.last()?)?))
    }
}

/// Every family that holds at least one generator with fewer parameters than the O×I weight.
pub(crate) fn families(outputs: usize, inputs: usize, options: &Options) -> Vec<Family> {
    let layouts = match options.layout {
        Some(one) => vec![one],
        None => vec![LayoutKind::Interleaved, LayoutKind::Separated],
    };
    let mut all = Vec::new();
    for layout in layouts {
        for legs in LEGS {
            let per_side = legs / 2;
            let smallest = outputs.min(inputs) as f64;
            if legs > LEGS[0] && smallest.powf(1.0 / per_side as f64) < MIN_LEG {
                continue;
            }
            let Ok(legs) = LegLayout::for_matrix(layout, outputs, inputs, legs) else { continue };
            let unbound = GeneratorSpec::ttn(outputs, inputs, legs, Bonds::Uniform(1), options.activation);
            let mut family = Family { layout, unbound, bonds: Vec::new() };
            let ladder: Vec<usize> = options.bond.map_or_else(|| LADDER.to_vec(), |b| vec![b]);
            let mut previous = 0;
            for bond in ladder {
                match family.parameters(bond) {
                    // A bond that the legs clamp gives the generator before it once more.
                    Some(p) if p > previous && p < outputs * inputs => {
                        family.bonds.push(bond);
                        previous = p;
                    }
                    _ => {}
                }
            }
            if !family.bonds.is_empty() {
                all.push(family);
            }
        }
    }
    all
}
