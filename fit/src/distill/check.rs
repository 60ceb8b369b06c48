//! How well a student does on samples that training does not see.

use crate::distill::student::Student;
use crate::distill::trainer::Problem;
use crate::error::Error;
use crate::runner::Output;

/// Samples that go through the network at once in a check.
const CHECK: usize = 512;

/// How well the student does on the selection samples.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// Quality of the worst output (see [`Verdict::quality`](crate::quality::Verdict::quality)).
    pub quality: f64,
    /// The objective.
    pub loss: f64,
}

impl Check {
    pub(super) fn beats(&self, other: &Check) -> bool {
        (self.quality, -self.loss) > (other.quality, -other.loss)
    }
}

/// How well `student` does on the selection samples as it is.
///
/// # Errors
/// [`Error::Graph`] when the network cannot run the samples, [`Error::NotFinite`].
pub fn check(problem: &Problem<'_>, student: &mut Student) -> Result<Check, Error> {
    let Problem { network, selection, objectives, own_outputs, judge, fixed_batch, .. } = *problem;
    let leaves = student.leaves()?;
    let all: Vec<usize> = (0..selection.samples()).collect();
    let mut loss = 0.0;
    let mut got: Vec<Output> = Vec::new();
    for part in all.chunks(fixed_batch.unwrap_or(CHECK)) {
        let (inputs, teacher, labels) = selection.batch(&filled(part, fixed_batch));
        let outputs = network.evaluate(inputs, &leaves)?;
        for (at, ((objective, student), teacher)) in objectives.iter().zip(&outputs).zip(&teacher).enumerate() {
            let Some(form) = selection.output(at) else { continue };
            let rows = form.samples_first(student);
            let width = form.rows.width();
            let (rows, teacher) = (taken(&rows, part.len() * width), taken(teacher, part.len() * width));
            let value = objective.evaluate(rows, teacher, labels.as_deref(), part.len()).0;
            loss += value * part.len() as f64 / all.len() as f64;
            if at >= own_outputs {
                continue;
            }
            match got.get_mut(at) {
                None => {
                    let shape = [&[part.len()], form.rows.shape()].concat();
                    got.push(Output::floats(shape, rows.to_vec()));
                }
                Some(whole) => {
                    whole.shape[0] += part.len();
                    whole.values.extend_from_slice(rows);
                }
            }
        }
    }
    let quality = judge.compare(&got).quality();
    Ok(Check { quality, loss })
}

/// Samples for one run of a network that takes `fixed` at once: what is missing is the last one again.
pub(super) fn filled(part: &[usize], fixed: Option<usize>) -> Vec<usize> {
    let mut part = part.to_vec();
    if let (Some(fixed), Some(&last)) = (fixed, part.last()) {
        part.resize(part.len().max(fixed), last);
    }
    part
}

pub(super) fn taken(values: &[f32], count: usize) -> &[f32] {
    values.get(..count).unwrap_or(values)
}
