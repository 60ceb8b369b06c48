//! A fit set down in a file, to be taken up again.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use adntn_onnx::StagedFile;
use bytemuck::cast_slice;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::distill::check::Check;
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

/// How large and how long a fit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Parameters that are trained.
    pub parameters: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps of one pass.
    pub per_epoch: usize,
}

/// Which fit a checkpoint belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Version of the program.
    pub version: String,
    /// Digest of the whole model, its external data included.
    pub model: String,
    /// Digest of the samples.
    pub samples: String,
    /// Every setting that decides what the fit does, by name.
    pub settings: BTreeMap<String, String>,
}

impl Identity {
    fn entries(&self) -> BTreeMap<String, String> {
        let mut entries: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in [("version", &self.version), ("model", &self.model), ("samples", &self.samples)] {
            entries.insert(key.into(), value.clone());
        }
        entries.extend(self.settings.iter().map(|(key, value)| (format!("{SETTING}{key}"), value.clone())));
        entries
    }

    /// What of a file's entries is not as here, in words.
    fn difference(&self, file: &BTreeMap<String, String>) -> Option<String> {
        let own = self.entries();
        let differs = |key: &str| own.get(key) != file.get(key);
        if differs("version") {
            let theirs = file.get("version").map_or("unknown", String::as_str);
            return Some(format!("was written by another version ({theirs}, this is {})", self.version));
        }
        if differs("model") {
            return Some("belongs to another model".into());
        }
        if differs("samples") {
            return Some("belongs to a fit on other samples".into());
        }
        let keys: std::collections::BTreeSet<&String> = own.keys().chain(file.keys()).collect();
        let settings = keys.into_iter().filter(|key| differs(key)).filter_map(|key| key.strip_prefix(SETTING));
        let settings: Vec<&str> = settings.collect();
        (!settings.is_empty()).then(|| format!("belongs to a fit with other settings: {}", settings.join(", ")))
    }
}

