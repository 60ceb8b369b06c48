//! Reading samples the way users have them, and refusing what does not fit.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use adntn_fit::data::{Dataset, InputSpec, Reading, split};
use ndarray::{Array1, Array2, Array3, ArrayD};
use ndarray_npy::{NpzWriter, write_npy};
use tract_onnx::prelude::DatumType;

fn spec(name: &str, shape: &[Option<usize>]) -> InputSpec {
    InputSpec { name: name.into(), element: DatumType::F32, shape: shape.to_vec(), sample_axis: Some(0) }
}

fn pictures() -> Vec<InputSpec> {
    vec![spec("x", &[None, Some(2), Some(3)])]
}

fn npz(path: &Path, arrays: &[(&str, ArrayD<f32>)], labels: Option<&[i64]>) {
    let mut file = NpzWriter::new_compressed(std::fs::File::create(path).unwrap());
    for (name, array) in arrays {
        file.add_array(*name, array).unwrap();
    }
    if let Some(labels) = labels {
        file.add_array("labels", &Array1::from(labels.to_vec())).unwrap();
    }
    file.finish().unwrap();
}

fn error(path: &Path, specs: &[InputSpec]) -> String {
    Dataset::load(path, specs, &Reading::default()).unwrap_err().to_string()
}

#[test]
fn reads_arrays_by_name_with_labels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    npz(
        &path,
        &[("x", Array3::zeros((4, 2, 3)).into_dyn()), ("other", Array1::zeros(9).into_dyn())],
        Some(&[1, 2, 3, 4]),
    );
    let data = Dataset::load(&path, &pictures(), &Reading::default()).unwrap();
    assert_eq!((data.samples(), data.labels(), data.shapes(4)), (4, Some(&[1, 2, 3, 4][..]), vec![vec![4, 2, 3]]));
    assert!(!data.is_synthetic());
    let part = data.select(&[3, 1]).unwrap();
    assert_eq!((part.samples(), part.labels()), (2, Some(&[4, 2][..])));
}

#[test]
fn reads_single_arrays_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("single.npy");
    write_npy(&single, &Array3::<f32>::zeros((5, 2, 3))).unwrap();
    assert_eq!(Dataset::load(&single, &pictures(), &Reading::default()).unwrap().samples(), 5);

    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    write_npy(folder.join("a.npy"), &Array2::<f32>::zeros((2, 3))).unwrap();
    write_npy(folder.join("b.npy"), &Array3::<f32>::zeros((5, 2, 3))).unwrap();
    write_npy(folder.join("labels.npy"), &Array1::from(vec![0i64; 6])).unwrap();
    let data = Dataset::load(&folder, &pictures(), &Reading::default()).unwrap();
    assert_eq!((data.samples(), data.labels().map(<[i64]>::len)), (6, Some(6)));

    write_npy(folder.join("c.npy"), &Array2::<f32>::zeros((3, 2))).unwrap();
    assert!(error(&folder, &pictures()).contains("c.npy"));
}

#[test]
fn names_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let zeros = |n| Array3::zeros((n, 2, 3)).into_dyn();

    npz(&path, &[("y", zeros(4))], None);
    let message = error(&path, &pictures());
    assert!(message.contains("no array named 'x'") && message.contains("(it has: y)"), "{message}");

    npz(&path, &[("x", Array2::zeros((4, 6)).into_dyn())], None);
    assert!(error(&path, &pictures()).contains("shape [4, 6], the model wants [?, 2, 3]"));

    npz(&path, &[("x", zeros(0))], None);
    assert!(error(&path, &pictures()).contains("no samples"));

    npz(&path, &[("x", zeros(4))], Some(&[1, 2]));
    assert!(error(&path, &pictures()).contains("'labels' has 2 entries for 4 samples"));

    npz(&path, &[("x", zeros(5))], None);
    assert!(error(&path, &[spec("x", &[Some(2), Some(2), Some(3)])]).contains("exactly 2 at a time"));

    npz(&path, &[("x", Array3::from_elem((1, 2, 3), f32::NAN).into_dyn())], None);
    assert!(error(&path, &pictures()).contains("NaN"));

    let two = [spec("x", &[None]), spec("y", &[None])];
    npz(&path, &[("x", Array1::zeros(3).into_dyn()), ("y", Array1::zeros(4).into_dyn())], None);
    assert!(error(&path, &two).contains("'y' has 4 samples, 'x' has 3"));

    let numbers = dir.path().join("d.npy");
    write_npy(&numbers, &Array3::<i64>::zeros((4, 2, 3))).unwrap();
    let message = error(&numbers, &pictures());
    assert!(message.contains("int64") && message.contains("the model wants float32"), "{message}");
    assert!(error(&numbers, &two).contains("this one has 2"));

    let text = dir.path().join("t.npz");
    std::fs::write(&text, "not a zip").unwrap();
    assert!(error(&text, &pictures()).contains("not a readable .npz"));
    assert!(error(&dir.path().join("missing.npz"), &pictures()).contains("cannot be read"));
    let other = dir.path().join("t.csv");
    std::fs::write(&other, "1,2").unwrap();
    assert!(error(&other, &pictures()).contains("neither"));
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(error(&empty, &pictures()).contains("neither .npy files nor images"));
}

#[test]
fn splits_are_disjoint_complete_and_reproducible() {
    let parts = split(103, &[0.5, 0.25, 0.25], 1, 7);
    let mut all: Vec<usize> = parts.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..103).collect::<Vec<_>>());
    assert_eq!((parts[1].len(), parts[2].len()), (25, 25));
    assert_eq!(parts, split(103, &[0.5, 0.25, 0.25], 1, 7));
    assert_ne!(parts, split(103, &[0.5, 0.25, 0.25], 1, 8));
    // Fixed batches stay whole.
    for part in split(32, &[0.5, 0.5], 8, 0) {
        assert!(part.chunks(8).all(|b| b[0] % 8 == 0 && b.windows(2).all(|w| w[1] == w[0] + 1)));
    }
}

#[test]
fn made_up_samples_follow_the_seed_and_the_batch() {
    let fixed = [spec("x", &[Some(3), Some(4)])];
    let a = Dataset::synthetic(&fixed, 10, 1).unwrap();
    assert_eq!((a.samples(), a.shapes(12), a.is_synthetic()), (12, vec![vec![12, 4]], true));
    assert!(Dataset::synthetic(&[spec("x", &[None, None])], 4, 0).is_err());
    let tokens = InputSpec { element: DatumType::I64, ..spec("ids", &[None, Some(4)]) };
    assert!(Dataset::synthetic(&[tokens], 4, 0).is_err());
}
