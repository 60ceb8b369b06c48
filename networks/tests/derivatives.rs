//! Forward against the definition, adjoint against finite differences, and both against each other.

mod common;

use adntn_networks::{Activation, Generator, Workspace};
use common::{dot, generators, norm, oracle, random_values};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn forward(g: &Generator<f64>) -> Vec<f64> {
    g.forward(&mut Workspace::new()).to_vec()
}

fn adjoint(g: &Generator<f64>, dw: &[f64]) -> Vec<f64> {
    let mut ws = Workspace::new();
    g.forward(&mut ws);
    g.adjoint(&mut ws, dw).to_vec()
}

fn moved(g: &Generator<f64>, direction: &[f64], step: f64) -> Generator<f64> {
    let mut g = g.clone();
    g.params_mut().iter_mut().zip(direction).for_each(|(x, d)| *x += step * d);
    g
}

/// Central difference of W along a direction in parameter space.
fn difference(g: &Generator<f64>, direction: &[f64], step: f64) -> Vec<f64> {
    let (up, down) = (forward(&moved(g, direction, step)), forward(&moved(g, direction, -step)));
    up.iter().zip(&down).map(|(up, down)| (up - down) / (2.0 * step)).collect()
}

/// Whether no element crosses a kink of σ within the step, so that the difference is a derivative.
fn smooth(g: &Generator<f64>, direction: &[f64], step: f64) -> bool {
    let (near, far) = (difference(g, direction, step), difference(g, direction, step / 8.0));
    let gap: Vec<f64> = near.iter().zip(&far).map(|(a, b)| a - b).collect();
    norm(&gap) <= 1e-6 * norm(&near)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn forward_is_the_definition(g in generators()) {
        let (w, expected) = (forward(&g), oracle(&g));
        let gap: Vec<f64> = w.iter().zip(&expected).map(|(a, b)| a - b).collect();
        prop_assert!(norm(&gap) <= 1e-12 * norm(&expected));
    }

    #[test]
    fn jacobian_and_adjoint_are_transposes(g in generators(), seed in any::<u64>()) {
        let v = random_values(g.parameter_count(), seed);
        let u = random_values(g.shape().elements(), seed ^ 1);
        prop_assume!(smooth(&g, &v, 1e-5));
        let (jv, jtu) = (difference(&g, &v, 1e-5), adjoint(&g, &u));
        let (left, right) = (dot(&jv, &u), dot(&v, &jtu));
        prop_assert!((left - right).abs() <= 1e-6 * norm(&jv) * norm(&u), "{left} against {right}");
    }

    #[test]
    fn each_parameter_has_its_own_derivative(g in generators(), seed in any::<u64>()) {
        let u = random_values(g.shape().elements(), seed);
        let gradient = adjoint(&g, &u);
        for k in (0..g.parameter_count()).step_by(1 + g.parameter_count() / 24) {
            let mut v = vec![0.0; g.parameter_count()];
            v[k] = 1.0;
            if smooth(&g, &v, 1e-5) {
                let expected = dot(&difference(&g, &v, 1e-5), &u);
                prop_assert!((gradient[k] - expected).abs() <= 1e-6 * norm(&gradient), "parameter {k}");
            }
        }
    }
}

#[test]
fn a_second_adjoint_gives_the_same_gradient() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let g = generators().new_tree(&mut runner).expect("a generator").current();
    let u = random_values(g.shape().elements(), 3);
    let mut ws = Workspace::new();
    g.forward(&mut ws);
    let first = g.adjoint(&mut ws, &u).to_vec();
    assert_eq!(first, g.adjoint(&mut ws, &u));
}

#[test]
fn the_scale_has_a_gradient_even_at_zero() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for g in std::iter::repeat_with(|| generators().new_tree(&mut runner).expect("a generator").current()).take(8) {
        let mut unit = g.clone();
        unit.set_scale(1.0);
        let mut zero = g;
        zero.set_scale(0.0);
        let w = forward(&unit);
        let gradient = adjoint(&zero, &w);
        let expected = dot(&w, &w);
        assert!((gradient[gradient.len() - 1] - expected).abs() <= 1e-12 * expected);
    }
}

#[test]
fn tanh_in_single_precision_is_accurate_and_odd() {
    let points = (-400..=150).map(|k| 2f32.powf(k as f32 / 10.0)).chain((1..20_000).map(|k| k as f32 * 5e-4));
    for x in points {
        let (y, exact) = (Activation::Tanh.value(x), f64::from(x).tanh());
        assert!((f64::from(y) - exact).abs() <= 1e-6 * exact, "tanh {x} came out as {y}");
        assert_eq!(Activation::Tanh.value(-x), -y);
        assert!(y <= 1.0);
    }
    assert_eq!(Activation::Tanh.value(f32::INFINITY), 1.0);
    assert!(Activation::Tanh.value(f32::NAN).is_nan());
}
