//! Images seen a little differently: distillation gains from samples that the teacher can judge as well.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, are_last};
use crate::error::Error;

/// Most that a warp of full strength turns an image (radians), stretches or slants it (share), and moves its parts (share of its
/// extent).
const TURN: f32 = 0.25;
const STRETCH: f32 = 0.15;
const BEND: f32 = 0.05;
/// Knots of the displacements along each axis of an image.
const KNOTS: usize = 4;

/// Changes made to copies of images; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Copies besides the original.
    pub copies: usize,
    /// Mirror left and right: every second copy.
    pub flip: bool,
    /// Shift by up to so many pixels in each direction; what comes in is the border repeated.
    pub shift: usize,
    /// Turn, stretch, slant and bend, in percent of the full strength: a sixth of a right angle, 15 % and 5 %.
    pub warp: usize,
    /// Images are samples × height × width × channels; without it the extents decide, and samples × channels × height × width
    /// where they leave both possible.
    pub channels_last: bool,
    /// Seed of all changes.
    pub seed: u64,
}

impl Augment {
    /// The shorter side of an image of this shape, samples counted; `None` if it is none.
    #[must_use]
    pub fn image_side(&self, shape: &[usize]) -> Option<usize> {
        self.form(shape).map(|form| form.height.min(form.width))
    }

    fn form(&self, shape: &[usize]) -> Option<Form> {
        let &[_, a, b, c] = shape else { return None };
        let last = self.channels_last || are_last(Some(a), Some(c));
        let (planes, height, width, pixel) = if last { (1, a, b, c) } else { (a, b, c, 1) };
        Some(Form { planes, height, width, pixel })
    }

    /// Changes the images of copy number `copy` (1 is the first); `start` is the number of their first sample in the whole set.
    ///
    /// # Errors
    /// [`Error::Shape`] when no input of the model is a float32 image of four dimensions.
    pub fn apply(&self, data: &mut Dataset, copy: usize, start: usize) -> Result<(), Error> {
        let mirrored = self.flip && copy % 2 == 1;
        let samples = data.samples();
        let mut changed = false;
        for tensor in data.inputs_mut()? {
            let Some(form) = self.form(tensor.shape()) else { continue };
            let n = tensor.shape()[0];
            let Ok(mut view) = tensor.to_plain_array_view_mut::<f32>() else { continue };
            let Some(values) = view.as_slice_mut() else { continue };
            let size = form.elements();
            values.par_chunks_exact_mut(size.max(1)).enumerate().take(n.min(samples)).for_each(|(k, image)| {
                let seed = self.seed ^ ((copy as u64) << 40) ^ (start + k) as u64;
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let range = 2 * self.shift as u64 + 1;
                let mut offset = || (rng.next_u64() % range) as isize - self.shift as isize;
                let offsets = (offset(), offset());
                if self.warp == 0 {
                    form.shift(image, offsets, mirrored);
                } else {
                    Warp::random(self.warp as f32 / 100.0, form, &mut rng).apply(image, form, offsets, mirrored);
                }
            });
            changed = true;
        }
        if changed {
            Ok(())
        } else {
            Err(Error::Shape("images can be augmented only in float32 inputs of four dimensions".into()))
        }
    }
}

/// How an image lies in memory: planes × height × width × elements of a pixel.
#[derive(Debug, Clone, Copy)]
struct Form {
    planes: usize,
    height: usize,
    width: usize,
    pixel: usize,
}

impl Form {
    fn elements(self) -> usize {
        self.planes * self.height * self.width * self.pixel
    }

    fn at(self, plane: usize, y: usize, x: usize) -> usize {
        ((plane * self.height + y) * self.width + x) * self.pixel
    }

    fn shift(self, image: &mut [f32], (down, right): (isize, isize), mirrored: bool) {
        let source = image.to_vec();
        for plane in 0..self.planes {
            for y in 0..self.height {
                let from_y = y.saturating_add_signed(down).min(self.height - 1);
                for x in 0..self.width {
                    let shifted = x.saturating_add_signed(right).min(self.width - 1);
                    let from_x = if mirrored { self.width - 1 - shifted } else { shifted };
                    let (to, from) = (self.at(plane, y, x), self.at(plane, from_y, from_x));
                    image[to..to + self.pixel].copy_from_slice(&source[from..from + self.pixel]);
                }
            }
        }
    }
}

/// Where the pixels of a warped image come from: an affine map about its centre and smooth displacements (elastic distortions as
/// in P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual document
/// analysis", ICDAR 2003, with displacements between knots in place of blurred noise).
struct Warp {
    /// Source row and column by row and column from the centre.
    affine: [[f32; 2]; 2],
    /// Displacements of rows and columns at the knots, in pixels.
    knots: [[f32; 2]; KNOTS * KNOTS],
}

