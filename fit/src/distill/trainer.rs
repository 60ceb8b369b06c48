//! The loop: batches forward and backward through the network, steps of the optimiser, checks on samples that training
//! does not see.

use std::time::Instant;

use adntn_graph::{Array, Network};
use rand::SeedableRng as _;
use rayon::prelude::*;

use crate::adam::Schedule;
use crate::distill::check::{Check, check, filled, taken};
use crate::distill::checkpoint::{Extent, State};
use crate::distill::objective::Objective;
use crate::distill::optimizer::{AdamW, average, clip};
use crate::distill::samples::Samples;
use crate::distill::settings::Settings;
use crate::distill::student::{Part, Student};
use crate::error::Error;
use crate::quality::Judge;

/// Networks with so few elements in their leaves run pieces of a batch side by side: their products are too small to be shared
/// by threads.
const SMALL: usize = 1 << 18;
/// Samples in such a piece.
const PIECE: usize = 64;
/// Passes without a better check, as a share of all, after which a fit in the second half of its schedule ends.
const PATIENCE: f64 = 0.34;
/// Steps over which the length of the gradient is averaged for clipping.
const MEMORY: f64 = 0.98;

/// A fit to be made.
#[derive(Debug)]
pub struct Problem<'a> {
    /// The trainable part of the network; its leaves are the student's parts, its inputs those of the samples.
    pub network: &'a Network,
    /// Trained on.
    pub fit: &'a Samples,
    /// Checked on.
    pub selection: &'a Samples,
    /// One for each output of the network.
    pub objectives: &'a [Objective],
    /// How many outputs are the model's own, compared by the checks; the others are inner values to match.
    pub own_outputs: usize,
    /// Compares these outputs on the selection samples with the teacher's.
    pub judge: &'a Judge,
    /// Length and speed.
    pub settings: &'a Settings,
    /// Samples that the network takes at once, if it is tied to a number.
    pub fixed_batch: Option<usize>,
}

/// How far a fit is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done, and in all.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Passes over the samples done, begun ones included, and in all.
    pub epoch: usize,
    /// Passes in all.
    pub epochs: usize,
    /// Mean objective over the last steps.
    pub loss: f64,
    /// The last check and the best one.
    pub check: Check,
    /// The best check so far.
    pub best: Check,
    /// Expected seconds to the end.
    pub seconds_left: f64,
}

/// Follows a fit, and may end it.
pub trait Control {
    /// Called after every step.
    fn progress(&mut self, progress: &Progress);
    /// Whether the fit should end here with the best found so far.
    fn stop(&mut self) -> bool;
    /// Called at the end of a pass with everything needed to go on from there.
    ///
    /// # Errors
    /// When the state cannot be kept; the fit then ends with that error.
    fn checkpoint(&mut self, state: &State) -> Result<(), Error>;
}

/// Why a fit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ended {
    /// All passes are done.
    Completed,
    /// The checks had stopped improving.
    NoImprovement,
    /// The caller asked for it.
    Interrupted,
}

/// The outcome of a fit.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The student's parts at the best check, in the order of the leaves.
    pub parts: Vec<Part>,
    /// The check before the first step.
    pub start: Check,
    /// The best check.
    pub best: Check,
    /// Steps taken.
    pub steps: usize,
    /// Passes done.
    pub epochs: usize,
    /// Why it ended.
    pub ended: Ended,
}

/// Trains `student`, from the beginning or from where `resume` left off.
///
/// The parameters that are checked and returned are averages over the last steps. The same problem gives the same result at
/// any number of threads, interrupted and resumed or not.
///
/// # Errors
/// [`Error::Graph`] when the network cannot run the samples, [`Error::NotFinite`] when the fit diverges,
/// [`Error::Checkpoint`] when `resume` is of another problem, and what `control` returns.
pub fn train(
    problem: &Problem<'_>,
    student: Student,
    resume: Option<State>,
    control: &mut dyn Control,
) -> Result<Trained, Error> {
    Trainer::new(problem, student, resume)?.run(control)
}

struct Trainer<'a> {
    problem: &'a Problem<'a>,
    student: Student,
    adam: AdamW,
    state: State,
    gradient: Vec<f32>,
}

