//! Largest scores: which class wins, and how easily it might be another.

use statrs::function::erf::erfc;

use crate::runner::Output;

/// Most deviations that positions are told apart by, and flips that are worked out of them: a segmentation has millions of margins,
/// of which fewer kinds say as much.
const KINDS: usize = 32;
const FLIPS: usize = 1 << 22;

/// Index of the largest score, and of the second largest, at every position of every sample; the first one on a tie. The class
/// axis is `axis`, or the last one; the samples lie on the first. A single axis is one score a sample, so always class 0.
pub(super) struct Tops {
    /// Positions of a sample.
    pub(super) positions: usize,
    /// One entry for each position, sample after sample.
    pub(super) first: Vec<u32>,
    pub(super) second: Vec<u32>,
    /// Score of the first minus that of the second.
    pub(super) margin: Vec<f32>,
}

pub(super) fn tops(output: &Output, axis: Option<usize>) -> Tops {
    let shape = &output.shape;
    let axis = axis.filter(|&a| a > 0 && a < shape.len()).unwrap_or(shape.len().saturating_sub(1));
    let samples = shape.first().copied().unwrap_or(0);
    let (classes, before, after) = if shape.len() < 2 {
        (1, 1, 1)
    } else {
        (shape[axis], shape[1..axis].iter().product::<usize>(), shape[axis + 1..].iter().product::<usize>())
    };
    let positions = before * after;
    let mut found = Tops { positions, first: Vec::new(), second: Vec::new(), margin: Vec::new() };
    let width = (positions * classes).max(1);
    for sample in 0..samples.min(output.values.len() / width) {
        for b in 0..before {
            for a in 0..after {
                let score = |class: usize| output.value(sample * width + (b * classes + class) * after + a);
                let (mut first, mut second) = ((0, f64::NEG_INFINITY), (0, f64::NEG_INFINITY));
                for class in 0..classes {
                    let v = score(class);
                    if v > first.1 {
                        (first, second) = ((class, v), first);
                    } else if v > second.1 {
                        second = (class, v);
                    }
                }
                found.first.push(u32::try_from(first.0).unwrap_or(u32::MAX));
                found.second.push(u32::try_from(second.0).unwrap_or(u32::MAX));
                found.margin.push((first.1 - second.1) as f32);
            }
        }
    }
    found
}

/// How much the differences of two scores of `got` stray from what the original's were, a standard deviation each for up to
/// [`KINDS`] kinds of positions that are as many, fewer for so many `margins` that flips would be beyond [`FLIPS`]: the quantiles of twice the mean squared error of a position's scores, since some
/// samples stray much further than others. A shift common to all scores of a position changes no ranking, so it is left out.
pub(super) fn margin_deviations(reference: &Output, got: &Output, axis: Option<usize>, margins: usize) -> Vec<f64> {
    let shape = &reference.shape;
    let axis = axis.filter(|&a| a > 0 && a < shape.len()).unwrap_or(shape.len().saturating_sub(1));
    let classes = shape.get(axis).copied().unwrap_or(1);
    let after: usize = shape[(axis + 1).min(shape.len())..].iter().product();
    if classes < 2 {
        return Vec::new();
    }
    let mut squares = Vec::new();
    for block in 0..reference.values.len().min(got.values.len()) / (classes * after).max(1) {
        for a in 0..after {
            let at = |class: usize| (block * classes + class) * after + a;
            let difference = |class: usize| got.value(at(class)) - reference.value(at(class));
            let shift = (0..classes).map(difference).sum::<f64>() / classes as f64;
            let power: f64 = (0..classes).map(|c| (difference(c) - shift).powi(2)).sum();
            squares.push(2.0 * power / (classes - 1) as f64);
        }
    }
    squares.sort_unstable_by(f64::total_cmp);
    let kinds = (FLIPS / margins.max(1)).clamp(1, KINDS).min(squares.len());
    let of = |k: usize| &squares[k * squares.len() / kinds..(k + 1) * squares.len() / kinds];
    (0..kinds).map(|k| (of(k).iter().sum::<f64>() / of(k).len() as f64).sqrt()).collect()
}

/// How likely it is that a winner with this margin loses, at a position that strays as any of `deviations`: the mean of P(Z >
/// margin/σ) for a standard normal Z.
pub(super) fn flip(margin: f64, deviations: &[f64]) -> f64 {
    let one = |&d: &f64| if d == 0.0 { 0.0 } else { 0.5 * erfc(margin / d / std::f64::consts::SQRT_2) };
    deviations.iter().map(one).sum::<f64>() / deviations.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(shape: &[usize], values: &[f32]) -> Output {
        Output::floats(shape.to_vec(), values.to_vec())
    }

    #[test]
    fn the_class_axis_decides() {
        // [1 sample, 2 classes, 3 positions]
        let o = output(&[1, 2, 3], &[1.0, 5.0, 0.0, 2.0, 3.0, 0.0]);
        let t = tops(&o, Some(1));
        assert_eq!((t.positions, t.first.as_slice()), (3, &[1, 0, 0][..]));
        let t = tops(&o, None);
        assert_eq!((t.positions, t.first.as_slice(), t.second.as_slice()), (2, &[1, 1][..], &[0, 0][..]));
        assert_eq!(t.margin, [4.0, 1.0]);
    }

    #[test]
    fn flips_follow_the_normal_distribution() {
        for (x, p) in [(0.0, 0.5), (1.0, 0.158_655), (1.96, 0.024_998), (3.0, 0.001_350)] {
            assert!((flip(x, &[1.0]) - p).abs() < 1e-6, "{x}");
        }
        assert_eq!((flip(0.0, &[0.0]), flip(1.0, &[])), (0.0, 0.0));
        assert!((flip(1.0, &[1.0, 0.0]) - 0.158_655 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn shifts_common_to_all_classes_do_not_count() {
        let r = output(&[2, 2], &[1.0, 0.0, 0.0, 3.0]);
        assert_eq!(margin_deviations(&r, &output(&[2, 2], &[2.0, 1.0, 5.0, 8.0]), None, 2), [0.0, 0.0]);
        let changed = output(&[2, 2], &[2.0, 0.0, 0.0, 3.5]);
        let [small, large] = margin_deviations(&r, &changed, None, 2)[..] else { panic!() };
        assert!((small - 0.5).abs() < 1e-6 && (large - 1.0).abs() < 1e-6, "{small} {large}");
        let many = |margins| {
            let (zeros, ones) = (output(&[999, 2], &[0.0; 1998]), output(&[999, 2], &[1.0, 0.0].repeat(999)));
            margin_deviations(&zeros, &ones, None, margins)
        };
        assert_eq!((many(999), many(1 << 40)), (vec![1.0; KINDS], vec![1.0]));
    }
}
