//! Products of a pair of legs with everything else: Gram matrices and projections.

use rayon::prelude::*;

use crate::kernels::{Environment, Packed, Sums, expand, pack, transpose};
use crate::matmul::{Strided, multiply};
use crate::real::sealed::Sealed;

/// Columns whose products are summed in single precision before they are added in double precision.
const RUN: usize = 2048;
/// Rows and columns of a tile of a Gram matrix.
const TILE: usize = 128;
/// Pairs up to this dimension are left to the kernels for small cores.
const SMALL: usize = 64;
/// At most this many partial Gram matrices.
const BLOCKS: usize = 32;

/// T · Tᵀ for T = `t` as (m, R), row-major, in double precision. The order of summation depends on the shape only.
pub(crate) fn of_rows(t: &[f32], m: usize) -> Vec<f64> {
    let r = t.len() / m;
    let tiles = m.div_ceil(TILE);
    let tasks: Vec<(usize, usize)> = (0..tiles).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
    let blocks = if tiles == 1 { r.div_ceil(RUN).clamp(1, BLOCKS) } else { 1 };
    let per_block = r.div_ceil(blocks).next_multiple_of(RUN);
    let partials: Vec<Vec<f64>> = (0..tasks.len() * blocks)
        .into_par_iter()
        .map(|task| {
            let ((i, j), block) = (tasks[task / blocks], task % blocks);
            let (rows, columns) = (TILE.min(m - i * TILE), TILE.min(m - j * TILE));
            let (mut run, mut sum) = (vec![0.0f32; rows * columns], vec![0.0f64; rows * columns]);
            let mut local = vec![0.0f32; if m <= SMALL { m * RUN } else { 0 }];
            let environment = Environment::new::<f32>(m, m);
            let mut sums = vec![0.0f32; if m <= SMALL { environment.sums_len() } else { 0 }];
            let mut scratch = vec![0.0f32; if m <= SMALL { environment.scratch_len(RUN) } else { 0 }];
            for start in (block * per_block..r.min((block + 1) * per_block)).step_by(RUN) {
                let k = RUN.min(r - start);
                if m <= SMALL {
                    run.fill(0.0);
                    sums.fill(0.0);
                    load(t, r, start, k, &mut local);
                    environment.add(&local, &local, RUN, Sums { sums: &mut sums, scratch: &mut scratch });
                    environment.total(&sums, &mut run);
                    sum.iter_mut().zip(&run).for_each(|(sum, &x)| *sum += f64::from(x));
                    continue;
                }
                let left = (&t[i * TILE * r + start..], Strided::pitched(rows, k, r));
                let right = (&t[j * TILE * r + start..], Strided::pitched(columns, k, r).transposed());
                multiply((&mut run, Strided::rows(rows, columns)), false, left, right);
                sum.iter_mut().zip(&run).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            sum
        })
        .collect();
    let mut gram = vec![0.0; m * m];
    for (&(i, j), partials) in tasks.iter().zip(partials.chunks(blocks)) {
        let columns = TILE.min(m - j * TILE);
        for partial in partials {
            for (a, row) in partial.chunks_exact(columns).enumerate() {
                for (b, &x) in row.iter().enumerate() {
                    gram[(i * TILE + a) * m + j * TILE + b] += x;
                }
            }
        }
    }
    for a in 0..m {
        for b in 0..a {
            gram[b * m + a] = gram[a * m + b];
        }
    }
    gram
}

/// A · Bᵀ for A = `a` and B = `b`, both (m, R), row-major, in double precision. The order of summation depends on the shape
/// only.
pub(crate) fn product_of_rows(a: &[f32], b: &[f32], m: usize) -> Vec<f64> {
    let r = a.len() / m;
    let per_block = r.div_ceil(BLOCKS).next_multiple_of(RUN);
    let partials: Vec<Vec<f64>> = (0..r.div_ceil(per_block))
        .into_par_iter()
        .map(|block| {
            let (mut run, mut sum) = (vec![0.0f32; m * m], vec![0.0f64; m * m]);
            for start in (block * per_block..r.min((block + 1) * per_block)).step_by(RUN) {
                let k = RUN.min(r - start);
                let left = (&a[start..], Strided::pitched(m, k, r));
                let right = (&b[start..], Strided::pitched(m, k, r).transposed());
                multiply((&mut run, Strided::rows(m, m)), false, left, right);
                sum.iter_mut().zip(&run).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            sum
        })
        .collect();
    let mut product = vec![0.0; m * m];
    for partial in partials {
        product.iter_mut().zip(&partial).for_each(|(sum, &x)| *sum += x);
    }
    product
}

/// Columns `start`…`start` + `count` of `t` (m, r), padded with zero columns to the width of `local`.
fn load(t: &[f32], r: usize, start: usize, count: usize, local: &mut [f32]) {
    let width = local.len() / (t.len() / r);
    for (to, from) in local.chunks_exact_mut(width).zip(t.chunks_exact(r)) {
        to[..count].copy_from_slice(&from[start..start + count]);
        to[count..].fill(0.0);
    }
}

/// `out` (R, q) ← `t` (m, R)ᵀ · `basis` (m, q).
pub(crate) fn cycle(t: &[f32], m: usize, basis: &[f32], q: usize, out: &mut [f32]) {
    let r = t.len() / m;
    if m.max(q) <= SMALL {
        const COLUMNS: usize = 256;
        out.par_chunks_mut(COLUMNS * q).enumerate().for_each(|(chunk, out)| {
            f32::with_scratch(m * q + (m + q) * COLUMNS, |scratch| {
                let (tiles, scratch) = scratch.split_at_mut(m * q);
                let (local, result) = scratch.split_at_mut(m * COLUMNS);
                let n = out.len() / q;
                load(t, r, chunk * COLUMNS, n, local);
                pack(basis, m, q, tiles);
                expand(Packed::new(tiles, m, q), local, COLUMNS, result);
                transpose((result, COLUMNS), q, n, (out, q));
            });
        });
        return;
    }
    let rows = (1usize << 16).div_ceil(m.max(q)).max(64);
    out.par_chunks_mut(rows * q).enumerate().for_each(|(chunk, out)| {
        let n = out.len() / q;
        let lhs = Strided::pitched(m, n, r).transposed();
        multiply((out, Strided::rows(n, q)), false, (&t[chunk * rows..], lhs), (basis, Strided::rows(m, q)));
    });
}

/// `out` (R, m) ← `t` (m, R)ᵀ.
pub(crate) fn rotate(t: &[f32], m: usize, out: &mut [f32]) {
    let r = t.len() / m;
    const ROWS: usize = 256;
    out.par_chunks_mut(ROWS * m).enumerate().for_each(|(chunk, out)| {
        for (a, row) in t.chunks_exact(r).enumerate() {
            for (to, &x) in out.iter_mut().skip(a).step_by(m).zip(&row[chunk * ROWS..]) {
                *to = x;
            }
        }
    });
}
