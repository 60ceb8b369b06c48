//! Writes models of one SIZE×SIZE Gemm (4096) for `bench/emission`: `emission_models FOLDER [SIZE]` makes `dense.onnx` and, for
//! generators with random cores, `TOPOLOGY-LEGS-CHI.onnx`; prints one line for each with its name and number of parameters.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

use adntn_networks::{Activation, Arrangement as _, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology};
use adntn_onnx::{Model, Patch, pb};
use adntn_passes::{find_candidates, replace_by_dense, replace_by_generator};
use pb::tensor_proto::DataType;
use prost::Message;
use rand::SeedableRng;

/// Small legs, whose parents make a tensor as large as W, and wide ones.
const LEGS: [usize; 2] = [16, 8];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: emission_models FOLDER [SIZE]")?);
    let size = arguments.next().map_or(Ok(4096), |size| size.to_string_lossy().parse())?;
    std::fs::create_dir_all(&folder)?;
    let model = gemm(size)?;
    let candidate = &find_candidates(&model).candidates[0];
    let mut dense = None;
    for &topology in Topology::ALL {
        for (legs, chi) in LEGS.into_iter().flat_map(|legs| [(legs, 8), (legs, 16)]) {
            let layout = LegLayout::for_matrix(LayoutKind::Interleaved, size, size, legs)?;
            let spec = GeneratorSpec::new(topology, size, size, layout, Bonds::Uniform(chi), Activation::Tanh);
            let mut generator: Generator = Generator::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1))?;
            generator.absorb_scale();
            if dense.is_none() {
                dense = Some(replace_by_dense(&model, candidate, &generator.matrix())?);
            }
            let patch = replace_by_generator(&model, candidate, &generator)?;
            let name = format!("{}-{legs}-{chi}", topology.name());
            write(&model, &patch, &folder.join(format!("{name}.onnx")))?;
            println!("{name} {}", generator.parameter_count());
        }
    }
    write(&model, &dense.unwrap_or_default(), &folder.join("dense.onnx"))?;
    println!("dense {}", size * size);
    Ok(())
}

fn write(model: &Model, patch: &Patch, path: &std::path::Path) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(path, model.apply(patch)?.to_bytes())?)
}

/// y = x·Wᵀ with a W of zeros.
fn gemm(size: usize) -> Result<Model, Box<dyn Error>> {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |value| Dimension { value: Some(value), ..Default::default() };
    let float = |name: &str| pb::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: Some(DataType::Float as i32),
                shape: Some(pb::TensorShapeProto {
                    dim: vec![dim(Value::DimParam("N".to_owned())), dim(Value::DimValue(size as i64))],
                }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    };
    let graph = pb::GraphProto {
        name: Some("one layer".to_owned()),
        node: vec![pb::NodeProto {
            op_type: Some("Gemm".to_owned()),
            input: vec!["x".to_owned(), "fc.weight".to_owned()],
            output: vec!["y".to_owned()],
            attribute: vec![pb::AttributeProto {
                name: Some("transB".to_owned()),
                r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
                i: Some(1),
                ..Default::default()
            }],
            ..Default::default()
        }],
        initializer: vec![pb::TensorProto {
            name: Some("fc.weight".to_owned()),
            data_type: Some(DataType::Float as i32),
            dims: vec![size as i64; 2],
            raw_data: Some(vec![0; 4 * size * size].into()),
            ..Default::default()
        }],
        input: vec![float("x")],
        output: vec![float("y")],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    };
    Ok(Model::from_bytes(model.encode_to_vec().into(), None)?)
}
