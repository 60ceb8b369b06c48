//! Trees, topologies and their parameter counts.

mod common;

use adntn_networks::{
    Activation, Activations, Arrangement, Bonds, CoreKind, Error, Generator, GeneratorSpec, LayoutKind, LegLayout,
    Shape, Topology, Tree,
};
use common::{specs, trees};
use proptest::prelude::*;

fn children(tree: &Tree) -> Vec<Vec<usize>> {
    (1..tree.levels()).map(|level| tree.children(level).map(|legs| legs.len()).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn balanced_trees_have_the_leaves_asked_for(legs in 4usize..200, arity in 2usize..6) {
        prop_assume!(legs >= 2 * arity);
        let tree = Tree::with_arity(legs, arity).unwrap();
        prop_assert_eq!(tree.leaves(), legs);
        prop_assert!((2..2 * arity).contains(&tree.legs(0)));
        for row in children(&tree) {
            prop_assert!(row.iter().all(|&n| (arity..2 * arity).contains(&n)), "{:?}", row);
        }
        prop_assert_eq!(Tree::custom(children(&tree)).unwrap(), tree);
    }

    #[test]
    fn disentanglers_sit_on_boundaries_and_share_no_leg(tree in (4usize..12).prop_flat_map(trees)) {
        for topology in Topology::ALL {
            for level in 1..tree.levels() {
                let found = topology.disentangled(&tree, level);
                let ends: Vec<usize> = tree.children(level).map(|legs| legs.end).collect();
                prop_assert!(found.iter().all(|leg| ends[..ends.len() - 1].contains(&(leg + 1))));
                prop_assert!(found.windows(2).all(|pair| pair[0] + 1 < pair[1]));
                let expected = match topology {
                    Topology::Ttn => false,
                    Topology::Attn => level + 1 == tree.levels(),
                    _ => tree.legs(level) >= 4,
                };
                prop_assert_eq!(!found.is_empty(), expected && tree.legs(level - 1) > 1);
            }
        }
    }

    #[test]
    fn cores_follow_each_other_and_count_as_parameters(spec in specs()) {
        let shape = Shape::new(&spec).unwrap();
        let mut end = 0;
        for core in &shape.cores {
            prop_assert_eq!(core.range.start, end);
            prop_assert_eq!(core.range.len(), core.p * core.q);
            end = core.range.end;
        }
        prop_assert_eq!(shape.core_parameters(), end);
        let scales = if spec.output_scale { spec.outputs } else { 0 };
        prop_assert_eq!(shape.parameters(), end + scales + 1);
        for level in 1..spec.tree.levels() {
            for core in shape.isometries(level) {
                let own = matches!(core.kind, CoreKind::Isometry { level: l, .. } if l == level);
                prop_assert!(own, "{}", core.kind);
            }
            for core in shape.disentanglers(level) {
                let own = matches!(core.kind, CoreKind::Disentangler { level: l, .. } if l == level);
                prop_assert!(own, "{}", core.kind);
            }
        }
    }
}

/// Σ over the cores of the published networks, with legs of dimension p and one χ below p² (see docs/generators.md).
#[test]
fn parameters_are_those_of_the_closed_forms() {
    let (p, chi) = (3, 5);
    for depth in 2..5u32 {
        let legs = 2usize.pow(depth);
        let leaves = legs / 2;
        let layout = LegLayout::interleaved(&vec![p; leaves], &vec![p; leaves]).unwrap();
        let n = p.pow(leaves as u32);
        let count = |topology| {
            let spec = GeneratorSpec::new(topology, n, n, layout.clone(), Bonds::Uniform(chi), Activation::Tanh);
            Shape::new(&spec).unwrap().core_parameters()
        };
        let ttn = chi * chi + (leaves - 2) * chi.pow(3) + leaves * chi * p * p;
        let attn = ttn + (leaves - 1) * p.pow(4);
        let mera = attn + (leaves - depth as usize) * chi.pow(4);
        assert_eq!([count(Topology::Ttn), count(Topology::Attn), count(Topology::Mera)], [ttn, attn, mera]);
    }
}

#[test]
fn odd_numbers_of_legs_make_triples() {
    let row = |legs| children(&Tree::balanced(legs).unwrap());
    assert_eq!(row(4), [vec![2, 2]]);
    assert_eq!(row(5), [vec![2, 3]]);
    assert_eq!(row(7), [vec![2, 2, 3]]);
    assert_eq!(row(8), [vec![2, 2], vec![2, 2, 2, 2]]);
    assert_eq!(row(24), [vec![2; 3], vec![2; 6], vec![2; 12]]);
    assert_eq!(children(&Tree::with_arity(11, 3).unwrap()), [vec![3, 4, 4]]);
    assert_eq!(Tree::balanced(24).unwrap().to_string(), "3-6-12-24");
}

#[test]
fn inconsistent_trees_are_refused() {
    let problem =
        |rows: &[&[usize]]| Tree::custom(rows.iter().map(|row| row.to_vec()).collect()).unwrap_err().to_string();
    assert!(problem(&[]).contains("no level below"));
    assert!(problem(&[&[2, 0]]).contains("leg 1 of level 0 has no children"));
    assert!(problem(&[&[1, 1]]).contains("every leg of level 0 passes through"));
    assert!(problem(&[&[2, 2], &[2, 2, 2]]).contains("level 1 has 3 legs, but those of level 0 have 4 children"));
    assert_eq!(Tree::balanced(3).unwrap_err(), Error::LegCount { legs: 3, needed: 4 });
    assert_eq!(Tree::with_arity(5, 3).unwrap_err(), Error::LegCount { legs: 5, needed: 6 });
    assert!(matches!(Tree::with_arity(5, 1).unwrap_err(), Error::Tree { .. }));
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 16, 16, 8).unwrap();
    let spec = GeneratorSpec::ttn(16, 16, layout, Bonds::Uniform(2), Activation::Tanh);
    let error = spec.clone().with_tree(Tree::balanced(6).unwrap()).unwrap_err();
    assert_eq!(error, Error::Leaves { leaves: 6, legs: 8 });
    let mut sigma = spec;
    sigma.activations = Activations::PerLevel(vec![Activation::Tanh; 2]);
    assert_eq!(Shape::new(&sigma).unwrap_err(), Error::ActivationCount { given: 2, needed: 3 });
    assert!("tree".parse::<Topology>().unwrap_err().to_string().contains("ttn, attn, mera"));
}

/// A tensor train is a tree whose first leg splits off one leaf a level.
#[test]
fn legs_may_pass_through() {
    let layout = LegLayout::interleaved(&[3, 3], &[3, 3]).unwrap();
    let tree = Tree::custom(vec![vec![2, 1], vec![2, 1, 1]]).unwrap();
    let spec = GeneratorSpec::ttn(9, 9, layout, Bonds::Uniform(4), Activation::Tanh).with_tree(tree).unwrap();
    let shape = Shape::new(&spec).unwrap();
    assert_eq!(shape.levels, [vec![4, 3], vec![4, 3, 3], vec![3, 3, 3, 3]]);
    assert_eq!(shape.cores.len(), 3);
    let generator = Generator::new(spec, vec![0.1f64; shape.parameters()]).unwrap();
    let expected = common::oracle(&generator);
    assert!(
        generator
            .forward(&mut adntn_networks::Workspace::new())
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-12)
    );
}
