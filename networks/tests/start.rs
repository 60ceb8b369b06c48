//! The start: exact where it can be, optimal in its scale, near-linear, weighted, and clear about bad input.

mod common;

use adntn_networks::start::{Disentanglers, START_TOLERANCE, hierarchical_svd, hierarchical_svd_with};
use adntn_networks::{
    Activation, Activations, Bonds, CoreKind, Error, Generator, GeneratorSpec, InputWeighting, KernelLegs, LayoutKind,
    LegLayout, Side, Topology,
};
use common::layouts;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random_weight(outputs: usize, inputs: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..outputs * inputs).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A weight whose singular values decay, as trained ones do.
fn smooth_weight(outputs: usize, inputs: usize) -> Vec<f32> {
    let at = |r: usize, c: usize| 1.0 / (1.0 + r as f32 * 0.3 + c as f32 * 0.7) + ((r * c) as f32 * 0.01).sin() * 0.1;
    (0..outputs * inputs).map(|k| at(k / inputs, k % inputs)).collect()
}

fn relative_error(w: &[f32], g: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let gap: f64 = w.iter().zip(g).map(|(&w, &g)| square(w - g)).sum();
    (gap / w.iter().map(|&w| square(w)).sum::<f64>()).sqrt()
}

fn spec(layout: LegLayout, outputs: usize, inputs: usize, chi: usize, sigma: Activation) -> GeneratorSpec {
    GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), sigma)
}

/// `spec` without σ and with the given bond dimension.
fn linear(mut spec: GeneratorSpec, chi: usize) -> GeneratorSpec {
    spec.bonds = Bonds::Uniform(chi);
    spec.activations = Activations::Uniform(Activation::Identity);
    spec
}

