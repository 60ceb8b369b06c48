//! A compilation that has been judged, but whose files have no names yet.

use adntn_fit::distill::Ended;
use adntn_onnx::{Staged, StagedFile, commit_all};

use crate::error::Error;
use crate::observer::Observer;
use crate::options::Options;
use crate::pipeline;
use crate::report::{Report, StopReason};

/// A compiled model with its report and diagram: written to the folders they are to appear in, read back and judged,
/// but without their names. Dropped, nothing is left of them.
#[derive(Debug)]
#[must_use = "nothing is written before `save`"]
pub struct Compiled {
    report: Report,
    model: Option<Staged>,
    others: Vec<StagedFile>,
    accept_worse: bool,
}

/// Compiles a model as `options` say, up to the point where its files get their names.
///
/// # Errors
/// See [`Error`]; nothing is written then.
pub fn compile_staged(options: &Options, observer: &mut dyn Observer) -> Result<Compiled, Error> {
    if options.plan.is_some() {
        return Err(Error::Usage(
            "a plan is asked for, which `plan` makes, and a model, which `compile` does: ask for one".into(),
        ));
    }
    let (report, model) = pipeline::run(options, observer)?;
    let mut others = Vec::new();
    if let Some(path) = &options.report {
        let json = serde_json::to_string_pretty(&report).map_err(|e| Error::Internal(e.to_string()))?;
        others.push(StagedFile::new(path, (json + "\n").as_bytes())?);
    }
    if let Some(path) = &options.diagram {
        others.push(StagedFile::new(path, report.diagram()?.as_bytes())?);
    }
    Ok(Compiled { report, model, others, accept_worse: options.accept_worse })
}

/// Compiles a model as `options` say, telling `observer` how far it is.
///
/// # Errors
/// See [`Error`]; nothing is written then. [`Error::OutsideTolerance`] where the result lost more quality than
/// [`Options::tolerance`] allows and [`Options::accept_worse`] is not set.
pub fn compile_with(options: &Options, observer: &mut dyn Observer) -> Result<Report, Error> {
    compile_staged(options, observer)?.save()
}

impl Compiled {
    /// What was compiled, and how good it is.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether [`save`](Self::save) would refuse to write.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where the compilation was ended before it had replaced a layer;
    /// [`Error::DeadOutput`] where an output is constant and the original's is not; [`Error::OutsideTolerance`] where quality
    /// was measured and the loss is more than was allowed.
    pub fn check(&self) -> Result<(), Error> {
        if self.model.is_none() {
            return Ok(());
        }
        if self.is_interrupted() && !self.report.layers.iter().any(|layer| layer.replaced) {
            return Err(Error::Interrupted);
        }
        let dead = self.report.quality.iter().flat_map(|quality| &quality.outputs).find(|output| output.dead);
        if let Some(output) = dead {
            return Err(Error::DeadOutput { output: output.output.clone() });
        }
        match &self.report.quality {
            Some(quality) if !quality.within_tolerance && !self.accept_worse => {
                Err(Error::OutsideTolerance { loss: quality.loss, tolerance: self.report.settings.tolerance })
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller ended the compilation early, so that this is the best it had found.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.report.stopped == Some(StopReason::Interrupted)
            || self.report.training.as_ref().is_some_and(|training| training.ended == Ended::Interrupted)
    }

    /// Gives the files their names: model, external data, report and diagram, or none of them.
    ///
    /// # Errors
    /// As for [`check`](Self::check); [`Error::Model`] where a file cannot have its name. Then everything is as before.
    pub fn save(self) -> Result<Report, Error> {
        self.check()?;
        match self.model {
            Some(model) => drop(model.commit_with(self.others)?),
            None => commit_all(self.others)?,
        }
        Ok(self.report)
    }
}
