//! Shapes that numpy's rule makes equal.

use crate::error::{Problem, refuse};

/// The common shape of two, aligned at their last axes.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Problem> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let mut common = Vec::with_capacity(rank);
    for axis in 0..rank {
        common.push(match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => refuse!("shapes {a:?} and {b:?} do not broadcast"),
        });
    }
    Ok(common)
}

/// How many integers an array of that shape holds, none perhaps; `None` where they are too many.
pub(crate) fn host_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent)).filter(|&n| n < 1 << 31)
}

/// `shape` with ones in front, up to `rank` axes.
pub(crate) fn with_rank(shape: &[usize], rank: usize) -> Vec<usize> {
    let ones = rank.saturating_sub(shape.len());
    std::iter::repeat_n(1, ones).chain(shape.iter().copied()).collect()
}

/// An axis as ONNX writes it, negative from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, Problem> {
    let signed = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(signed) {
        Ok(found) if found < rank => Ok(found),
        _ => refuse!("axis {axis} of an input of rank {rank}"),
    }
}

/// The same for several, sorted; twice the same is refused.
pub(crate) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
    let mut found = given.iter().map(|&one| axis(one, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        refuse!("axes {given:?} name one twice");
    }
    Ok(found)
}
