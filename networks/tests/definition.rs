//! Double precision against the definition where the general matrix products take part, and bad parameters.

mod common;

use adntn_networks::{Activation, Bonds, Error, Generator, GeneratorSpec, LegLayout, Workspace};
use common::{dot, norm, oracle, random_values};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Legs and χ for which cores have more elements than a chunk's kernels take, in every place of the tensor.
fn large_cores() -> Vec<Generator<f64>> {
    let cases: [(&[usize], &[usize], usize); 4] =
        [(&[24, 3], &[24, 2], 40), (&[3, 24], &[2, 24], 40), (&[17, 16], &[2, 30], 500), (&[130, 2], &[140, 1], 4)];
    let generators = cases.map(|(o, i, chi)| {
        let layout = LegLayout::interleaved(o, i).expect("consistent by construction");
        let (outputs, inputs) = (layout.outputs(), layout.inputs());
        let spec = GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), Activation::Tanh);
        Generator::random(spec, &mut ChaCha8Rng::seed_from_u64(4)).expect("consistent by construction")
    });
    generators.into()
}

#[test]
fn large_cores_follow_the_definition() {
    for g in large_cores() {
        let expected = oracle(&g);
        let mut ws = Workspace::new();
        let gap: Vec<f64> = g.forward(&mut ws).iter().zip(&expected).map(|(a, b)| a - b).collect();
        assert!(norm(&gap) <= 1e-12 * norm(&expected), "{:?}", g.shape().levels);
    }
}

#[test]
fn large_cores_have_the_right_gradient() {
    for (seed, g) in large_cores().into_iter().enumerate() {
        let u = random_values(g.shape().elements(), seed as u64);
        let v = random_values(g.parameter_count(), 77);
        let at = |step: f64| {
            let mut g = g.clone();
            g.params_mut().iter_mut().zip(&v).for_each(|(x, v)| *x += step * v);
            dot(g.forward(&mut Workspace::new()), &u)
        };
        let step = 1e-5;
        let expected = (at(step) - at(-step)) / (2.0 * step);
        let mut ws = Workspace::new();
        g.forward(&mut ws);
        let gradient = g.adjoint(&mut ws, &u).to_vec();
        let found = dot(&gradient, &v);
        assert!((found - expected).abs() <= 1e-6 * norm(&gradient) * norm(&v), "{found} against {expected}");
    }
}

#[test]
fn per_level_bonds_and_precision_are_kept() {
    let layout = LegLayout::interleaved(&[2, 2, 2, 2], &[2, 2, 2, 2]).unwrap();
    let spec = GeneratorSpec::ttn(16, 16, layout, Bonds::PerLevel(vec![3, 100]), Activation::Softsign);
    let g = Generator::<f64>::random(spec, &mut ChaCha8Rng::seed_from_u64(4)).unwrap();
    assert_eq!(g.shape().levels, [vec![3; 2], vec![4; 4], vec![2; 8]]);
    assert_eq!(g.parameter_count(), 9 + 2 * 3 * 16 + 4 * 4 * 4 + 1);
    assert!(g.shape().is_clamped());
    let single = g.cast::<f32>();
    let gap: Vec<f64> = single.matrix().iter().zip(g.matrix()).map(|(&a, b)| f64::from(a) - b).collect();
    assert!(norm(&gap) <= 1e-5 * norm(&g.matrix()));
}

#[test]
fn bad_parameters_are_refused() {
    let layout = LegLayout::interleaved(&[2, 2], &[2, 2]).unwrap();
    let spec = GeneratorSpec::ttn(4, 4, layout, Bonds::Uniform(2), Activation::Tanh);
    let count = 4 + 2 * 2 * 4 + 1;
    let new = |params: Vec<f32>| Generator::new(spec.clone(), params).unwrap_err();
    assert_eq!(new(vec![0.0; count - 1]), Error::ParameterCount { given: count - 1, needed: count });
    let mut params = vec![0.0; count];
    params[5] = f32::NEG_INFINITY;
    assert_eq!(new(params), Error::NonFinite { what: "parameters", index: 5 });
    assert!("cosh".parse::<Activation>().unwrap_err().to_string().contains("tanh"));
}
