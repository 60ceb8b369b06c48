//! Trees that are low-rank products or sums of Kronecker products are recognised, and nothing else is.
#![allow(clippy::unwrap_used)]

use adntn_networks::{
    Activation, Activations, Bonds, Equivalent, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology,
};
use rand::SeedableRng as _;

fn spec(topology: Topology, legs: &str, bond: usize) -> GeneratorSpec {
    let layout: LegLayout = legs.parse().unwrap();
    let (outputs, inputs) = (layout.outputs(), layout.inputs());
    GeneratorSpec::new(topology, outputs, inputs, layout, Bonds::Uniform(bond), Activation::Tanh)
}

fn of(legs: &str, bond: usize) -> Option<Equivalent> {
    spec(Topology::Ttn, legs, bond).equivalent().unwrap()
}

/// Singular values above noise of a rows×columns matrix, by elimination with full pivoting.
fn rank(mut m: Vec<f64>, rows: usize, columns: usize) -> usize {
    let largest = |m: &[f64]| (0..m.len()).max_by(|&a, &b| m[a].abs().total_cmp(&m[b].abs())).unwrap();
    let noise = 1e-9 * m[largest(&m)].abs();
    for found in 0..rows.min(columns) {
        let at = largest(&m);
        let (pivot, r, c) = (m[at], at / columns, at % columns);
        if pivot.abs() <= noise {
            return found;
        }
        let row: Vec<f64> = m[r * columns..(r + 1) * columns].to_vec();
        for line in m.chunks_exact_mut(columns) {
            let factor = line[c] / pivot;
            line.iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
        }
    }
    rows.min(columns)
}

#[test]
fn separated_legs_are_a_low_rank_product() {
    assert_eq!(of("o6 o5 i7 i4", 3), Some(Equivalent::LowRank { rank: 3 }));
    assert_eq!(of("i7 i4 o6@1 o5@0", 3), Some(Equivalent::LowRank { rank: 3 }));
    // The bonds are clamped to what the legs carry, the rank to the weight.
    assert_eq!(of("o2 o2 i7 i4", 9), Some(Equivalent::LowRank { rank: 4 }));
    let mut padded = spec(Topology::Ttn, "o6 o5 i7 i4", 16);
    (padded.outputs, padded.inputs) = (11, 28);
    assert_eq!(padded.equivalent().unwrap(), Some(Equivalent::LowRank { rank: 11 }));
    // Legs of dimension 1 are no legs.
    assert_eq!(of("o6 i1 i7 i4", 3), Some(Equivalent::LowRank { rank: 3 }));
    let text = of("o6 o5 i7 i4", 3).unwrap().to_string();
    assert_eq!(text, "low rank r=3");

    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let generator = Generator::<f64>::random(spec(Topology::Ttn, "o6 o5 i7 i4", 3), &mut rng).unwrap();
    assert_eq!(rank(generator.matrix(), 30, 28), 3);
}

#[test]
fn interleaved_legs_are_a_sum_of_kronecker_products() {
    let sum = |terms, permuted| Some(Equivalent::KroneckerSum { terms, permuted });
    assert_eq!(of("o6 i7 o5 i4", 3), sum(3, false));
    assert_eq!(of("o6@1 i7@1 o5@0 i4@0", 3), sum(3, false));
    assert_eq!(of("o6 i7@1 o5 i4@0", 3), sum(3, true));
    assert_eq!(of("o6 i7 o5 i4", 3).unwrap().to_string(), "sum of 3 Kronecker products");
    assert_eq!(of("o6 i7 o5 i4", 1).unwrap().to_string(), "one Kronecker product");
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 64, 48, 4).unwrap();
    assert_eq!(of(&layout.to_string(), 5), sum(5, false));

    // Van Loan and Pitsianis: rearranged, a sum of r Kronecker products has rank r.
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let generator = Generator::<f64>::random(spec(Topology::Ttn, "o6 i7 o5 i4", 3), &mut rng).unwrap();
    let w = generator.matrix();
    let mut rearranged = vec![0.0; 42 * 20];
    for (at, x) in w.iter().enumerate() {
        let (o, i) = (at / 28, at % 28);
        rearranged[((o / 5) * 7 + i / 4) * 20 + (o % 5) * 4 + i % 4] = *x;
    }
    assert_eq!(rank(rearranged, 42, 20), 3);
    // Factors of the rows would have to be factors of both sides.
    let mut scaled = spec(Topology::Ttn, "o6 i7 o5 i4", 3);
    scaled.output_scale = true;
    assert_eq!(scaled.equivalent().unwrap(), None);
}

#[test]
fn what_is_more_than_that_keeps_its_name() {
    for topology in [Topology::Attn, Topology::Mera] {
        assert_eq!(spec(topology, "o6 o5 i7 i4", 3).equivalent().unwrap(), None);
    }
    assert_eq!(of("o2 i2 o2 i2 o2 i2 o2 i2", 3), None);
    assert_eq!(of("o2 i2 o2 i2 o2 i2", 3), None);
    let mut curved = spec(Topology::Ttn, "o6 o5 i7 i4", 3);
    curved.activations = Activations::Uniform(Activation::Tanh);
    assert_eq!(curved.equivalent().unwrap(), None);
    // Five legs are still a pair and a triple.
    assert_eq!(of("o6 o5 i3 i2 i4", 3), Some(Equivalent::LowRank { rank: 3 }));
}
