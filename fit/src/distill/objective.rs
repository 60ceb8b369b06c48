//! What a student's outputs are held to: the teacher's outputs, and labels where there are any.

use serde::{Deserialize, Serialize};

/// How one output of the student is compared with the teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Kullback–Leibler divergence of softmax(z/T), times T² (Hinton, Vinyals, Dean, arXiv 1503.02531), of rows of logits
    /// `[samples, classes]`. Logarithms of probabilities are logits too.
    Logits {
        /// The temperature T.
        temperature: f32,
    },
    /// The same for outputs that have gone through softmax; their logarithms are the logits.
    Probabilities {
        /// The temperature T.
        temperature: f32,
    },
    /// Mean squared difference over the variance of the teacher's output.
    Values,
    /// One minus the cosine of the angle between each sample's output and the teacher's.
    Cosine,
}

impl Loss {
    /// Whether the output is one row of classes for each sample, so that labels say something about it.
    #[must_use]
    pub fn is_classes(self) -> bool {
        matches!(self, Loss::Logits { .. } | Loss::Probabilities { .. })
    }
}

/// The objective of one output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// How it is compared with the teacher.
    pub loss: Loss,
    /// Weight of this output among several.
    pub weight: f32,
    /// Share of the cross entropy with the labels, the rest being the teacher's; 0 without labels.
    pub labels: f32,
    /// Variance of the teacher's output over the fit samples (for [`Loss::Values`]).
    pub variance: f32,
}

/// Smallest probability a logarithm is taken of.
const LEAST: f32 = 1e-7;

impl Objective {
    /// The mean loss over a batch and its derivative by the student's output.
    ///
    /// `student` and `teacher` hold `samples` rows each; `labels` has one entry for each, where labels count.
    #[must_use]
    pub fn evaluate(
        &self,
        student: &[f32],
        teacher: &[f32],
        labels: Option<&[i64]>,
        samples: usize,
    ) -> (f64, Vec<f32>) {
        let width = (student.len() / samples.max(1)).max(1);
        let mut gradient = vec![0.0; student.len()];
        let mut total = 0.0;
        let rows = student.chunks_exact(width).zip(teacher.chunks_exact(width)).zip(gradient.chunks_exact_mut(width));
        for (row, ((student, teacher), gradient)) in rows.enumerate() {
            let label = labels.and_then(|l| l.get(row)).and_then(|&l| usize::try_from(l).ok());
            total += f64::from(self.row(student, teacher, label, gradient));
        }
        let scale = self.weight / samples.max(1) as f32;
        gradient.iter_mut().for_each(|g| *g *= scale);
        (total * f64::from(scale), gradient)
    }

    fn row(&self, student: &[f32], teacher: &[f32], label: Option<usize>, gradient: &mut [f32]) -> f32 {
        match self.loss {
            Loss::Logits { temperature } => self.classes(student, teacher, label, temperature, gradient),
            Loss::Probabilities { temperature } => {
                let log = |row: &[f32]| row.iter().map(|&p| p.max(LEAST).ln()).collect::<Vec<f32>>();
                let loss = self.classes(&log(student), &log(teacher), label, temperature, gradient);
                gradient.iter_mut().zip(student).for_each(|(g, &p)| *g = if p > LEAST { *g / p } else { 0.0 });
                loss
            }
            Loss::Values => {
                let scale = 1.0 / (self.variance.max(f32::MIN_POSITIVE) * student.len() as f32);
                let mut loss = 0.0;
                for ((g, &s), &t) in gradient.iter_mut().zip(student).zip(teacher) {
                    *g = 2.0 * (s - t) * scale;
                    loss += (s - t) * (s - t) * scale;
                }
                loss
            }
            Loss::Cosine => {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                let (ss, tt) = (dot(student, student).max(LEAST).sqrt(), dot(teacher, teacher).max(LEAST).sqrt());
                let cosine = dot(student, teacher) / (ss * tt);
                for ((g, &s), &t) in gradient.iter_mut().zip(student).zip(teacher) {
                    *g = cosine * s / (ss * ss) - t / (ss * tt);
                }
                1.0 - cosine
            }
        }
    }

    /// T²·KL(p ‖ q) mixed with the cross entropy of the label, and the derivative by the logits.
    fn classes(
        &self,
        student: &[f32],
        teacher: &[f32],
        label: Option<usize>,
        temperature: f32,
        gradient: &mut [f32],
    ) -> f32 {
        let share = if label.is_some_and(|l| l < student.len()) { self.labels } else { 0.0 };
        let mut loss = 0.0;
        if share < 1.0 {
            let (q, p) = (log_softmax(student, temperature), log_softmax(teacher, temperature));
            for ((g, &q), &p) in gradient.iter_mut().zip(&q).zip(&p) {
                loss += (1.0 - share) * temperature * temperature * p.exp() * (p - q);
                *g = (1.0 - share) * temperature * (q.exp() - p.exp());
            }
        }
        if let (Some(label), true) = (label, share > 0.0) {
            let q = log_softmax(student, 1.0);
            loss -= share * q[label];
            gradient.iter_mut().zip(&q).for_each(|(g, q)| *g += share * q.exp());
            gradient[label] -= share;
        }
        loss
    }
}

fn log_softmax(row: &[f32], temperature: f32) -> Vec<f32> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|&z| ((z - most) / temperature).exp()).sum();
    row.iter().map(|&z| (z - most) / temperature - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(loss: Loss, labels: f32) -> Objective {
        Objective { loss, weight: 0.7, labels, variance: 0.4 }
    }

    const LOSSES: [Loss; 4] =
        [Loss::Logits { temperature: 2.5 }, Loss::Probabilities { temperature: 1.5 }, Loss::Values, Loss::Cosine];

    #[test]
    fn gradients_are_the_derivatives() {
        let student = [0.2f32, 0.5, 0.3, 0.6, 0.1, 0.3];
        let teacher = [0.1f32, 0.7, 0.2, 0.2, 0.5, 0.3];
        for loss in LOSSES {
            for share in [0.0, 0.3, 1.0] {
                let o = objective(loss, share);
                let (_, gradient) = o.evaluate(&student, &teacher, Some(&[1, 0]), 2);
                for k in 0..student.len() {
                    let at = |h: f32| {
                        let mut moved = student;
                        moved[k] += h;
                        o.evaluate(&moved, &teacher, Some(&[1, 0]), 2).0
                    };
                    let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
                    assert!((slope - f64::from(gradient[k])).abs() < 2e-3, "{loss:?} {share}: {slope} {}", gradient[k]);
                }
            }
        }
    }

    #[test]
    fn the_teacher_itself_is_perfect_without_labels() {
        let teacher = [0.1f32, 0.7, 0.2];
        for loss in LOSSES {
            let (value, gradient) = objective(loss, 0.5).evaluate(&teacher, &teacher, None, 1);
            assert!(value.abs() < 1e-6 && gradient.iter().all(|g| g.abs() < 1e-5), "{loss:?}");
        }
    }

    #[test]
    fn labels_outside_the_classes_do_not_count() {
        let o = objective(Loss::Logits { temperature: 1.0 }, 0.5);
        let rows = ([1.0f32, 2.0], [0.5f32, 0.1]);
        let unlabelled = o.evaluate(&rows.0, &rows.1, None, 1);
        for label in [-1, 2, i64::MAX] {
            assert_eq!(o.evaluate(&rows.0, &rows.1, Some(&[label]), 1), unlabelled);
        }
    }
}
