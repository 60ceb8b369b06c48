//! Images seen a little differently: distillation gains from samples that the teacher can judge as well.

use rand::{Rng as _, SeedableRng as _};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, are_last};
use crate::error::Error;

/// Changes made to copies of images; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Copies besides the original.
    pub copies: usize,
    /// Mirror left and right: every second copy.
    pub flip: bool,
    /// Shift by up to so many pixels in each direction; what comes in is the border repeated.
    pub shift: usize,
    /// Images are samples × height × width × channels; without it the extents decide, and samples × channels × height × width
    /// where they leave both possible.
    pub channels_last: bool,
    /// Seed of the shifts.
    pub seed: u64,
}

impl Augment {
    /// Changes the images of copy number `copy` (1 is the first); `start` is the number of their first sample in the whole set.
    ///
    /// # Errors
    /// [`Error::Shape`] when no input of the model is a float32 image of four dimensions.
    pub fn apply(&self, data: &mut Dataset, copy: usize, start: usize) -> Result<(), Error> {
        let mirrored = self.flip && copy % 2 == 1;
        let samples = data.samples();
        let mut changed = false;
        for tensor in data.inputs_mut()? {
            let &[n, a, b, c] = tensor.shape() else { continue };
            // (planes, height, width, elements of a pixel)
            let last = self.channels_last || are_last(Some(a), Some(c));
            let (planes, height, width, pixel) = if last { (1, a, b, c) } else { (a, b, c, 1) };
            let Ok(mut view) = tensor.to_plain_array_view_mut::<f32>() else { continue };
            let Some(values) = view.as_slice_mut() else { continue };
            let size = planes * height * width * pixel;
            values.par_chunks_exact_mut(size.max(1)).enumerate().take(n.min(samples)).for_each(|(k, image)| {
                let seed = self.seed ^ ((copy as u64) << 40) ^ (start + k) as u64;
                let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
                let range = 2 * self.shift as u64 + 1;
                let mut offset = || (rng.next_u64() % range) as isize - self.shift as isize;
                let (down, right) = (offset(), offset());
                let source = image.to_vec();
                for plane in 0..planes {
                    for y in 0..height {
                        let from_y = y.saturating_add_signed(down).min(height - 1);
                        for x in 0..width {
                            let shifted = x.saturating_add_signed(right).min(width - 1);
                            let from_x = if mirrored { width - 1 - shifted } else { shifted };
                            let to = ((plane * height + y) * width + x) * pixel;
                            let from = ((plane * height + from_y) * width + from_x) * pixel;
                            image[to..to + pixel].copy_from_slice(&source[from..from + pixel]);
                        }
                    }
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
