//! Weights in digits and low ranks in digits under training.
#![allow(clippy::unwrap_used, clippy::panic)]

use adntn_families::{Digits, LowRank, Site};
use adntn_fit::distill::{Part, Student};
use adntn_graph::Array;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const OUTPUTS: usize = 7;
const INPUTS: usize = 11;
const RANK: usize = 3;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn site(weight: &[f32], is_transposed: bool) -> Site<'_> {
    Site { weight, outputs: OUTPUTS, inputs: INPUTS, is_transposed, moments: None }
}

/// The weight as the model stores it.
fn stored(weight: &[f32], is_transposed: bool) -> Vec<f32> {
    let place = |k: usize| if is_transposed { k % OUTPUTS * INPUTS + k / OUTPUTS } else { k };
    (0..weight.len()).map(|k| weight[place(k)]).collect()
}

fn low_rank(is_transposed: bool) -> LowRank {
    let weight = numbers(OUTPUTS * INPUTS, 1);
    let site = site(&weight, is_transposed);
    site.prepare(RANK).low_rank(&site, RANK, Digits::Bytes).unwrap().0
}

#[test]
fn leaves_are_the_weights_as_they_are_written() {
    for transposed in [false, true] {
        let dims = if transposed { vec![INPUTS, OUTPUTS] } else { vec![OUTPUTS, INPUTS] };
        let weight = numbers(OUTPUTS * INPUTS, 2);
        let site = site(&weight, transposed);
        let digits = site.prepare(0).digits(&site, Digits::Sixteen).unwrap();
        let factors = low_rank(transposed);
        let parts = vec![
            Part::Digits { weight: Box::new(digits.clone()), dims: dims.clone() },
            Part::LowRank { factors: Box::new(factors.clone()), dims, transposed },
        ];
        let mut student = Student::new(parts);
        assert_eq!(student.params().len(), digits.len() + factors.parameter_count());
        let leaves = student.leaves().unwrap();
        assert_eq!(leaves[0].values, stored(&digits.matrix(), transposed));
        let expected = stored(&factors.matrix(), transposed);
        assert!(leaves[1].values.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));

        // Steps too small to reach another digit change nothing, larger ones do; what comes out is what the network saw.
        let tiny: Vec<f32> = student.params().iter().map(|p| p * (1.0 + 1e-6)).collect();
        student.params_mut().copy_from_slice(&tiny);
        assert_eq!(student.leaves().unwrap()[0].values, leaves[0].values);
        let moved: Vec<f32> = student.params().iter().zip(numbers(tiny.len(), 3)).map(|(p, x)| p + 0.5 * x).collect();
        student.params_mut().copy_from_slice(&moved);
        let seen = student.leaves().unwrap();
        assert_ne!(seen[0].values, leaves[0].values);
        match &student.parts(&moved)[..] {
            [Part::Digits { weight, .. }, Part::LowRank { factors, .. }] => {
                assert_eq!(seen[0].values, stored(&weight.matrix(), transposed));
                let made = stored(&factors.matrix(), transposed);
                assert!(seen[1].values.iter().zip(&made).all(|(a, b)| (a - b).abs() < 1e-5));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn cores_in_bytes_are_seen_as_they_are_written() {
    let layout = adntn_networks::LegLayout::interleaved(&[8, 8], &[8, 8]).unwrap();
    let bonds = adntn_networks::Bonds::Uniform(24);
    let spec = adntn_networks::GeneratorSpec::ttn(64, 64, layout, bonds, adntn_networks::Activation::Tanh);
    let generator = adntn_networks::Generator::random(spec, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    let exact = generator.matrix();
    let part = Part::Generator { generator: Box::new(generator), dims: vec![64, 64], transposed: false };
    let mut student = Student::new(vec![part]).with_rounded_cores();
    let seen = student.leaves().unwrap()[0].values.clone();
    let params = student.params().to_vec();
    let [Part::Generator { generator, .. }] = &student.parts(&params)[..] else { panic!("no generator") };
    let cores = generator.shape().cores.iter().map(|core| &generator.params()[core.range.clone()]);
    assert!(cores.filter(|c| c.len() >= 256).all(|core| adntn_families::scale_of_bytes(core).is_some()));
    // The overall scale goes into a core before that is rounded, so the last digit may differ.
    let near = |a: &[f32], b: &[f32], most: f32| a.iter().zip(b).all(|(x, y)| (x - y).abs() <= most);
    let largest = exact.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    assert!(near(&seen, &generator.matrix(), 0.01 * largest));
    assert!(near(&seen, &exact, 0.1 * largest) && seen != exact);
}

#[test]
fn gradients_go_straight_through_the_rounding() {
    for transposed in [false, true] {
        let factors = low_rank(transposed);
        let dims = if transposed { vec![INPUTS, OUTPUTS] } else { vec![OUTPUTS, INPUTS] };
        let mut student =
            Student::new(vec![Part::LowRank { factors: Box::new(factors.clone()), dims: dims.clone(), transposed }]);
        student.leaves().unwrap();
        let slope = numbers(OUTPUTS * INPUTS, 4);
        let mut gradient = vec![0.0; student.params().len()];
        student.pull_back(&[Some(Array { shape: dims, values: slope.clone() })], &mut gradient);
        // Σ slope · left · right is linear in each factor.
        let (left, right) =
            if transposed { (&factors.inner, &factors.outer) } else { (&factors.outer, &factors.inner) };
        let ([m, k], [_, n]) = (left.stored_shape(), right.stored_shape());
        let objective = |params: &[f64]| -> f64 {
            let (l, r) = params.split_at(m * k);
            let entry = |i: usize, j: usize| (0..k).map(|x| l[i * k + x] * r[x * n + j]).sum::<f64>();
            (0..m * n).map(|at| f64::from(slope[at]) * entry(at / n, at % n)).sum()
        };
        let params: Vec<f64> = student.params().iter().map(|&p| f64::from(p)).collect();
        for at in 0..params.len() {
            let moved = |by: f64| {
                let mut moved = params.clone();
                moved[at] += by;
                objective(&moved)
            };
            let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((f64::from(gradient[at]) - expected).abs() < 1e-4, "{at}: {} and {expected}", gradient[at]);
        }
    }
}
