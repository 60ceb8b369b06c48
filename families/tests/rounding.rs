//! Rounding and low rank on matrices with correlated inputs.

use adntn_families::{Digits, Quantised, SecondMoments, Site};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Debug)]
struct Moments {
    h: Vec<f32>,
    n: usize,
}

impl SecondMoments for Moments {
    fn apply(&self, e: &[f32], out: &mut [f32]) {
        for (row, out) in e.chunks_exact(self.n).zip(out.chunks_exact_mut(self.n)) {
            for (j, out) in out.iter_mut().enumerate() {
                *out = row.iter().enumerate().map(|(i, x)| x * self.h[i * self.n + j]).sum();
            }
        }
    }

    fn matrix(&self) -> Vec<f32> {
        self.h.clone()
    }
}

/// Moments of inputs that are sums of few sources, and a ridge.
fn moments(n: usize, rng: &mut ChaCha8Rng) -> Moments {
    let sources = n / 4 + 1;
    let mix: Vec<f32> = (0..n * sources).map(|_| rng.random_range(-1.0..1.0)).collect();
    let dot = |i: usize, j: usize| (0..sources).map(|s| mix[i * sources + s] * mix[j * sources + s]).sum::<f32>();
    let h = (0..n * n).map(|k| dot(k / n, k % n) + if k / n == k % n { 0.05 } else { 0.0 }).collect();
    Moments { h, n }
}

fn matrix(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// `tr(E·H·Eᵀ)` over the same of W.
fn error(site: &Site<'_>, made: &[f32]) -> f64 {
    let e: Vec<f32> = site.weight.iter().zip(made).map(|(w, m)| w - m).collect();
    let size = |a: &[f32]| {
        let mut b = a.to_vec();
        if let Some(m) = site.moments {
            m.apply(a, &mut b);
        }
        a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum::<f64>()
    };
    size(&e) / size(site.weight)
}

#[test]
fn rounding_that_sees_the_inputs_loses_less() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (o, i) = (40, 150);
    let (h, w) = (moments(i, &mut rng), matrix(o * i, &mut rng));
    let site = Site { weight: &w, outputs: o, inputs: i, is_transposed: false, moments: Some(&h) };
    let blind = Site { moments: None, ..site };
    for digits in [Digits::Four, Digits::Six, Digits::Sixteen] {
        for is_transposed in [false, true] {
            let (site, blind) = (Site { is_transposed, ..site }, Site { is_transposed, ..blind });
            let seen = error(&site, &site.prepare(0).digits(&site, digits).unwrap().matrix());
            let unseen = error(&site, &blind.prepare(0).digits(&blind, digits).unwrap().matrix());
            assert!(seen < 0.6 * unseen, "{digits}: {seen} and {unseen}");
        }
    }
}

#[test]
fn more_levels_and_higher_ranks_lose_less() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for (o, i) in [(30, 50), (50, 30), (31, 31)] {
        let (h, w) = (moments(i, &mut rng), matrix(o * i, &mut rng));
        for is_transposed in [false, true] {
            let site = Site { weight: &w, outputs: o, inputs: i, is_transposed, moments: Some(&h) };
            let prepared = site.prepare(20);
            let of = |digits| error(&site, &prepared.digits(&site, digits).unwrap().matrix());
            let errors: Vec<f64> = Digits::ALL.into_iter().map(of).collect();
            assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
            assert!(errors[4] < 1e-4, "{errors:?}");
            let of = |rank| {
                let (made, told) = prepared.low_rank(&site, rank, Digits::Bytes).unwrap();
                let measured = error(&site, &made.matrix());
                assert!((told - measured.sqrt()).abs() < 2e-3, "{told} and {}", measured.sqrt());
                measured
            };
            let errors: Vec<f64> = [1, 5, 10, 20].into_iter().map(of).collect();
            assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
            assert!(prepared.low_rank(&site, 21, Digits::Bytes).is_none());
        }
    }
}