fn disentanglers() -> impl Strategy<Value = Disentanglers> {
    prop::sample::select(vec![Disentanglers::Identity, Disentanglers::Procrustes { sweeps: 2 }])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn large_bonds_reproduce_the_weight(spec in common::specs(), how in disentanglers(), seed in any::<u64>()) {
        let spec = linear(spec, usize::MAX);
        let w = random_weight(spec.outputs, spec.inputs, seed);
        let g = hierarchical_svd_with(&w, &spec, None, how).unwrap();
        prop_assert!(relative_error(&w, &g.matrix()) < 1e-5);
    }

    #[test]
    fn kernel_legs_anywhere_reproduce_the_weight(
        kind in prop::sample::select(LayoutKind::ALL),
        place in prop::sample::select(KernelLegs::ALL),
        topology in prop::sample::select(Topology::ALL),
        (outputs, channels) in (1usize..20, 1usize..14),
        kernel in prop::collection::vec(1usize..4, 1..4),
        legs in 4usize..8,
        seed in any::<u64>(),
    ) {
        let inputs = channels * kernel.iter().product::<usize>();
        let layout = LegLayout::for_conv(kind, place, outputs, channels, &kernel, legs).unwrap();
        let bonds = Bonds::Uniform(usize::MAX);
        let spec = GeneratorSpec::new(topology, outputs, inputs, layout, bonds, Activation::Identity);
        let w = random_weight(outputs, inputs, seed);
        prop_assert!(relative_error(&w, &hierarchical_svd(&w, &spec, None).unwrap().matrix()) < 1e-5);
    }

    #[test]
    fn weighted_starts_with_large_bonds_are_exact(spec in common::specs(), how in disentanglers(), seed in any::<u64>()) {
        let spec = linear(spec, usize::MAX);
        let w = random_weight(spec.outputs, spec.inputs, seed);
        let variances: Vec<f64> = (0..spec.layout.inputs()).map(|k| 0.2 + (k % 7) as f64).collect();
        let g = hierarchical_svd_with(&w, &spec, Some(&diagonal(&variances)), how).unwrap();
        prop_assert!(relative_error(&w, &g.matrix()) < 1e-4);
    }

    #[test]
    fn procrustes_is_no_worse_than_identity_for_one_level(
        layout in layouts(4, 5), chi in 1usize..7, seed in any::<u64>(),
    ) {
        let (outputs, inputs) = (layout.outputs(), layout.inputs());
        let w = random_weight(outputs, inputs, seed);
        let spec = GeneratorSpec::new(Topology::Attn, outputs, inputs, layout, Bonds::Uniform(chi), Activation::Identity);
        let error = |how| relative_error(&w, &hierarchical_svd_with(&w, &spec, None, how).unwrap().matrix());
        let (improved, plain) = (error(Disentanglers::Procrustes { sweeps: 4 }), error(Disentanglers::Identity));
        prop_assert!(improved <= plain + 1e-5);
    }

    #[test]
    fn disentanglers_of_a_start_are_orthogonal(spec in common::specs(), seed in any::<u64>()) {
        let spec = linear(spec, 3);
        let w = random_weight(spec.outputs, spec.inputs, seed);
        let g = hierarchical_svd_with(&w, &spec, None, Disentanglers::Procrustes { sweeps: 2 }).unwrap();
        for core in g.shape().cores.iter().filter(|c| matches!(c.kind, CoreKind::Disentangler { .. })) {
            let u = g.core(core);
            let n = u.len().isqrt();
            prop_assert_eq!(n * n, u.len());
            for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
                let product: f32 = (0..n).map(|k| u[a * n + k] * u[b * n + k]).sum();
                prop_assert!((product - f32::from(u8::from(a == b))).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn no_other_scale_is_better(
        layout in layouts(8, 3), chi in 1usize..5, sigma in common::activations(), last_linear in any::<bool>(), seed in any::<u64>(),
    ) {
        let (outputs, inputs) = (layout.outputs(), layout.inputs());
        let w = random_weight(outputs, inputs, seed);
        let mut spec = spec(layout, outputs, inputs, chi, sigma);
        if !last_linear {
            spec.activations = Activations::Uniform(sigma);
        }
        let g = hierarchical_svd(&w, &spec, None).unwrap();
        let error = relative_error(&w, &g.matrix());
        // A near-linear σ takes the scale of the linear start, which is its own best one but for the tolerance.
        let near_linear = matches!(sigma, Activation::Tanh | Activation::Softsign);
        let (slack, step) = if near_linear { (START_TOLERANCE * START_TOLERANCE, 0.1) } else { (1e-6, 0.01) };
        prop_assert!(error <= 1.0 + slack.max(1e-5));
        for factor in [1.0 - step, 1.0 + step] {
            let mut other = g.clone();
            other.set_scale(g.scale() * factor as f32);
            prop_assert!(error <= relative_error(&w, &other.matrix()) + slack);
        }
    }

    #[test]
    fn nonlinear_starts_are_near_the_linear_one(
        spec in common::specs(), chi in 1usize..6, softsign in any::<bool>(), last_linear in any::<bool>(),
        how in disentanglers(), seed in any::<u64>(),
    ) {
        let mut spec = linear(spec, chi);
        let w = random_weight(spec.outputs, spec.inputs, seed);
        let line = hierarchical_svd_with(&w, &spec, None, how).unwrap();
        let sigma = if softsign { Activation::Softsign } else { Activation::Tanh };
        spec.activations = if last_linear { Activations::LastLinear(sigma) } else { Activations::Uniform(sigma) };
        let g = hierarchical_svd_with(&w, &spec, None, how).unwrap();
        prop_assert!(relative_error(&line.matrix(), &g.matrix()) <= START_TOLERANCE);
    }
}

#[test]
fn truncation_keeps_most_of_a_smooth_weight() {
    let w = smooth_weight(96, 84);
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 96, 84, 8).unwrap();
    let error = |chi| {
        let spec = spec(layout.clone(), 96, 84, chi, Activation::Tanh);
        relative_error(&w, &hierarchical_svd(&w, &spec, None).unwrap().matrix())
    };
    let errors = [error(2), error(4), error(8), error(16)];
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
    assert!(errors[3] < 0.1, "{errors:?}");
}

#[test]
fn large_leg_pairs_are_projected_on_their_leading_subspace() {
    let (outputs, inputs) = (32, 1024);
    let w = smooth_weight(outputs, inputs);
    let layout = LegLayout::interleaved(&[32, 1], &[16, 64]).unwrap();
    let chi = 8;
    let g = hierarchical_svd(&w, &spec(layout, outputs, inputs, chi, Activation::Identity), None).unwrap();
    let exact = LegLayout::interleaved(&[32, 1], &[16, 64]).unwrap();
    let full = hierarchical_svd(&w, &spec(exact, outputs, inputs, 130, Activation::Identity), None).unwrap();
    let (fast, complete) = (relative_error(&w, &g.matrix()), relative_error(&w, &full.matrix()));
    assert!(complete < 1e-3 && fast < 0.2, "{complete} and {fast}");
}

/// A full Gram matrix over all inputs.
struct Full(Vec<f64>);

impl InputWeighting for Full {
    fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64> {
        let n: usize = legs.iter().product();
        let split = |input: usize| {
            let mut digits = vec![0; legs.len()];
            let mut rest = input;
            for (digit, dim) in digits.iter_mut().zip(legs).rev() {
                *digit = rest % dim;
                rest /= dim;
            }
            let own = places.iter().fold(0, |own, &p| own * legs[p] + digits[p]);
            let others: Vec<usize> = (0..legs.len()).filter(|p| !places.contains(p)).map(|p| digits[p]).collect();
            (own, others)
        };
        let d: usize = places.iter().map(|&p| legs[p]).product();
        let mut out = vec![0.0; d * d];
        for a in 0..n {
            for b in 0..n {
                let ((x, rest_a), (y, rest_b)) = (split(a), split(b));
                if rest_a == rest_b {
                    out[x * d + y] += self.0[a * n + b] * d as f64 / n as f64;
                }
            }
        }
        out
    }
}

fn diagonal(values: &[f64]) -> Full {
    let n = values.len();
    let mut gram = vec![0.0; n * n];
    values.iter().enumerate().for_each(|(k, &x)| gram[k * n + k] = x);
    Full(gram)
}

#[test]
fn an_identity_weighting_changes_nothing() {
    let w = random_weight(24, 16, 7);
    for kind in [LayoutKind::Interleaved, LayoutKind::Separated] {
        let layout = LegLayout::for_matrix(kind, 24, 16, 8).unwrap();
        let spec = spec(layout, 24, 16, 3, Activation::Tanh);
        let plain = hierarchical_svd(&w, &spec, None).unwrap().matrix();
        let weighted = hierarchical_svd(&w, &spec, Some(&diagonal(&[1.0; 16]))).unwrap().matrix();
        assert!(relative_error(&plain, &weighted) < 1e-4);
    }
}

#[test]
fn a_weighting_favours_the_inputs_that_occur() {
    let (outputs, inputs) = (24, 16);
    let w = random_weight(outputs, inputs, 9);
    // The slowest input leg is nearly always 0: columns 8… hardly matter.
    let variances: Vec<f64> = (0..inputs).map(|k| if k < 8 { 1.0 } else { 1e-4 }).collect();
    let output_error = |g: &Generator| {
        let m = g.matrix();
        let gaps = w.iter().zip(&m).enumerate();
        gaps.map(|(k, (&w, &g))| f64::from(w - g).powi(2) * variances[k % inputs]).sum::<f64>()
    };
    for kind in [LayoutKind::Interleaved, LayoutKind::Separated] {
        let layout = LegLayout::for_matrix(kind, outputs, inputs, 8).unwrap();
        let spec = spec(layout, outputs, inputs, 4, Activation::Identity);
        let plain = hierarchical_svd(&w, &spec, None).unwrap();
        let weighted = hierarchical_svd(&w, &spec, Some(&diagonal(&variances))).unwrap();
        assert!(output_error(&weighted) < 0.9 * output_error(&plain));
    }
}

#[test]
fn a_weighted_start_with_large_bonds_is_exact() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let factor: Vec<f64> = (0..256).map(|_| rng.random_range(-1.0..1.0)).collect();
    let gram = (0..256).map(|k| (0..16).map(|s| factor[k / 16 * 16 + s] * factor[k % 16 * 16 + s]).sum());
    let w = random_weight(24, 16, 11);
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 24, 16, 8).unwrap();
    assert_eq!(layout.side(Side::Input).len(), 4);
    let spec = spec(layout, 24, 16, 1000, Activation::Identity);
    let g = hierarchical_svd(&w, &spec, Some(&Full(gram.collect()))).unwrap();
    assert!(relative_error(&w, &g.matrix()) < 1e-4);
}

