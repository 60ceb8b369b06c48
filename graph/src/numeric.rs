//! Functions of one number that compile to vectors: exponential, hyperbolic tangent, error function.
//!
//! Exponential: argument reduced to |r| ≤ ½·ln 2 and a polynomial, as in Cephes. The others: quotients of polynomials,
//! as in Eigen. Within one unit in the last place, the
//! quotients within seven.

#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = 0.0;
    for coefficient in coefficients {
        sum = sum * x + coefficient;
    }
    sum
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// eˣ
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Added and taken away again, it rounds to a whole number, which then stands in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let n = shifted - ROUNDER;
    // ln 2 in two parts, the first of which is exact in products with n.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let coefficients = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let value = polynomial(r, coefficients) * (r * r) + r + 1.0;
    // In two steps: one alone would overflow before the value does, and lose the smallest values.
    let whole = whole.clamp(-252, 254);
    let half = whole >> 1;
    value * power_of_two(half) * power_of_two(whole - half)
}

/// 1/(1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = x.clamp(-7.905_311, 7.905_311);
    let square = x * x;
    let numerator = [
        -2.760_768_4e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_1e-8,
        1.485_722_3e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    let denominator = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    let value = x * polynomial(square, numerator) / polynomial(square, denominator);
    if x.abs() < 4e-4 { x } else { value.clamp(-1.0, 1.0) }
}

/// 2/√π · ∫₀ˣ e^(−t²) dt
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let numerator = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let denominator = [-1.456_607_1e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_473_9e-2];
    (x * polynomial(square, numerator) / polynomial(square, denominator)).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest difference in units in the last place of the exact value (of 2⁻¹²⁶ below that).
    fn off(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let at = |step: u16| low + (high - low) * f32::from(step) / f32::from(u16::MAX);
        let difference = |x: f32| {
            let value = exact(f64::from(x));
            let unit = (value.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() - 23.0).exp2();
            (f64::from(f(x)) - value).abs() / unit
        };
        (0..=u16::MAX).map(at).map(difference).fold(0.0, f64::max)
    }

    /// Its Taylor series.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn values_are_exact_to_the_last_places() {
        assert!(off(exp, f64::exp, -87.0, 88.7) < 1.0);
        assert!(off(exp, f64::exp, -1.0, 1.0) < 1.0);
        assert!(off(tanh, f64::tanh, -9.0, 9.0) < 7.0);
        assert!(off(tanh, f64::tanh, -0.01, 0.01) < 7.0);
        assert!(off(erf, exact_erf, -3.9, 3.9) < 7.0);
        assert!(off(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -30.0, 30.0) < 4.0);
    }

    #[test]
    fn ends_and_what_is_not_a_number() {
        assert_eq!([exp(200.0), exp(f32::INFINITY), exp(f32::NEG_INFINITY)], [f32::INFINITY, f32::INFINITY, 0.0]);
        assert!([tanh(100.0), -tanh(-100.0), erf(5.0), -erf(-5.0)].iter().all(|&y| (1.0 - 3e-7..=1.0).contains(&y)));
        assert_eq!([sigmoid(-200.0), sigmoid(200.0), exp(0.0), tanh(0.0)], [0.0, 1.0, 1.0, 0.0]);
        assert!([exp(f32::NAN), tanh(f32::NAN), erf(f32::NAN), sigmoid(f32::NAN)].iter().all(|x| x.is_nan()));
    }
}
