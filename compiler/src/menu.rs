//! What is on offer for a weight of a given shape.

use adntn_families::Digits;
use adntn_networks::{Arrangement as _, Bonds, GeneratorSpec, Shape, Side};
use adntn_passes::{Candidate, FOLDABLE_BYTES};

use crate::layout::{Offer, layouts};
use crate::options::{CoreType, Options};
use crate::training::FitKind;

/// Bond dimensions tried, finest last.
const LADDER: [usize; 23] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128];

/// Ranks tried, finest last; as bond dimensions, and on.
const RANKS: [usize; 32] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    384, 448, 512,
];
/// Weights with more elements are offered every fourth rank only, with factors in 4 bits: each takes a second.
const MANY: usize = 1 << 21;
/// Ranks beyond this are not tried for such weights: what is not of low rank by then is better off in digits.
const MOST_OF_MANY: usize = 128;
/// Digits that factors of low rank are offered in: coarser ones lose more than a lower rank does.
const FACTORS: [Digits; 2] = [Digits::Sixteen, Digits::Bytes];
/// Elements of weights that networks are tried for beside digits: below, their nodes take more bytes than they save; beyond, layer
/// by layer, they take long and no longer win.
const WITH_NETWORKS: std::ops::RangeInclusive<usize> = 1024..=1 << 18;
/// Inputs that stand together under one core of the lowest level: their moments are decomposed, which takes minutes for several
/// thousand. Layouts that spread the inputs serve such weights better anyway.
const WIDEST: usize = 1024;

/// Replacements that differ in one number only, the *step*: the larger it is, the more bytes they take and the less they lose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Family {
    /// Networks; steps are bond dimensions.
    Networks(Networks),
    /// The weight in digits; steps are places in [`Digits::ALL`].
    Digits(Vec<usize>),
    /// Low ranks in digits of one kind; steps are ranks.
    LowRank(Digits, Vec<usize>),
    /// The weight in float16: the least that may be done. There is one step.
    Halves,
    /// What was trained through the network, with other layers; steps are choices. Nothing is on offer.
    Trained,
}

impl Family {
    /// The steps on offer, ascending.
    pub(crate) fn steps(&self) -> &[usize] {
        match self {
            Family::Networks(networks) => &networks.bonds,
            Family::Digits(steps) | Family::LowRank(_, steps) => steps,
            Family::Halves => &[0],
            Family::Trained => &[],
        }
    }

    /// The networks, if that is what it offers.
    pub(crate) fn networks(&self) -> Option<&Networks> {
        match self {
            Family::Networks(networks) => Some(networks),
            _ => None,
        }
    }

    /// Parameters at a step, of a replacement of the O×I weight; `None` if it is not worth offering.
    pub(crate) fn parameters(&self, step: usize, candidate: &Candidate) -> Option<usize> {
        match self {
            Family::Networks(networks) => networks.parameters(step),
            Family::Digits(_) | Family::Halves => Some(candidate.elements()),
            Family::LowRank(..) => Some(step * (candidate.outputs + candidate.inputs)),
            Family::Trained => None,
        }
    }

    /// Bytes that the numbers alone take at a step, at least.
    pub(crate) fn least_bytes(&self, step: usize, candidate: &Candidate, core_bytes: u64) -> Option<u64> {
        let parameters = self.parameters(step, candidate)?;
        Some(match self {
            Family::Networks(_) => parameters as u64 * core_bytes,
            Family::Digits(_) => digits(step).bytes(parameters),
            Family::LowRank(digits, _) => digits.bytes(parameters),
            Family::Halves => 2 * parameters as u64,
            Family::Trained => return None,
        })
    }

    /// In words, for a log.
    pub(crate) fn describe(&self, step: usize) -> String {
        match self {
            Family::Networks(networks) => {
                let topology = networks.spec(step).topology.title();
                format!("{topology} {}, {} legs, χ={step}", networks.layout.name, networks.leg_count())
            }
            Family::Digits(_) => digits(step).to_string(),
            Family::LowRank(digits, _) => format!("low rank r={step}, {digits}"),
            Family::Halves => "float16".into(),
            Family::Trained => "trained through the network".into(),
        }
    }
}

/// The digits at a step of [`Family::Digits`].
pub(crate) fn digits(step: usize) -> Digits {
    Digits::ALL[step.min(Digits::ALL.len() - 1)]
}

/// Generators that differ in their bond dimension only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Networks {
    /// Their legs.
    pub(crate) layout: Offer,
    unbound: GeneratorSpec,
    /// Bond dimensions that make distinct generators smaller than the weight, ascending.
    pub(crate) bonds: Vec<usize>,
}

