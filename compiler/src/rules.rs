//! Settings for some layers only.

use std::fmt;
use std::str::FromStr;

use adntn_networks::{Activation, Topology};
use regex::Regex;

use crate::layout::LayoutChoice;
use crate::options::Options;

/// Numbers of legs that a tree may be asked to have.
const LEGS: std::ops::RangeInclusive<usize> = 4..=60;

/// Settings of the generators of some layers: `REGEX=legs:24,bond:3`.
#[derive(Debug, Clone)]
pub struct GeneratorChoice {
    /// Layers whose name or weight matches.
    pub layers: Regex,
    /// Of what several that match a layer say of one setting, the one with the highest priority counts.
    pub priority: i32,
    source: Option<String>,
    topology: Option<Topology>,
    layout: Option<LayoutChoice>,
    legs: Option<usize>,
    bond: Option<usize>,
    activation: Option<Activation>,
    ratio: Option<f64>,
}

impl GeneratorChoice {
    /// The names of its settings.
    pub const SETTINGS: [&str; 6] = ["topology", "layout", "legs", "bond", "activation", "ratio"];

    /// No settings yet, for the layers whose name or weight matches.
    #[must_use]
    pub fn new(layers: Regex) -> Self {
        GeneratorChoice {
            layers,
            priority: 0,
            source: None,
            topology: None,
            layout: None,
            legs: None,
            bond: None,
            activation: None,
            ratio: None,
        }
    }

    /// The same with words for where it was given, such as `the rule in x.toml, line 3,`: errors use them.
    #[must_use]
    pub fn with_source(mut self, source: String) -> Self {
        self.source = Some(source);
        self
    }

    /// The same with another priority.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Where it was given.
    #[must_use]
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or("--generator")
    }

    /// Sets what is called `key`, one of [`GeneratorChoice::SETTINGS`].
    ///
    /// # Errors
    /// Half a sentence, where there is no such setting or `value` is none for it.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match key {
            "topology" => self.topology = Some(parsed(key, value)?),
            "layout" => self.layout = Some(parsed(key, value)?),
            "legs" => self.legs = Some(within(key, value, |legs| LEGS.contains(legs), "give 4 to 60")?),
            "bond" => self.bond = Some(within(key, value, |bond| *bond > 0, "give 1 or more")?),
            "activation" => self.activation = Some(parsed(key, value)?),
            "ratio" => {
                let usable = |ratio: &f64| ratio.is_finite() && *ratio >= 1.0;
                self.ratio = Some(within(key, value, usable, "give 1 or more")?);
            }
            other => return Err(format!("`{other}` is no setting of a generator: {WANTED}")),
        }
        Ok(())
    }

    /// What is set, by name.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let all = [
            self.topology.map(|x| x.to_string()),
            self.layout.as_ref().map(ToString::to_string),
            self.legs.map(|x| x.to_string()),
            self.bond.map(|x| x.to_string()),
            self.activation.map(|x| x.to_string()),
            self.ratio.map(|x| x.to_string()),
        ];
        Self::SETTINGS.into_iter().zip(all).filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// Whether a ratio is among the settings.
    #[must_use]
    pub fn has_ratio(&self) -> bool {
        self.ratio.is_some()
    }

    /// Whether it is for a layer of this name and weight.
    pub(crate) fn is_for(&self, layer: &str, weight: &str) -> bool {
        self.layers.is_match(layer) || self.layers.is_match(weight)
    }

    /// What this one and `other` ask for that no layer can have both, where none of them goes before the other.
    pub(crate) fn contradiction(&self, other: &Self) -> Option<String> {
        if self.priority != other.priority {
            return None;
        }
        let (mine, theirs) = (self.settings(), other.settings());
        let different = mine.iter().find_map(|(key, one)| {
            let (_, two) = theirs.iter().find(|(name, two)| name == key && two != one)?;
            Some(format!("different values of {key}, {one} and {two}"))
        });
        let both = |one: &Self, two: &Self| one.bond.is_some() && two.ratio.is_some() && two.bond.is_none();
        let sized = (both(self, other) || both(other, self)).then(|| "a bond and a ratio, one each".to_owned());
        different.or(sized)
    }

    /// `options` as they are for the layers of this choice.
    #[must_use]
    pub(crate) fn applied(&self, options: &Options) -> Options {
        let mut own = options.clone();
        own.topology = self.topology.unwrap_or(own.topology);
        own.layout = self.layout.clone().or(own.layout);
        own.legs = self.legs.or(own.legs);
        own.bond = self.bond.or(own.bond);
        own.activation = self.activation.unwrap_or(own.activation);
        if let Some(ratio) = self.ratio {
            own.training.ratio = ratio;
            own.bond = self.bond;
        }
        own
    }
}

