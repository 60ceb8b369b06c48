//! A fit set down in a file, to be taken up again.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use bytemuck::cast_slice;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::distill::trainer::Check;
use crate::error::Error;

/// Everything a fit carries from one step to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// The parameters.
    pub params: Vec<f32>,
    /// The optimiser's first moments.
    pub first: Vec<f32>,
    /// The optimiser's second moments.
    pub second: Vec<f32>,
    /// Averaged parameters.
    pub average: Vec<f32>,
    /// The parameters of the best check.
    pub best_params: Vec<f32>,
    /// The check before the first step.
    pub start: Check,
    /// The best check.
    pub best: Check,
    /// The pass of the best check, the first being 1; 0 is the start.
    pub best_epoch: usize,
    /// Mean length of the gradient.
    pub norm: f64,
}

const FINGERPRINT: &str = "fingerprint";
const SCALARS: &str = "scalars";
const FORMAT: &str = "adntn-fit-1";

impl State {
    /// The state before the first step.
    #[must_use]
    pub fn new(params: &[f32]) -> Self {
        let zeros = vec![0.0; params.len()];
        let unknown = Check { quality: f64::MIN, loss: f64::MAX };
        State {
            step: 0,
            params: params.to_vec(),
            first: zeros.clone(),
            second: zeros,
            average: params.to_vec(),
            best_params: params.to_vec(),
            start: unknown,
            best: unknown,
            best_epoch: 0,
            norm: 0.0,
        }
    }

    /// Whether this belongs to a fit of `count` parameters.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if not.
    pub fn check(&self, count: usize) -> Result<(), Error> {
        let vectors = self.vectors();
        if vectors.iter().all(|(_, v)| v.len() == count) && vectors.iter().all(|(_, v)| v.iter().all(|x| x.is_finite()))
        {
            return Ok(());
        }
        Err(Error::Checkpoint { problem: format!("it has {} parameters, the fit has {count}", self.params.len()) })
    }

    fn vectors(&self) -> [(&'static str, &Vec<f32>); 5] {
        [
            ("params", &self.params),
            ("first", &self.first),
            ("second", &self.second),
            ("average", &self.average),
            ("best_params", &self.best_params),
        ]
    }

    fn scalars(&self) -> Vec<u64> {
        let bits =
            [self.start.quality, self.start.loss, self.best.quality, self.best.loss, self.norm].map(f64::to_bits);
        [self.step as u64, self.best_epoch as u64].into_iter().chain(bits).collect()
    }

    /// Writes the state to `path` (safetensors), whole or not at all; `fingerprint` names the fit it belongs to.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file cannot be written.
    pub fn save(&self, path: &Path, fingerprint: &str) -> Result<(), Error> {
        let fail = |problem: String| Error::Checkpoint { problem: format!("{}: {problem}", path.display()) };
        let scalars = self.scalars();
        let mut views = Vec::new();
        for (name, values) in self.vectors() {
            let view = TensorView::new(Dtype::F32, vec![values.len()], cast_slice(values));
            views.push((name, view.map_err(|e| fail(e.to_string()))?));
        }
        let view = TensorView::new(Dtype::U64, vec![scalars.len()], cast_slice(&scalars));
        views.push((SCALARS, view.map_err(|e| fail(e.to_string()))?));
        let about =
            HashMap::from([("format".to_owned(), FORMAT.to_owned()), (FINGERPRINT.to_owned(), fingerprint.to_owned())]);
        let bytes = safetensors::serialize(views, Some(about)).map_err(|e| fail(e.to_string()))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| fail(e.to_string()))?;
        file.write_all(&bytes).map_err(|e| fail(e.to_string()))?;
        file.persist(path).map_err(|e| fail(e.to_string()))?;
        Ok(())
    }

    /// Reads a state that [`State::save`] wrote for the same fit.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file is missing, damaged, or of another fit.
    pub fn load(path: &Path, fingerprint: &str) -> Result<Self, Error> {
        let fail = |problem: String| Error::Checkpoint { problem: format!("{}: {problem}", path.display()) };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let damaged = |e: safetensors::SafeTensorError| fail(format!("is no checkpoint of a fit ({e})"));
        let (_, about) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let about = about.metadata().clone().unwrap_or_default();
        if about.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(fail("is no checkpoint of a fit".into()));
        }
        if about.get(FINGERPRINT).map(String::as_str) != Some(fingerprint) {
            return Err(fail(
                "belongs to another fit: model, samples and settings must be the same; leave --resume out to start anew".into(),
            ));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let floats = |name: &str| -> Result<Vec<f32>, Error> {
            let view = file.tensor(name).map_err(damaged)?;
            Ok(view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let scalars: Vec<u64> = {
            let view = file.tensor(SCALARS).map_err(damaged)?;
            view.data().as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
        };
        let &[step, best_epoch, a, b, c, d, norm] = scalars.as_slice() else {
            return Err(fail("is no checkpoint of a fit".into()));
        };
        let check = |quality, loss| Check { quality: f64::from_bits(quality), loss: f64::from_bits(loss) };
        Ok(State {
            step: usize::try_from(step).unwrap_or(usize::MAX),
            params: floats("params")?,
            first: floats("first")?,
            second: floats("second")?,
            average: floats("average")?,
            best_params: floats("best_params")?,
            start: check(a, b),
            best: check(c, d),
            best_epoch: usize::try_from(best_epoch).unwrap_or(usize::MAX),
            norm: f64::from_bits(norm),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_bit_by_bit_for_its_own_fit_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fit.safetensors");
        let mut state = State::new(&[1.0, -0.0, f32::MIN_POSITIVE / 2.0]);
        state.step = 7;
        state.norm = 0.1 + 0.2;
        state.best = Check { quality: 0.9, loss: -0.0 };
        state.save(&path, "a").unwrap();
        let back = State::load(&path, "a").unwrap();
        assert_eq!(back, state);
        assert_eq!(back.params[1].to_bits(), state.params[1].to_bits());
        assert!(back.check(3).is_ok() && back.check(2).is_err());
        assert!(State::load(&path, "b").unwrap_err().to_string().contains("another fit"));
        std::fs::write(&path, b"nonsense").unwrap();
        assert!(State::load(&path, "a").unwrap_err().to_string().contains("no checkpoint"));
    }
}