impl Networks {
    fn new(candidate: &Candidate, layout: Offer, options: &Options) -> Self {
        let (outputs, inputs, legs) = (candidate.outputs, candidate.inputs, layout.legs.clone());
        let unbound =
            GeneratorSpec::new(options.topology, outputs, inputs, legs, Bonds::Uniform(1), options.activation);
        Networks { layout, unbound, bonds: Vec::new() }
    }

    pub(crate) fn spec(&self, bond: usize) -> GeneratorSpec {
        let mut spec = self.unbound.clone();
        spec.bonds = Bonds::Uniform(bond);
        spec
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

    /// The largest bond of the generator with this bond dimension: legs may carry less.
    pub(crate) fn carries(&self, bond: usize) -> usize {
        let Ok(shape) = Shape::new(&self.spec(bond)) else { return 0 };
        let inner = shape.levels.iter().rev().skip(1);
        inner.map(|dims| dims.iter().copied().max().unwrap_or(0)).min().unwrap_or(0)
    }

    /// Inputs that stand together under one core of the lowest level, at most.
    fn width(&self) -> usize {
        let legs = self.unbound.layout.legs();
        let Ok(shape) = Shape::new(&self.spec(1)) else { return 0 };
        let inputs = |group: std::ops::Range<usize>| {
            legs[group].iter().filter(|leg| leg.side == Side::Input).map(|leg| leg.dim).product()
        };
        shape.tree().children(shape.levels.len() - 1).map(inputs).max().unwrap_or(0)
    }

    /// Bytes of the padded weight, the largest tensor that forming it needs.
    fn formed_bytes(&self) -> u64 {
        let layout = &self.unbound.layout;
        (layout.outputs() as u64).saturating_mul(layout.inputs() as u64).saturating_mul(4)
    }
}

/// Every family on offer for a weight; digits only where the model, and the size of its values, take them.
pub(crate) fn families(candidate: &Candidate, options: &Options, takes_digits: bool) -> Vec<Family> {
    let mut all = Vec::new();
    if takes_digits && !options.asks_for_networks() && candidate.bytes < FOLDABLE_BYTES {
        all.push(Family::Digits((0..Digits::ALL.len()).collect()));
        if options.core_type == CoreType::Float16 {
            all.push(Family::Halves);
        }
        let most = candidate.outputs.min(candidate.inputs) / 2;
        let most = if candidate.elements() > MANY { most.min(MOST_OF_MANY) } else { most };
        for digits in FACTORS {
            // Fine factors may stand between the weight in 4 bits and in 8.
            let fits = |&&rank: &&usize| {
                let parameters = rank * (candidate.outputs + candidate.inputs);
                rank <= most && digits.bytes(parameters) < digits.bytes(candidate.elements())
            };
            // Tokens differ in more directions than a low rank has: what is tried for large tables would take minutes for nothing.
            if candidate.elements() > MANY && (digits != Digits::Sixteen || candidate.is_table()) {
                continue;
            }
            let every = if candidate.elements() > MANY { 4 } else { 1 };
            let ranks: Vec<usize> = RANKS.iter().filter(fits).step_by(every).copied().collect();
            if !ranks.is_empty() {
                all.push(Family::LowRank(digits, ranks));
            }
        }
    }
    // No sample reads all rows of a table, so nothing would hold a network to the others.
    let with_networks = all.is_empty() || WITH_NETWORKS.contains(&candidate.elements());
    if with_networks && !candidate.is_table() {
        let are_all = all.is_empty();
        let offers = networks(candidate, options).into_iter().filter(|family| are_all || family.width() <= WIDEST);
        all.extend(offers.map(Family::Networks));
    }
    all
}

/// Networks of every layout that holds at least one with fewer parameters than the O×I weight.
pub(crate) fn networks(candidate: &Candidate, options: &Options) -> Vec<Networks> {
    let ladder: Vec<usize> = match (options.bond, options.fit) {
        (Some(bond), _) => vec![bond],
        (None, FitKind::LayerWise) => LADDER.to_vec(),
        // Nothing is tried there, so steps may be small: the ratio asked for is then met closely.
        (None, FitKind::EndToEnd) => (1..=128).collect(),
    };
    let mut all = Vec::new();
    for layout in layouts(candidate, options) {
        let mut family = Networks::new(candidate, layout, options);
        if family.formed_bytes() >= FOLDABLE_BYTES {
            continue;
        }
        let mut previous = 0;
        for &bond in &ladder {
            match family.parameters(bond) {
                // A bond that the legs clamp gives the generator before it once more.
                Some(p) if p > previous && p < candidate.elements() => {
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
    all
}

/// Why there is no network for a weight, if there is none.
pub(crate) fn obstacle(candidate: &Candidate, options: &Options) -> Option<String> {
    if candidate.is_table() {
        return Some(if candidate.bytes < FOLDABLE_BYTES {
            "stays dense: a table of which rows are taken gets digits or a low rank, never a network".into()
        } else {
            "stays dense: runtimes fold only tensors below 1 GiB".into()
        });
    }
    if !networks(candidate, options).is_empty() {
        return None;
    }
    let layouts = layouts(candidate, options);
    let too_large = |layout: Offer| Networks::new(candidate, layout, options).formed_bytes() >= FOLDABLE_BYTES;
    Some(if layouts.is_empty() {
        "no gain: no leg layout fits this weight".into()
    } else if layouts.into_iter().all(too_large) {
        "stays dense: a generator forms the weight when the model is loaded, and runtimes fold only tensors below 1 GiB"
            .into()
    } else {
        "no gain: no generator is smaller than this weight".into()
    })
}

/// The generator in the middle of those on offer by number of parameters: its family and bond dimension.
pub(crate) fn middle(families: &[Networks]) -> Option<(&Networks, usize)> {
    let mut all: Vec<(usize, usize, usize)> = Vec::new();
    for (index, family) in families.iter().enumerate() {
        all.extend(family.bonds.iter().filter_map(|&bond| Some((family.parameters(bond)?, index, bond))));
    }
    all.sort_unstable();
    let &(_, index, bond) = all.get(all.len() / 2)?;
    Some((&families[index], bond))
}

/// A sentence for the user whose bond dimension is more than the legs of a layer carry: some bonds are then clamped to the
/// product of the legs below them. `used` is the generator in question; where there is none, that of the first layout.
pub(crate) fn bond_note(candidate: &Candidate, used: Option<&GeneratorSpec>, options: &Options) -> Option<String> {
    let chi = options.bond.filter(|_| !candidate.is_table())?;
    let first = || Some(Networks::new(candidate, layouts(candidate, options).into_iter().next()?, options).spec(chi));
    let shape = Shape::new(&used.cloned().or_else(first)?).ok()?;
    let inner = shape.levels.iter().zip(1..shape.levels.len());
    // A leg that passes through is no bond but a physical leg, or one of a later level.
    let bonds: Vec<usize> = inner
        .flat_map(|(dims, below)| dims.iter().zip(shape.tree().children(below)))
        .filter_map(|(&dim, children)| (children.len() > 1).then_some(dim))
        .collect();
    let (least, most) = (*bonds.iter().min()?, *bonds.iter().max()?);
    if least == chi {
        return None;
    }
    let range = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let rest = if used.is_some() { "" } else { ", and that generator is not smaller than the weight" };
    Some(format!(
        "Layer {}: χ = {chi} is more than some of its legs carry; its bonds were clamped to {range}{rest}.",
        candidate.layer,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use adntn_passes::{LayerKind, Root, Stored, WeightSource};

    use super::*;

    fn candidate(outputs: usize, inputs: usize) -> Candidate {
        Candidate {
            id: 0,
            layer: "fc".into(),
            weight: "fc.weight".into(),
            source: WeightSource {
                root: Root::Initializer("fc.weight".into()),
                identities: Vec::new(),
                listed_input: false,
            },
            uses: Vec::new(),
            dims: vec![outputs as i64, inputs as i64],
            outputs,
            inputs,
            input_axes: Vec::new(),
            stored: Stored::OutputInput,
            kind: LayerKind::Gemm,
            bytes: 4 * (outputs * inputs) as u64,
        }
    }

    #[test]
    fn networks_beside_digits_keep_few_inputs_together() {
        let options = Options::new("in.onnx", "out.onnx");
        let wide = candidate(10, 1 << 13);
        let networks: Vec<usize> =
            families(&wide, &options, true).iter().filter_map(|f| f.networks().map(Networks::width)).collect();
        assert!(!networks.is_empty() && networks.iter().all(|&width| width <= WIDEST), "{networks:?}");
        // Where there is nothing but networks all of them are on offer.
        let all = families(&wide, &options, false);
        assert!(all.iter().any(|f| f.networks().is_some_and(|n| n.width() > WIDEST)));
    }

    #[test]
    fn weights_that_runtimes_would_not_fold_get_no_generator() {
        let options = Options::new("in.onnx", "out.onnx");
        for (outputs, inputs) in [(1 << 14, 1 << 14), (1 << 15, 9000), (50_000, 6000)] {
            let large = candidate(outputs, inputs);
            assert!(families(&large, &options, true).is_empty());
            assert!(obstacle(&large, &options).unwrap().contains("1 GiB"));
        }
        // One row less, and the layouts that need no padding are on offer.
        let below = candidate((1 << 14) - 1, 1 << 14);
        assert!(networks(&below, &options).iter().all(|f| f.formed_bytes() < FOLDABLE_BYTES));
        assert!(obstacle(&candidate(1 << 13, 1 << 14), &options).is_none());
        assert_eq!(obstacle(&candidate(2, 2), &options).unwrap().split(':').next(), Some("no gain"));
    }
}
