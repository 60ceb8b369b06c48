//! How each output of a model is judged, and on what evidence.

use adntn_fit::quality::{CustomMetric, Judge, Metric, Rule};
use adntn_fit::runner::{Element, Likeness, Output, StandIn};
use adntn_onnx::{Model, pb};

use crate::error::Error;
use crate::options::Options;

/// How one output is judged, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) rule: Rule,
    /// The value that is measured: the output itself, or what stands in for it.
    pub(crate) value: String,
    /// A clause for the report, such as `softmax`.
    pub(crate) evidence: String,
    /// Whether what is measured says something of the output for certain.
    pub(crate) certain: bool,
}

/// How all outputs of a model are judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Yardstick {
    pub(crate) outputs: Vec<Judged>,
    custom: Option<CustomMetric>,
    /// Whether the original knows the labels no better than chance, so that they teach nothing either.
    pub(crate) labels_say_nothing: bool,
}

/// Operators that keep the scores of a sample and may stand between them and the output.
const TRANSPARENT: [&str; 7] = ["Identity", "Cast", "Flatten", "Squeeze", "Unsqueeze", "Reshape", "Transpose"];

/// Probabilities, of float16 perhaps, add up to one within this.
const ADDS_UP: f64 = 0.02;

/// Equal numbers that were computed in another order differ by so many times the usual rounding at most.
const ROUNDINGS: f64 = 4.0;

impl Yardstick {
    /// Chooses a metric for every output of `model`, whose values on `samples` samples are `outputs`, samples first where they
    /// have them, those of `stand_ins` for outputs that cannot be computed; `labelled` says whether there are labels.
    ///
    /// # Errors
    /// [`Error::Usage`] when the options name an output that does not exist.
    pub(crate) fn choose(
        model: &Model,
        outputs: &[Output],
        stand_ins: &[StandIn],
        samples: usize,
        labelled: bool,
        options: &Options,
    ) -> Result<Self, Error> {
        let infos = &model.graph().output;
        for (name, _) in &options.metrics {
            if let Some(name) = name
                && !infos.iter().any(|o| o.name() == name)
            {
                let known: Vec<&str> = infos.iter().map(pb::ValueInfoProto::name).collect();
                return Err(Error::Usage(format!(
                    "the metric for `{name}` fits no output of the model (it has: {}): name one of them",
                    known.join(", ")
                )));
            }
        }
        if let Some((name, _)) = options.metrics.iter().find(|m| m.1 == Metric::Accuracy && !labelled) {
            let which = name.as_ref().map_or("outputs".to_owned(), |name| format!("output `{name}`"));
            return Err(Error::Usage(format!(
                "{which} cannot be judged by accuracy, because the held-out samples have no labels: give labels with the samples"
            )));
        }
        let mut judged = Vec::new();
        for (info, output) in infos.iter().zip(outputs) {
            let stand_in = stand_ins.iter().find(|s| s.output == info.name());
            judged.push(judge_output(model, info, stand_in, output, samples, options));
        }
        if labelled {
            prefer_labels(&mut judged, outputs, options);
        }
        Ok(Yardstick { outputs: judged, custom: options.metric_function.clone(), labels_say_nothing: false })
    }

    /// The judge over `reference`, the original's outputs on one set of samples. Where that set has no labels, the top class
    /// stands in for the accuracy.
    pub(crate) fn judge(&self, reference: Vec<Output>, labels: Option<&[i64]>) -> Result<Judge, Error> {
        self.judge_of(&self.outputs.iter().map(|j| j.rule.output.clone()).collect::<Vec<_>>(), reference, labels)
    }

    /// The same for the outputs named alone.
    pub(crate) fn judge_of(
        &self,
        names: &[String],
        reference: Vec<Output>,
        labels: Option<&[i64]>,
    ) -> Result<Judge, Error> {
        let rules = names.iter().filter_map(|name| self.outputs.iter().find(|j| j.rule.output == *name));
        let rules = rules.map(|judged| {
            let mut rule = judged.rule.clone();
            if rule.metric == Metric::Accuracy && labels.is_none() {
                rule.metric = Metric::TopClass;
            }
            rule
        });
        let custom = self.custom.clone().filter(|_| names.len() == self.outputs.len());
        Judge::new(rules.collect(), reference, labels.map(<[i64]>::to_vec), custom).map_err(|e| match e {
            adntn_fit::Error::Shape(problem) => Error::Usage(problem),
            e => Error::Data(e),
        })
    }

