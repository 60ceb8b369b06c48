//! Splitting a dimension into legs.

/// A dimension as a product of legs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factors {
    /// The factors, largest first.
    pub dims: Vec<usize>,
    /// Their product, at least the dimension asked for.
    pub padded: usize,
}

/// Splits `n` into exactly `legs` factors as equal as possible.
///
/// Exact when `n` has such factors, that is none larger than twice the `legs`-th root of `n` (or 16 if that is more) and
/// none equal to 1 unless `n` < 2^`legs`; else `n` is padded to the next number that has them. 0 counts as 1, for `n` and
/// for `legs`.
pub fn factorise(n: usize, legs: usize) -> Factors {
    let (n, legs) = (n.max(1), legs.max(1));
    let root = (n as f64).powf(1.0 / legs as f64).ceil() as usize;
    let largest = (2 * root).max(16);
    let smallest = if legs < usize::BITS as usize - 1 && n >= 1 << legs { 2 } else { 1 };
    let mut dims = Vec::with_capacity(legs);
    let mut padded = n;
    // Ends at the latest when `padded` reaches root^legs, whose factors are all equal.
    while !split(padded, legs, largest, smallest, &mut dims) {
        padded += 1;
    }
    Factors { dims, padded }
}

/// Appends the lexicographically smallest non-increasing list of `legs` factors of `n` within the bounds, if there is one.
fn split(n: usize, legs: usize, largest: usize, smallest: usize, dims: &mut Vec<usize>) -> bool {
    if legs == 1 {
        let fits = (smallest..=largest).contains(&n);
        if fits {
            dims.push(n);
        }
        return fits;
    }
    for first in smallest..=largest.min(n) {
        let reach = (first as u128).checked_pow(legs as u32).is_none_or(|reach| reach >= n as u128);
        if !reach || !n.is_multiple_of(first) {
            continue;
        }
        dims.push(first);
        if split(n / first, legs - 1, first, smallest, dims) {
            return true;
        }
        dims.pop();
    }
    false
}
