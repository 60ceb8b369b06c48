//! Fits recover what they can represent, improve on their start, and do not depend on the number of threads.
#![allow(clippy::unwrap_used, clippy::panic)]

use adntn_fit::gram::GramBuilder;
use adntn_fit::layerwise::{Effort, Target, weight_error};
use adntn_networks::{Activation, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout};
use rand::{RngExt as _, SeedableRng as _};

const O: usize = 24;
const I: usize = 36;

fn rng(seed: u64) -> rand_chacha::ChaCha8Rng {
    rand_chacha::ChaCha8Rng::seed_from_u64(seed)
}

fn spec(kind: LayoutKind, bond: usize, activation: Activation) -> GeneratorSpec {
    let layout = LegLayout::for_matrix(kind, O, I, 8).unwrap();
    GeneratorSpec::ttn(O, I, layout, Bonds::Uniform(bond), activation)
}

fn random_matrix(rows: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut rng = rng(seed);
    (0..rows * columns).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// Rows in which a few directions dominate.
fn activations(rows: usize) -> Vec<f32> {
    let mix = random_matrix(4, I, 11);
    let coefficients = random_matrix(rows, 4, 12);
    let noise = random_matrix(rows, I, 13);
    (0..rows * I)
        .map(|k| {
            let (r, i) = (k / I, k % I);
            (0..4).map(|c| coefficients[r * 4 + c] * mix[c * I + i]).sum::<f32>() + 0.05 * noise[k]
        })
        .collect()
}

fn quick() -> Effort {
    Effort { multiply_adds: u64::MAX, steps: (150, 150), rate: 0.03 }
}

#[test]
fn a_weight_that_is_a_generator_is_recovered() {
    for kind in LayoutKind::ALL {
        let truth: Generator = Generator::random(spec(*kind, 3, Activation::Identity), &mut rng(1)).unwrap();
        let weight = truth.matrix();
        let target = Target { weight: &weight, outputs: O, inputs: I, gram: None };
        let (start, error) = target.start(truth.spec()).unwrap();
        assert!(error < 1e-4, "{kind}: {error}");
        assert!(weight_error(&weight, &start.matrix()) < 1e-4);
    }
}

#[test]
fn fits_improve_on_the_start_with_and_without_statistics() {
    let weight = random_matrix(O, I, 5);
    let mut builder = GramBuilder::new(I);
    builder.add(&activations(60));
    let gram = builder.finish(true, 0.02).unwrap();
    for kind in LayoutKind::ALL {
        for activation in [Activation::Identity, Activation::Tanh, Activation::Softsign] {
            for gram in [None, Some(&gram)] {
                let target = Target { weight: &weight, outputs: O, inputs: I, gram };
                let (start, error) = target.start(&spec(*kind, 4, activation)).unwrap();
                let fitted = target.fit(start, &quick(), |_, _, _| {}).unwrap();
                assert!((fitted.start_error - error).abs() < 1e-9);
                assert!(
                    fitted.error < 0.99 * error,
                    "{kind} {activation} {}: {error} → {}",
                    gram.is_some(),
                    fitted.error
                );
            }
        }
    }
}

#[test]
fn statistics_make_the_start_better_where_it_counts() {
    let weight = random_matrix(O, I, 6);
    let mut builder = GramBuilder::new(I);
    builder.add(&activations(200));
    let gram = builder.finish(false, 0.02).unwrap();
    let spec = spec(LayoutKind::Separated, 4, Activation::Identity);
    let weighted = Target { weight: &weight, outputs: O, inputs: I, gram: Some(&gram) };
    let plain = Target { gram: None, ..weighted };
    let (_, with) = weighted.start(&spec).unwrap();
    let (ignorant, _) = plain.start(&spec).unwrap();
    let without = weighted.fit(ignorant, &Effort { steps: (0, 0), ..quick() }, |_, _, _| {}).unwrap().start_error;
    assert!(with < 0.97 * without, "{with} against {without}");
}

#[test]
fn the_reported_error_is_that_of_the_layer_output() {
    let weight = random_matrix(O, I, 7);
    let rows = activations(500);
    let mut builder = GramBuilder::new(I);
    builder.add(&rows);
    let gram = builder.finish(false, 0.0).unwrap();
    let target = Target { weight: &weight, outputs: O, inputs: I, gram: Some(&gram) };
    let (generator, error) = target.start(&spec(LayoutKind::Interleaved, 4, Activation::Tanh)).unwrap();
    let generated = generator.matrix();
    let (mut wrong, mut power) = (0.0f64, 0.0f64);
    for row in rows.chunks(I) {
        for o in 0..O {
            let dot = |m: &[f32]| -> f64 { row.iter().zip(&m[o * I..]).map(|(x, w)| f64::from(x * w)).sum() };
            let (w, g) = (dot(&weight), dot(&generated));
            wrong += (w - g).powi(2);
            power += w * w;
        }
    }
    assert!(((wrong / power).sqrt() - error).abs() < 1e-3, "{} {error}", (wrong / power).sqrt());
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (o, i) = (96, 80);
            let weight = random_matrix(o, i, 8);
            let mut builder = GramBuilder::new(i);
            builder.add(&random_matrix(300, i, 9));
            let gram = builder.finish(true, 0.02).unwrap();
            let target = Target { weight: &weight, outputs: o, inputs: i, gram: Some(&gram) };
            let layout = LegLayout::for_matrix(LayoutKind::Interleaved, o, i, 8).unwrap();
            let spec = GeneratorSpec::ttn(o, i, layout, Bonds::Uniform(8), Activation::Tanh);
            let (start, _) = target.start(&spec).unwrap();
            target.fit(start, &Effort { steps: (20, 20), ..quick() }, |_, _, _| {}).unwrap().generator.params().to_vec()
        })
    };
    let one = fit(1);
    assert_eq!(one, fit(2));
    assert_eq!(one, fit(4));
}