impl Warp {
    fn random(strength: f32, form: Form, rng: &mut ChaCha8Rng) -> Self {
        // In (−1, 1), from the upper 24 bits.
        let mut draw = |most: f32| most * strength * ((rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0);
        let (sin, cos) = draw(TURN).sin_cos();
        let (tall, wide, slant) = (1.0 + draw(STRETCH), 1.0 + draw(STRETCH), draw(STRETCH));
        let affine = [[cos * tall, -sin * wide], [sin * tall + slant, cos * wide]];
        let (high, far) = (BEND * form.height as f32, BEND * form.width as f32);
        let knots = std::array::from_fn(|_| [draw(high), draw(far)]);
        Warp { affine, knots }
    }

    /// Displacement at a place given as shares of height and width, linear between knots.
    fn bend(&self, down: f32, right: f32) -> [f32; 2] {
        let place = |share: f32| {
            let at = share.clamp(0.0, 1.0) * (KNOTS - 1) as f32;
            let low = (at as usize).min(KNOTS - 2);
            (low, at - low as f32)
        };
        let ((row, v), (column, h)) = (place(down), place(right));
        let mut sum = [0.0; 2];
        for (dy, wy) in [(0, 1.0 - v), (1, v)] {
            for (dx, wx) in [(0, 1.0 - h), (1, h)] {
                let knot = self.knots[(row + dy) * KNOTS + column + dx];
                sum.iter_mut().zip(knot).for_each(|(s, k)| *s += wy * wx * k);
            }
        }
        sum
    }

    fn apply(&self, image: &mut [f32], form: Form, (down, right): (isize, isize), mirrored: bool) {
        let source = image.to_vec();
        let (last_y, last_x) = (form.height.saturating_sub(1), form.width.saturating_sub(1));
        let centre = (last_y as f32 / 2.0, last_x as f32 / 2.0);
        for y in 0..form.height {
            for x in 0..form.width {
                let column = if mirrored { last_x - x } else { x };
                let [by, bx] = self.bend(y as f32 / last_y.max(1) as f32, column as f32 / last_x.max(1) as f32);
                let (cy, cx) = (y as f32 - centre.0, column as f32 - centre.1);
                let from_y = centre.0 + self.affine[0][0] * cy + self.affine[0][1] * cx + by + down as f32;
                let from_x = centre.1 + self.affine[1][0] * cy + self.affine[1][1] * cx + bx + right as f32;
                let (from_y, from_x) = (from_y.clamp(0.0, last_y as f32), from_x.clamp(0.0, last_x as f32));
                let (y0, x0) = (from_y as usize, from_x as usize);
                let (y1, x1) = ((y0 + 1).min(last_y), (x0 + 1).min(last_x));
                let (v, h) = (from_y - y0 as f32, from_x - x0 as f32);
                for plane in 0..form.planes {
                    for e in 0..form.pixel {
                        let read = |y, x| source[form.at(plane, y, x) + e];
                        let upper = read(y0, x0) * (1.0 - h) + read(y0, x1) * h;
                        let lower = read(y1, x0) * (1.0 - h) + read(y1, x1) * h;
                        image[form.at(plane, y, x) + e] = upper * (1.0 - v) + lower * v;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FORM: Form = Form { planes: 2, height: 9, width: 7, pixel: 1 };

    fn ramp() -> Vec<f32> {
        (0..FORM.elements()).map(|k| (k % 63) as f32).collect()
    }

    #[test]
    fn a_warp_of_no_strength_is_a_shift() {
        for (offsets, mirrored) in [((0, 0), false), ((2, -1), false), ((-1, 3), true)] {
            let warp = Warp::random(0.0, FORM, &mut ChaCha8Rng::seed_from_u64(3));
            let (mut warped, mut shifted) = (ramp(), ramp());
            warp.apply(&mut warped, FORM, offsets, mirrored);
            if !mirrored {
                FORM.shift(&mut shifted, offsets, mirrored);
                assert_eq!(warped, shifted);
            }
            assert_eq!(warped[..63], warped[63..], "planes move together");
        }
    }

    #[test]
    fn warps_stay_within_the_values_of_the_image_and_differ() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut seen = Vec::new();
        for _ in 0..20 {
            let mut image = ramp();
            Warp::random(1.0, FORM, &mut rng).apply(&mut image, FORM, (1, -1), false);
            assert!(image.iter().all(|v| (0.0..63.0).contains(v)));
            assert!(!seen.contains(&image));
            seen.push(image);
        }
    }
}