#[test]
fn bad_input_is_refused() {
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 6, 6, 4).unwrap();
    let good = spec(layout.clone(), 6, 6, 2, Activation::Tanh);
    let mut w = vec![1.0f32; 36];
    let start = |w: &[f32], spec: &GeneratorSpec| hierarchical_svd(w, spec, None).unwrap_err();
    assert_eq!(start(&w[1..], &good), Error::WeightLength { given: 35, outputs: 6, inputs: 6 });
    w[17] = f32::NAN;
    assert_eq!(start(&w, &good), Error::NonFinite { what: "weight", index: 17 });
    w[17] = f32::INFINITY;
    assert_eq!(start(&w, &good), Error::NonFinite { what: "weight", index: 17 });
    w[17] = 0.0;
    assert_eq!(start(&w, &spec(layout.clone(), 6, 6, 0, Activation::Tanh)), Error::ZeroBond);
    let wide = spec(layout.clone(), 6, 7, 2, Activation::Tanh);
    assert_eq!(start(&w, &wide), Error::LayoutTooSmall { side: "input", covered: 6, needed: 7 });
    let mut uneven = good.clone();
    uneven.bonds = Bonds::PerLevel(vec![2, 2]);
    assert_eq!(start(&w, &uneven), Error::BondCount { given: 2, needed: 1 });
    assert_eq!(start(&w, &spec(layout, 0, 6, 2, Activation::Tanh)), Error::EmptyWeight { outputs: 0, inputs: 6 });
    struct Short;
    impl InputWeighting for Short {
        fn marginal(&self, _: &[usize], _: &[usize]) -> Vec<f64> {
            vec![1.0]
        }
    }
    assert_eq!(hierarchical_svd(&w, &good, Some(&Short)).unwrap_err(), Error::WeightingShape { given: 1, dim: 2 });
    struct NotANumber;
    impl InputWeighting for NotANumber {
        fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64> {
            let d: usize = places.iter().map(|&p| legs[p]).product();
            vec![f64::NAN; d * d]
        }
    }
    let error = hierarchical_svd(&w, &good, Some(&NotANumber)).unwrap_err();
    assert_eq!(error, Error::NonFinite { what: "input weighting", index: 0 });
}

#[test]
fn a_zero_weight_gives_a_zero_generator() {
    let layout = LegLayout::for_matrix(LayoutKind::Separated, 6, 6, 4).unwrap();
    let g = hierarchical_svd(&[0.0; 36], &spec(layout, 6, 6, 2, Activation::Tanh), None).unwrap();
    assert!(g.matrix().iter().all(|&x| x == 0.0));
}
