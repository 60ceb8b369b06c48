//! Reproducible random numbers: the same seed gives the same numbers on every machine.

use rand::Rng;

/// One standard normal number (Box–Muller).
pub(crate) fn normal(rng: &mut impl Rng) -> f32 {
    let u = (f64::from(rng.next_u32()) + 1.0) / (f64::from(u32::MAX) + 2.0);
    let v = f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// Fisher–Yates shuffle.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        let j = (rng.next_u64() % (i as u64 + 1)) as usize;
        items.swap(i, j);
    }
}
