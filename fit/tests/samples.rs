//! Samples in the other forms that people have: safetensors, images, and arrays larger than memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;

use adntn_fit::data::{Dataset, ImageOptions, InputSpec, Reading};
use adntn_fit::runner::Output;
use image::{GrayImage, Luma, Rgb, RgbImage};
use ndarray::{Array1, Array2, ArrayD, IxDyn, ShapeBuilder as _};
use ndarray_npy::{NpzWriter, write_npy};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use tract_onnx::prelude::DatumType;

fn spec(shape: &[Option<usize>]) -> InputSpec {
    InputSpec { name: "x".into(), element: DatumType::F32, shape: shape.to_vec(), sample_axis: Some(0) }
}

fn nchw(channels: usize, height: usize, width: usize) -> InputSpec {
    spec(&[None, Some(channels), Some(height), Some(width)])
}

/// The samples as one float32 tensor.
fn values(data: &Dataset) -> Output {
    Output::from_tensor(&data.inputs(0..data.samples()).unwrap()[0]).unwrap()
}

fn error(path: &Path, spec: &InputSpec, reading: &Reading) -> String {
    Dataset::load(path, std::slice::from_ref(spec), reading).unwrap_err().to_string()
}

fn with_images(images: ImageOptions) -> Reading {
    Reading { images, ..Reading::default() }
}

/// A picture whose pixel (x, y) is (10·x, 10·y, 7).
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(10 * x) as u8, (10 * y) as u8, 7]))
}

fn safetensors(path: &Path, arrays: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) {
    let views: HashMap<&str, TensorView<'_>> =
        arrays.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap())).collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn safetensors_are_read_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let numbers: Vec<f32> = (0..12).map(|v| v as f32).collect();
    let labels: Vec<u8> = [5i32, 6].iter().flat_map(|v| v.to_le_bytes()).collect();
    safetensors(
        &path,
        &[("x", Dtype::F32, vec![2, 6], bytes(&numbers)), ("labels", Dtype::I32, vec![2], labels.clone())],
    );
    let six = spec(&[None, Some(6)]);
    let data = Dataset::load(&path, std::slice::from_ref(&six), &Reading::default()).unwrap();
    assert_eq!((data.labels(), values(&data).values), (Some(&[5, 6][..]), numbers));
    let turned = data.select(&[1, 0]).unwrap().select(&[0]).unwrap();
    assert_eq!((turned.labels(), values(&turned).values), (Some(&[6][..]), vec![6.0, 7.0, 8.0, 9.0, 10.0, 11.0]));

    safetensors(&path, &[("y", Dtype::F32, vec![1], bytes(&[1.0]))]);
    assert!(error(&path, &six, &Reading::default()).contains("no array named 'x' (it has: y)"));
    safetensors(&path, &[("x", Dtype::I16, vec![1, 6], vec![0; 12])]);
    let message = error(&path, &six, &Reading::default());
    assert!(message.contains("int16") && message.contains("float32"), "{message}");
    // 1.0 in bfloat16 and in float16.
    for (dtype, one) in [(Dtype::BF16, [0x80, 0x3f]), (Dtype::F16, [0x00, 0x3c])] {
        safetensors(&path, &[("x", dtype, vec![1, 6], one.repeat(6))]);
        let data = Dataset::load(&path, std::slice::from_ref(&six), &Reading::default()).unwrap();
        assert_eq!(values(&data).values, [1.0; 6]);
    }
    safetensors(&path, &[("x", Dtype::F32, vec![1, 6], bytes(&[f32::INFINITY; 6]))]);
    assert!(error(&path, &six, &Reading::default()).contains("infinity"));
    std::fs::write(&path, "nothing").unwrap();
    assert!(error(&path, &six, &Reading::default()).contains("not a readable .safetensors"));
}

#[test]
fn labels_may_lie_in_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (samples, labels) = (dir.path().join("x.npy"), dir.path().join("y.npy"));
    write_npy(&samples, &Array2::<f32>::zeros((3, 2))).unwrap();
    write_npy(&labels, &Array1::from(vec![2u8, 0, 1])).unwrap();
    let two = spec(&[None, Some(2)]);
    let reading = Reading { labels: Some(labels.clone()), ..Reading::default() };
    let data = Dataset::load(&samples, std::slice::from_ref(&two), &reading).unwrap();
    assert_eq!(data.labels(), Some(&[2, 0, 1][..]));

    write_npy(&labels, &Array1::from(vec![2i64])).unwrap();
    let message = error(&samples, &two, &reading);
    assert!(message.contains("y.npy") && message.contains("1 entries for 3 samples"), "{message}");
    write_npy(&labels, &Array1::from(vec![2.0f32, 0.0, 1.0])).unwrap();
    let data = Dataset::load(&samples, std::slice::from_ref(&two), &reading).unwrap();
    assert_eq!(data.labels(), Some(&[2, 0, 1][..]));
    write_npy(&labels, &Array1::from(vec![2.5f32, 0.0, 1.0])).unwrap();
    assert!(error(&samples, &two, &reading).contains("integer type"));
    write_npy(&labels, &Array2::<i64>::zeros((3, 2))).unwrap();
    assert!(error(&samples, &two, &reading).contains("one-dimensional"));
}

