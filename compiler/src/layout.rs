//! The leg layouts that are tried for a layer.

use std::fmt;
use std::str::FromStr;

use adntn_networks::{KernelLegs, LayoutKind, LegLayout, Side};
use adntn_passes::{Candidate, LayerKind};

use crate::error::Error;
use crate::options::Options;
use crate::training::FitKind;

/// Numbers of legs tried, those of kernel axes not counted.
const LEGS: [usize; 3] = [4, 8, 16];
/// Layouts whose legs would be smaller than this on average are left out: they pad more than they save.
const MIN_LEG: f64 = 1.9;
/// Legs where they follow the axes of what the columns are flattened from. Fewer begin nearer to the weight, which says little of
/// what is trained from there.
const LEGS_BY_AXES: usize = 8;
/// A layout of the user's own may cover less than so many times the rows, or columns, of a weight.
const MAX_PADDING: usize = 2;

/// The leg layouts that the user allows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutChoice {
    /// Those of one kind, with legs found for each weight.
    Kind(LayoutKind),
    /// Exactly these legs.
    Legs(LegLayout),
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutChoice::Kind(kind) => kind.fmt(f),
            LayoutChoice::Legs(layout) => layout.fmt(f),
        }
    }
}

impl FromStr for LayoutChoice {
    type Err = String;

    /// Reads the name of a kind, or legs in leaf order such as `o8 i8 o8 i8`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(kind) = text.parse() {
            return Ok(LayoutChoice::Kind(kind));
        }
        if !text.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!(
                "`{text}` is not a known layout; known are interleaved, separated, and legs in leaf order such as \
                 \"o8 i8 o8 i8\""
            ));
        }
        text.parse().map(LayoutChoice::Legs).map_err(|e: adntn_networks::Error| e.to_string())
    }
}

/// One layout on offer for a layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offer {
    /// `interleaved`, `separated`, `by axes` or `custom`.
    pub(crate) name: &'static str,
    /// Where the legs of the kernel axes are; `None` when they have none of their own.
    pub(crate) kernel_legs: Option<KernelLegs>,
    pub(crate) legs: LegLayout,
}

/// The layouts that `options` allow for a weight.
///
/// A weight is a matrix of outputs × inputs. Where the kernel of a convolution has legs of its own, only channels are split
/// and padded; else channels · kernel axes is one number.
pub(crate) fn layouts(candidate: &Candidate, options: &Options) -> Vec<Offer> {
    let kinds = match &options.layout {
        Some(LayoutChoice::Legs(legs)) => {
            return vec![Offer { name: "custom", kernel_legs: None, legs: legs.clone() }];
        }
        Some(LayoutChoice::Kind(kind)) => vec![*kind],
        // Trained through the network, pairs of an output and an input leg do more with as many parameters.
        None if options.fit == FitKind::EndToEnd => vec![LayoutKind::Interleaved],
        None => LayoutKind::ALL.to_vec(),
    };
    let (outputs, inputs) = (candidate.outputs, candidate.inputs);
    let axes = &candidate.input_axes;
    // What is near in an image is alike, and a network that knows what is near learns more with as many parameters.
    let is_large = |legs: usize, extent: usize| (extent as f64).powf(2.0 / legs as f64) >= MIN_LEG;
    let by_axes = options.layout.is_none()
        && options.fit == FitKind::EndToEnd
        && !axes.is_empty()
        && is_large(LEGS_BY_AXES, outputs.min(inputs));
    let kernel = kernel(candidate);
    let channels = inputs / kernel.iter().product::<usize>().max(1);
    let places: Vec<Option<KernelLegs>> = match (options.kernel_legs, kernel.is_empty()) {
        (_, true) | (None, false) => vec![None],
        (Some(place), false) => vec![Some(place)],
    };
    let numbers = if by_axes { std::slice::from_ref(&LEGS_BY_AXES) } else { &LEGS[..] };
    let mut offers = Vec::new();
    for &kind in &kinds {
        for &legs in options.legs.as_ref().map_or(numbers, std::slice::from_ref) {
            for &place in &places {
                let split = if place.is_some() { channels } else { inputs };
                if options.legs.is_none() && legs > LEGS[0] && !is_large(legs, outputs.min(split)) {
                    continue;
                }
                let layout = match place {
                    None if by_axes => LegLayout::for_axes(outputs, axes, legs),
                    Some(place) => LegLayout::for_conv(kind, place, outputs, channels, &kernel, legs),
                    None => LegLayout::for_matrix(kind, outputs, inputs, legs),
                };
                // A weight too small or too large for these legs has one layout less.
                let name = if by_axes { "by axes" } else { kind.name() };
                offers.extend(layout.ok().map(|legs| Offer { name, kernel_legs: place, legs }));
            }
        }
    }
    offers
}

/// The kernel axes of a convolution, if one of them is longer than 1.
fn kernel(candidate: &Candidate) -> Vec<usize> {
    if candidate.kind != LayerKind::Conv {
        return Vec::new();
    }
    let axes: Vec<usize> = candidate.dims.iter().skip(2).filter_map(|&d| usize::try_from(d).ok()).collect();
    if axes.iter().all(|&axis| axis == 1) { Vec::new() } else { axes }
}

/// Whether the kernel of a layer can have legs of its own.
pub(crate) fn has_kernel(candidate: &Candidate) -> bool {
    !kernel(candidate).is_empty()
}

/// Refuses settings that no selected layer, or not every one of them, can follow.
///
/// # Errors
/// [`Error::Layout`] for the first layer that the legs given for it do not cover or would pad to twice its size or more;
/// [`Error::Usage`] when legs are given and so is a place for kernel legs.
pub(crate) fn check(chosen: &[&Candidate], options: &Options) -> Result<(), Error> {
    both_places(options)?;
    for candidate in chosen.iter().filter(|candidate| !candidate.is_table()) {
        let own = options.for_layer(&candidate.layer, &candidate.weight);
        both_places(&own)?;
        let Some(LayoutChoice::Legs(layout)) = &own.layout else { continue };
        let fits = |side| {
            let (covered, needed) = match side {
                Side::Output => (layout.outputs(), candidate.outputs),
                Side::Input => (layout.inputs(), candidate.inputs),
            };
            covered >= needed && covered < needed.saturating_mul(MAX_PADDING)
        };
        if !fits(Side::Output) || !fits(Side::Input) {
            return Err(Error::Layout {
                layer: candidate.layer.clone(),
                outputs: candidate.outputs,
                inputs: candidate.inputs,
                layout: layout.clone(),
            });
        }
    }
    Ok(())
}

fn both_places(options: &Options) -> Result<(), Error> {
    match (&options.layout, options.kernel_legs) {
        (Some(LayoutChoice::Legs(layout)), Some(place)) => Err(Error::Usage(format!(
            "the layout `{layout}` says where every leg is, so kernel legs cannot be put `{place}` as well: leave one of \
             --layout and --kernel-legs out"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_legs_are_told_apart() {
        assert_eq!("separated".parse(), Ok(LayoutChoice::Kind(LayoutKind::Separated)));
        let legs: LayoutChoice = "o8 i8@1 o4 i2@0".parse().unwrap();
        assert_eq!(legs.to_string(), "o8 i8@1 o4 i2@0");
        for (wrong, why) in [
            ("diagonal", "known are"),
            ("o8 i8", "at least 4 legs"),
            ("o8 i8 x2 i2", "`x2`"),
            ("o0 i8 o8 i8", "dimension 0"),
        ] {
            let error = wrong.parse::<LayoutChoice>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
