//! A value of TOML as the text that an option takes.

use std::any::TypeId;
use std::num::ParseIntError;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use regex::Regex;
use toml::de::DeValue;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// True or false.
    Switch,
    /// A whole number, or text that stands for one, such as `500kB`.
    Whole,
    /// A number, or text that stands for one, such as `1%` or `10m`.
    Number,
    Text,
}

impl Kind {
    pub(crate) fn of(arg: &Arg) -> Kind {
        let is = |types: &[TypeId]| types.iter().any(|known| arg.get_value_parser().type_id() == *known);
        let whole =
            [TypeId::of::<u8>(), TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()];
        if is(&[TypeId::of::<bool>()]) {
            Kind::Switch
        } else if is(&whole) {
            Kind::Whole
        } else if is(&[TypeId::of::<f32>(), TypeId::of::<f64>(), TypeId::of::<Duration>()]) {
            Kind::Number
        } else {
            Kind::Text
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Kind::Switch => "true or false",
            Kind::Whole => "a whole number",
            Kind::Number => "a number",
            Kind::Text => "text in quotes",
        }
    }
}

/// Whether an option may be given several values.
pub(crate) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The values of an option that a value of TOML stands for, each of which it takes; else a sentence why not.
pub(super) fn texts(command: &Command, arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let texts = match value {
        DeValue::Array(items) if is_list(arg) => {
            items.iter().map(|item| text(arg, item.get_ref())).collect::<Result<_, _>>()?
        }
        single => vec![text(arg, single)?],
    };
    texts.iter().try_for_each(|text| accepted(command, arg, text))?;
    Ok(texts)
}

fn text(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let kind = Kind::of(arg);
    let list = if is_list(arg) { ", or a list of such" } else { "" };
    let wrong = |what: &str| Err(format!("this is {what}: give {}{list}", kind.wanted()));
    match (value, kind) {
        (DeValue::Boolean(value), Kind::Switch) => Ok(value.to_string()),
        (DeValue::String(text), Kind::Text) => Ok(text.to_string()),
        (DeValue::String(text), Kind::Whole | Kind::Number) if text.parse::<f64>().is_err() => Ok(text.to_string()),
        (DeValue::String(_), Kind::Whole | Kind::Number) => Err("this is text: write the number without quotes".into()),
        (DeValue::Float(number), Kind::Number) => Ok(number.as_str().to_owned()),
        (DeValue::Integer(number), Kind::Whole | Kind::Number) => match number.radix() {
            10 => Ok(number.as_str().to_owned()),
            radix => match u64::from_str_radix(number.as_str(), radix) {
                Ok(number) => Ok(number.to_string()),
                Err(_) => wrong("a number beyond 64 bits"),
            },
        },
        (DeValue::String(_), _) => wrong("text"),
        (DeValue::Integer(_), _) => wrong("a whole number"),
        (DeValue::Float(_), _) => wrong("a number with a fraction"),
        (DeValue::Boolean(_), _) => wrong("true or false"),
        (DeValue::Datetime(_), _) => wrong("a date"),
        (DeValue::Array(_), _) => wrong("a list"),
        (DeValue::Table(_), _) => wrong("a table"),
    }
}

/// Whether the option takes a value: its own parser says.
fn accepted(command: &Command, arg: &Arg, text: &str) -> Result<(), String> {
    let line = format!("--{}={text}", arg.get_long().unwrap_or_default());
    let Err(error) = command.clone().no_binary_name(true).try_get_matches_from([line]) else { return Ok(()) };
    match (error.kind(), std::error::Error::source(&error)) {
        (ErrorKind::ValueValidation, Some(source)) if source.is::<ParseIntError>() => {
            Err(format!("`{text}` is no whole number: give one"))
        }
        (ErrorKind::ValueValidation, Some(_)) if arg.get_value_parser().type_id() == TypeId::of::<Regex>() => {
            pattern(text).map(|_| ())
        }
        (ErrorKind::ValueValidation, Some(source)) => {
            let problem = one_line(&source.to_string());
            let range = problem.strip_prefix(&format!("{text} is not in ")).and_then(|range| range.split_once("..="));
            Err(match range {
                Some((least, most)) => format!("{text} is out of range: give a number from {least} to {most}"),
                None if problem.contains(&format!("`{text}`")) => problem,
                None => format!("`{text}` cannot be taken: {problem}"),
            })
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, _) if text.is_empty() => {
            Err("this is empty: give a value, or leave the line out".into())
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, _) => {
            Err(format!("`{text}` cannot be taken: give {}", Kind::of(arg).wanted()))
        }
        // What it needs beside it may be given elsewhere.
        _ => Ok(()),
    }
}

/// A regular expression.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let problem = one_line(&error.to_string());
        format!("`{text}` is no regular expression ({problem}): give one such as \"^fc1$\"")
    })
}

/// The gist of an error that comes in several lines, as those of regular expressions do.
pub(super) fn one_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(text).trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
