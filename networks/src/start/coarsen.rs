//! One level of a start, bottom-up: disentanglers are taken off, siblings are projected on their leading subspaces.

use std::ops::Range;

use rayon::prelude::*;

use crate::start::{Disentanglers, eigen, gram, thin};
use crate::workspace::resize;
use crate::{CoreKind, Error, Shape};

/// Disentanglers of more rows stay identities: their polar decomposition would take longer than the fit.
const LARGEST_PROCRUSTES: usize = 256;

/// The cores of one level, and what is left of the tensor.
#[derive(Debug)]
pub(crate) struct Coarse {
    /// For every isometry the leading singular vectors of its siblings, (q, columns) row-major.
    bases: Vec<Vec<f32>>,
    /// Columns of each basis.
    columns: Vec<usize>,
    /// Every disentangler, (before, after) row-major.
    disentanglers: Vec<Vec<f32>>,
    /// The tensor of the level above.
    pub core: Vec<f32>,
}

impl Coarse {
    /// Writes the cores of `level` into the parameters of `shape`, whose bonds may be smaller.
    pub fn store(&self, shape: &Shape, level: usize, params: &mut [f32]) {
        for ((core, basis), &columns) in shape.isometries(level).iter().zip(&self.bases).zip(&self.columns) {
            let isometry = &mut params[core.range.clone()];
            for (k, row) in isometry.chunks_exact_mut(core.q).enumerate() {
                row.iter_mut().zip(basis.chunks_exact(columns)).for_each(|(to, from)| *to = from[k]);
            }
        }
        for (core, matrix) in shape.disentanglers(level).iter().zip(&self.disentanglers) {
            params[core.range.clone()].copy_from_slice(matrix);
        }
    }
}

/// A run of neighbouring legs that a core acts on, or a single leg that none does.
struct Group {
    dim: usize,
    /// Index of the core among those of its kind.
    core: Option<usize>,
}

/// The legs of `level` in groups: siblings with an isometry and legs that pass through.
fn siblings(shape: &Shape, level: usize) -> Vec<Group> {
    let mut cores = 0;
    let groups = shape.tree().children(level).map(|children| {
        let dim = shape.levels[level][children.clone()].iter().product();
        let own = (children.len() > 1).then_some(cores);
        cores += usize::from(own.is_some());
        Group { dim, core: own }
    });
    groups.collect()
}

/// The legs of `level` in groups: the pairs that disentanglers act on and single legs.
fn pairs(shape: &Shape, level: usize) -> Vec<Group> {
    let dims = &shape.levels[level];
    groups_of_legs(shape, level)
        .into_iter()
        .map(|(legs, core)| Group { dim: dims[legs].iter().product(), core })
        .collect()
}

/// As ranges of legs, with the index of the disentangler.
pub(crate) fn groups_of_legs(shape: &Shape, level: usize) -> Vec<(Range<usize>, Option<usize>)> {
    let mut groups = Vec::new();
    let mut next = 0;
    for (k, core) in shape.disentanglers(level).iter().enumerate() {
        if let CoreKind::Disentangler { leg, .. } = core.kind {
            groups.extend((next..leg).map(|single| (single..single + 1, None)));
            groups.push((leg..leg + 2, Some(k)));
            next = leg + 2;
        }
    }
    groups.extend((next..shape.levels[level].len()).map(|single| (single..single + 1, None)));
    groups
}

/// The cores of `level` for the tensor `t` of that level, and the tensor of the level above.
///
/// Disentanglers start as identities. The Procrustes start then alternates: with the disentanglers taken off, siblings are
/// projected on their leading singular vectors; with that projection P fixed, each disentangler becomes the orthogonal matrix
/// u that brings u·P nearest to the tensor, the polar factor of their product over all other legs (Batselier, Cichocki, Wong,
/// MERACLE, Commun. Appl. Math. Comput. 3, 2021). The best round counts.
pub(crate) fn coarsen(shape: &Shape, level: usize, t: Vec<f32>, how: Disentanglers) -> Result<Coarse, Error> {
    let cores = shape.disentanglers(level);
    let mut disentanglers: Vec<Vec<f32>> = cores.iter().map(|core| identity(core.p)).collect();
    let sweeps = match how {
        Disentanglers::Procrustes { sweeps } if cores.iter().any(|core| core.p <= LARGEST_PROCRUSTES) => sweeps,
        _ => return project(shape, level, t, disentanglers),
    };
    let mut turned = t;
    let mut best = project(shape, level, turned.clone(), disentanglers.clone())?;
    let mut most = energy(&best.core);
    let mut last = None;
    for _ in 0..sweeps {
        let projection = embed(shape, level, last.as_ref().unwrap_or(&best));
        turn(&pairs(shape, level), projection, &mut turned, &mut disentanglers)?;
        let next = project(shape, level, turned.clone(), disentanglers.clone())?;
        let energy = energy(&next.core);
        if energy > most {
            most = energy;
            best = next;
            last = None;
        } else {
            last = Some(next);
        }
    }
    Ok(best)
}

