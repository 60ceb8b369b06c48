//! Calibration files: arrays for the inputs of a model, in every container, right or wrong.

use std::path::Path;

use adntn_onnx::pb;
use pb::tensor_proto::DataType;
use pb::tensor_shape_proto::dimension::Value;

use super::draw::{Draw, code};
use super::mutate;

/// An array as a file holds it.
struct Array {
    name: String,
    descr: String,
    fortran: bool,
    shape: Vec<i64>,
    bytes: Vec<u8>,
}

/// Writes samples for `graph` into `dir` and gives the arguments that name them.
pub fn write(draw: &mut Draw, graph: &pb::GraphProto, dir: &Path) -> Vec<String> {
    let count = draw.pick(&[0, 1, 7, 16, 24, 24, 32, 32, 40, 48, 48]);
    let wrong = draw.chance(30);
    let mut arrays: Vec<Array> = graph
        .input
        .iter()
        .filter(|i| graph.initializer.iter().all(|t| t.name() != i.name()))
        .take(4)
        .map(|input| array(draw, input, count))
        .collect();
    if draw.chance(30) {
        let classes = draw.pick(&[1, 2, 8, 8, 48, 1 << 40]);
        let labels = (0..count).flat_map(|_| (draw.below(classes) as i64).to_le_bytes()).collect();
        arrays.push(Array {
            name: "labels".into(),
            descr: "<i8".into(),
            fortran: false,
            shape: vec![count],
            bytes: labels,
        });
    }
    if wrong {
        spoil(draw, &mut arrays);
    }
    let broken = draw.chance(8);
    let save = |draw: &mut Draw, path: &Path, mut data: Vec<u8>| {
        if broken {
            let other = data.clone();
            mutate::bytes(draw, &mut data, &other);
        }
        std::fs::write(path, data).unwrap();
    };
    let name = match draw.below(if arrays.len() == 1 { 5 } else { 3 }) {
        0 => {
            let files: Vec<(String, Vec<u8>)> =
                arrays.iter().map(|a| (format!("{}.npy", a.name), npy(draw, a, wrong))).collect();
            save(draw, &dir.join("samples.npz"), zip(&files));
            "samples.npz"
        }
        1 => {
            save(draw, &dir.join("samples.safetensors"), safetensors(&arrays));
            "samples.safetensors"
        }
        2 => {
            std::fs::create_dir(dir.join("samples")).unwrap();
            for array in &arrays {
                let file: String = array.name.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
                let data = npy(draw, array, wrong);
                save(draw, &dir.join(format!("samples/{file}.npy")), data);
            }
            "samples"
        }
        _ => {
            let data = npy(draw, &arrays[0], wrong);
            save(draw, &dir.join("samples.npy"), data);
            "samples.npy"
        }
    };
    let option = if draw.chance(10) { ["-c", name, "--held-out", name].to_vec() } else { ["-c", name].to_vec() };
    option.into_iter().map(str::to_owned).collect()
}

fn array(draw: &mut Draw, input: &pb::ValueInfoProto, count: i64) -> Array {
    let tensor = input.r#type.as_ref().and_then(|t| match &t.value {
        Some(pb::type_proto::Value::TensorType(tensor)) => Some(tensor),
        _ => None,
    });
    let element = tensor.map_or(code(DataType::Float), pb::type_proto::Tensor::elem_type);
    let dims = tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.as_slice()).unwrap_or_default();
    let mut shape: Vec<i64> = dims
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.value {
            _ if axis == 0 => count,
            Some(Value::DimValue(n)) => n.clamp(0, 4096),
            _ => 3,
        })
        .collect();
    // What passes a megabyte makes cases slow and shows nothing more.
    while shape.iter().product::<i64>() > 1 << 17 {
        shape.pop();
    }
    let elements = shape.iter().product::<i64>() as usize;
    let (descr, bytes): (_, Vec<u8>) = match DataType::try_from(element) {
        Ok(DataType::Int64) => ("<i8", (0..elements).flat_map(|_| (draw.below(3) as i64).to_le_bytes()).collect()),
        Ok(DataType::Int32) => ("<i4", (0..elements).flat_map(|_| (draw.below(3) as i32).to_le_bytes()).collect()),
        Ok(DataType::Bool) => ("|b1", (0..elements).map(|_| draw.below(2) as u8).collect()),
        Ok(DataType::Double) => ("<f8", (0..elements).flat_map(|_| f64::from(draw.unit()).to_le_bytes()).collect()),
        _ => ("<f4", (0..elements).flat_map(|_| draw.unit().to_le_bytes()).collect()),
    };
    Array { name: input.name().to_owned(), descr: descr.into(), fortran: draw.chance(10), shape, bytes }
}

