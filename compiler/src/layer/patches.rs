//! What a layer's generators change in the model.

use adntn_families::{Digits, Replacement};
use adntn_onnx::Patch;
use adntn_passes::{Rewrite, Rounding, replace_by, replace_by_dense, round_plain};

use crate::error::Error;
use crate::layer::{Key, Layer};
use crate::options::CoreType;

impl Layer<'_> {
    /// W as the replacement makes it, O×I: the fitted one if there is a fit, else the start.
    pub(crate) fn generated(&self, key: Key) -> Option<Vec<f32>> {
        self.replacement(key).map(Replacement::matrix)
    }

    /// The patch that puts the generated weight in place of the trained one without emitting the generator.
    pub(crate) fn dense_patch(&self, key: Key) -> Result<Patch, Error> {
        let Some(matrix) = self.generated(key) else { return Err(self.unmade()) };
        let mut patch = replace_by_dense(self.model, self.candidate, &matrix)?;
        match self.trained.get(&key) {
            Some(rest) => patch.merge(rest.clone()),
            None => self.correct_bias(key, &matrix, &mut patch)?,
        }
        Ok(patch)
    }

    /// What puts the replacement itself in place of the weight.
    pub(crate) fn rewrite(&self, key: Key) -> Result<Rewrite, Error> {
        let Some(replacement) = self.replacement(key) else { return Err(self.unmade()) };
        let mut rewrite = replace_by(self.model, self.candidate, replacement)?;
        if let Some(rest) = self.trained.get(&key) {
            rewrite.merge(rest.clone().into());
        } else if let Some(matrix) = self.generated(key).filter(|_| self.absorbs_mean) {
            let mut patch = Patch::default();
            self.correct_bias(key, &matrix, &mut patch)?;
            rewrite.merge(patch.into());
        }
        Ok(rewrite)
    }

    /// How plain numbers beside a replacement are rounded.
    pub(super) fn rounding(&self, replacement: &Replacement) -> Option<Rounding> {
        let rounding = match replacement {
            // Where there may be digits, long biases are in them.
            Replacement::Network(_) if self.offers_digits() => Rounding::Beside(Digits::Sixteen),
            Replacement::Network(_) | Replacement::Halves(_) => Rounding::Half,
            Replacement::Digits(weight) => Rounding::Beside(weight.digits()),
            Replacement::LowRank(factors) => Rounding::Beside(factors.outer.digits()),
        };
        (self.core_type == CoreType::Float16).then_some(rounding)
    }

    /// The mean of the layer's output error goes into its bias: `b + (W−G)·E[x]`.
    fn correct_bias(&self, key: Key, generated: &[f32], patch: &mut Patch) -> Result<(), Error> {
        let (true, Some(gram)) = (self.absorbs_mean, &self.gram) else { return Ok(()) };
        let weight = self.weight()?;
        let inputs = self.candidate.inputs;
        let shift: Vec<f32> = weight
            .chunks_exact(inputs)
            .zip(generated.chunks_exact(inputs))
            .map(|(w, g)| {
                let sum: f64 =
                    w.iter().zip(g).zip(gram.mean()).map(|((w, g), m)| f64::from(w - g) * f64::from(*m)).sum();
                sum as f32
            })
            .collect();
        match adntn_passes::shift_bias(self.model, self.candidate, &shift) {
            Ok(mut shifted) => {
                // Rounded before it is measured: what is measured is what is written.
                if let Some(rounding) = self.replacement(key).and_then(|replacement| self.rounding(replacement)) {
                    round_plain(self.model, &mut shifted, rounding);
                }
                patch.merge(shifted);
            }
            // A mean beyond what the bias can hold stays where it is.
            Err(adntn_passes::Error::NotFinite { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// ‖W−G‖/‖W‖.
    pub(crate) fn weight_error(&self, key: Key) -> Result<Option<f64>, Error> {
        let Some(generated) = self.generated(key) else { return Ok(None) };
        Ok(Some(adntn_fit::layerwise::weight_error(&self.weight()?, &generated)))
    }
}
