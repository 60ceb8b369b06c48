//! What is refused before any work is done.

use std::path::Path;

use adntn_passes::{SkipReason, Survey};
use regex::Regex;

use crate::error::Error;
use crate::options::Options;
use crate::training::FitKind;

/// Names of layers shown to whoever named none of them.
const SHOWN_LAYERS: usize = 6;

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
    if options.time.is_some_and(|time| time.is_zero()) {
        return Err(Error::Usage("the time is 0: nothing can be found in it, give some seconds at least".into()));
    }
    if options.time.is_some() && options.fit == FitKind::EndToEnd {
        return Err(Error::Usage(
            "a time is given for an end-to-end fit, whose length is its number of passes: give --epochs instead".into(),
        ));
    }
    if options.bond == Some(0) {
        return Err(Error::Usage("the bond dimension is 0: give 1 or more".into()));
    }
    let same = match (options.input.canonicalize(), options.output.canonicalize()) {
        (Ok(input), Ok(output)) => input == output,
        _ => options.input == options.output,
    };
    if same && options.writes_model() {
        return Err(Error::SameFile(options.output.clone()));
    }
    if options.output.is_dir() && options.writes_model() {
        return Err(Error::Usage(format!("{}: the output is a folder: name a file", options.output.display())));
    }
    let written = [
        ("output", Some(&options.output).filter(|_| options.writes_model())),
        ("report", options.report.as_ref()),
        ("diagram", options.diagram.as_ref()),
        ("plan", options.plan.as_ref()),
        ("checkpoint", options.training.checkpoint.as_ref().filter(|_| options.writes_model())),
    ];
    written.into_iter().try_for_each(|(what, path)| path.map_or(Ok(()), |path| writable(what, path)))
}

/// What cannot be written must be known before hours are spent.
fn writable(what: &str, path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let problem = if folder.exists() { "is a file" } else { "does not exist" };
        return Err(Error::Usage(format!("{}: the {what}'s folder {problem}", path.display())));
    }
    // Only the kind: the words of the system name the file that was tried.
    let failed = |problem: std::io::Error| Error::Write { path: path.to_owned(), source: problem.kind().into() };
    tempfile::tempfile_in(folder).map(drop).map_err(failed)
}

/// Refuses a model of which a weight holds NaN or infinity. A table may: masks are looked up in some.
pub(crate) fn weights(path: &Path, survey: &Survey) -> Result<(), Error> {
    match survey.skipped.iter().find(|s| matches!(s.reason, SkipReason::NotFinite) && s.op != "Gather") {
        Some(s) => {
            Err(Error::BrokenWeight { path: path.to_path_buf(), weight: s.weight.clone(), node: s.node.clone() })
        }
        None => Ok(()),
    }
}

/// Refuses patterns that match no layer.
pub(crate) fn patterns(options: &Options, survey: &Survey) -> Result<(), Error> {
    let of_layer = |p: &Regex| survey.candidates.iter().any(|c| p.is_match(&c.layer) || p.is_match(&c.weight));
    let skipped = |p: &Regex| survey.skipped.iter().find(|s| p.is_match(&s.node) || p.is_match(&s.weight));
    let generators = options.generators.iter().map(|choice| (choice.source(), &choice.layers));
    for (option, pattern) in options.layers.iter().map(|p| ("--layers", p)).chain(generators) {
        if of_layer(pattern) {
            continue;
        }
        return Err(Error::Usage(match skipped(pattern) {
            Some(s) => format!(
                "{option} `{pattern}` matches no layer that can be replaced: {} `{}` is left alone ({})",
                s.op, s.node, s.reason
            ),
            None => format!("{option} `{pattern}` matches no layer{}", known(survey)),
        }));
    }
    contradictions(options, survey)?;
    match &options.exclude {
        // What is left alone anyway may be excluded too.
        Some(pattern) if !of_layer(pattern) && skipped(pattern).is_none() => {
            Err(Error::Usage(format!("--exclude `{pattern}` matches no layer{}", known(survey))))
        }
        _ => Ok(()),
    }
}

/// Refuses settings for the same layer that ask for different things, of which none goes before the other.
fn contradictions(options: &Options, survey: &Survey) -> Result<(), Error> {
    for candidate in &survey.candidates {
        let all: Vec<_> = options.generators.iter().filter(|c| c.is_for(&candidate.layer, &candidate.weight)).collect();
        for (number, two) in all.iter().enumerate() {
            let Some((one, what)) = all[..number].iter().find_map(|one| Some((one, one.contradiction(two)?))) else {
                continue;
            };
            return Err(Error::Usage(format!(
                "{} `{}` and {} `{}` both match layer {} but ask for {what}: make the patterns exclude each other, or give one \
                 of them a higher priority",
                one.source(),
                one.layers,
                two.source(),
                two.layers,
                candidate.layer
            )));
        }
    }
    Ok(())
}

/// A few names to choose from.
fn known(survey: &Survey) -> String {
    let names: Vec<&str> = survey.candidates.iter().take(SHOWN_LAYERS).map(|c| c.layer.as_str()).collect();
    match (names.len(), survey.candidates.len() - names.len()) {
        (0, _) => ": the model has none that can be replaced".into(),
        (_, 0) => format!("; the layers are {}", names.join(", ")),
        (_, more) => format!("; the layers are {} and {more} more (--dry-run lists them)", names.join(", ")),
    }
}
