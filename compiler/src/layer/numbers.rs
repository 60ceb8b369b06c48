//! Weights and cores of any size in float32 and float16.

use adntn_families::round_core_to_half;
use adntn_networks::Generator;
use adntn_onnx::Model;
use adntn_passes::Candidate;

use crate::error::Error;

/// Root mean squares of weights that are fitted as they are; others are brought near 1 by a power of two first, which changes
/// no digit, so that squares and products stay within float32.
const ORDINARY: std::ops::Range<f64> = 1e-6..1e6;
/// Root mean squares beyond this leave no room for the values of a generator in float32.
const REPRESENTABLE: std::ops::Range<f64> = 1e-35..1e35;
/// What the size of a weight's values means for its fit.
pub(crate) struct Size {
    /// Why it cannot be fitted at all.
    pub(crate) obstacle: Option<String>,
    /// Power of two by which the weight is divided before it is fitted.
    pub(crate) unit: f32,
}

impl Size {
    pub(crate) fn of(model: &Model, candidate: &Candidate) -> Self {
        let refused = |reason: String| Size { obstacle: Some(format!("stays dense: {reason}")), unit: 1.0 };
        match candidate.root_mean_square(model) {
            Err(e) => refused(e.to_string()),
            Ok(0.0) => refused("all its values are zero".into()),
            Ok(rms) if rms < REPRESENTABLE.start => {
                refused(format!("its values are too small for float32 arithmetic (root mean square {rms:.1e})"))
            }
            Ok(rms) if !REPRESENTABLE.contains(&rms) => {
                refused(format!("its values are too large for float32 arithmetic (root mean square {rms:.1e})"))
            }
            Ok(rms) if ORDINARY.contains(&rms) => Size { obstacle: None, unit: 1.0 },
            Ok(rms) => Size { obstacle: None, unit: rms.log2().round().exp2() as f32 },
        }
    }
}

/// An error that can be compared with others.
pub(super) fn finite(error: f64, what: &str) -> Result<f64, Error> {
    if error.is_finite() { Ok(error) } else { Err(adntn_fit::Error::NotFinite { what: what.to_owned() }.into()) }
}

/// Rounds all cores to float16 numbers, the overall scale taken into the last level when that is linear. A core with values
/// beyond the range of float16, or too small for it, stays as it is, and so is stored as float32.
pub(super) fn round_to_half(generator: &mut Generator) {
    generator.absorb_scale();
    let cores: Vec<_> = generator.shape().cores.iter().map(|core| core.range.clone()).collect();
    for core in cores {
        round_core_to_half(&mut generator.params_mut()[core]);
    }
}