    /// Whether a function of the caller judges.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Whether `outputs`, the original's, differ from sample to sample by rounding at most, as far as they are compared.
    pub(crate) fn is_mute(&self, outputs: &[Output]) -> bool {
        let compared = |judged: &Judged| self.is_custom() || judged.rule.metric != Metric::NotCompared;
        self.outputs.iter().zip(outputs).filter(|(judged, _)| compared(judged)).all(|(_, output)| is_constant(output))
    }

    /// Whether some output is judged by `metric`.
    pub(crate) fn judges(&self, metric: Metric) -> bool {
        self.outputs.iter().any(|judged| judged.rule.metric == metric)
    }

    /// Judges by the top class what was to be judged by labels, because the labels say nothing.
    pub(crate) fn distrust_labels(&mut self) {
        self.labels_say_nothing = true;
        for judged in self.outputs.iter_mut().filter(|judged| judged.rule.metric == Metric::Accuracy) {
            judged.rule.metric = Metric::TopClass;
            judged.evidence = "labels that the original does not know".into();
        }
    }

    /// Whether some output is compared.
    pub(crate) fn compares(&self) -> bool {
        self.custom.is_some() || self.outputs.iter().any(|j| j.rule.metric != Metric::NotCompared)
    }
}

fn judge_output(
    model: &Model,
    info: &pb::ValueInfoProto,
    stand_in: Option<&StandIn>,
    output: &Output,
    samples: usize,
    options: &Options,
) -> Judged {
    let name = info.name();
    // What is declared of an output says nothing of the value that stands in for it.
    let value = stand_in.map_or(name, |s| s.value.as_str());
    let is_float = stand_in.map_or_else(|| is_float(info), |_| output.element == Element::Float);
    let judged = |metric, class_axis, evidence: &str| Judged {
        rule: Rule { output: name.to_owned(), metric, class_axis, threshold: options.threshold.unwrap_or(0.5) },
        value: value.to_owned(),
        evidence: evidence.to_owned(),
        certain: stand_in.is_none_or(|s| s.likeness == Likeness::Same),
    };
    let comes_from = |op: &str| comes_from(model, value, op);
    let softmax = if comes_from("Softmax") {
        class_axis(output, f64::from)
    } else if comes_from("LogSoftmax") {
        class_axis(output, |v| f64::from(v).exp())
    } else {
        None
    };
    let asked = options.metrics.iter().rev().find(|(of, _)| of.as_deref().is_none_or(|of| of == name));
    if !output.per_sample || output.shape.first() != Some(&samples) {
        return judged(Metric::NotCompared, None, "it has no entry for each sample");
    }
    if let Some(other) = stand_in.filter(|s| s.likeness == Likeness::Another) {
        return judged(Metric::NotCompared, None, &format!("{} cannot be run here", other.operator));
    }
    if let Some(&(ref of, metric)) = asked
        && (of.is_some() || is_float)
    {
        return judged(metric, softmax, "asked for");
    }
    if stand_in.is_none() && is_string(info) {
        return judged(Metric::NotCompared, None, "it holds text");
    }
    if !is_float {
        return judged(Metric::Equal, None, "integers or booleans");
    }
    let width: usize = output.shape.iter().skip(1).product();
    let long_axes = output.shape.iter().skip(1).filter(|&&d| d > 1).count();
    if let Some(axis) = softmax.filter(|_| width > 1) {
        let evidence = "probabilities of classes";
        return match long_axes {
            1 => judged(Metric::TopClass, Some(axis), evidence),
            _ => judged(Metric::Positions, Some(axis), evidence),
        };
    }
    if feeds_arg_max(model, value) && long_axes == 1 {
        return judged(Metric::TopClass, longest(&output.shape), "the model takes the largest of it");
    }
    if stand_in.is_some() && is_map_of_classes(model, name) && long_axes == 1 {
        return judged(Metric::TopClass, longest(&output.shape), "scores by class");
    }
    if width == 1 && comes_from("Sigmoid") {
        return judged(Metric::Decisions, None, "a probability");
    }
    judged(Metric::Error, None, "nothing says that it holds classes")
}