const WANTED: &str = "write REGEX=KEY:VALUE,… with keys topology, layout, legs, bond, activation, ratio";

impl FromStr for GeneratorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pattern, settings) = text.rsplit_once('=').ok_or_else(|| format!("`{text}`: {WANTED}"))?;
        let mut choice = GeneratorChoice::new(Regex::new(pattern).map_err(|e| e.to_string())?);
        for setting in settings.split(',') {
            let (key, value) = setting.split_once(':').ok_or_else(|| format!("`{setting}`: {WANTED}"))?;
            choice.set(key.trim(), value)?;
        }
        Ok(choice)
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|e: T::Err| format!("{key} `{value}`: {e}"))
}

fn within<T: FromStr<Err: fmt::Display>>(
    key: &str,
    value: &str,
    usable: impl Fn(&T) -> bool,
    wanted: &str,
) -> Result<T, String> {
    Some(parsed(key, value)?).filter(usable).ok_or_else(|| format!("{key} `{value}`: {wanted}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn choice(text: &str, priority: i32) -> GeneratorChoice {
        GeneratorChoice { priority, ..text.parse().unwrap() }
    }

    #[test]
    fn a_choice_changes_what_it_names() {
        let choice: GeneratorChoice = "^fc[12]$=legs:24, bond:3,layout:interleaved".parse().unwrap();
        assert!(choice.layers.is_match("fc1") && !choice.layers.is_match("fc3"));
        let mut options = Options::new("a", "b");
        options.topology = Topology::Mera;
        let own = choice.applied(&options);
        assert_eq!((own.legs, own.bond, own.topology), (Some(24), Some(3), Topology::Mera));
        let ratio: GeneratorChoice = "x=ratio:400".parse().unwrap();
        assert_eq!((ratio.applied(&own).bond, ratio.applied(&own).training.ratio), (None, 400.0));
    }

    #[test]
    fn choices_add_up_by_priority() {
        let mut options = Options::new("a", "b");
        options.generators = vec![choice("^fc1$=bond:9,activation:relu", 1), choice("fc=bond:3,legs:8", 0)];
        let own = options.for_layer("fc1", "w");
        assert_eq!((own.bond, own.legs, own.activation), (Some(9), Some(8), Activation::Relu));
        assert_eq!(options.for_layer("fc2", "w").bond, Some(3));
        assert_eq!(options.for_layer("conv", "w").bond, None);
    }

    #[test]
    fn contradictions_are_within_one_priority() {
        let says = |one: &GeneratorChoice, two: &GeneratorChoice| one.contradiction(two);
        let (three, nine) = (choice("a=bond:3", 0), choice("b=bond:9", 0));
        assert_eq!(says(&three, &nine).unwrap(), "different values of bond, 3 and 9");
        assert_eq!(says(&three, &choice("b=bond:9", 1)), None);
        assert_eq!(says(&three, &choice("b=bond:3,legs:8", 0)), None);
        assert!(says(&choice("b=ratio:9", 0), &three).unwrap().contains("a bond and a ratio"));
    }

    #[test]
    fn what_is_set_can_be_set_again() {
        let all = choice("a=topology:mera,layout:o8 i8 o4 i4,legs:8,bond:3,activation:relu,ratio:2.5", 0);
        let mut again = GeneratorChoice::new(all.layers.clone());
        assert_eq!(all.settings().len(), GeneratorChoice::SETTINGS.len());
        for (key, value) in all.settings() {
            again.set(key, &value).unwrap();
        }
        assert_eq!(all.settings(), again.settings());
    }

    #[test]
    fn what_is_no_choice_is_explained() {
        for wrong in [
            "fc1",
            "fc1=",
            "fc1=bond",
            "fc1=bond:x",
            "fc1=bond:0",
            "fc1=legs:3",
            "fc1=ratio:0.5",
            "fc1=ratio:nan",
            "fc1=colour:red",
            "(=bond:3",
        ] {
            assert!(wrong.parse::<GeneratorChoice>().is_err(), "{wrong}");
        }
    }
}
