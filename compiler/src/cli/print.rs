//! The settings in force, as a file of settings.

use std::fmt::Write as _;

use adntn_compiler::{Error, FitKind, GeneratorChoice};
use clap::Arg;
use toml::Value;
use toml::de::DeValue;

use super::config::{Kind, RULE, is_list};
use super::settings::{Settings, arguments, is_of_training, is_setting};

impl Settings {
    /// A file that, given by `--config`, gives these settings.
    ///
    /// # Errors
    /// A path that is no text.
    pub(super) fn printed(&self, rules: &[GeneratorChoice]) -> Result<String, Error> {
        let mut text = "# The settings in force; what is not set follows from the model and the data.\n".to_owned();
        let mut headings: Vec<String> = Vec::new();
        let arguments: Vec<Arg> = arguments().into_iter().filter(|arg| self.is_in_force(arg)).collect();
        for arg in &arguments {
            let heading = arg.get_help_heading().unwrap_or_default();
            if !headings.iter().any(|known| known == heading) {
                headings.push(heading.to_owned());
            }
        }
        for heading in headings {
            let _ = write!(text, "\n# {heading}\n");
            let mut unset = Vec::new();
            for arg in arguments.iter().filter(|arg| arg.get_help_heading() == Some(&heading)) {
                let key = arg.get_long().unwrap_or_default();
                match self.value(arg)? {
                    Some(value) => {
                        let _ = writeln!(text, "{key} = {value}");
                    }
                    None => unset.push(key),
                }
            }
            if !unset.is_empty() {
                let _ = writeln!(text, "# not set: {}", unset.join(", "));
            }
        }
        for rule in rules {
            let _ = write!(text, "\n[[{RULE}]]\nlayers = {}\n", quoted(rule.layers.as_str()));
            if rule.priority != 0 {
                let _ = writeln!(text, "priority = {}", rule.priority);
            }
            for (key, value) in rule.settings() {
                let text_only = ["topology", "layout", "activation"].contains(&key);
                let value = if text_only { quoted(&value) } else { number(&value) };
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        Ok(text)
    }

    fn is_in_force(&self, arg: &Arg) -> bool {
        is_setting(arg) && (!is_of_training(arg) || self.args.fit == FitKind::EndToEnd)
    }

    /// The value of an argument in TOML, if it has one.
    fn value(&self, arg: &Arg) -> Result<Option<String>, Error> {
        let Some(raw) = self.matches.get_raw(arg.get_id().as_str()) else { return Ok(None) };
        let mut values = Vec::new();
        for value in raw {
            let value = value.to_str().ok_or_else(|| {
                let (key, path) = (arg.get_long().unwrap_or_default(), value.display());
                Error::Usage(format!("--{key} {path}: only names that are UTF-8 can be printed: choose another one"))
            })?;
            values.push(match Kind::of(arg) {
                Kind::Switch => value.to_owned(),
                Kind::Whole | Kind::Number => number(value),
                Kind::Text => quoted(value),
            });
        }
        Ok(if is_list(arg) { Some(format!("[{}]", values.join(", "))) } else { values.pop() })
    }
}

/// A number as TOML writes it; text where it is none, such as `1%`.
fn number(text: &str) -> String {
    let plain =
        DeValue::parse(text).is_ok_and(|value| matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_)));
    match text.parse::<f64>() {
        Ok(_) if plain => text.to_owned(),
        Ok(number) if number.is_nan() => "nan".to_owned(),
        Ok(number) => number.to_string(),
        Err(_) => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
