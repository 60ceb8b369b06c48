//! Samples in the forms that people have them, through the command.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use common::{fixture, run, samples, stderr, write};
use ndarray::{Array1, Array4, Axis};
use ndarray_npy::{NpzReader, write_npy};

fn compile(dir: &Path, model: &Path, more: &[&str]) -> Report {
    let mut args = vec![model.to_str().unwrap(), "out.onnx", "--report", "report.json"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

/// The shipped held-out digits and their labels.
fn digits() -> (Array4<f32>, Array1<i64>) {
    let mut npz = NpzReader::new(std::fs::File::open(fixture("mnist-held-out.npz")).unwrap()).unwrap();
    (npz.by_name("input").unwrap(), npz.by_name("labels").unwrap())
}

#[test]
fn a_folder_of_digits_measures_like_the_array_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = digits();
    // The models take digits with mean 0.1307 and deviation 0.3081 taken off.
    for (k, (image, label)) in images.axis_iter(Axis(0)).zip(&labels).enumerate() {
        let folder = dir.path().join(format!("digits/{label}"));
        std::fs::create_dir_all(&folder).unwrap();
        let pixel = |x: u32, y: u32| ((image[[0, y as usize, x as usize]] * 0.3081 + 0.1307) * 255.0).round() as u8;
        let picture = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([pixel(x, y)]));
        picture.save(folder.join(format!("{k:03}.png"))).unwrap();
    }
    let model = fixture("lenet5-mnist.onnx");
    let calibration = fixture("mnist-calibration.npz");
    let base = ["--calibration", calibration.to_str().unwrap(), "--layers", "^9$", "--bond", "4", "--tolerance", "50%"];
    let folder = compile(
        dir.path(),
        &model,
        &[&base[..], &["--held-out", "digits", "--image-mean", "0.1307", "--image-std", "0.3081"]].concat(),
    );
    std::fs::create_dir_all(dir.path().join("few/0")).unwrap();
    image::GrayImage::new(28, 28).save(dir.path().join("few/0/a.png")).unwrap();
    let few = run(dir.path(), &[&[model.to_str().unwrap(), "few.onnx"], &base[..], &["--held-out", "few"]].concat());
    assert_eq!(few.status.code(), Some(2));
    assert!(stderr(&few).contains("1 folders, but the model has 10 classes"), "{}", stderr(&few));
    let held_out = fixture("mnist-held-out.npz");
    let array = compile(dir.path(), &model, &[&base[..], &["--held-out", held_out.to_str().unwrap()]].concat());
    let unused = compile(
        dir.path(),
        &model,
        &[&base[..], &["--held-out", held_out.to_str().unwrap(), "--image-mean", "0.5"]].concat(),
    );
    let says = |r: &Report| r.notes.iter().any(|n| n.contains("--image options change nothing"));
    assert_eq!((says(&folder), says(&array), says(&unused)), (false, false, true));
    let accuracy = |r: &Report| r.quality.as_ref().unwrap().accuracy().unwrap().0;
    assert_eq!(folder.data.as_ref().unwrap().held_out_samples, 512);
    assert!((accuracy(&folder) - accuracy(&array)).abs() < 1.0 / 512.0, "{} {}", accuracy(&folder), accuracy(&array));
    assert!(accuracy(&folder) > 0.99);
}

#[test]
fn what_is_wrong_with_samples_is_said_before_anything_is_fitted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let refused = |args: &[&str]| {
        let output = run(dir.path(), &[&["in.onnx", "out.onnx"][..], args].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(!dir.path().join("out.onnx").exists());
        stderr(&output)
    };
    let labels = |values: Vec<i64>| write_npy(dir.path().join("y.npy"), &Array1::from(values)).unwrap();
    labels(vec![8; 64]);
    let text = refused(&["--calibration", "x.npy", "--labels", "y.npy"]);
    assert!(text.contains("is 8, but the model has 8 classes"), "{text}");
    labels(vec![0; 63]);
    let text = refused(&["--calibration", "x.npy", "--labels", "y.npy"]);
    assert!(text.contains("y.npy: ") && text.contains("63 entries for 64 samples"), "{text}");
    assert!(refused(&["--labels", "y.npy"]).contains("--calibration"));
    let text = refused(&["--calibration", "x.npy", "--held-out-labels", "y.npy"]);
    assert!(text.contains("--held-out"), "{text}");
    std::fs::create_dir(dir.path().join("pictures")).unwrap();
    image::GrayImage::new(4, 4).save(dir.path().join("pictures/a.png")).unwrap();
    let text = refused(&["--calibration", "pictures"]);
    assert!(text.contains("pictures: ") && text.contains("not an image"), "{text}");
    assert!(refused(&["--calibration", "x.npy", "--image-size", "0"]).contains("pixels"));
}

#[test]
fn passes_are_reported_where_there_is_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let options = [
        "--calibration",
        "x.npy",
        "--fit",
        "end-to-end",
        "--ratio",
        "3",
        "--epochs",
        "2",
        "--tolerance",
        "100%",
        "--layers",
        "hidden",
    ];
    let output = run(dir.path(), &[&["in.onnx", "out.onnx"][..], &options].concat());
    let text = stderr(&output);
    let passes: Vec<&str> = text.lines().filter(|l| l.starts_with("training at ")).collect();
    assert_eq!(passes.len(), 2, "{text}");
    assert!(passes[1].contains("pass 2/2: loss ") && passes[1].contains("quality "), "{text}");
    assert!(text.contains("generators in place of 3072 parameters"), "{text}");
}
