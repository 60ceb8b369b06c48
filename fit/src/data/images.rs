//! Folders of images as samples: decoded once, resized, cropped to what the model takes, and normalised when they are read.

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView as _, ImageReader, Limits};
use rayon::prelude::*;
use tract_onnx::prelude::DatumType;

use super::array::{Sink, Store, open};
use super::column::Column;
use super::{InputSpec, LABELS, Labels};
use crate::error::Error;
use crate::text::one_line;

/// File names that count as images.
const EXTENSIONS: [&str; 9] = ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "webp"];
/// Images decoded before they are put away.
const CHUNK: usize = 256;
/// Most bytes of one decoded image.
const DECODED: u64 = 512 << 20;
/// Most pixels of an image while it is resized; each takes 16 bytes then.
const RESIZED: f64 = (32 << 20) as f64;

/// How images become the input of a model. A pixel value v of 0 to 255 becomes (v/255·white − mean)/std for inputs of
/// floating point numbers, and stays as it is for uint8.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageOptions {
    /// Height and width of the input, for models that leave them open.
    pub size: Option<(usize, usize)>,
    /// Length that the shorter side is resized to before the middle is cut out; without it the smallest that fills the input.
    pub resize: Option<usize>,
    /// What a white pixel counts before `mean` and `std`: 1 or 255 with most models.
    pub white: f32,
    /// Taken off each channel; one number for all, or one each.
    pub mean: Vec<f32>,
    /// Each channel is divided by it; one number for all, or one each.
    pub std: Vec<f32>,
    /// Colours in the order blue, green, red.
    pub bgr: bool,
    /// The input is samples × height × width × channels; without it the shape of the input decides, and samples × channels ×
    /// height × width where it leaves both possible.
    pub channels_last: bool,
}

impl Default for ImageOptions {
    fn default() -> Self {
        ImageOptions {
            size: None,
            resize: None,
            white: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
            bgr: false,
            channels_last: false,
        }
    }
}

/// Decoded images of one size, a byte for each channel of each pixel, channels last.
#[derive(Debug)]
pub(super) struct Pixels {
    bytes: Store,
    frame: Frame,
    /// Factor and summand for each channel.
    affine: Vec<(f32, f32)>,
}

/// What the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    channels_last: bool,
}

impl Pixels {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// Bytes of one image.
    pub(super) fn size(&self) -> usize {
        self.frame.size()
    }

    /// Writes an image as elements of the model's input.
    pub(super) fn write(&self, sample: usize, element: DatumType, to: &mut [u8]) {
        let Frame { channels, height, width, channels_last } = self.frame;
        let image = &self.bytes()[sample * self.size()..(sample + 1) * self.size()];
        let size = element.size_of();
        for (pixel, values) in image.chunks_exact(channels).enumerate() {
            for (channel, &value) in values.iter().enumerate() {
                let at = if channels_last { pixel * channels + channel } else { channel * height * width + pixel };
                let to = &mut to[at * size..(at + 1) * size];
                let (factor, summand) = self.affine[channel];
                if element == DatumType::U8 {
                    to[0] = value;
                } else {
                    to.copy_from_slice(&f32::from(value).mul_add(factor, summand).to_le_bytes());
                }
            }
        }
    }
}