#[test]
fn a_matrix_of_low_rank_comes_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // The last two shapes go through the inputs and through subspace iteration.
    for (o, i) in [(40, 60), (1100, 20), (1030, 1040)] {
        let (u, v) = (matrix(o * 3, &mut rng), matrix(3 * i, &mut rng));
        let entry = |k: usize| (0..3).map(|r| u[k / i * 3 + r] * v[r * i + k % i]).sum::<f32>();
        let w: Vec<f32> = (0..o * i).map(entry).collect();
        let site = Site { weight: &w, outputs: o, inputs: i, is_transposed: false, moments: None };
        let (made, _) = site.prepare(3).low_rank(&site, 3, Digits::Bytes).unwrap();
        assert_eq!((made.rank(), made.parameter_count()), (3, 3 * (o + i)));
        let lost = error(&site, &made.matrix());
        assert!(lost < 1e-4, "{o}×{i}: {lost}");
    }
}

#[test]
fn scales_beyond_float16_are_refused_and_zeros_kept() {
    fn site(weight: &[f32]) -> Site<'_> {
        Site { weight, outputs: 2, inputs: 30, is_transposed: false, moments: None }
    }
    for size in [1e9, 1e-9] {
        let w = vec![size; 60];
        let site = site(&w);
        assert!(site.prepare(1).digits(&site, Digits::Sixteen).is_none());
        assert!(site.prepare(1).low_rank(&site, 1, Digits::Sixteen).is_none() || size < 1.0);
    }
    let mut w = vec![0.0; 60];
    w[3] = 1.0;
    let site = site(&w);
    let made = site.prepare(0).digits(&site, Digits::Bytes).unwrap().matrix();
    assert!(made.iter().enumerate().all(|(k, &x)| x == 0.0 || k == 3));
    let none = vec![0.0; 60];
    let site = Site { weight: &none, ..site };
    for digits in Digits::ALL {
        assert!(site.prepare(0).digits(&site, digits).unwrap().matrix().iter().all(|&x| x == 0.0));
    }
}

proptest! {
    /// What is packed unpacks, by the arithmetic of the emitted nodes, to the values that were measured.
    #[test]
    fn bytes_hold_the_digits(values in prop::collection::vec(-2.0_f32..2.0, 1..200), kind in 0_usize..5, is_transposed: bool) {
        let digits = Digits::ALL[kind];
        let site = Site { weight: &values, outputs: 1, inputs: values.len(), is_transposed, moments: None };
        let made = site.prepare(0).digits(&site, digits).unwrap();
        let (packed, base) = (made.packed(), digits.levels());
        prop_assert_eq!(made.bytes(), (packed.len() + 2 * made.scales().len()) as u64);
        prop_assert_eq!(packed.len() * digits.per_byte(), digits.padded(values.len()));
        for (place, value) in made.stored_values().into_iter().enumerate() {
            let byte = usize::from(packed[place / digits.per_byte()]);
            let digit = byte / base.pow((place % digits.per_byte()) as u32) % base;
            prop_assert_eq!((digit as f32 - digits.zero()) * made.scales()[place / digits.block()].to_f32(), value);
        }
    }
}

#[test]
fn packed_digits_give_the_same_matrix_and_others_none() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let weight = matrix(7 * 31, &mut rng);
    for is_transposed in [false, true] {
        let site = Site { weight: &weight, outputs: 7, inputs: 31, is_transposed, moments: None };
        for digits in Digits::ALL {
            let made = site.prepare(0).digits(&site, digits).unwrap();
            let again = |packed: &[u8], scales: &[_]| {
                Quantised::unpacked(digits, made.stored_shape(), made.is_transposed(), packed, scales.to_vec())
            };
            let packed = made.packed();
            assert_eq!(again(&packed, made.scales()).as_ref(), Some(&made));
            assert_eq!(again(&packed[1..], made.scales()), None);
            assert_eq!(again(&packed, &made.scales()[1..]), None);
        }
    }
    let shape = [1, 48];
    let too_large = Quantised::unpacked(Digits::Six, shape, false, &[216; 16], vec![half::f16::ONE]);
    assert_eq!(too_large, None);
}