#[test]
fn images_become_normalised_inputs() {
    let dir = tempfile::tempdir().unwrap();
    gradient(4, 3).save(dir.path().join("b.png")).unwrap();
    GrayImage::from_pixel(4, 3, Luma([255])).save(dir.path().join("a.bmp")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "left alone").unwrap();
    let images = ImageOptions { mean: vec![0.5, 0.25, 0.0], std: vec![0.5, 1.0, 2.0], ..ImageOptions::default() };
    let load = |spec: InputSpec, images: &ImageOptions| {
        values(&Dataset::load(dir.path(), &[spec], &with_images(images.clone())).unwrap())
    };
    let planes = load(nchw(3, 3, 4), &images);
    assert_eq!(planes.shape, [2, 3, 3, 4]);
    let expected = |channel: usize, value: f32| (value / 255.0 - images.mean[channel]) / images.std[channel];
    for (channel, y, x) in [(0, 2, 3), (1, 2, 1), (2, 0, 0)] {
        let value = [10.0 * x as f32, 10.0 * y as f32, 7.0][channel];
        let got = planes.values[((3 + channel) * 3 + y) * 4 + x];
        assert!((got - expected(channel, value)).abs() < 1e-6, "{got}");
        let white = planes.values[channel * 12];
        assert!((white - expected(channel, 255.0)).abs() < 1e-6, "grey is spread to all channels: {white}");
    }
    // The same pixels, channels last, blue first.
    let last = load(
        spec(&[None, Some(3), Some(4), Some(3)]),
        &ImageOptions { bgr: true, channels_last: true, white: 255.0, ..ImageOptions::default() },
    );
    let pixel = &last.values[(12 + 2 * 4 + 3) * 3..][..3];
    assert!(pixel.iter().zip([7.0, 20.0, 30.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{pixel:?}");
    // Inputs of bytes take pixels as they are.
    let raw = load(InputSpec { element: DatumType::U8, ..nchw(1, 3, 4) }, &ImageOptions::default());
    assert_eq!(raw.values[..12], [255.0; 12]);
}

#[test]
fn images_are_resized_and_cut_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    gradient(20, 10).save(dir.path().join("a.png")).unwrap();
    let white = ImageOptions { white: 255.0, ..ImageOptions::default() };
    let open = spec(&[None, Some(3), None, None]);
    let load = |images: ImageOptions| {
        values(&Dataset::load(dir.path(), std::slice::from_ref(&open), &with_images(images)).unwrap())
    };
    // As high as the image: only the middle ten columns are left.
    let cut = load(ImageOptions { size: Some((10, 10)), ..white.clone() });
    assert_eq!((cut.values[0], cut.values[9], cut.values[100]), (50.0, 140.0, 0.0));
    // Half the size: every value is the mean of about two of each direction.
    let half = load(ImageOptions { size: Some((5, 5)), ..white.clone() });
    assert!((half.values[2] - 85.0).abs() <= 1.0, "{:?}", &half.values[..5]);
    // Resized to twice what is kept, the cut is the middle quarter.
    let inner = load(ImageOptions { size: Some((4, 4)), resize: Some(8), ..white });
    assert!((inner.values[0] + inner.values[3] - 190.0).abs() <= 4.0, "{:?}", &inner.values[..4]);
    assert!((inner.values[3] - inner.values[0] - 37.5).abs() <= 4.0);

    assert!(error(dir.path(), &open, &Reading::default()).contains("--image-size"));
    let two = with_images(ImageOptions { size: Some((8, 8)), ..ImageOptions::default() });
    assert!(error(dir.path(), &nchw(3, 4, 4), &two).contains("contradicts"));
    let means = with_images(ImageOptions { mean: vec![0.0; 2], ..ImageOptions::default() });
    assert!(error(dir.path(), &nchw(3, 4, 4), &means).contains("2 numbers"));
    assert!(error(dir.path(), &nchw(7, 4, 4), &Reading::default()).contains("7 channels"));
    assert!(error(dir.path(), &spec(&[None, Some(4)]), &Reading::default()).contains("not an image"));
    std::fs::write(dir.path().join("b.png"), "no image").unwrap();
    let message = error(dir.path(), &nchw(3, 4, 4), &Reading::default());
    assert!(message.contains("b.png") && message.contains("take it out"), "{message}");
}

#[test]
fn folders_of_images_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    for (class, count) in [("cat", 2), ("dog", 1), ("empty", 0)] {
        let folder = dir.path().join(class);
        std::fs::create_dir(&folder).unwrap();
        for k in 0..count {
            gradient(4, 4).save(folder.join(format!("{k}.png"))).unwrap();
        }
    }
    let data = Dataset::load(dir.path(), &[nchw(3, 4, 4)], &Reading::default()).unwrap();
    assert_eq!((data.samples(), data.labels()), (3, Some(&[0, 0, 1][..])));
    assert_eq!(data.select(&[2]).unwrap().classes(), ["cat", "dog", "empty"]);
    write_npy(dir.path().join("labels.npy"), &Array1::from(vec![7i64, 8, 9])).unwrap();
    let data = Dataset::load(dir.path(), &[nchw(3, 4, 4)], &Reading::default()).unwrap();
    assert_eq!((data.labels(), data.classes().len()), (Some(&[7, 8, 9][..]), 0));
}

#[test]
fn what_has_no_room_in_memory_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = Reading { memory: 0, ..Reading::default() };
    let images = dir.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for k in 0..3 {
        gradient(4 + 2 * k, 4).save(images.join(format!("{k}.png"))).unwrap();
    }
    let npz = dir.path().join("a.npz");
    let mut file = NpzWriter::new_compressed(std::fs::File::create(&npz).unwrap());
    let array = ArrayD::from_shape_fn(IxDyn(&[5, 3, 4, 4]), |i| (i[0] * 100 + i[1] * 30 + i[2] * 4 + i[3]) as f32);
    file.add_array("x", &array).unwrap();
    file.finish().unwrap();
    for path in [&images, &npz] {
        let load = |reading: &Reading| Dataset::load(path, &[nchw(3, 4, 4)], reading).unwrap();
        let (wide, narrow) = (load(&Reading::default()), load(&narrow));
        assert_eq!(values(&wide).values, values(&narrow).values);
        assert_eq!(wide.hashes(), narrow.hashes());
        assert!(wide.hashes().windows(2).all(|h| h[0] != h[1]));
    }
}