impl Frame {
    fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Where height, width and channels are in the model's input.
    fn of(spec: &InputSpec, options: &ImageOptions) -> Result<Self, String> {
        let &[_, a, b, c] = spec.shape.as_slice() else {
            return Err(format!(
                "the model's input '{}' is {}, not an image: images serve inputs of four dimensions",
                spec.name,
                spec.shape_text()
            ));
        };
        if !matches!(spec.element, DatumType::F32 | DatumType::U8) {
            return Err(format!("the model's input '{}' is neither float32 nor uint8, as images are", spec.name));
        }
        let channels_last = options.channels_last || are_last(a, c);
        let (channels, height, width) = if channels_last { (c, a, b) } else { (a, b, c) };
        let channels = channels.unwrap_or(3);
        if !matches!(channels, 1 | 3 | 4) {
            return Err(format!(
                "the model's input '{}' is {}: {channels} channels are none of 1, 3 and 4 (give --channels-last if they are the \
                 last dimension)",
                spec.name,
                spec.shape_text()
            ));
        }
        let given = |own: Option<usize>, given: Option<usize>| match (own, given) {
            (Some(own), Some(given)) if own != given => {
                Err(format!("--image-size {given} contradicts the model, whose input is {}", spec.shape_text()))
            }
            (own, given) => own.or(given).ok_or_else(|| {
                format!("the model leaves the size of its images open ({}): give --image-size", spec.shape_text())
            }),
        };
        let height = given(height, options.size.map(|s| s.0))?;
        let width = given(width, options.size.map(|s| s.1))?;
        if height == 0 || width == 0 {
            return Err(format!("the size of the images is {height}×{width}: give --image-size"));
        }
        Ok(Frame { channels, height, width, channels_last })
    }

    /// A decoded image cut to this frame. The error says why it cannot be.
    fn cut(&self, image: &DynamicImage, resize: Option<usize>, bgr: bool) -> Result<Vec<u8>, String> {
        let (width, height) = image.dimensions();
        let (own_width, own_height) = (as_u32(self.width), as_u32(self.height));
        // The scale at which the image just fills the frame, or its shorter side is as long as asked for.
        let fill = (f64::from(own_width) / f64::from(width)).max(f64::from(own_height) / f64::from(height));
        let scale = resize.map_or(fill, |to| fill.max(to as f64 / f64::from(width.min(height))));
        // A long and narrow image becomes far larger before its middle is cut out.
        let pixels = f64::from(height) * scale * f64::from(width) * scale.max(1.0);
        if pixels > RESIZED {
            return Err(format!(
                "is {width}×{height} pixels; to fill {}×{} it would have {:.0} million: crop it or take it out of the folder",
                self.width,
                self.height,
                pixels / 1e6
            ));
        }
        let scaled = |length: u32, least: u32| ((f64::from(length) * scale).round() as u32).max(least);
        let (to_width, to_height) = (scaled(width, own_width), scaled(height, own_height));
        let (left, top) = ((to_width - own_width) / 2, (to_height - own_height) / 2);
        // A triangle as wide as the step is what "bilinear with antialiasing" means elsewhere.
        macro_rules! cut {
            ($image:expr) => {{
                let image = $image;
                let resized = if (width, height) == (to_width, to_height) {
                    image
                } else {
                    imageops::resize(&image, to_width, to_height, FilterType::Triangle)
                };
                imageops::crop_imm(&resized, left, top, own_width, own_height).to_image().into_raw()
            }};
        }
        let mut bytes = match self.channels {
            1 => cut!(image.to_luma8()),
            3 => cut!(image.to_rgb8()),
            _ => cut!(image.to_rgba8()),
        };
        if bgr && self.channels >= 3 {
            bytes.chunks_exact_mut(self.channels).for_each(|pixel| pixel.swap(0, 2));
        }
        Ok(bytes)
    }
}

/// Whether channels come last in an input whose extents after the samples begin with `first` and end with `last`: images have
/// 1 or 3 of them, seldom another number.
pub(crate) fn are_last(first: Option<usize>, last: Option<usize>) -> bool {
    let channels = |d: Option<usize>| matches!(d, Some(1 | 3));
    !channels(first) && channels(last)
}

fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn affine(channels: usize, options: &ImageOptions) -> Result<Vec<(f32, f32)>, String> {
    let of = |what: &str, values: &[f32]| match values {
        [one] => Ok(vec![*one; channels]),
        each if each.len() == channels => Ok(each.to_vec()),
        other => Err(format!("--image-{what} has {} numbers, the images have {channels} channels", other.len())),
    };
    let (mean, std) = (of("mean", &options.mean)?, of("std", &options.std)?);
    let valid = |v: &f32| v.is_finite();
    if !mean.iter().all(valid) || !std.iter().all(|s| s.is_finite() && *s != 0.0) || !valid(&options.white) {
        return Err("--image-mean, --image-std and --image-white must be finite, and --image-std not 0".into());
    }
    Ok(mean.iter().zip(&std).map(|(mean, std)| (options.white / 255.0 / std, -mean / std)).collect())
}

