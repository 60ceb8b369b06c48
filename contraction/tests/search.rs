//! The searches against brute force over every tree and every permutation.

use adntn_contraction::{
    ContractionTree, Cost, CostModel, Error, Expansion, Method, Network, Operand, contraction_tree, expansion_order,
};
use proptest::prelude::*;

/// Legs as (name, dim) of every tensor; a name occurs once (open) or twice (bond).
type Legs = Vec<Vec<(usize, usize)>>;

fn network(tensors: &Legs) -> Network {
    let mut network = Network::new();
    for (n, legs) in tensors.iter().enumerate() {
        let names: Vec<(String, usize)> = legs.iter().map(|&(name, dim)| (format!("leg{name}"), dim)).collect();
        let borrowed: Vec<(&str, usize)> = names.iter().map(|(name, dim)| (name.as_str(), *dim)).collect();
        assert_eq!(network.add_tensor(&format!("t{n}"), &borrowed), Ok(n));
    }
    network
}

fn size(legs: &[(usize, usize)]) -> f64 {
    legs.iter().map(|&(_, dim)| dim as f64).product()
}

fn contract(a: &[(usize, usize)], b: &[(usize, usize)]) -> (Vec<(usize, usize)>, Cost) {
    let union: Vec<_> = a.iter().chain(b.iter().filter(|leg| !a.contains(leg))).copied().collect();
    let result: Vec<_> = union.iter().filter(|leg| a.contains(leg) != b.contains(leg)).copied().collect();
    let cost = Cost { multiply_adds: size(&union), elements: size(a) + size(b) + size(&result), nodes: 1.0 };
    (result, cost)
}

/// Seconds of the cheapest of all trees: every pair first, then the rest.
fn brute_force(tensors: &Legs, model: &CostModel) -> f64 {
    let mut best = if tensors.len() < 2 { 0.0 } else { f64::INFINITY };
    for j in 0..tensors.len() {
        for i in 0..j {
            let (result, cost) = contract(&tensors[i], &tensors[j]);
            let mut rest: Legs = (0..tensors.len()).filter(|&k| k != i && k != j).map(|k| tensors[k].clone()).collect();
            rest.push(result);
            best = best.min(model.seconds(&cost) + brute_force(&rest, model));
        }
    }
    best
}

/// Replays a tree and returns its seconds; every tensor must be used exactly once.
fn replay(tree: &ContractionTree, tensors: &Legs, model: &CostModel) -> f64 {
    let mut given: Vec<Option<Vec<(usize, usize)>>> = tensors.iter().cloned().map(Some).collect();
    let mut made: Vec<Option<Vec<(usize, usize)>>> = Vec::new();
    let mut seconds = 0.0;
    for step in &tree.steps {
        let mut take = |operand| match operand {
            Operand::Tensor(n) => given[n].take().expect("each tensor is used once"),
            Operand::Step(n) => made[n].take().expect("each result is used once"),
        };
        let (result, cost) = contract(&take(step.left), &take(step.right));
        assert!((step.elements - size(&result)).abs() <= 1e-9 * step.elements);
        seconds += model.seconds(&cost);
        made.push(Some(result));
    }
    assert!(given.iter().all(Option::is_none) || tensors.len() == 1);
    seconds
}

fn random_network(tensors: std::ops::Range<usize>) -> impl Strategy<Value = Legs> {
    tensors.prop_flat_map(|n| {
        let bonds = prop::collection::vec((0..n, 0..n, 1usize..9), 0..2 * n);
        let open = prop::collection::vec((0..n, 1usize..9), 0..n);
        (bonds, open).prop_map(move |(bonds, open)| {
            let mut tensors = vec![Vec::new(); n];
            for (name, &(a, b, dim)) in bonds.iter().enumerate().filter(|(_, (a, b, _))| a != b) {
                tensors[a].push((name, dim));
                tensors[b].push((name, dim));
            }
            for (k, &(a, dim)) in open.iter().enumerate() {
                tensors[a].push((bonds.len() + k, dim));
            }
            tensors
        })
    })
}

