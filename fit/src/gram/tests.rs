use super::*;

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 0.7
        })
        .collect()
}

/// (1−ρ)·C·I/tr(C) + ρ·I worked out directly.
fn naive(rows: &[f32], features: usize, centred: bool, ridge: f64) -> Vec<f64> {
    let n = rows.len() / features;
    let mean: Vec<f64> = (0..features)
        .map(|f| if centred { rows.chunks(features).map(|r| f64::from(r[f])).sum::<f64>() / n as f64 } else { 0.0 })
        .collect();
    let mut c = vec![0.0; features * features];
    for row in rows.chunks(features) {
        for i in 0..features {
            for j in 0..features {
                c[i * features + j] += (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]) / n as f64;
            }
        }
    }
    let trace: f64 = (0..features).map(|i| c[i * features + i]).sum();
    for (k, v) in c.iter_mut().enumerate() {
        *v *= (1.0 - ridge) * features as f64 / trace;
        if k / features == k % features {
            *v += ridge;
        }
    }
    c
}

fn gram(rows: &[f32], features: usize, centred: bool) -> Gram {
    let mut builder = GramBuilder::new(features);
    for piece in rows.chunks(features * 3) {
        builder.add(piece);
    }
    builder.finish(centred, 0.05).unwrap()
}

#[test]
fn applies_the_regularised_moments_in_both_forms() {
    let features = 12;
    for (count, centred) in [(4, false), (4, true), (40, false), (40, true)] {
        let rows = numbers(count * features, 7);
        let g = gram(&rows, features, centred);
        assert_eq!(matches!(g.moments, Moments::Rows(_)), count == 4);
        let h = naive(&rows, features, centred, 0.05);
        let e = numbers(5 * features, 9);
        let mut out = vec![0.0; 5 * features];
        g.apply(&e, &mut out);
        for o in 0..5 {
            for f in 0..features {
                let want: f64 = (0..features).map(|k| f64::from(e[o * features + k]) * h[k * features + f]).sum();
                assert!((f64::from(out[o * features + f]) - want).abs() < 1e-4, "{count} {centred}");
            }
        }
    }
}

#[test]
fn marginals_trace_out_the_other_legs() {
    // Twelve features on legs 2×7: the last two are padding.
    let features = 12;
    let legs = [2, 7];
    for count in [4, 40] {
        let rows = numbers(count * features, 3);
        let g = gram(&rows, features, true);
        let h = naive(&rows, features, true, 0.05);
        let m = g.marginal(&legs, &[1]);
        for a in 0..7 {
            for b in 0..7 {
                let pairs = (0..2).map(|t| (t * 7 + a, t * 7 + b)).filter(|&(i, j)| i < features && j < features);
                // The ridge counts once: padding does not dilute it.
                let ridge = if a == b { 0.05 } else { 0.0 };
                let covered: f64 = pairs.map(|(i, j)| h[i * features + j] - if i == j { 0.05 } else { 0.0 }).sum();
                assert!((m[a * 7 + b] - (covered / 2.0 + ridge)).abs() < 1e-4);
            }
        }
        let whole = g.marginal(&[12], &[0]);
        assert!(whole.iter().zip(&h).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn values_far_from_zero_keep_their_covariance() {
    let features = 12;
    let offset = |rows: Vec<f32>| -> Vec<f32> {
        rows.iter().enumerate().map(|(k, v)| v + 1e4 * (1 + k % features) as f32).collect()
    };
    // The second half lies elsewhere: what a first piece tells of the mean may be far off.
    let mut rows = offset(numbers(40 * features, 7));
    rows.extend(offset(numbers(40 * features, 5)).iter().map(|v| v + 30.0));
    let h = naive(&rows, features, true, 0.05);
    let g = gram(&rows, features, true);
    assert!(matches!(g.moments, Moments::Dense(_)));
    let mut unit = vec![0.0; features * features];
    (0..features).for_each(|k| unit[k * features + k] = 1.0);
    let mut out = vec![0.0; features * features];
    g.apply(&unit, &mut out);
    for (got, want) in out.iter().zip(&h) {
        assert!((f64::from(*got) - want).abs() < 1e-3, "{got} {want}");
    }
}

#[test]
fn rows_that_say_nothing_give_a_reason() {
    let reason = |rows: &[f32], centred| {
        let mut builder = GramBuilder::new(3);
        builder.add(rows);
        builder.finish(centred, 0.1).map(drop).unwrap_err()
    };
    for centred in [false, true] {
        assert_eq!(reason(&[], centred), Silent::NoRows);
        assert_eq!(reason(&[0.0; 6], centred), Silent::Zeros);
        assert_eq!(reason(&[1.0, -2.0, 0.5].repeat(2), centred), Silent::Same);
        assert_eq!(reason(&[1.0, -2.0, 0.5].repeat(20), centred), Silent::Same);
        assert_eq!(reason(&[1e-40, 3e-40, 0.0, 0.0, 1e-40, 0.0], centred), Silent::TooSmall);
        assert_eq!(reason(&[1e30, 3e30, 0.0, 0.0, 1e30, 0.0], centred), Silent::TooLarge);
    }
    // Rounding is no variation, but little variation is some.
    assert_eq!(reason(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0 + f32::EPSILON], false), Silent::Same);
    let mut builder = GramBuilder::new(3);
    builder.add(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.00001]);
    assert!(builder.finish(true, 0.1).is_ok());
}

#[test]
fn rows_whose_squares_leave_float32_give_no_statistics() {
    let features = 12;
    for (count, centred) in [(4, false), (4, true), (40, false), (40, true)] {
        for size in [1e-40, 1e-30, 1e30] {
            let rows: Vec<f32> = numbers(count * features, 7).iter().map(|x| x * size).collect();
            let mut builder = GramBuilder::new(features);
            builder.add(&rows);
            let finite = |g: Gram| g.marginal(&[features], &[0]).iter().all(|x| x.is_finite());
            assert!(builder.finish(centred, 0.02).map_or(true, finite), "{count} rows of {size}");
        }
    }
}

#[test]
fn bytes_give_the_same_statistics_and_nothing_else_does() {
    // Few rows are kept as they are, many are condensed.
    for rows in [3, 40] {
        let kept = gram(&numbers(8 * rows, 5), 8, true);
        let bytes = kept.to_bytes();
        assert_eq!(Gram::from_bytes(&bytes).as_ref(), Some(&kept));
        for cut in [0, 31, 32, bytes.len() - 4, bytes.len() - 1] {
            assert_eq!(Gram::from_bytes(&bytes[..cut]), None);
        }
        let mut other = bytes.clone();
        other[8] = 9;
        assert_eq!(Gram::from_bytes(&other), None);
    }
}
