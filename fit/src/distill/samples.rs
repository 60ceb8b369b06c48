//! What the network's trainable part is fed and compared with, for every sample, computed once.

use std::ops::Range;

use adntn_graph::Array;
use tract_onnx::prelude::Tensor;

use crate::data::Dataset;
use crate::distill::augment::Augment;
use crate::distill::rows::{Budget, Rows, RowsWriter};
use crate::error::Error;
use crate::runner::{Output, Runner};

/// Samples that are augmented and run at a time.
const CHUNK: usize = 2048;

/// Cached inputs of the trainable part, the teacher's outputs, and labels.
#[derive(Debug)]
pub struct Samples {
    inputs: Vec<Rows>,
    teacher: Vec<Rows>,
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
    /// room, [`Error::Shape`] when a value has not one row for each sample.
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
        let mut writers: Vec<RowsWriter> = Vec::new();
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
                        let rows = rows_of(outputs.get(place), &at)?;
                        if slot == writers.len() {
                            writers.push(RowsWriter::new(&rows.shape[1..], n * copies, budget)?);
                        }
                        writers[slot].push(&rows.values)?;
                    }
                    Ok(())
                })?;
                if !progress(copy * n + range.len() + start, n * copies) {
                    return Err(Error::Interrupted);
                }
            }
        }
        let mut rows = writers.into_iter().map(RowsWriter::finish).collect::<Result<Vec<_>, _>>()?;
        let teacher = rows.split_off(places.inputs.len().min(rows.len()));
        let labels = data.labels().map(|l| l.iter().copied().cycle().take(n * copies).collect());
        Ok(Samples { inputs: rows, teacher, labels, samples: n * copies })
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

    /// The teacher's outputs.
    #[must_use]
    pub fn teacher(&self) -> &[Rows] {
        &self.teacher
    }

    /// Whether some of it had no room in memory.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.inputs.iter().chain(&self.teacher).any(Rows::is_mapped)
    }

    /// Inputs of the network, the teacher's outputs and the labels of the chosen samples.
    #[must_use]
    pub fn batch(&self, chosen: &[usize]) -> (Vec<Array>, Vec<Vec<f32>>, Option<Vec<i64>>) {
        let input = |rows: &Rows| {
            let shape = [&[chosen.len()], rows.shape()].concat();
            Array { shape, values: rows.gather(chosen) }
        };
        (
            self.inputs.iter().map(input).collect(),
            self.teacher.iter().map(|rows| rows.gather(chosen)).collect(),
            self.labels.as_ref().map(|l| chosen.iter().map(|&i| l[i]).collect()),
        )
    }

    /// The teacher's first `count` outputs for all samples.
    #[must_use]
    pub fn reference(&self, count: usize) -> Vec<Output> {
        let all: Vec<usize> = (0..self.samples).collect();
        let output = |rows: &Rows| Output::floats([&[self.samples], rows.shape()].concat(), rows.gather(&all));
        self.teacher.iter().take(count).map(output).collect()
    }
}

/// One row for each sample of `range`.
fn rows_of(tensor: Option<&Tensor>, range: &Range<usize>) -> Result<Output, Error> {
    let tensor = tensor.ok_or_else(|| Error::Shape("a value of the model is missing".into()))?;
    let rows = Output::from_tensor(tensor)?;
    if rows.shape.first() != Some(&range.len()) {
        return Err(Error::Shape(format!(
            "a value of shape {:?} has not one row for each of {} samples, so the part of the model before the replaced layers \
             cannot be run ahead",
            rows.shape,
            range.len()
        )));
    }
    Ok(rows)
}