/// Makes the arrays say what is not so.
fn spoil(draw: &mut Draw, arrays: &mut Vec<Array>) {
    if arrays.is_empty() {
        return;
    }
    let at = draw.below(arrays.len());
    let array = &mut arrays[at];
    match draw.below(10) {
        0 => {
            let number = draw.float();
            array.bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&number.to_le_bytes()));
        }
        1 => {
            let number = draw.float();
            array.bytes.chunks_exact_mut(4).take(1).for_each(|b| b.copy_from_slice(&number.to_le_bytes()));
        }
        2 => array.descr = draw.pick(&["<f2", ">f4", "<f8", "<i4", "|S4", "|O", "<U1", "<c8", "f4", "", "<f99"]).into(),
        3 => array.shape.push(draw.int()),
        4 => array.shape.iter_mut().for_each(|n| *n = draw.int()),
        5 => array.shape.reverse(),
        6 => array.name = draw.name(&[]),
        7 => array.bytes.truncate(array.bytes.len() / 2),
        8 => array.bytes.iter_mut().for_each(|b| *b = draw.byte()),
        _ => {
            let copy = Array {
                name: draw.name(&[]),
                descr: array.descr.clone(),
                fortran: array.fortran,
                shape: array.shape.clone(),
                bytes: array.bytes.clone(),
            };
            arrays.push(copy);
        }
    }
}

fn npy(draw: &mut Draw, array: &Array, wrong: bool) -> Vec<u8> {
    let shape: Vec<String> = array.shape.iter().map(i64::to_string).collect();
    let shape = if shape.len() == 1 { format!("({},)", shape[0]) } else { format!("({})", shape.join(", ")) };
    let order = if array.fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{}', 'fortran_order': {order}, 'shape': {shape}, }}", array.descr);
    let mut version = 1;
    if wrong && draw.chance(30) {
        match draw.below(6) {
            0 => header = header.replace(", ", ",\n"),
            1 => header = header.replace('\'', "\""),
            2 => header.insert_str(1, "'more': [1, 2, {'x': None}], "),
            3 => header = "[".repeat(5000),
            4 => header = draw.name(&[]),
            _ => version = draw.byte(),
        }
    }
    header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
    header.push('\n');
    let mut data = b"\x93NUMPY".to_vec();
    data.extend([version, 0]);
    data.extend((header.len() as u16).to_le_bytes());
    data.extend(header.as_bytes());
    data.extend(&array.bytes);
    data
}

fn safetensors(arrays: &[Array]) -> Vec<u8> {
    let mut at = 0;
    let mut entries = Vec::new();
    for array in arrays {
        let element = match array.descr.as_str() {
            "<i8" => "I64",
            "<i4" => "I32",
            "<f8" => "F64",
            "|b1" => "BOOL",
            "<f2" => "F16",
            "<f4" => "F32",
            other => other,
        };
        let name = serde_json::Value::from(array.name.as_str());
        let end = at + array.bytes.len();
        entries.push(format!(
            "{name}:{{\"dtype\":\"{element}\",\"shape\":{:?},\"data_offsets\":[{at},{end}]}}",
            array.shape
        ));
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut data = (header.len() as u64).to_le_bytes().to_vec();
    data.extend(header.as_bytes());
    arrays.iter().for_each(|a| data.extend(&a.bytes));
    data
}

/// A zip file of stored entries.
fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut data, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let (size, at) = (bytes.len() as u32, data.len() as u32);
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0];
        common.extend(crc32(bytes).to_le_bytes());
        common.extend([size.to_le_bytes(), size.to_le_bytes()].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        data.extend(b"PK\x03\x04");
        data.extend(&common);
        data.extend(name.as_bytes());
        data.extend(bytes);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, count) = (data.len() as u32, files.len() as u16);
    data.extend(&directory);
    data.extend(b"PK\x05\x06\x00\x00\x00\x00");
    data.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    data.extend((directory.len() as u32).to_le_bytes());
    data.extend(at.to_le_bytes());
    data.extend([0, 0]);
    data
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 })
    })
}