fn models() -> [CostModel; 3] {
    let traffic = CostModel { flops_per_second: f64::INFINITY, seconds_per_node: 0.0, ..CostModel::default() };
    [CostModel::default(), CostModel::MULTIPLY_ADDS, traffic]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_tree_beats_the_exact_one(tensors in random_network(1..6)) {
        for model in models() {
            let tree = contraction_tree(&network(&tensors), &model);
            prop_assert!(tree.is_optimal());
            let (replayed, best) = (replay(&tree, &tensors, &model), brute_force(&tensors, &model));
            prop_assert!((replayed - best).abs() <= 1e-9 * best, "{replayed} against {best}");
            prop_assert!((tree.seconds - replayed).abs() <= 1e-9 * replayed);
        }
    }

    #[test]
    fn greedy_trees_are_complete_and_truthful(tensors in random_network(17..24)) {
        let model = CostModel::default();
        let tree = contraction_tree(&network(&tensors), &model);
        prop_assert_eq!(tree.method, Method::Greedy);
        let replayed = replay(&tree, &tensors, &model);
        prop_assert!((tree.seconds - replayed).abs() <= 1e-9 * replayed);
        prop_assert_eq!(tree.steps.len(), tensors.len() - 1);
    }

    #[test]
    fn no_permutation_beats_the_expansion_order(legs in prop::collection::vec((1usize..9, 1usize..40), 0..6)) {
        let legs: Vec<Expansion> = legs.iter().map(|&(parent, children)| Expansion { parent, children }).collect();
        for model in models() {
            let found = expansion_order(&legs, &model);
            let mut best = f64::INFINITY;
            permutations(&mut (0..legs.len()).collect(), 0, &mut |order| {
                let mut size: f64 = legs.iter().map(|leg| leg.parent as f64).product();
                let mut seconds = 0.0;
                for &k in order {
                    let Expansion { parent, children } = legs[k];
                    let result = size / parent as f64 * children as f64;
                    let elements = size + (parent * children) as f64 + result;
                    seconds += model.seconds(&Cost { multiply_adds: size * children as f64, elements, nodes: 1.0 });
                    size = result;
                }
                best = best.min(seconds);
            });
            prop_assert!(found.seconds <= best * (1.0 + 1e-9));
            let mut seen = found.order.clone();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..legs.len()));
        }
    }
}

fn permutations(order: &mut Vec<usize>, fixed: usize, visit: &mut impl FnMut(&[usize])) {
    if fixed == order.len() {
        visit(order);
    }
    for k in fixed..order.len() {
        order.swap(fixed, k);
        permutations(order, fixed + 1, visit);
        order.swap(fixed, k);
    }
}

#[test]
fn matrix_chain_is_contracted_in_the_textbook_order() {
    // Cormen et al., Introduction to Algorithms, matrix-chain multiplication: 15125 multiplications.
    let dims = [30, 35, 15, 5, 10, 20, 25];
    let tensors: Legs = (0..6).map(|k| vec![(k, dims[k]), (k + 1, dims[k + 1])]).collect();
    let tree = contraction_tree(&network(&tensors), &CostModel::MULTIPLY_ADDS);
    assert!((tree.total.multiply_adds - 15125.0).abs() < 1e-6);
    assert!((tree.seconds - 15125.0).abs() < 1e-6);
}

#[test]
fn an_outer_product_is_taken_where_it_is_cheaper() {
    let tensors: Legs = vec![vec![(0, 2)], vec![(1, 2)], vec![(0, 2), (1, 2), (2, 100)]];
    let tree = contraction_tree(&network(&tensors), &CostModel::MULTIPLY_ADDS);
    assert!((tree.total.multiply_adds - 404.0).abs() < 1e-9);
}

#[test]
fn sixteen_tensors_are_still_exact() {
    let tensors: Legs = (0..16).map(|k| vec![(k, 2 + k % 5), (k + 1, 2 + (k + 1) % 5)]).collect();
    assert!(contraction_tree(&network(&tensors), &CostModel::default()).is_optimal());
}

#[test]
fn inconsistent_tensors_are_refused() {
    let mut network = Network::new();
    network.add_tensor("a", &[("i", 2), ("j", 3)]).unwrap();
    network.add_tensor("b", &[("j", 3)]).unwrap();
    let legs = |name: &str| (String::from("c"), String::from(name));
    let (tensor, leg) = legs("i");
    assert_eq!(
        network.add_tensor("c", &[("i", 5)]),
        Err(Error::DimensionMismatch { tensor, leg, first: 2, second: 5 })
    );
    let (tensor, leg) = legs("j");
    assert_eq!(network.add_tensor("c", &[("j", 3)]), Err(Error::BondTaken { tensor, leg }));
    let (tensor, leg) = legs("k");
    assert_eq!(network.add_tensor("c", &[("k", 0)]), Err(Error::EmptyLeg { tensor, leg }));
    let (tensor, leg) = legs("k");
    assert_eq!(network.add_tensor("c", &[("k", 2), ("k", 2)]), Err(Error::RepeatedLeg { tensor, leg }));
    assert_eq!(network.tensors().len(), 2);
    assert_eq!(network.open_legs().len(), 1);
}
