//! Which samples serve which purpose.

use rand::SeedableRng as _;

/// Splits `samples` into disjoint index sets with the given shares, by a shuffle that depends on `seed` only.
/// `block` samples that belong together (a fixed batch) stay together. Shares are rounded down to whole blocks;
/// what is left over goes to the first part.
#[must_use]
pub fn split(samples: usize, shares: &[f64], block: usize, seed: u64) -> Vec<Vec<usize>> {
    let block = block.max(1);
    let blocks = samples / block;
    let mut order: Vec<usize> = (0..blocks).collect();
    crate::random::shuffle(&mut order, &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x0005_5117));
    let mut counts: Vec<usize> = shares.iter().map(|s| (s * blocks as f64).floor() as usize).collect();
    let used: usize = counts.iter().sum();
    if let Some(first) = counts.first_mut() {
        *first += blocks.saturating_sub(used);
    }
    let mut rest = order.as_slice();
    counts
        .into_iter()
        .map(|n| {
            let (part, tail) = rest.split_at(n.min(rest.len()));
            rest = tail;
            let mut part = part.to_vec();
            part.sort_unstable();
            part.iter().flat_map(|b| b * block..(b + 1) * block).collect()
        })
        .collect()
}
