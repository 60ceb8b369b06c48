//! Core tensors in 8 bits: one scale for a core, which any order of its values leaves as it is.

use adntn_networks::Generator;
use half::f16;

/// Cores with fewer elements stay in float16: the nodes that would scale them take what 8 bits save.
pub const FEWEST_IN_BYTES: usize = 256;
/// A core is rounded to float16 only if that changes it by less, relative: tiny values would be lost.
const MOST_CHANGED: f64 = 1.0 / 256.0;
/// Largest digit.
const MOST: f32 = 127.0;

/// The scale of which all values are multiples by −127…127, if there is one and they are enough for 8 bits to pay.
#[must_use]
pub fn scale_of_bytes(core: &[f32]) -> Option<f32> {
    let scale = scale(core)?;
    let on_grid = |&x: &f32| (x / scale).round() * scale == x;
    (core.len() >= FEWEST_IN_BYTES && core.iter().all(on_grid)).then_some(scale)
}

/// Rounds the values of a core to 8 bits where that pays and its scale is within float16, else to float16 numbers.
pub fn round_core(core: &mut [f32]) {
    match scale(core).filter(|_| core.len() >= FEWEST_IN_BYTES) {
        Some(scale) => core.iter_mut().for_each(|x| *x = (*x / scale).round().clamp(-MOST, MOST) * scale),
        None => round_core_to_half(core),
    }
}

/// Rounds the values of a core to float16 numbers, unless that changes it by more than [`MOST_CHANGED`]: values beyond the range of
/// float16, or too small for it, then stay as they are.
pub fn round_core_to_half(core: &mut [f32]) {
    let rounded: Vec<f32> = core.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let size: f64 = core.iter().map(|&x| square(x)).sum();
    let change: f64 = core.iter().zip(&rounded).map(|(&x, &r)| square(x - r)).sum();
    if change <= MOST_CHANGED * MOST_CHANGED * size {
        core.copy_from_slice(&rounded);
    }
}

/// Rounds every core, with the overall scale taken into the last level where that is linear.
pub fn round_cores(generator: &mut Generator) {
    generator.absorb_scale();
    let cores: Vec<_> = generator.shape().cores.iter().map(|core| core.range.clone()).collect();
    for core in cores {
        round_core(&mut generator.params_mut()[core]);
    }
}

/// A float16 number near to the largest value over 127.
fn scale(core: &[f32]) -> Option<f32> {
    let largest = core.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let scale = f16::from_f32(largest / MOST);
    (scale.is_normal() && largest.is_finite()).then(|| scale.to_f32())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rounded_cores_are_found_again_in_any_order() {
        let mut core: Vec<f32> = (0..300).map(|k| ((k * 37 % 101) as f32 - 50.0) * 0.0123).collect();
        assert_eq!(scale_of_bytes(&core), None);
        let before = core.clone();
        round_core(&mut core);
        let scale = scale_of_bytes(&core).unwrap();
        assert!(core.iter().zip(&before).all(|(a, b)| (a - b).abs() <= 0.51 * scale));
        let again = core.clone();
        round_core(&mut core);
        assert_eq!(core, again);
        core.reverse();
        assert_eq!(scale_of_bytes(&core), Some(scale));
    }

    #[test]
    fn small_and_extreme_cores_are_left_to_float16() {
        let mut small = vec![0.1_f32; 10];
        round_core(&mut small);
        assert_eq!(small, vec![f16::from_f32(0.1).to_f32(); 10]);
        for value in [1e-9_f32, 1e9, 0.0] {
            let mut core = vec![value; 400];
            round_core(&mut core);
            assert_eq!((core[0], scale_of_bytes(&core)), (value, None));
        }
    }
}