fn identity(m: usize) -> Vec<f32> {
    (0..m * m).map(|at| if at / m == at % m { 1.0 } else { 0.0 }).collect()
}

/// ‖t‖², in pieces of fixed size.
fn energy(t: &[f32]) -> f64 {
    let pieces: Vec<f64> =
        t.par_chunks(1 << 14).map(|t| t.iter().map(|&x| f64::from(x) * f64::from(x)).sum()).collect();
    pieces.iter().sum()
}

/// Projects the siblings of `t`, from which the disentanglers have been taken off.
fn project(shape: &Shape, level: usize, t: Vec<f32>, disentanglers: Vec<Vec<f32>>) -> Result<Coarse, Error> {
    let (mut bases, mut columns) = (Vec::new(), Vec::new());
    let mut core = t;
    let mut spare = Vec::new();
    for group in siblings(shape, level) {
        // Cyclic: the group is consumed at the front and its bond appended, so a full round restores the order.
        match group.core {
            None => {
                resize(&mut spare, core.len());
                gram::rotate(&core, group.dim, &mut spare);
            }
            Some(index) => {
                let bond = shape.isometries(level)[index].p;
                let basis = thin::leading(&core, group.dim, bond)?;
                resize(&mut spare, core.len() / group.dim * bond);
                gram::cycle(&core, group.dim, &basis, bond, &mut spare);
                bases.push(basis);
                columns.push(bond);
            }
        }
        std::mem::swap(&mut core, &mut spare);
    }
    Ok(Coarse { bases, columns, disentanglers, core })
}

/// The projection itself: the tensor of `level` that the isometries make of the coarse one.
fn embed(shape: &Shape, level: usize, coarse: &Coarse) -> Vec<f32> {
    let mut t = coarse.core.clone();
    let mut spare = Vec::new();
    for group in siblings(shape, level) {
        match group.core {
            None => {
                resize(&mut spare, t.len());
                gram::rotate(&t, group.dim, &mut spare);
            }
            Some(index) => {
                let (basis, bond) = (&coarse.bases[index], coarse.columns[index]);
                let isometry: Vec<f32> =
                    (0..bond * group.dim).map(|at| basis[at % group.dim * bond + at / group.dim]).collect();
                resize(&mut spare, t.len() / bond * group.dim);
                gram::cycle(&t, bond, &isometry, group.dim, &mut spare);
            }
        }
        std::mem::swap(&mut t, &mut spare);
    }
    t
}

/// Brings each disentangler u to its optimum r·u for `projection`, one after the other; `turned` = (all u)ᵀ·t follows.
fn turn(groups: &[Group], projection: Vec<f32>, turned: &mut Vec<f32>, us: &mut [Vec<f32>]) -> Result<(), Error> {
    let mut projection = projection;
    let mut spare = vec![0.0f32; turned.len()];
    for group in groups {
        let m = group.dim;
        match group.core.filter(|_| m <= LARGEST_PROCRUSTES) {
            None => gram::rotate(turned, m, &mut spare),
            Some(index) => {
                // r maximises Σ r[b, a]·n[b, a] for n = projection · turnedᵀ.
                let r = eigen::polar(&gram::product_of_rows(&projection, turned, m), m)?;
                let columns: Vec<f32> = (0..m * m).map(|at| r[at % m * m + at / m] as f32).collect();
                gram::cycle(turned, m, &columns, m, &mut spare);
                let u = &mut us[index];
                let old: Vec<f64> = u.iter().map(|&x| f64::from(x)).collect();
                for (row, r) in u.chunks_exact_mut(m).zip(r.chunks_exact(m)) {
                    for (column, x) in row.iter_mut().enumerate() {
                        *x = r.iter().enumerate().map(|(k, r)| r * old[k * m + column]).sum::<f64>() as f32;
                    }
                }
            }
        }
        std::mem::swap(turned, &mut spare);
        gram::rotate(&projection, m, &mut spare);
        std::mem::swap(&mut projection, &mut spare);
    }
    Ok(())
}