/// Whether an output has the same numbers, up to rounding, for all of several samples.
fn is_constant(output: &Output) -> bool {
    let width = output.shape.iter().skip(1).product::<usize>().max(1);
    let most = ROUNDINGS * output.rounding();
    let same = |k: usize| (output.value(k) - output.value(k % width)).abs() <= most * output.value(k % width).abs();
    output.values.is_empty() || output.values.len() > width && (0..output.values.len()).all(same)
}

/// The one axis of an output that is longer than 1, samples aside.
fn longest(shape: &[usize]) -> Option<usize> {
    (1..shape.len()).max_by_key(|&axis| shape[axis])
}

/// Labels say what the classes are: the output that holds scores of classes is judged by its accuracy. Where several might,
/// the one that other evidence speaks for, then the first.
fn prefer_labels(judged: &mut [Judged], outputs: &[Output], options: &Options) {
    let free = |j: &Judged| options.metrics.iter().all(|(of, _)| of.as_deref().is_some_and(|of| of != j.rule.output));
    let holds_classes = |j: &Judged, output: &Output| {
        output.shape.iter().skip(1).filter(|&&d| d > 1).count() == 1
            && matches!(j.rule.metric, Metric::TopClass | Metric::Error)
            && free(j)
    };
    let candidates: Vec<usize> = (0..judged.len()).filter(|&k| holds_classes(&judged[k], &outputs[k])).collect();
    let known = candidates.iter().copied().find(|&k| judged[k].rule.metric == Metric::TopClass);
    if let Some(k) = known.or(candidates.first().copied()) {
        judged[k].rule.metric = Metric::Accuracy;
        judged[k].rule.class_axis = longest(&outputs[k].shape);
        judged[k].evidence = "labels".into();
    }
}

/// Whether `value` is made by `op`, possibly reshaped or cast.
fn comes_from(model: &Model, value: &str, op: &str) -> bool {
    let mut value = value.to_owned();
    for _ in 0..8 {
        let Some(node) = model.index().producer(&value).and_then(|at| model.graph().node.get(at)) else { return false };
        if !matches!(node.domain(), "" | "ai.onnx") {
            return false;
        }
        if node.op_type() == op {
            return true;
        }
        let Some(input) = node.input.first().filter(|_| TRANSPARENT.contains(&node.op_type())) else { return false };
        value.clone_from(input);
    }
    false
}

/// The axis along which the probabilities of an output add up to one, at every position of every sample. The numbers say it where the
/// graph does not: behind a Reshape, or for an operator that takes several axes for one, as Softmax did before opset 13. `None`
/// where there is none, as for several sets of classes in one row.
fn class_axis(output: &Output, probability: impl Fn(f32) -> f64) -> Option<usize> {
    let shape = &output.shape;
    let adds_up = |axis: usize| {
        let (classes, after) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let blocks = output.values.chunks_exact((classes * after).max(1));
        let sum = |block: &[f32], at: usize| (0..classes).map(|c| probability(block[c * after + at])).sum::<f64>();
        !output.values.is_empty()
            && blocks.into_iter().all(|block| (0..after).all(|at| (sum(block, at) - 1.0).abs() <= ADDS_UP))
    };
    // Most models have the classes last or, as images, second; numbers that add up along both are as good as equal.
    (1..shape.len()).rev().filter(|&axis| shape[axis] > 1).find(|&axis| adds_up(axis))
}

fn feeds_arg_max(model: &Model, value: &str) -> bool {
    let uses = model.index().uses(value);
    uses.iter().filter_map(|u| model.graph().node.get(u.node)).any(|n| n.op_type() == "ArgMax")
}

/// Whether an output gives a number for each class by name.
fn is_map_of_classes(model: &Model, output: &str) -> bool {
    let node = model.index().producer(output).and_then(|at| model.graph().node.get(at));
    node.is_some_and(|node| node.op_type() == "ZipMap")
}

fn element_type(info: &pb::ValueInfoProto) -> Option<pb::tensor_proto::DataType> {
    let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_ref()?.value.as_ref() else { return None };
    pb::tensor_proto::DataType::try_from(tensor.elem_type()).ok()
}

fn is_float(info: &pb::ValueInfoProto) -> bool {
    use pb::tensor_proto::DataType::{Bfloat16, Double, Float, Float16, Undefined};
    matches!(element_type(info), None | Some(Float | Float16 | Double | Bfloat16 | Undefined))
}

fn is_string(info: &pb::ValueInfoProto) -> bool {
    element_type(info) == Some(pb::tensor_proto::DataType::String)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
