//! The number of threads changes nothing, not even the last bit.

use adntn_networks::start::hierarchical_svd;
use adntn_networks::{Activation, Activations, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Workspace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn in_pool<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("consistent by construction").install(f)
}

fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn spec(outputs: usize, inputs: usize, legs: usize, chi: usize, kind: LayoutKind) -> GeneratorSpec {
    let layout = LegLayout::for_matrix(kind, outputs, inputs, legs).expect("consistent by construction");
    GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), Activation::Tanh)
}

/// Small cores, cores of which the gradient is summed in blocks, and cores multiplied by general matrix products.
fn cases() -> Vec<GeneratorSpec> {
    vec![
        spec(512, 400, 16, 8, LayoutKind::Interleaved),
        spec(300, 512, 8, 16, LayoutKind::Separated),
        spec(512, 512, 4, 64, LayoutKind::Interleaved),
    ]
}

#[test]
fn forward_and_adjoint_do_not_depend_on_threads() {
    for mut spec in cases() {
        for activations in [Activations::LastLinear(Activation::Tanh), Activations::Uniform(Activation::Tanh)] {
            spec.activations = activations;
            let g = Generator::<f32>::random(spec.clone(), &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
            let dw = values(g.shape().elements(), 2);
            let step = || {
                let mut ws = Workspace::new();
                let w = g.forward(&mut ws).to_vec();
                (w, g.adjoint(&mut ws, &dw).to_vec())
            };
            let one = in_pool(1, step);
            for threads in [2, 3, 7] {
                assert!(one == in_pool(threads, step), "{threads} threads");
            }
        }
    }
}

#[test]
fn the_start_does_not_depend_on_threads() {
    for spec in cases() {
        let w = values(spec.outputs * spec.inputs, 3);
        let start = || hierarchical_svd(&w, &spec, None).unwrap();
        assert!(in_pool(1, start).params() == in_pool(3, start).params());
    }
}

#[test]
fn nothing_is_allocated_after_the_first_step() {
    for spec in cases() {
        let g = Generator::<f32>::random(spec, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let dw = values(g.shape().elements(), 2);
        let mut ws = Workspace::new();
        g.forward(&mut ws);
        g.adjoint(&mut ws, &dw);
        let bytes = ws.bytes();
        for _ in 0..2 {
            g.forward(&mut ws);
            g.adjoint(&mut ws, &dw);
        }
        assert_eq!(ws.bytes(), bytes);
    }
}
