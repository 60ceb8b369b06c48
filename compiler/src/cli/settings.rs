//! The settings of a run: the command line, and the file that it names.

use std::ffi::OsString;
use std::path::PathBuf;

use adntn_compiler::{CacheOptions, Error, FitKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::args::{Args, TRAINING};
use super::config::File;

/// Options that are about one run or have another form in files: these have no such key.
pub(super) const NO_SETTINGS: &[&str] = &[
    "config",
    "print-config",
    "generator",
    "plan",
    "work",
    "shard",
    "quiet",
    "verbose",
    "help",
    "help-all",
    "version",
];

/// Why there are no settings.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The command line cannot be read, or it asks for help or the version.
    CommandLine(Box<clap::Error>),
    /// The file cannot be read.
    File(Error),
}

/// The arguments in force, and where they come from.
#[derive(Debug)]
pub(super) struct Settings {
    /// What is in force.
    pub(super) args: Args,
    /// The same by the names of the arguments.
    pub(super) matches: ArgMatches,
    pub(super) file: Option<File>,
    /// What the command line alone says.
    line: ArgMatches,
}

impl Settings {
    /// Reads the arguments of the process, its name among them, and the file of settings that they name.
    pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Settings, Refusal> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let command = command();
        let refuse = |error| Refusal::CommandLine(Box::new(error));
        let line = command.clone().try_get_matches_from(&arguments).map_err(refuse)?;
        let file = match line.get_one::<PathBuf>("config") {
            Some(path) if !line.get_flag("help_all") => Some(File::read(path, &command).map_err(Refusal::File)?),
            _ => None,
        };
        let mut all: Vec<OsString> = arguments.iter().take(1).cloned().collect();
        let trains = line.get_one::<FitKind>("fit") == Some(&FitKind::EndToEnd);
        for entry in file.iter().flat_map(|file| &file.entries) {
            let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(&entry.key)) else { continue };
            // A file for training through the network serves other fits too, where the command line asks for one.
            let idle = is_of_training(arg) && is_given(&line, "fit") && !trains;
            if !is_given(&line, arg.get_id().as_str()) && !idle {
                all.extend(entry.texts.iter().map(|text| format!("--{}={text}", entry.key).into()));
            }
        }
        all.extend(arguments.into_iter().skip(1));
        let matches = command.try_get_matches_from(all).map_err(refuse)?;
        let args = Args::from_arg_matches(&matches).map_err(refuse)?;
        Ok(Settings { args, matches, file, line })
    }

    /// What an argument is called where it was given; `None` where it was not, or switched off.
    pub(super) fn given(&self, id: &str) -> Option<String> {
        let arg = arguments().into_iter().find(|arg| arg.get_id().as_str() == id)?;
        let key = arg.get_long()?;
        let off = is_switch(&arg) && !self.matches.get_flag(id);
        if off || !is_given(&self.matches, id) {
            return None;
        }
        if is_given(&self.line, id) {
            return Some(format!("--{key}"));
        }
        let file = self.file.as_ref()?;
        file.entries.iter().find(|entry| entry.key == key).map(|entry| format!("{},", file.name(key, entry.line)))
    }

    /// Where results are kept, if they are.
    pub(super) fn cache(&self) -> Option<CacheOptions> {
        if self.args.no_cache {
            return None;
        }
        let folder = self.args.cache_dir.clone().or_else(CacheOptions::users_folder)?;
        let mut cache = CacheOptions::new(folder);
        cache.most_bytes = self.args.cache_size;
        Some(cache)
    }

    /// A file that the run cannot do without and that was not named.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match (&self.args.input, &self.args.output) {
            (None, _) => Some("IN.onnx, the model to compile,"),
            (_, None) if !self.args.dry_run && self.args.plan.is_none() => {
                Some("OUT.onnx, where the compiled model goes,")
            }
            _ => None,
        }
    }

    /// An error of the library, which speaks of the command's options, and where those it speaks of were given if not there.
    pub(super) fn explain(&self, error: &Error) -> String {
        let mut text = error.to_string();
        let Some(file) = &self.file else { return text };
        let mut places = Vec::new();
        for entry in &file.entries {
            let option = format!("--{}", entry.key);
            let ends = |at: usize| !text[at + option.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '-');
            if text.match_indices(&option).any(|(at, _)| ends(at)) && self.is_from_file(&entry.key) {
                places.push(file.name(&entry.key, entry.line));
            }
        }
        if !places.is_empty() {
            text = format!("{text} (set by {})", places.join(" and by "));
        }
        text
    }

    fn is_from_file(&self, key: &str) -> bool {
        let id = key.replace('-', "_");
        is_given(&self.matches, &id) && !is_given(&self.line, &id)
    }
}

/// The command, with switches that can be switched off again, as in `--dry-run=false`.
pub(super) fn command() -> Command {
    Args::command().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue if is_setting(&arg) => arg
            .action(ArgAction::Set)
            .value_parser(clap::value_parser!(bool))
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true"),
        // A number below zero is told the range, and is not taken for an option.
        _ if arg.get_action().takes_values() => arg.allow_negative_numbers(true),
        _ => arg,
    })
}

/// Its arguments.
pub(super) fn arguments() -> Vec<Arg> {
    command().get_arguments().cloned().collect()
}

/// Whether it may stand in a file.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|key| !NO_SETTINGS.contains(&key))
}

/// Whether it says nothing where nothing is trained through the network.
pub(super) fn is_of_training(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(TRAINING) && !["fit", "generator"].contains(&arg.get_id().as_str())
}

/// Whether it is true or false.
pub(super) fn is_switch(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == std::any::TypeId::of::<bool>()
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