/// The class of each sample, and the names of all classes where folders gave them.
pub(super) type Classes = (Labels, Vec<String>);

/// Images of a folder in the order of their names, with classes where they lie in folders of their own.
#[derive(Debug, Default)]
pub(super) struct Listing {
    files: Vec<PathBuf>,
    /// The class of each file and the names of all classes.
    classes: Option<(Vec<i64>, Vec<String>)>,
}

impl Listing {
    /// Lists a folder: its images, or those of the folders in it, one folder a class, in the order of their names; an empty
    /// one counts.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let (files, folders) = entries(path)?;
        if !files.is_empty() {
            return Ok(Listing { files, classes: None });
        }
        let (mut files, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (class, folder) in folders.iter().enumerate() {
            let own = entries(folder)?.0;
            labels.extend(std::iter::repeat_n(i64::try_from(class).unwrap_or(i64::MAX), own.len()));
            files.extend(own);
            names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        Ok(Listing { files, classes: Some((labels, names)) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Decodes all images; those beyond `memory` bytes go to a temporary file.
    pub(super) fn load(
        self,
        path: &Path,
        specs: &[InputSpec],
        options: &ImageOptions,
        memory: u64,
    ) -> Result<(Vec<Column>, Option<Classes>), Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let [spec] = specs else {
            return Err(fail(format!(
                "a folder of images serves models with one input, this one has {}: give a .npz file with one array per input",
                specs.len()
            )));
        };
        let frame = Frame::of(spec, options).map_err(fail)?;
        let affine = affine(frame.channels, options).map_err(fail)?;
        let total = (frame.size() as u64).saturating_mul(self.files.len() as u64);
        let mut sink = Sink::new(total, &mut { memory })?;
        for chunk in self.files.chunks(CHUNK) {
            let decoded: Vec<Vec<u8>> = chunk
                .par_iter()
                .map(|path| {
                    let cut = frame.cut(&decode(path)?, options.resize, options.bgr);
                    cut.map_err(|problem| Error::Data { path: path.clone(), problem })
                })
                .collect::<Result<_, Error>>()?;
            decoded.iter().try_for_each(|bytes| sink.write(bytes))?;
        }
        let bytes = sink.finish()?;
        let Frame { channels, height, width, channels_last } = frame;
        let mut shape = vec![self.files.len()];
        shape.extend(if channels_last { [height, width, channels] } else { [channels, height, width] });
        let classes = match labels_beside(path)? {
            Some(labels) => Some((labels, Vec::new())),
            None => self.classes.map(|(labels, names)| (Labels::Known(labels), names)),
        };
        Ok((vec![Column::pixels(Pixels { bytes, frame, affine }, shape, spec.element)], classes))
    }
}

/// Labels in a file of their own in the folder, which count more than the names of folders.
fn labels_beside(folder: &Path) -> Result<Option<Labels>, Error> {
    let path = folder.join(format!("{LABELS}.npy"));
    if path.exists() { super::numpy::read_labels(&path).map(Some) } else { Ok(None) }
}

/// Images and folders of a folder, sorted by name.
fn entries(path: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let known = |e: &std::ffi::OsStr| EXTENSIONS.iter().any(|k| e.eq_ignore_ascii_case(k));
        if hidden {
        } else if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(known) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn decode(path: &Path) -> Result<DynamicImage, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let mut reader = ImageReader::new(std::io::BufReader::new(open(path)?))
        .with_guessed_format()
        .map_err(|e| fail(format!("cannot be read ({e})")))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| match e {
        image::ImageError::Limits(_) => fail(format!(
            "is larger than {} MiB when it is decoded: shrink it or take it out of the folder",
            DECODED >> 20
        )),
        e => fail(format!(
            "is not a readable image ({}): repair it or take it out of the folder",
            one_line(&e.to_string())
        )),
    })?;
    if image.width() == 0 || image.height() == 0 {
        return Err(fail("is an image without pixels: take it out of the folder".into()));
    }
    Ok(image)
}
