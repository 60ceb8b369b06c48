//! Replacements and patches as bytes.

use adntn_families::{Digits, Halves, LowRank, Quantised, Replacement};
use adntn_networks::{Generator, GeneratorSpec};
use adntn_onnx::{Patch, pb};

use super::{Reader, Writer};

const NETWORK: u8 = 0;
const DIGITS: u8 = 1;
const LOW_RANK: u8 = 2;
const HALVES: u8 = 3;

pub(crate) fn write_replacement(writer: &mut Writer, replacement: &Replacement) {
    match replacement {
        Replacement::Network(generator) => {
            writer.byte(NETWORK);
            // A specification of names and whole numbers always has a JSON form.
            writer.bytes(&serde_json::to_vec(generator.spec()).unwrap_or_default());
            writer.floats(generator.params());
        }
        Replacement::Digits(weight) => {
            writer.byte(DIGITS);
            write_quantised(writer, weight);
        }
        Replacement::LowRank(factors) => {
            writer.byte(LOW_RANK);
            write_quantised(writer, &factors.outer);
            write_quantised(writer, &factors.inner);
        }
        Replacement::Halves(weight) => {
            writer.byte(HALVES);
            writer.halves(weight.values());
        }
    }
}

/// A replacement for an O×I weight.
pub(crate) fn read_replacement(reader: &mut Reader<'_>, outputs: usize, inputs: usize) -> Option<Replacement> {
    let is_matrix = |made: &Quantised| (made.rows(), made.columns()) == (outputs, inputs);
    match reader.byte()? {
        NETWORK => {
            let spec: GeneratorSpec = serde_json::from_slice(reader.bytes()?).ok()?;
            let fits = (spec.outputs, spec.inputs) == (outputs, inputs);
            let generator = Generator::new(spec, reader.floats()?).ok().filter(|_| fits)?;
            Some(Replacement::Network(Box::new(generator)))
        }
        DIGITS => read_quantised(reader).filter(is_matrix).map(Replacement::Digits),
        LOW_RANK => {
            let (outer, inner) = (read_quantised(reader)?, read_quantised(reader)?);
            let fits = outer.rows() == outputs && inner.columns() == inputs && outer.columns() == inner.rows();
            fits.then_some(Replacement::LowRank(LowRank { outer, inner }))
        }
        HALVES => {
            let values: Vec<f32> = reader.halves()?.into_iter().map(f32::from).collect();
            let fits = outputs.checked_mul(inputs) == Some(values.len());
            Halves::nearest(&values, inputs).filter(|_| fits).map(Replacement::Halves)
        }
        _ => None,
    }
}

fn write_quantised(writer: &mut Writer, made: &Quantised) {
    let place = Digits::ALL.iter().position(|digits| *digits == made.digits());
    writer.size(place.unwrap_or(usize::MAX));
    made.stored_shape().into_iter().for_each(|extent| writer.size(extent));
    writer.byte(u8::from(made.is_transposed()));
    writer.bytes(&made.packed());
    writer.halves(made.scales());
}

fn read_quantised(reader: &mut Reader<'_>) -> Option<Quantised> {
    let digits = *Digits::ALL.get(reader.size()?)?;
    let shape = [reader.size()?, reader.size()?];
    let is_transposed = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let packed = reader.bytes()?;
    Quantised::unpacked(digits, shape, is_transposed, packed, reader.halves()?)
}

/// A patch that gives initializers other float32 values; `None`, and nothing of use written, where it does more.
pub(crate) fn write_patch(writer: &mut Writer, patch: &Patch) -> Option<()> {
    // Contents are shared, so a copy costs little.
    let mut rest = patch.clone();
    rest.replace_initializers.clear();
    let nothing_else = rest.is_empty();
    let mut all = Vec::new();
    for (name, given) in &patch.replace_initializers {
        let raw = given.raw_data.as_deref()?;
        let values: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (tensor(name, &given.dims, &values) == *given).then_some(())?;
        all.push((name, &given.dims, values));
    }
    writer.list(all.into_iter(), |writer, (name, dims, values)| {
        writer.text(name);
        writer.list(dims.iter(), |writer, dim| writer.number(dim.cast_unsigned()));
        writer.floats(&values);
    });
    nothing_else.then_some(())
}

