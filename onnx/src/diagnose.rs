//! Where in a file the decoding fails: the decoder itself tells only the names of the fields.

use bytes::Bytes;
use prost::DecodeError;

use crate::Error;
use crate::schema::Kind;
use crate::wire;

/// The decoder's own limit on messages in messages.
const DEPTH: usize = 100;

/// The error for a file that does not decode: the offset and the path of the innermost field that fails.
pub(crate) fn diagnose(file: &Bytes, error: &DecodeError) -> Error {
    let reason = error.to_string();
    let mut place = Place { offset: 0, path: Vec::new(), reason };
    let too_deep = is_recursion(error);
    descend(Kind::Model, file, 0, &mut place);
    let field = if place.path.is_empty() { "the model".to_owned() } else { place.path.join(".") };
    let offset = place.offset as u64;
    if too_deep {
        return Error::TooDeep { offset, field };
    }
    let reason = place.reason.trim_start_matches("failed to decode Protobuf message: ").to_owned();
    Error::Malformed { offset, field, reason }
}

fn is_recursion(error: &DecodeError) -> bool {
    error.to_string().contains("recursion limit")
}

struct Place {
    offset: usize,
    path: Vec<String>,
    reason: String,
}

/// Narrows `place` down. A field alone is a message too, so each can be tried by itself.
fn descend(kind: Kind, message: &Bytes, base: usize, place: &mut Place) {
    let mut counts = std::collections::HashMap::<u32, usize>::new();
    for field in wire::fields(message) {
        let field = match field {
            Ok(field) => field,
            Err(error) => {
                place.offset = base + error.offset;
                place.path.extend(error.number.map(|number| kind.field_name(number)));
                place.reason = error.reason;
                return;
            }
        };
        let count = counts.entry(field.number).or_default();
        let position = *count;
        *count += 1;
        let Some(error) = kind.decode_error(message.slice(field.whole.clone())) else { continue };
        place.offset = base + field.whole.start;
        place.reason = error.to_string();
        let name = kind.field_name(field.number);
        let repeated = position > 0 || matches!(name.as_str(), "node" | "initializer" | "attribute");
        place.path.push(if repeated { format!("{name}[{position}]") } else { name });
        if let Some(child) = kind.child(field.number).filter(|_| field.delimited && place.path.len() < DEPTH) {
            descend(child, &message.slice(field.content.clone()), base + field.content.start, place);
        }
        return;
    }
}