proptest! {
    /// Whatever the order in memory, arrays come back as NumPy shows them.
    #[test]
    fn arrays_come_back_in_any_order(rows in 1usize..6, columns in 1usize..5, fortran: bool, pick in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        let array = Array2::from_shape_fn((rows, columns).set_f(fortran), |(r, c)| (10 * r + c) as f32);
        write_npy(&path, &array).unwrap();
        let data = Dataset::load(&path, &[spec(&[None, Some(columns)])], &Reading::default()).unwrap();
        let chosen: Vec<usize> = pick.iter().map(|p| p.index(rows)).collect();
        let expected: Vec<f32> = chosen.iter().flat_map(|&r| (0..columns).map(move |c| (10 * r + c) as f32)).collect();
        prop_assert_eq!(values(&data.select(&chosen).unwrap()).values, expected);
    }
}

#[test]
fn an_archive_that_unpacks_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npz");
    let write = |rows: usize| {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let deflated = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file("x.npy", deflated).unwrap();
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 256), }}");
        while (header.len() + 11) % 64 > 0 {
            header.push(' ');
        }
        let length = u16::try_from(header.len() + 1).unwrap().to_le_bytes();
        let start = [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), b"\n"].concat();
        std::io::Write::write_all(&mut archive, &start).unwrap();
        for _ in 0..rows / 1024 {
            std::io::Write::write_all(&mut archive, &[0; 1 << 20]).unwrap();
        }
        archive.finish().unwrap();
    };
    // Zeros are samples as long as they are few.
    write(8 * 1024);
    let reading = Reading::default();
    assert_eq!(Dataset::load(&path, &[spec(&[None, Some(256)])], &reading).unwrap().samples(), 8 * 1024);
    write(300 * 1024);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    let message = error(&path, &spec(&[None, Some(256)]), &reading);
    assert!(message.contains("array 'x' cannot be read") && message.contains("as .npy files"), "{message}");
}

#[test]
fn an_input_may_have_a_name_like_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.npz");
    let mut npz = NpzWriter::new(std::fs::File::create(&path).unwrap());
    npz.add_array("x.npy", &Array2::from_shape_fn((3, 2), |(r, c)| (2 * r + c) as f32)).unwrap();
    npz.finish().unwrap();
    let named = InputSpec { name: "x.npy".into(), ..spec(&[None, Some(2)]) };
    let data = Dataset::load(&path, &[named], &Reading::default()).unwrap();
    assert_eq!(values(&data).values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}
