//! The `[[rule]]` tables of a file of settings.

use adntn_compiler::{Error, GeneratorChoice};
use clap::Arg;
use toml::de::{DeTable, DeValue};

use super::value::{pattern, texts};
use super::{Key, RULE, Reader, Value, in_order, meant};

/// Keys of a rule that are no settings of a generator.
const OWN: [&str; 2] = ["layers", "priority"];

impl Reader<'_> {
    pub(super) fn rules(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Vec<GeneratorChoice>, Error> {
        let wrong = || self.refused(RULE, self.line(&key.span()), "this is no list of tables: write [[rule]]");
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong()) };
        let mut rules = Vec::new();
        for item in items {
            let DeValue::Table(table) = item.get_ref() else { return Err(wrong()) };
            rules.push(self.rule(table, self.line(&item.span()))?);
        }
        Ok(rules)
    }

    fn rule(&self, table: &DeTable<'_>, line: usize) -> Result<GeneratorChoice, Error> {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == "layers") else {
            return Err(self.refused(RULE, line, "it names no layers: give `layers = \"REGEX\"`"));
        };
        let at = self.line(&key.span());
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.refused("layers", at, "this is no text: give a regular expression in quotes"));
        };
        let layers = pattern(text).map_err(|problem| self.refused("layers", at, &problem))?;
        let source = format!("the rule in {}, line {line},", self.path.display());
        let mut rule = GeneratorChoice::new(layers).with_source(source);
        for (key, value) in in_order(table) {
            self.apply(&mut rule, key, value)?;
        }
        if rule.settings().is_empty() {
            let keys = GeneratorChoice::SETTINGS.join(", ");
            return Err(self.refused(RULE, line, &format!("it sets nothing: give at least one of {keys}")));
        }
        Ok(rule)
    }

    fn apply(&self, rule: &mut GeneratorChoice, key: &Key<'_>, value: &Value<'_>) -> Result<(), Error> {
        let (name, line) = (key.get_ref().as_ref(), self.line(&key.span()));
        match name {
            "layers" => Ok(()),
            "priority" => {
                let number = match value.get_ref() {
                    DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok(),
                    _ => None,
                };
                rule.priority = number.ok_or_else(|| self.refused(name, line, "give a whole number, 0 by default"))?;
                Ok(())
            }
            _ => {
                let arg = self.setting(name).ok_or_else(|| self.no_setting(name, line))?;
                let texts = texts(self.command, arg, value.get_ref());
                texts
                    .and_then(|texts| texts.iter().try_for_each(|text| rule.set(name, text)))
                    .map_err(|problem| self.refused(name, line, &problem))
            }
        }
    }

    /// The option for all layers that has the name of a rule's setting.
    fn setting(&self, name: &str) -> Option<&Arg> {
        let known = GeneratorChoice::SETTINGS.contains(&name);
        self.command.get_arguments().find(|arg| known && arg.get_long() == Some(name))
    }

    fn no_setting(&self, name: &str, line: usize) -> Error {
        let is_key = self.command.get_arguments().any(|arg| arg.get_long() == Some(name));
        let keys = [&OWN[..], &GeneratorChoice::SETTINGS].concat();
        let hint = match is_key {
            true => "it is for the whole model: put it above the first [[rule]]".into(),
            false => meant(name, keys.iter().copied(), &format!("the keys of a rule are {}", keys.join(", "))),
        };
        self.unknown(name, line, &hint)
    }
}
