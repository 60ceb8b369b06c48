//! Sparse tensors are refused where the ONNX checker refuses them.

use adntn_onnx::{Error, SparseProblem, pb};

use crate::build::{model, node, open, sample, sparse};

fn with_initializer(sparse: pb::SparseTensorProto) -> Result<(), Error> {
    let mut model = sample();
    model.graph.as_mut().unwrap().sparse_initializer = vec![sparse];
    open(&model).map(drop)
}

fn problem(sparse: pb::SparseTensorProto) -> SparseProblem {
    match with_initializer(sparse).unwrap_err() {
        Error::Sparse { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn indices_lie_inside_and_ascend() {
    with_initializer(sparse("sp", &[2, 3], &[2], &[0, 5])).unwrap();
    with_initializer(sparse("sp", &[2, 3], &[2, 2], &[0, 2, 1, 0])).unwrap();
    with_initializer(sparse("sp", &[2, 3], &[0], &[])).unwrap();
    for outside in [
        sparse("sp", &[2, 3], &[2], &[0, 6]),
        sparse("sp", &[2, 3], &[2], &[-1, 5]),
        sparse("sp", &[4], &[1], &[i64::MAX]),
        sparse("sp", &[2, 3], &[2, 2], &[0, 3, 1, 0]),
        sparse("sp", &[2, 3], &[2, 2], &[0, -1, 1, 0]),
    ] {
        assert!(matches!(problem(outside), SparseProblem::Outside { .. }));
    }
    for unsorted in [
        sparse("sp", &[2, 3], &[2], &[5, 0]),
        sparse("sp", &[2, 3], &[2], &[4, 4]),
        sparse("sp", &[2, 3], &[2, 2], &[1, 0, 0, 2]),
        sparse("sp", &[2, 3], &[2, 2], &[1, 0, 1, 0]),
    ] {
        assert!(matches!(problem(unsorted), SparseProblem::Unsorted { position: 1 }));
    }
}

#[test]
fn shapes_and_types_agree() {
    let good = || sparse("sp", &[2, 3], &[2], &[0, 5]);
    for shape in [&[1][..], &[3], &[2, 3], &[1, 2], &[2, 1, 1], &[]] {
        let count = shape.iter().product::<i64>();
        let mut wrong = good();
        wrong.indices = sparse("sp", &[2, 3], &[1], &[]).indices;
        let indices = wrong.indices.as_mut().unwrap();
        (indices.dims, indices.int64_data) = (shape.to_vec(), (0..count).collect());
        assert!(matches!(problem(wrong), SparseProblem::IndexShape { .. }), "{shape:?}");
    }
    let mut int32 = good();
    let indices = int32.indices.as_mut().unwrap();
    (indices.data_type, indices.int64_data, indices.int32_data) = (Some(6), vec![], vec![0, 5]);
    assert!(matches!(problem(int32), SparseProblem::IndexType));
    assert!(matches!(problem(pb::SparseTensorProto { values: None, ..good() }), SparseProblem::NoValues));
    let bare = pb::SparseTensorProto { indices: None, ..good() };
    assert!(matches!(problem(bare), SparseProblem::NoIndices { count: 2 }));
    for dims in [&[][..], &[0, 3]] {
        assert!(matches!(problem(pb::SparseTensorProto { dims: dims.to_vec(), ..good() }), SparseProblem::Dims { .. }));
    }
    let mut matrix = good();
    matrix.values.as_mut().unwrap().dims = vec![2, 1];
    assert!(matches!(problem(matrix), SparseProblem::ValuesRank { rank: 2 }));
    assert!(matches!(problem(sparse("", &[2, 3], &[2], &[0, 5])), SparseProblem::NoName));
}

#[test]
fn attributes_and_bodies_are_no_exception() {
    let wrong = || sparse("", &[4], &[1], &[4]);
    let constant = |attribute: pb::AttributeProto| {
        let attribute = pb::AttributeProto { name: Some("sparse_value".into()), ..attribute };
        pb::NodeProto { attribute: vec![attribute], ..node("Constant", &[], &["c"]) }
    };
    let single = constant(pb::AttributeProto { sparse_tensor: Some(wrong()), ..Default::default() });
    let several = constant(pb::AttributeProto { sparse_tensors: vec![wrong()], ..Default::default() });
    for node in [single, several] {
        let plain = model(pb::GraphProto { node: vec![node.clone()], ..Default::default() });
        let inner = pb::GraphProto { node: vec![node], ..Default::default() };
        let mut outer = crate::build::node("If", &["flag"], &["chosen"]);
        outer.attribute = vec![crate::build::attribute_graph("then_branch", inner)];
        let nested =
            model(pb::GraphProto { node: vec![outer], input: vec![crate::build::value("flag")], ..Default::default() });
        for model in [plain, nested] {
            let error = open(&model).unwrap_err();
            assert!(error.to_string().contains("sparse_value of node `Constant:c`"), "{error}");
        }
    }
}