impl<'a> Trainer<'a> {
    fn new(problem: &'a Problem<'a>, student: Student, resume: Option<State>) -> Result<Self, Error> {
        let count = student.params().len();
        let mut adam = AdamW::new(count, student.groups(problem.settings.decay));
        let mut trainer = Trainer {
            problem,
            gradient: vec![0.0; count],
            state: State::new(student.params()),
            student,
            adam: AdamW::new(0, Vec::new()),
        };
        match resume {
            Some(state) => {
                let per_epoch = problem.settings.steps_per_epoch(problem.fit.samples());
                let steps = per_epoch.saturating_mul(problem.settings.epochs);
                state.check(Extent { parameters: count, steps, per_epoch })?;
                adam.first.copy_from_slice(&state.first);
                adam.second.copy_from_slice(&state.second);
                trainer.student.params_mut().copy_from_slice(&state.params);
                trainer.state = state;
            }
            None => {
                let start = trainer.check()?;
                trainer.state.start = start;
                trainer.state.best = start;
            }
        }
        trainer.adam = adam;
        Ok(trainer)
    }

    fn run(mut self, control: &mut dyn Control) -> Result<Trained, Error> {
        let Problem { fit, settings, .. } = *self.problem;
        let per_epoch = settings.steps_per_epoch(fit.samples());
        let steps = per_epoch * settings.epochs;
        let schedule = Schedule { steps, peak: settings.rate, warmup: settings.warmup };
        let horizon = (settings.average * steps as f32).max(1.0) as usize;
        let patience = ((settings.epochs as f64 * PATIENCE) as usize).max(4);
        let (begun, first) = (Instant::now(), self.state.step);
        let mut last = self.state.best;
        let mut order = (usize::MAX, Vec::new());
        let mut recent = None;
        let mut ended = Ended::Completed;
        while self.state.step < steps {
            let (epoch, within) = (self.state.step / per_epoch, self.state.step % per_epoch);
            if order.0 != epoch {
                order = (epoch, self.order(epoch));
            }
            let chosen = &order.1[within * settings.batch..(within + 1) * settings.batch];
            let loss = self.step(chosen, schedule.rate(self.state.step))?;
            self.state.step += 1;
            average(&mut self.state.average, self.student.params(), self.state.step, horizon);
            let smooth = recent.map_or(loss, |r: f64| 0.95 * r + 0.05 * loss);
            recent = Some(smooth);
            let stop = control.stop();
            if self.state.step.is_multiple_of(per_epoch) || stop {
                last = self.check_average()?;
                if last.beats(&self.state.best) {
                    self.state.best = last;
                    self.state.best_epoch = epoch + 1;
                    self.state.best_params.clone_from(&self.state.average);
                }
            }
            let done = self.state.step - first;
            control.progress(&Progress {
                step: self.state.step,
                steps,
                epoch: epoch + 1,
                epochs: settings.epochs,
                loss: smooth,
                check: last,
                best: self.state.best,
                seconds_left: begun.elapsed().as_secs_f64() / done as f64 * (steps - self.state.step) as f64,
            });
            if self.state.step.is_multiple_of(per_epoch) {
                self.keep();
                control.checkpoint(&self.state)?;
            }
            if stop {
                ended = Ended::Interrupted;
                break;
            }
            let stale = (epoch + 1).saturating_sub(self.state.best_epoch);
            if self.state.step.is_multiple_of(per_epoch) && stale >= patience && 2 * self.state.step > steps {
                ended = if self.state.step < steps { Ended::NoImprovement } else { Ended::Completed };
                break;
            }
        }
        Ok(Trained {
            parts: self.student.parts(&self.state.best_params),
            start: self.state.start,
            best: self.state.best,
            steps: self.state.step,
            epochs: self.state.step.div_ceil(per_epoch),
            ended,
        })
    }

    /// Copies what the optimiser holds into the state.
    fn keep(&mut self) {
        self.state.params.copy_from_slice(self.student.params());
        self.state.first.clone_from(&self.adam.first);
        self.state.second.clone_from(&self.adam.second);
    }

