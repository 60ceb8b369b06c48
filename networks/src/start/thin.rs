//! Leading left singular vectors of a matrix, by way of its smaller Gram matrix.

use crate::Error;
use crate::matmul::{Strided, multiply};
use crate::start::{eigen, gram};

/// The `count` leading left singular vectors of T = `t` as (m, R), row-major, as columns of an (m, count) matrix.
///
/// They are the eigenvectors of T·Tᵀ (m×m). Where R is smaller, those of Tᵀ·T (R×R) cost less and are brought over by T.
pub(crate) fn leading(t: &[f32], m: usize, count: usize) -> Result<Vec<f32>, Error> {
    let r = t.len() / m;
    if m <= 2 * r {
        return eigen::leading(&gram::of_rows(t, m), m, count);
    }
    let mut columns = vec![0.0f32; t.len()];
    gram::rotate(t, m, &mut columns);
    let found = count.min(r);
    let right = eigen::leading(&gram::of_rows(&columns, r), r, found)?;
    let mut left = vec![0.0f32; m * found];
    multiply((&mut left, Strided::rows(m, found)), false, (t, Strided::rows(m, r)), (&right, Strided::rows(r, found)));
    // Directions beyond the rank of T come out as noise or are missing; any others that are orthonormal serve as well.
    let mut rows = vec![0.0f64; count * m];
    for (k, row) in rows.chunks_exact_mut(m).enumerate().take(found) {
        row.iter_mut().zip(left.iter().skip(k).step_by(found)).for_each(|(to, &from)| *to = f64::from(from));
    }
    eigen::orthonormalise(&mut rows, m);
    let mut basis = vec![0.0f32; m * count];
    for (at, out) in basis.iter_mut().enumerate() {
        *out = rows[at % count * m + at / count] as f32;
    }
    Ok(basis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both routes span the same space and give orthonormal columns, also beyond the rank.
    #[test]
    fn both_gram_matrices_give_the_same_projection() {
        let (m, r) = (30, 6);
        let t: Vec<f32> = (0..m * r).map(|k| ((k * k + 3 * k) as f32 * 0.37).sin() + (k % r) as f32 * 0.2).collect();
        for count in [1, 4, 6, 9] {
            let thin = leading(&t, m, count).unwrap();
            let wide = eigen::leading(&gram::of_rows(&t, m), m, count).unwrap();
            for a in 0..count {
                for b in 0..count {
                    let dot: f32 = (0..m).map(|k| thin[k * count + a] * thin[k * count + b]).sum();
                    assert!((dot - f32::from(a == b)).abs() < 1e-5, "{count}: {a} {b} {dot}");
                }
            }
            let energy = |basis: &[f32]| -> f32 {
                let projection =
                    |j: usize, k: usize| -> f32 { (0..m).map(|i| basis[i * count + k] * t[i * r + j]).sum() };
                (0..r).flat_map(|j| (0..count).map(move |k| (j, k))).map(|(j, k)| projection(j, k).powi(2)).sum()
            };
            assert!((energy(&thin) / energy(&wide) - 1.0).abs() < 1e-4);
        }
    }
}