const SCALARS: &str = "scalars";
const SETTING: &str = "setting ";
const CHECKSUM: &str = "checksum";
const FORMAT: (&str, &str) = ("format", "adntn-fit-2");
/// Nothing that a fit makes is larger; squares of it still fit in float64.
const LARGEST: f32 = 1e30;
/// Qualities lie around 1 and below; the least is that of outputs that are dead, as they may be before training.
const QUALITIES: std::ops::RangeInclusive<f64> = f64::MIN..=1e3;

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

    /// Whether this can be the state of such a fit.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if not.
    pub fn check(&self, extent: Extent) -> Result<(), Error> {
        let Extent { parameters: count, steps, per_epoch } = extent;
        let refuse = |problem: String| Err(Error::Checkpoint { problem });
        for (name, values) in self.vectors() {
            if values.len() != count {
                return refuse(format!("its {name} are {}, the fit has {count} parameters", values.len()));
            }
            let least = if name == "second moments" { 0.0 } else { -LARGEST };
            if !values.iter().all(|value| (least..=LARGEST).contains(value)) {
                return refuse(format!("its {name} hold values that no fit makes"));
            }
        }
        if self.step > steps {
            return refuse(format!("it has done {} steps, the fit has {steps}", self.step));
        }
        if self.best_epoch > self.step.div_ceil(per_epoch.max(1)) {
            return refuse(format!("its best pass is {}, after {} steps", self.best_epoch, self.step));
        }
        let checks = [self.start.quality, self.start.loss, self.best.quality, self.best.loss];
        let qualities = [self.start.quality, self.best.quality];
        if self.step > 0 && !qualities.iter().all(|quality| QUALITIES.contains(quality)) {
            return refuse("its qualities are none that a fit measures".into());
        }
        if !self.norm.is_finite() || self.norm < 0.0 || !checks.iter().all(|x| x.is_finite()) {
            return refuse("its measurements are no numbers that a fit makes".into());
        }
        Ok(())
    }

    fn vectors(&self) -> [(&'static str, &Vec<f32>); 5] {
        [
            ("parameters", &self.params),
            ("first moments", &self.first),
            ("second moments", &self.second),
            ("averages", &self.average),
            ("best parameters", &self.best_params),
        ]
    }

    fn scalars(&self) -> Vec<u64> {
        let bits =
            [self.start.quality, self.start.loss, self.best.quality, self.best.loss, self.norm].map(f64::to_bits);
        [self.step as u64, self.best_epoch as u64].into_iter().chain(bits).collect()
    }

    /// Writes the state to `path` (safetensors), whole or not at all; `identity` names the fit it belongs to.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file cannot be written.
    pub fn save(&self, path: &Path, identity: &Identity) -> Result<(), Error> {
        let fail = |problem: String| Error::Checkpoint { problem: format!("{}: {problem}", path.display()) };
        let scalars = self.scalars();
        let mut views = Vec::new();
        for (name, values) in self.vectors() {
            let view = TensorView::new(Dtype::F32, vec![values.len()], cast_slice(values));
            views.push((name, view.map_err(|e| fail(e.to_string()))?));
        }
        let view = TensorView::new(Dtype::U64, vec![scalars.len()], cast_slice(&scalars));
        views.push((SCALARS, view.map_err(|e| fail(e.to_string()))?));
        let mut entries = identity.entries();
        entries.insert(FORMAT.0.into(), FORMAT.1.into());
        let checksum = checksum(&entries, views.iter().map(|(name, view)| (*name, view.data())));
        let mut about: HashMap<String, String> = entries.into_iter().collect();
        about.insert(CHECKSUM.into(), checksum);
        let bytes = safetensors::serialize(views, Some(about)).map_err(|e| fail(e.to_string()))?;
        let failed = |e: adntn_onnx::Error| Error::Checkpoint { problem: e.to_string() };
        StagedFile::new(path, &bytes).and_then(StagedFile::commit).map_err(failed)
    }

    /// Reads a state that [`State::save`] wrote for the same fit.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file is missing, damaged, or of another fit, with what is different, or holds what no fit
    /// makes.
    pub fn load(path: &Path, identity: &Identity, extent: Extent) -> Result<Self, Error> {
        let fail = |problem: String| Error::Checkpoint {
            problem: format!("{}: {problem}; leave --resume out to start anew", path.display()),
        };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let damaged = |e: safetensors::SafeTensorError| fail(format!("is no checkpoint of a fit ({e})"));
        let (_, about) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let mut about: BTreeMap<String, String> = about.metadata().clone().unwrap_or_default().into_iter().collect();
        if about.get(FORMAT.0).map(String::as_str) != Some(FORMAT.1) {
            return Err(fail("is no checkpoint of a fit by this version".into()));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let expected = about.remove(CHECKSUM);
        let mut parts = Vec::new();
        for name in State::new(&[]).vectors().map(|(name, _)| name).into_iter().chain([SCALARS]) {
            let view = file.tensor(name).map_err(damaged)?;
            let wanted = if name == SCALARS { Dtype::U64 } else { Dtype::F32 };
            if view.dtype() != wanted || view.shape().len() != 1 {
                return Err(fail(format!("is damaged: its {name} have another type or shape")));
            }
            parts.push((name, view));
        }
        if expected.as_deref() != Some(&checksum(&about, parts.iter().map(|(name, view)| (*name, view.data())))) {
            return Err(fail("is damaged: its checksum does not fit".into()));
        }
        if let Some(difference) = identity.difference(&about) {
            return Err(fail(difference));
        }
        let mut vectors = parts.iter().map(|(_, view)| -> Vec<f32> {
            view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        });
        let mut next = || vectors.next().unwrap_or_default();
        let (params, first, second, average, best_params) = (next(), next(), next(), next(), next());
        let scalars = parts.last().map(|(_, view)| view.data()).unwrap_or_default();
        let scalars: Vec<u64> = scalars.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let &[step, best_epoch, a, b, c, d, norm] = scalars.as_slice() else {
            return Err(fail("is damaged: numbers are missing".into()));
        };
        let check = |quality, loss| Check { quality: f64::from_bits(quality), loss: f64::from_bits(loss) };
        let state = State {
            step: usize::try_from(step).unwrap_or(usize::MAX),
            params,
            first,
            second,
            average,
            best_params,
            start: check(a, b),
            best: check(c, d),
            best_epoch: usize::try_from(best_epoch).unwrap_or(usize::MAX),
            norm: f64::from_bits(norm),
        };
        match state.check(extent) {
            Ok(()) => Ok(state),
            Err(Error::Checkpoint { problem }) => Err(fail(problem)),
            Err(e) => Err(e),
        }
    }
}

/// Over all that a checkpoint says: its entries and its numbers, each with name and length.
fn checksum<'a>(entries: &BTreeMap<String, String>, parts: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = blake3::Hasher::new();
    let mut take = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (key, value) in entries {
        take(key.as_bytes());
        take(value.as_bytes());
    }
    for (name, data) in parts {
        take(name.as_bytes());
        take(data);
    }
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(model: &str, epochs: &str) -> Identity {
        let settings = BTreeMap::from([("epochs".to_owned(), epochs.to_owned())]);
        Identity { version: "1".into(), model: model.into(), samples: "s".into(), settings }
    }

    #[test]
    fn a_state_comes_back_bit_by_bit_for_its_own_fit_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fit.safetensors");
        let mut state = State::new(&[1.0, -0.0, f32::MIN_POSITIVE / 2.0]);
        state.step = 7;
        state.norm = 0.1 + 0.2;
        state.start = Check { quality: 0.5, loss: 1.0 };
        state.best = Check { quality: 0.9, loss: -0.0 };
        state.save(&path, &identity("a", "3")).unwrap();
        let extent = |parameters, steps| Extent { parameters, steps, per_epoch: 1 };
        let back = State::load(&path, &identity("a", "3"), extent(3, 7)).unwrap();
        assert_eq!(back, state);
        assert_eq!(back.params[1].to_bits(), state.params[1].to_bits());
        for other in [extent(2, 7), extent(3, 6)] {
            let text = State::load(&path, &identity("a", "3"), other).unwrap_err().to_string();
            assert!(text.contains("fit.safetensors"), "{text}");
        }
        let refusal = |identity: &Identity| State::load(&path, identity, extent(3, 7)).unwrap_err().to_string();
        assert!(refusal(&identity("b", "3")).contains("another model"));
        assert!(refusal(&identity("a", "4")).contains("other settings: epochs"));
        assert!(refusal(&Identity { samples: "t".into(), ..identity("a", "3") }).contains("other samples"));
        assert!(refusal(&Identity { version: "2".into(), ..identity("a", "3") }).contains("another version"));
        let whole = std::fs::read(&path).unwrap();
        for at in [9, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            assert!(refusal(&identity("a", "3")).contains("fit.safetensors"), "{at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(refusal(&identity("a", "3")).contains("fit.safetensors"), "{at}");
        }
        std::fs::write(&path, b"nonsense").unwrap();
        assert!(refusal(&identity("a", "3")).contains("no checkpoint"));
    }

    #[test]
    fn states_that_no_fit_makes_are_refused() {
        let changes: [fn(&mut State); 9] = [
            |s| s.step = usize::MAX,
            |s| s.best_epoch = usize::MAX,
            |s| s.norm = f64::NAN,
            |s| s.norm = -1.0,
            |s| s.params[1] = f32::NAN,
            |s| s.average[0] = 3e38,
            |s| s.second[2] = -1.0,
            |s| s.best.quality = f64::INFINITY,
            |s| (s.step, s.best.quality) = (5, 1e308),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut state = State::new(&[1.0, 2.0, 3.0]);
            change(&mut state);
            assert!(state.check(Extent { parameters: 3, steps: 100, per_epoch: 10 }).is_err(), "{number}");
        }
        // Outputs that are dead before training are measured too.
        let mut dead = State::new(&[1.0, 2.0, 3.0]);
        (dead.step, dead.best) = (5, Check { quality: 0.5, loss: 1.0 });
        dead.check(Extent { parameters: 3, steps: 100, per_epoch: 10 }).unwrap();
    }
}
