//! `--plan`, and `--work` with `--shard`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use adntn_compiler::{Error, GeneratorChoice, Options, Plan, Probe, Shard};
use clap::parser::ValueSource;

use super::settings::{Refusal, Settings, arguments, is_setting};
use super::{progress, say, signals, threads};

/// What may be given beside `--work`, or ends the run before: the rest is in the plan.
const BESIDE_WORK: [&str; 9] =
    ["work", "shard", "cache_dir", "cache_size", "no_cache", "quiet", "verbose", "help", "version"];
/// Settings that say nothing of what a fit is.
const ABOUT_THE_CACHE: [&str; 3] = ["cache_dir", "cache_size", "no_cache"];

/// Refuses settings of these that say nothing where they are given.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    let args = &settings.args;
    let refuse = |sentence: String| Err(Error::Usage(sentence));
    if args.work.is_none() && args.shard.is_some() {
        return refuse("--shard says which share of a plan to do: give --work FILE too".into());
    }
    if args.no_cache && (args.work.is_some() || args.plan.is_some()) {
        return refuse("--plan and --work keep what is shared in the cache: leave --no-cache out".into());
    }
    if args.work.is_some() {
        let others = arguments().into_iter().filter(|arg| !BESIDE_WORK.contains(&arg.get_id().as_str()));
        let given = others.filter_map(|arg| match arg.get_id().as_str() {
            "input" => args.input.as_ref().map(|_| "IN.onnx".to_owned()),
            "output" => args.output.as_ref().map(|_| "OUT.onnx".to_owned()),
            id => settings.given(id),
        });
        if let Some(name) = given.into_iter().next() {
            return refuse(format!(
                "--work takes everything but the cache from the plan: leave {} out",
                name.trim_end_matches(',')
            ));
        }
    }
    match settings.given("dry_run") {
        Some(name) if args.plan.is_some() => refuse(format!(
            "--plan takes statistics and {} fits nothing: leave one of them out",
            name.trim_end_matches(',')
        )),
        _ => Ok(()),
    }
}

/// Writes a plan.
pub(super) fn plan(settings: &Settings, options: Options, path: &Path) -> Result<ExitCode, Error> {
    threads::start()?;
    let folder = options.cache.as_ref().map(|cache| cache.folder.display().to_string()).unwrap_or_default();
    let options =
        Options { probe: std::env::current_exe().ok().map(Probe::new), plan: Some(path.to_owned()), ..options };
    let mut progress = progress::Bars::new(signals::watch(), settings.args.quiet);
    let planned = adntn_compiler::plan(&options, &mut progress);
    progress.finish();
    let mut plan = planned?;
    plan.arguments = settings.as_arguments(&options.generators)?;
    plan.write(path)?;
    if !settings.args.quiet {
        let fits = plan.fits.len();
        say(&format!("Plan      {fits} fit{} in the cache {folder}", if fits == 1 { "" } else { "s" }));
        say(&format!("Written   {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Does a share of a plan.
pub(super) fn work(settings: &Settings, path: &Path) -> Result<ExitCode, Error> {
    let shard: Shard = match &settings.args.shard {
        Some(text) => text.parse().map_err(|problem| Error::Usage(format!("--shard {problem}")))?,
        None => Shard::ALL,
    };
    let plan = Plan::read(path)?;
    let unreadable = |problem: String| {
        Error::Usage(format!(
            "{}: the arguments in this plan cannot be taken ({problem}): write it again",
            path.display()
        ))
    };
    // A model's name may begin as options do.
    let line =
        ["adntn-compile"].into_iter().chain(plan.arguments.iter().map(String::as_str)).chain(["--", &plan.model]);
    let planned = Settings::read(line.map(OsString::from)).map_err(|refusal| match refusal {
        Refusal::CommandLine(error) => unreadable(error.kind().to_string()),
        Refusal::File(error) => unreadable(error.to_string()),
    })?;
    let options = Options { cache: settings.cache(), ..planned.options()? };
    threads::start()?;
    let mut progress = progress::Bars::new(signals::watch(), settings.args.quiet);
    let worked = adntn_compiler::work(&options, &plan, shard, &mut progress);
    progress.finish();
    let worked = worked?;
    if !settings.args.quiet {
        let (made, found) = (worked.made, worked.found);
        say(&format!(
            "Shard     {shard}: {made} fit{} made, {found} found in the cache",
            if made == 1 { "" } else { "s" }
        ));
    }
    Ok(ExitCode::SUCCESS)
}

impl Settings {
    /// Arguments that give the same options, without what is about the cache or this run only.
    ///
    /// # Errors
    /// A path that is no text.
    fn as_arguments(&self, rules: &[GeneratorChoice]) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        for arg in arguments().iter().filter(|arg| is_setting(arg)) {
            let (id, key) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
            if ABOUT_THE_CACHE.contains(&id) || self.matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            for value in self.matches.get_raw(id).into_iter().flatten() {
                let value = value.to_str().ok_or_else(|| {
                    Error::Usage(format!(
                        "--{key} {}: only names that are UTF-8 can stand in a plan: choose another one",
                        value.display()
                    ))
                })?;
                all.push(format!("--{key}={value}"));
            }
        }
        let mut rules: Vec<&GeneratorChoice> = rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority);
        for rule in rules {
            let settings: Vec<String> = rule.settings().iter().map(|(key, value)| format!("{key}:{value}")).collect();
            all.push(format!("--generator={}={}", rule.layers, settings.join(",")));
        }
        Ok(all)
    }
}