pub(crate) fn read_patch(reader: &mut Reader<'_>) -> Option<Patch> {
    let tensors = reader.list(|reader| {
        let name = reader.text()?.to_owned();
        let dims = reader.list(|reader| reader.number().map(u64::cast_signed))?;
        let values = reader.floats()?;
        let count = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(usize::try_from(dim).ok()?));
        if count != Some(values.len()) {
            return None;
        }
        let made = tensor(&name, &dims, &values);
        Some((name, made))
    })?;
    Some(Patch { replace_initializers: tensors.into_iter().collect(), ..Patch::default() })
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(pb::tensor_proto::DataType::Float as i32),
        dims: dims.to_vec(),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..Default::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use adntn_families::Site;
    use adntn_networks::{Activation, Bonds, LegLayout, Topology};
    use half::f16;

    use super::*;

    fn again(replacement: &Replacement) -> Option<Replacement> {
        let mut writer = Writer::default();
        write_replacement(&mut writer, replacement);
        // Half of it is none.
        for end in [0, 1, 9, writer.0.len() / 2, writer.0.len() - 1] {
            assert_eq!(read_replacement(&mut Reader(&writer.0[..end]), 16, 24), None);
        }
        // For another weight neither.
        assert_eq!(read_replacement(&mut Reader(&writer.0), 24, 17), None);
        let mut reader = Reader(&writer.0);
        let read = read_replacement(&mut reader, 16, 24)?;
        reader.end().map(|()| read)
    }

    #[test]
    fn replacements_are_read_as_they_were_written() {
        let weight: Vec<f32> = (0..16 * 24).map(|k| (k as f32 * 0.37).sin()).collect();
        let site = Site { weight: &weight, outputs: 16, inputs: 24, is_transposed: true, moments: None };
        let prepared = site.prepare(4);
        let digits = Replacement::Digits(prepared.digits(&site, Digits::Sixteen).unwrap());
        let low_rank = Replacement::LowRank(prepared.low_rank(&site, 3, Digits::Bytes).unwrap().0);
        let layout = LegLayout::interleaved(&[4, 4], &[4, 6]).unwrap();
        let halves = Replacement::Halves(Halves::nearest(&weight, 24).unwrap());
        let mut made = vec![digits, low_rank, halves];
        for topology in [Topology::Ttn, Topology::Mera] {
            let spec = GeneratorSpec::new(topology, 16, 24, layout.clone(), Bonds::Uniform(3), Activation::Tanh);
            let count = adntn_networks::Shape::new(&spec).unwrap().parameters();
            let values = |k: usize| f16::from_f32((k as f32 * 0.11).cos()).to_f32();
            let mut params: Vec<f32> = (0..count).map(values).collect();
            made.push(Replacement::Network(Box::new(Generator::new(spec.clone(), params.clone()).unwrap())));
            params[0] = 0.1;
            made.push(Replacement::Network(Box::new(Generator::new(spec, params).unwrap())));
        }
        for replacement in made {
            assert_eq!(again(&replacement).as_ref(), Some(&replacement));
        }
    }

    #[test]
    fn patches_of_values_are_kept_and_others_are_not() {
        let mut patch = Patch::default();
        patch.replace_initializers.insert("b".into(), tensor("b", &[3], &[0.1, -0.0, 2.0]));
        let mut writer = Writer::default();
        assert_eq!(write_patch(&mut writer, &patch), Some(()));
        let read = read_patch(&mut Reader(&writer.0)).unwrap();
        assert_eq!(read.replace_initializers, patch.replace_initializers);
        let mut more = patch.clone();
        more.remove_nodes.insert(0);
        assert_eq!(write_patch(&mut Writer::default(), &more), None);
        let given = patch.replace_initializers.get_mut("b").unwrap();
        given.doc_string = Some("mine".into());
        assert_eq!(write_patch(&mut Writer::default(), &patch), None);
    }
}
