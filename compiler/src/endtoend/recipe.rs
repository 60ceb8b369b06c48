//! What the data say about how to train: which changed copies of images teach something true, and how far labels are trusted.

use adntn_fit::data::Dataset;
use adntn_fit::distill::Augment;
use adntn_onnx::{Model, Patch};

use crate::error::Error;
use crate::metric::Yardstick;
use crate::options::Options;
use crate::trial;

/// Samples that the teacher is asked about.
const ASKED: usize = 1000;
/// Quality that the teacher may lose on changed images: one that no longer knows what it sees teaches nothing. Where there are labels
/// they teach what it does not know, as long as that is no sign of a change that turns one class into another.
const LOST: f64 = 0.12;
const LOST_WITH_LABELS: f64 = 0.25;
/// Images smaller than this are not changed.
const SMALLEST: usize = 8;
/// A shift is at most this share of an image.
const SHIFT: usize = 14;
/// Strength of a warp, in percent.
const WARP: usize = 60;
/// Changed copies, at most, and passes over each of them, at least.
const COPIES: usize = 7;
const PASSES_EACH: usize = 3;
/// Share of the labels in the objective where images are changed: the teacher is less sure of those than they are.
const LABELS: f64 = 0.8;

/// Puts into `options` what suits the data, of which the student can afford `passes`.
pub(super) fn choose(
    model: &Model,
    data: &Dataset,
    yardstick: &Yardstick,
    passes: usize,
    options: &mut Options,
) -> Result<(), Error> {
    let training = &mut options.training;
    training.train_rest = true;
    training.augment =
        Augment { seed: options.seed, channels_last: training.augment.channels_last, ..Augment::default() };
    let copies = (passes / PASSES_EACH).saturating_sub(1).min(COPIES);
    if copies == 0 {
        return Ok(());
    }
    let asked = data.select(&(0..data.samples().min(ASKED)).collect::<Vec<_>>())?;
    let sides = asked.shapes(1).into_iter().filter_map(|shape| training.augment.image_side(&shape));
    let Some(side) = sides.filter(|&side| side >= SMALLEST).min() else { return Ok(()) };
    let judge = yardstick.judge(trial::run(model, Patch::default(), &asked, &[])?, asked.labels())?;
    let before = judge.compare(judge.reference()).quality();
    let labelled = asked.labels().is_some() && !yardstick.labels_say_nothing;
    let most_lost = if labelled { LOST_WITH_LABELS } else { LOST };
    let mut chosen = training.augment.clone();
    chosen.copies = 1;
    let shift = Augment { shift: (side / SHIFT).max(1), ..chosen.clone() };
    let warp = Augment { warp: WARP, ..chosen.clone() };
    let flip = Augment { flip: true, ..chosen.clone() };
    let mut any = false;
    for change in [shift, warp, flip] {
        let mut changed = asked.clone();
        if change.apply(&mut changed, 1, 0).is_err() {
            return Ok(());
        }
        let quality = judge.compare(&trial::run(model, Patch::default(), &changed, &[])?).quality();
        tracing::debug!(?change, before, quality, "the teacher on changed images");
        if quality >= before - most_lost {
            any = true;
            chosen.shift = chosen.shift.max(change.shift);
            chosen.warp = chosen.warp.max(change.warp);
            chosen.flip |= change.flip;
        }
    }
    if any {
        training.augment = Augment { copies, ..chosen };
        training.labels = LABELS as f32;
    }
    Ok(())
}
