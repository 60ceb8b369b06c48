//! What the network's trainable part is fed and compared with, for every sample, computed once.

use adntn_graph::Array;
use tract_onnx::prelude::Tensor;

use crate::data::Dataset;
use crate::distill::augment::Augment;
use crate::distill::cached::{Cached, Lie, swapped};
use crate::distill::rows::{Budget, Rows, RowsWriter};
use crate::error::Error;
use crate::runner::{Output, Runner};

/// Samples that are augmented and run at a time.
const CHUNK: usize = 2048;

/// Cached inputs of the trainable part, the teacher's outputs, and labels.
#[derive(Debug)]
pub struct Samples {
    inputs: Vec<Cached>,
    teacher: Vec<Cached>,
    labels: Option<Vec<i64>>,
    samples: usize,
}

/// Where the values of interest are among the outputs of the model that is run.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Inputs of the trainable part.
    pub inputs: &'a [usize],
    /// Outputs of the trainable part.
    pub outputs: &'a [usize],
}

impl Samples {
    /// Runs `data` once as it is and once for every augmented copy, and keeps the values at `places`; `progress` is told
    /// (samples done, samples in all) and answers whether to go on.
    ///
    /// # Errors
    /// [`Error::Runtime`] when the model fails, [`Error::NotFinite`], [`Error::Interrupted`], [`Error::Cache`] when there is no
    /// room, [`Error::Shape`] when a value neither has a row for each sample nor is the same for all.
    pub fn cache(
        runner: &Runner,
        data: &Dataset,
        places: Places<'_>,
        augment: &Augment,
        budget: &mut Budget,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Self, Error> {
        let (n, copies) = (data.samples(), 1 + augment.copies);
        let chunk = (CHUNK / runner.batch() * runner.batch()).max(runner.batch());
        let axes = runner.sample_axes();
        let alone = data.most_at_once() == Some(1);
        let mut writers: Vec<(RowsWriter, Lie, Vec<f32>)> = Vec::new();
        let wanted: Vec<usize> = places.inputs.iter().chain(places.outputs).copied().collect();
        for copy in 0..copies {
            for start in (0..n).step_by(chunk) {
                let range: Vec<usize> = (start..(start + chunk).min(n)).collect();
                let mut part = data.select(&range)?;
                if copy > 0 {
                    augment.apply(&mut part, copy, start)?;
                }
                runner.for_each(&part, |at, outputs| {
                    for (slot, &place) in wanted.iter().enumerate() {
                        let axis = axes.get(place).copied().flatten();
                        let (lie, shape, values) = rows_of(outputs.get(place), at.len(), axis, alone)?;
                        if slot == writers.len() {
                            let rows = if lie == Lie::Shared { 1 } else { n * copies };
                            let mut writer = RowsWriter::new(&shape, rows, budget)?;
                            if lie == Lie::Shared {
                                writer.push(&values)?;
                            }
                            let kept = if lie == Lie::Shared { values.clone() } else { Vec::new() };
                            writers.push((writer, lie, kept));
                        }
                        let (writer, first, kept) = &mut writers[slot];
                        match *first {
                            _ if *first != lie => return Err(changing(&shape)),
                            Lie::Shared if *kept != values => return Err(changing(&shape)),
                            Lie::Shared => {}
                            Lie::Axis { .. } | Lie::Alone => writer.push(&values)?,
                        }
                    }
                    Ok(())
                })?;
                if !progress(copy * n + range.len() + start, n * copies) {
                    return Err(Error::Interrupted);
                }
            }
        }
        let finish = |(writer, lie, _): (RowsWriter, Lie, Vec<f32>)| Ok(Cached { rows: writer.finish()?, lie });
        let mut inputs = writers.into_iter().map(finish).collect::<Result<Vec<_>, Error>>()?;
        let teacher = inputs.split_off(places.inputs.len().min(inputs.len()));
        let labels = data.labels().map(|l| l.iter().copied().cycle().take(n * copies).collect());
        Ok(Samples { inputs, teacher, labels, samples: n * copies })
    }

    /// Takes the teacher's outputs from `other`, which was made of the same data.
    pub fn take_teacher(&mut self, other: Samples) {
        self.teacher = other.teacher;
    }

    /// Number of samples, augmented copies included.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Labels, one for each sample.
    #[must_use]
    pub fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    /// The teacher's outputs, one row for each sample.
    pub fn teacher(&self) -> impl ExactSizeIterator<Item = &Rows> {
        self.teacher.iter().map(|cached| &cached.rows)
    }

    /// How the samples lie in output `at`.
    pub(super) fn output(&self, at: usize) -> Option<&Cached> {
        self.teacher.get(at)
    }

    /// Whether some of it had no room in memory.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.inputs.iter().chain(&self.teacher).any(|cached| cached.rows.is_mapped())
    }

    /// Inputs of the network, the teacher's outputs and the labels of the chosen samples.
    #[must_use]
    pub fn batch(&self, chosen: &[usize]) -> (Vec<Array>, Vec<Vec<f32>>, Option<Vec<i64>>) {
        (
            self.inputs.iter().map(|cached| cached.array(chosen)).collect(),
            self.teacher.iter().map(|cached| cached.rows(chosen)).collect(),
            self.labels.as_ref().map(|l| chosen.iter().map(|&i| l[i]).collect()),
        )
    }

    /// The teacher's first `count` outputs for all samples.
    #[must_use]
    pub fn reference(&self, count: usize) -> Vec<Output> {
        let all: Vec<usize> = (0..self.samples).collect();
        let output =
            |cached: &Cached| Output::floats([&[self.samples], cached.rows.shape()].concat(), cached.rows(&all));
        self.teacher.iter().take(count).map(output).collect()
    }
}

/// How `samples` samples lie in a tensor, the shape of a row, and the rows.
fn rows_of(
    tensor: Option<&Tensor>,
    samples: usize,
    axis: Option<usize>,
    alone: bool,
) -> Result<(Lie, Vec<usize>, Vec<f32>), Error> {
    let tensor = tensor.ok_or_else(|| Error::Shape("a value of the model is missing".into()))?;
    let Output { mut shape, values, .. } = Output::from_tensor(tensor)?;
    let Some(axis) = axis else {
        return Ok((if alone { Lie::Alone } else { Lie::Shared }, shape, values));
    };
    let each = shape.get(axis).map_or(0, |extent| extent / samples.max(1));
    if each == 0 || shape[axis] != each * samples || (each > 1 && axis > 0) {
        return Err(changing(&shape));
    }
    if each > 1 {
        shape[0] = each;
        return Ok((Lie::Axis { axis, each }, shape, values));
    }
    shape.remove(axis);
    let outer: usize = shape[..axis].iter().product();
    let values = if axis > 0 { swapped(&values, outer, samples) } else { values };
    Ok((Lie::Axis { axis, each }, shape, values))
}

fn changing(shape: &[usize]) -> Error {
    Error::Shape(format!(
        "an inner value of shape {shape:?} that the trained part of the model reads has neither one row for each sample nor the \
         same numbers for all of them: select other layers with --layers"
    ))
}