    /// The order of the samples in a pass: a shuffle that depends on the seed and the pass only.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let Problem { fit, settings, .. } = *self.problem;
        let mut order: Vec<usize> = (0..fit.samples()).collect();
        let seed = settings.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(epoch as u64);
        crate::random::shuffle(&mut order, &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        // A last batch that is not full takes its rest from the beginning.
        let wanted = settings.steps_per_epoch(order.len()) * settings.batch;
        (0..wanted).map(|k| order[k % order.len()]).collect()
    }

    /// One step on the chosen samples; returns the objective before it.
    fn step(&mut self, chosen: &[usize], rate: f32) -> Result<f64, Error> {
        let Problem { network, fit, objectives, fixed_batch, settings, .. } = *self.problem;
        let leaves = self.student.leaves()?;
        let together = fixed_batch.is_none() && self.student.leaf_elements() <= SMALL;
        let at_once = fixed_batch.unwrap_or(if together { PIECE } else { chosen.len() });
        let parts: Vec<&[usize]> = chosen.chunks(at_once).collect();
        let run = |part: &&[usize]| -> Result<(f64, Vec<Option<Array>>), Error> {
            let (inputs, teacher, labels) = fit.batch(&filled(part, fixed_batch));
            let pass = network.forward(inputs, &leaves)?;
            let share = part.len() as f64 / chosen.len() as f64;
            let mut loss = 0.0;
            let mut cotangents = Vec::new();
            for (at, ((objective, student), teacher)) in objectives.iter().zip(pass.outputs()).zip(&teacher).enumerate()
            {
                let Some(form) = fit.output(at) else { continue };
                let rows = form.samples_first(student);
                let real = part.len() * form.rows.width();
                let (own, teacher) = (taken(&rows, real), taken(teacher, real));
                let (value, mut slope) = objective.evaluate(own, teacher, labels.as_deref(), part.len());
                loss += share * value;
                if parts.len() > 1 {
                    slope.iter_mut().for_each(|g| *g *= share as f32);
                }
                slope.resize(rows.len(), 0.0);
                cotangents.push(form.as_network(slope, &student.shape));
            }
            Ok((loss, pass.backward(&cotangents)?))
        };
        let mut loss = 0.0;
        let mut sum: Vec<Option<Array>> = Vec::new();
        let mut take = |(more, gradients): (f64, Vec<Option<Array>>)| {
            loss += more;
            add(&mut sum, gradients);
        };
        if together {
            // Added up in the order of the samples, so that the result does not depend on the number of threads.
            let done: Vec<_> = parts.par_iter().map(run).collect::<Result<_, _>>()?;
            done.into_iter().for_each(take);
        } else {
            for part in &parts {
                take(run(part)?);
            }
        }
        if !loss.is_finite() {
            return Err(Error::NotFinite { what: "the objective (the fit diverged: lower --rate)".into() });
        }
        drop(leaves);
        self.student.pull_back(&sum, &mut self.gradient);
        let most = if self.state.norm > 0.0 { settings.clip * self.state.norm as f32 } else { f32::MAX };
        let norm = clip(&mut self.gradient, most);
        // A gradient far out of line must not raise the bar for those after it.
        let counted = norm.min(f64::from(most));
        self.state.norm =
            if self.state.norm > 0.0 { MEMORY * self.state.norm + (1.0 - MEMORY) * counted } else { norm };
        self.adam.step(self.student.params_mut(), &self.gradient, rate, self.state.step);
        Ok(loss)
    }

    /// Checks the averaged parameters.
    fn check_average(&mut self) -> Result<Check, Error> {
        let current = self.student.params().to_vec();
        self.student.params_mut().copy_from_slice(&self.state.average);
        let check = self.check();
        self.student.params_mut().copy_from_slice(&current);
        check
    }

    /// Runs the selection samples through the student as it is.
    fn check(&mut self) -> Result<Check, Error> {
        check(self.problem, &mut self.student)
    }
}

/// Adds gradients leaf by leaf.
fn add(sum: &mut Vec<Option<Array>>, more: Vec<Option<Array>>) {
    if sum.is_empty() {
        *sum = more;
        return;
    }
    for (sum, more) in sum.iter_mut().zip(more) {
        match (sum.as_mut(), more) {
            (Some(sum), Some(more)) => sum.values.iter_mut().zip(more.values).for_each(|(s, m)| *s += m),
            (None, Some(more)) => *sum = Some(more),
            (_, None) => {}
        }
    }
}
