//! What is refused before any work is done.

use std::path::Path;

use adntn_passes::{SkipReason, Survey};

use crate::error::Error;
use crate::options::Options;

/// Refuses settings that make no sense and outputs that cannot be written.
pub(crate) fn options(options: &Options) -> Result<(), Error> {
    if !(0.0..=1.0).contains(&options.tolerance) {
        return Err(Error::Usage(format!(
            "the tolerance is {}: give a share between 0 and 1, such as 0.01 or 1%",
            options.tolerance
        )));
    }
    if !(options.confidence > 0.0 && options.confidence < 1.0) {
        return Err(Error::Usage(format!(
            "the confidence is {}: give a share above 0 and below 1, such as 0.95 or 95%",
            options.confidence
        )));
    }
    if options.bond == Some(0) {
        return Err(Error::Usage("the bond dimension is 0: give 1 or more".into()));
    }
    if options.dry_run {
        return Ok(());
    }
    let same = match (options.input.canonicalize(), options.output.canonicalize()) {
        (Ok(input), Ok(output)) => input == output,
        _ => options.input == options.output,
    };
    if same {
        return Err(Error::SameFile(options.output.clone()));
    }
    if options.output.is_dir() {
        return Err(Error::Usage(format!("{}: the output is a folder: name a file", options.output.display())));
    }
    let folder = options.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::Usage(format!("{}: the output's folder does not exist", folder.display())));
    }
    Ok(())
}

/// Refuses a model of which a weight holds NaN or infinity.
pub(crate) fn weights(path: &Path, survey: &Survey) -> Result<(), Error> {
    match survey.skipped.iter().find(|s| matches!(s.reason, SkipReason::NotFinite)) {
        Some(s) => {
            Err(Error::BrokenWeight { path: path.to_path_buf(), weight: s.weight.clone(), node: s.node.clone() })
        }
        None => Ok(()),
    }
}
