//! Statistics of activations, kept: all of a model or none, since taking them is one run.

use adntn_fit::data::Dataset;
use adntn_fit::gram::{Gram, Silent};
use adntn_onnx::Model;
use adntn_passes::Candidate;

use super::{Cache, Key, Reader, Writer};
use crate::calibrate::{Statistics, input_statistics};
use crate::error::Error;

const KNOWN: u8 = 0;
const UNKNOWN: u8 = 1;
const SILENT: u8 = 2;
const SILENCES: [Silent; 5] = [Silent::NoRows, Silent::Zeros, Silent::Same, Silent::TooSmall, Silent::TooLarge];

/// The [statistics](input_statistics) of every candidate. `of` names the model and the samples
/// that `data` is some of.
pub(crate) fn statistics(
    cache: &Cache,
    of: Key,
    model: &Model,
    candidates: &[&Candidate],
    centred: &[bool],
    data: &Dataset,
) -> Result<Vec<Statistics>, Error> {
    let named = |(candidate, &centred): (&&Candidate, &bool)| statistics_name(of, candidate, centred, data.samples());
    let keys: Vec<Key> = candidates.iter().zip(centred).map(named).collect();
    let kept = |(key, candidate): (&Key, &&Candidate)| cache.load(*key, |reader| read(reader, candidate));
    if cache.is_on()
        && let Some(all) = keys.iter().zip(candidates).map(kept).collect::<Option<Vec<_>>>()
    {
        return Ok(all);
    }
    let made = input_statistics(model, candidates, centred, data)?;
    for (key, statistics) in keys.iter().zip(&made) {
        let bytes = if let Statistics::Known(gram) = statistics { gram.byte_count() as u64 } else { 0 };
        if bytes <= cache.largest() {
            cache.save(*key, |writer| write(writer, statistics));
        } else {
            cache.refuse(bytes);
        }
    }
    Ok(made)
}

/// Names the statistics of a candidate on so many samples.
pub(crate) fn statistics_name(of: Key, candidate: &Candidate, centred: bool, samples: usize) -> Key {
    let key = Key::of("statistics").key(of).number(samples as u64);
    key.text(&format!("{candidate:?}")).number(centred.into()).finish()
}

/// The second moments that are kept under a name for a candidate, where there are any.
pub(crate) fn kept_gram(cache: &Cache, key: Key, candidate: &Candidate) -> Option<Gram> {
    match cache.load(key, |reader| read(reader, candidate))? {
        Statistics::Known(gram) => Some(*gram),
        Statistics::Silent(_) | Statistics::Unknown => None,
    }
}

fn write(writer: &mut Writer, statistics: &Statistics) {
    match statistics {
        Statistics::Known(gram) => {
            writer.byte(KNOWN);
            writer.bytes(&gram.to_bytes());
        }
        Statistics::Unknown => writer.byte(UNKNOWN),
        Statistics::Silent(silent) => {
            writer.byte(SILENT);
            // What has no number is read as damaged, and worked out again.
            writer.size(SILENCES.iter().position(|known| known == silent).unwrap_or(usize::MAX));
        }
    }
}

fn read(reader: &mut Reader<'_>, candidate: &Candidate) -> Option<Statistics> {
    match reader.byte()? {
        KNOWN => {
            let gram = Gram::from_bytes(reader.bytes()?).filter(|gram| gram.features() == candidate.inputs)?;
            Some(Statistics::Known(Box::new(gram)))
        }
        UNKNOWN => Some(Statistics::Unknown),
        SILENT => SILENCES.get(reader.size()?).map(|silent| Statistics::Silent(*silent)),
        _ => None,
    }
}
