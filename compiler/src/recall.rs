//! Searches that were made before: what they came to is kept under everything that decides it.
//!
//! Kept is the sequence of accepted choices with their replacements, which the final test is then given as if it came from a search.
//! Only a search that came to its end is kept: what time or the caller ended would have gone on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::cache::{Cache, Key as Name, Reader, Writer};
use crate::data::Samples;
use crate::layer::{Key, Layer, Searched};
use crate::options::Options;
use crate::report::StopReason;
use crate::select::{Choice, Selection};

/// Names the search that a compilation asks for; `None` where something decides that has no name, such as a function of the caller.
pub(crate) fn name(model: Name, layers: &[Layer<'_>], samples: Option<&Samples>, options: &Options) -> Option<Name> {
    if options.metric_function.is_some() {
        return None;
    }
    let mut key = Name::of("search").key(model).text(&deciding(options));
    for layer in layers {
        key = key.text(&layer.candidate.weight).text(&layer.obstacle().unwrap_or_default());
    }
    if let Some(samples) = samples {
        let [fit, selection] = samples.names;
        key = key.key(fit).key(selection).number(samples.held_out.samples() as u64);
        key = key.text(&format!("{:?} {:?}", samples.yardstick, samples.fixed_batch()));
    }
    Some(key.finish())
}

/// The options that decide what a search comes to. The others are taken out one by one, so that a new one counts until it is known
/// to decide nothing.
fn deciding(options: &Options) -> String {
    let mut own = options.clone();
    let paths = [&mut own.input, &mut own.output];
    paths.into_iter().for_each(|path| *path = PathBuf::new());
    // Samples are named by what they hold.
    let files = [
        &mut own.calibration,
        &mut own.labels,
        &mut own.held_out,
        &mut own.held_out_labels,
        &mut own.report,
        &mut own.diagram,
        &mut own.settings,
        &mut own.training.checkpoint,
    ];
    files.into_iter().for_each(|path| *path = None);
    own.generators = own.generators.into_iter().map(|choice| choice.with_source(String::new())).collect();
    // A search that came to its end within a time comes to the same one without.
    own.time = None;
    own.accept_worse = false;
    own.external_data = false;
    own.probe = None;
    own.cache = None;
    format!("{own:?}")
}

/// The search of that name, if it was made before; the layers then have what it left.
pub(crate) fn found(cache: &Cache, name: Name, layers: &mut [Layer<'_>]) -> Option<Selection> {
    let (selection, searched) = cache.load(name, |reader| {
        let searched: Vec<Searched> = layers.iter().map(|layer| layer.read_searched(reader)).collect::<Option<_>>()?;
        let accepted = reader.list(|reader| read_choice(reader, layers, &searched))?;
        let stopped = serde_json::from_slice(reader.bytes()?).ok()?;
        Some((Selection { accepted, stopped }, searched))
    })?;
    layers.iter_mut().zip(searched).for_each(|(layer, searched)| layer.take_searched(searched));
    cache.found_search();
    Some(selection)
}

fn read_choice(reader: &mut Reader<'_>, layers: &[Layer<'_>], searched: &[Searched]) -> Option<Choice> {
    layers
        .iter()
        .zip(searched)
        .map(|(layer, searched)| {
            let key = reader.option(|reader| Some((reader.size()?, reader.size()?)))?;
            key.is_none_or(|key| layer.has_replacement(searched, key)).then_some(key)
        })
        .collect()
}

/// Keeps what a search came to.
pub(crate) fn keep(cache: &Cache, name: Name, layers: &[Layer<'_>], selection: &Selection) {
    if !cache.is_on() || matches!(selection.stopped, StopReason::Interrupted | StopReason::Time) {
        return;
    }
    let mut body = Writer::default();
    for (index, layer) in layers.iter().enumerate() {
        let keys: BTreeSet<Key> = selection.accepted.iter().filter_map(|choice| choice[index]).collect();
        if layer.write_searched(&keys, &mut body).is_none() {
            return;
        }
    }
    body.list(selection.accepted.iter(), |writer, choice| {
        for key in choice {
            writer.option(*key, |writer, key| {
                writer.size(key.0);
                writer.size(key.1);
            });
        }
    });
    // A name always has a JSON form.
    body.bytes(&serde_json::to_vec(&selection.stopped).unwrap_or_default());
    cache.save(name, |writer| *writer = body);
}
