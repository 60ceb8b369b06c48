//! Files of settings: TOML, with the names of options as keys and `[[rule]]` tables for some layers only.

mod rules;
mod value;

use std::ops::Range;
use std::path::{Path, PathBuf};

use adntn_compiler::{Error, GeneratorChoice};
use clap::Command;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings::is_setting;
pub(super) use value::{Kind, is_list};

/// No file of settings is larger (bytes).
const LARGEST: u64 = 1 << 20;
/// The key of the tables for some layers.
pub(super) const RULE: &str = "rule";

/// What a file says.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Its settings, in their order.
    pub(super) entries: Vec<Entry>,
    /// Its rules.
    pub(super) rules: Vec<GeneratorChoice>,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the option.
    pub(super) key: String,
    /// Values as the option takes them, which it does; none says nothing.
    pub(super) texts: Vec<String>,
    pub(super) line: usize,
}

impl File {
    /// Reads a file whose keys are the options of `command`.
    ///
    /// # Errors
    /// One sentence with the file and the line for what is no TOML, no setting, or no value for one.
    pub(super) fn read(path: &Path, command: &Command) -> Result<File, Error> {
        let text = text(path)?;
        let reader = Reader { path, text: &text, command };
        let table = DeTable::parse(&text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let here = text.get(span.clone()).filter(|here| !here.trim().is_empty() && !here.contains('\n'));
            let (line, here) = (reader.line(&span), here.map_or(String::new(), |here| format!(" at `{here}`")));
            let problem = value::one_line(error.message());
            Error::Usage(format!("{}, line {line}: this is no TOML ({problem}{here}): correct it", path.display()))
        })?;
        let mut file = File { path: path.to_owned(), entries: Vec::new(), rules: Vec::new() };
        for (key, value) in in_order(table.get_ref()) {
            if key.get_ref() == RULE {
                file.rules = reader.rules(key, value)?;
            } else {
                file.entries.push(reader.entry(key, value)?);
            }
        }
        Ok(file)
    }

    /// What a setting on a line of this file is called.
    pub(super) fn name(&self, key: &str, line: usize) -> String {
        place(key, &self.path, line)
    }
}

fn place(key: &str, path: &Path, line: usize) -> String {
    format!("`{key}` in {}, line {line}", path.display())
}

type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;
type Value<'t> = Spanned<DeValue<'t>>;

/// A file being read.
struct Reader<'r> {
    path: &'r Path,
    text: &'r str,
    command: &'r Command,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn entry(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Entry, Error> {
        let line = self.line(&key.span());
        let name = key.get_ref().as_ref();
        let arg = self.command.get_arguments().find(|arg| arg.get_long() == Some(name) && is_setting(arg));
        let Some(arg) = arg else {
            let keys = self.command.get_arguments().filter(|arg| is_setting(arg)).filter_map(|arg| arg.get_long());
            let hint = match name {
                "generator" => "write a [[rule]] table with `layers` and the settings".into(),
                _ if self.command.get_arguments().any(|arg| arg.get_long() == Some(name)) => {
                    format!("--{name} belongs on the command line")
                }
                _ => meant(name, keys.chain([RULE]), "docs/config.md and --help-all list the keys"),
            };
            return Err(self.unknown(name, line, &hint));
        };
        let texts =
            value::texts(self.command, arg, value.get_ref()).map_err(|problem| self.refused(name, line, &problem))?;
        Ok(Entry { key: name.to_owned(), texts, line })
    }

    fn unknown(&self, key: &str, line: usize, hint: &str) -> Error {
        Error::Usage(format!("unknown key `{key}` in {}, line {line}: {hint}", self.path.display()))
    }

    fn refused(&self, key: &str, line: usize, problem: &str) -> Error {
        Error::Usage(format!("{}: {problem}", place(key, self.path, line)))
    }
}

/// The entries of a table as they are written.
fn in_order<'t, 'v>(table: &'v DeTable<'t>) -> Vec<(&'v Key<'t>, &'v Value<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The known key nearest to `key`, as a question, or where there is none near, other words.
fn meant<'k>(key: &str, known: impl Iterator<Item = &'k str>, otherwise: &str) -> String {
    let distance = |other: &str| strsim::osa_distance(key, other);
    match known.map(|other| (distance(other), other)).min() {
        Some((distance, other)) if 3 * distance <= other.chars().count().max(3) => format!("did you mean `{other}`?"),
        _ => otherwise.to_owned(),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let refuse = |problem: &str| Error::Usage(format!("{}: {problem}: give --config a TOML file", path.display()));
    let failed = |error: std::io::Error| refuse(&format!("the settings cannot be read ({error})"));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(refuse("this is a folder"));
    }
    if !metadata.is_file() {
        return Err(Error::NotAFile { what: "the settings", path: path.to_owned() });
    }
    if metadata.len() > LARGEST {
        return Err(refuse("with more than 1 MiB this is no file of settings"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| refuse("this is no text"))
}
