//! What a search leaves in a layer, as far as anything after the search looks at it.

use std::collections::{BTreeMap, BTreeSet};

use adntn_families::Replacement;
use adntn_onnx::Patch;

use super::{Fitted, Key, Layer};
use crate::cache::{Reader, Writer, read_patch, read_replacement, write_patch, write_replacement};
use crate::menu::Family;

/// It, apart from the layer.
#[derive(Debug)]
pub(crate) struct Searched {
    errors: BTreeMap<Key, f64>,
    sizes: BTreeMap<Key, u64>,
    unsuitable: Option<String>,
    fits: BTreeMap<Key, Fitted>,
    starts: BTreeMap<Key, Replacement>,
    trained: BTreeMap<Key, Patch>,
}

impl Layer<'_> {
    /// Writes what is known of the layer, with the replacements for `keys`; `None` where something of it has no form as bytes.
    pub(crate) fn write_searched(&self, keys: &BTreeSet<Key>, writer: &mut Writer) -> Option<()> {
        writer.list(self.errors.iter(), |writer, (key, error)| {
            write_key(writer, *key);
            writer.double(*error);
        });
        writer.list(self.sizes.iter(), |writer, (key, size)| {
            write_key(writer, *key);
            writer.number(*size);
        });
        writer.option(self.unsuitable.as_deref(), Writer::text);
        let fits: Vec<_> = keys.iter().filter_map(|key| Some((key, self.fits.get(key)?))).collect();
        writer.list(fits.into_iter(), |writer, (key, fitted)| {
            write_key(writer, *key);
            fitted.write(writer);
        });
        let unfitted = keys.iter().filter(|key| !self.fits.contains_key(key));
        let starts: Vec<_> = unfitted.filter_map(|key| Some((key, self.starts.get(key)?))).collect();
        writer.list(starts.into_iter(), |writer, (key, start)| {
            write_key(writer, *key);
            write_replacement(writer, start);
        });
        let trained: Vec<_> = keys.iter().filter_map(|key| Some((key, self.trained.get(key)?))).collect();
        let mut whole = Some(());
        writer.list(trained.into_iter(), |writer, (key, patch)| {
            write_key(writer, *key);
            whole = whole.and_then(|()| write_patch(writer, patch));
        });
        whole
    }

    /// What was written for this layer.
    pub(crate) fn read_searched(&self, reader: &mut Reader<'_>) -> Option<Searched> {
        let (outputs, inputs) = (self.candidate.outputs, self.candidate.inputs);
        Some(Searched {
            errors: self.map(reader, Reader::double)?,
            sizes: self.map(reader, Reader::number)?,
            unsuitable: reader.option(Reader::text)?.map(str::to_owned),
            fits: self.map(reader, |reader| self.read_fitted(reader))?,
            starts: self.map(reader, |reader| read_replacement(reader, outputs, inputs))?,
            trained: self.map(reader, read_patch)?,
        })
    }

    fn map<'b, T>(
        &self,
        reader: &mut Reader<'b>,
        read: impl Fn(&mut Reader<'b>) -> Option<T>,
    ) -> Option<BTreeMap<Key, T>> {
        let pairs = reader.list(|reader| {
            let key = read_key(reader)?;
            // What was trained is a family behind all that are on offer.
            (key.0 <= self.families.len()).then_some((key, read(reader)?))
        })?;
        Some(pairs.into_iter().collect())
    }

    /// Whether there would be a replacement under `key`.
    pub(crate) fn has_replacement(&self, searched: &Searched, key: Key) -> bool {
        let is_known = key.0 < self.families.len() || searched.trained.contains_key(&key);
        is_known && (searched.fits.contains_key(&key) || searched.starts.contains_key(&key))
    }

    /// Takes it over.
    pub(crate) fn take_searched(&mut self, searched: Searched) {
        let Searched { errors, sizes, unsuitable, fits, starts, trained } = searched;
        if !trained.is_empty() && !self.families.contains(&Family::Trained) {
            self.families.push(Family::Trained);
        }
        self.errors.extend(errors);
        self.sizes.extend(sizes);
        self.unsuitable = unsuitable;
        self.fits.extend(fits);
        self.starts.extend(starts);
        self.trained.extend(trained);
    }
}

fn write_key(writer: &mut Writer, key: Key) {
    writer.size(key.0);
    writer.size(key.1);
}

fn read_key(reader: &mut Reader<'_>) -> Option<Key> {
    Some((reader.size()?, reader.size()?))
}
