//! Axis orders of row-major tensors.

/// `data`, row-major over `dims`, with axis `order[k]` as its k-th.
pub(crate) fn permuted(data: &[f32], dims: &[usize], order: &[usize]) -> Vec<f32> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    let mut index = vec![0; order.len()];
    let mut from = 0;
    let mut out = Vec::with_capacity(data.len());
    for _ in 0..data.len() {
        out.push(data[from]);
        // Counts `index` up like an odometer and moves `from` along.
        for k in (0..order.len()).rev() {
            index[k] += 1;
            from += strides[order[k]];
            if index[k] < dims[order[k]] {
                break;
            }
            from -= strides[order[k]] * dims[order[k]];
            index[k] = 0;
        }
    }
    out
}

/// The same permutation with as few axes as possible: axes of size one go, axes that stay neighbours become one.
pub(crate) fn merge_axes(dims: &[usize], order: &[usize]) -> (Vec<usize>, Vec<usize>) {
    // Runs of axes that follow each other before and after, as (first axis, size).
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut previous = None;
    let next_axis = |axis: usize| (axis + 1..dims.len()).find(|&a| dims[a] != 1);
    for &axis in order.iter().filter(|&&axis| dims[axis] != 1) {
        match (previous, runs.last_mut()) {
            (Some(p), Some(run)) if next_axis(p) == Some(axis) => run.1 *= dims[axis],
            _ => runs.push((axis, dims[axis])),
        }
        previous = Some(axis);
    }
    let mut by_axis = runs.clone();
    by_axis.sort_unstable();
    let merged = by_axis.iter().map(|run| run.1).collect();
    let order = runs.iter().map(|run| by_axis.iter().position(|b| b == run).unwrap_or(0)).collect();
    (merged, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_moves_axes() {
        let data: Vec<f32> = (0..6).map(|x| x as f32).collect();
        assert_eq!(permuted(&data, &[2, 3], &[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(permuted(&data, &[1, 2, 3], &[1, 0, 2]), data);
    }

    #[test]
    fn neighbours_merge() {
        assert_eq!(merge_axes(&[2, 3, 4, 5], &[2, 3, 0, 1]), (vec![6, 20], vec![1, 0]));
        assert_eq!(merge_axes(&[2, 3, 4], &[0, 1, 2]), (vec![24], vec![0]));
        assert_eq!(merge_axes(&[2, 1, 4, 3], &[1, 0, 2, 3]), (vec![24], vec![0]));
        assert_eq!(merge_axes(&[2, 3, 4], &[2, 1, 0]), (vec![2, 3, 4], vec![2, 1, 0]));
        assert_eq!(merge_axes(&[1, 1], &[1, 0]), (vec![], vec![]));
    }
}
