use super::*;

fn output(shape: &[usize], values: &[f32]) -> Output {
    Output::floats(shape.to_vec(), values.to_vec())
}

fn rule(metric: Metric) -> Rule {
    Rule { output: "y".into(), metric, class_axis: None, threshold: 0.5 }
}

fn judge(metric: Metric, reference: Output, labels: Option<Vec<i64>>) -> Judge {
    Judge::new(vec![rule(metric)], vec![reference], labels, None).unwrap()
}

#[test]
fn the_worst_output_counts() {
    let large = output(&[4, 1], &[1000.0, -1000.0, 3000.0, 0.0]);
    let small = output(&[4, 1], &[0.1, 0.2, 0.3, 0.4]);
    let judge =
        Judge::new(vec![rule(Metric::Error), rule(Metric::Error)], vec![large.clone(), small], None, None).unwrap();
    let verdict = judge.compare(&[large, output(&[4, 1], &[0.3, 0.2, 0.3, 0.2])]);
    assert!(verdict.loss() > 0.9, "{}", verdict.loss());
    assert_eq!(verdict.outputs[0].losses.as_ref().unwrap().mean(), 0.0);
}

#[test]
fn a_regressor_with_two_outputs_is_no_classifier() {
    // Mean and variance: the larger one is always the mean, so the top class says nothing.
    let r = output(&[4, 2], &[10.0, 0.1, 20.0, 0.4, 30.0, 0.2, 40.0, 0.3]);
    let g = output(&[4, 2], &[20.0, 0.2, 30.0, 0.3, 20.0, 0.3, 30.0, 0.2]);
    assert!(judge(Metric::Error, r.clone(), None).compare(std::slice::from_ref(&g)).loss() > 0.8);
    assert_eq!(judge(Metric::TopClass, r, None).compare(&[g]).loss(), 0.0);
}

#[test]
fn samples_are_counted_not_rows() {
    // Two samples of three positions.
    let r = output(&[2, 3, 2], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    let mut g = r.clone();
    g.values.swap(0, 1);
    let verdict = judge(Metric::Positions, r.clone(), None).compare(std::slice::from_ref(&g));
    assert_eq!(verdict.outputs[0].losses, Some(Losses::Shares(vec![1.0 / 3.0, 0.0])));
    assert_eq!(verdict.outputs[0].figures.sequence, Some(0.5));
    let verdict = judge(Metric::Sequence, r.clone(), None).compare(&[g]);
    assert_eq!(verdict.outputs[0].losses, Some(Losses::Counts { lost: 1, n: 2 }));
    assert!(Judge::new(vec![rule(Metric::TopClass)], vec![r], None, None).is_err());
}

#[test]
fn accuracy_is_paired_and_agreement_told() {
    let r = output(&[4, 2], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let g = output(&[4, 2], &[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    let verdict = judge(Metric::Accuracy, r.clone(), Some(vec![0, 1, 0, 1])).compare(&[g]);
    let c = &verdict.outputs[0];
    assert_eq!(c.losses, Some(Losses::Paired { lost: 1, won: 1, n: 4 }));
    assert_eq!((c.figures.agreement, c.figures.accuracy), (Some(0.5), Some((0.75, 0.75))));
    assert!(Judge::new(vec![rule(Metric::Accuracy)], vec![r], None, None).is_err());
}

#[test]
fn a_constant_output_is_dead() {
    let r = output(&[4, 1], &[0.1, 0.2, 0.05, 0.9]);
    let verdict = judge(Metric::Decisions, r.clone(), None).compare(&[output(&[4, 1], &[0.2; 4])]);
    assert!(verdict.is_dead() && verdict.loss() == f64::INFINITY && verdict.upper_bound(0.05) == Some(f64::INFINITY));
    let close = judge(Metric::Decisions, r.clone(), None).compare(&[output(&[4, 1], &[0.1, 0.25, 0.05, 0.85])]);
    assert!(!close.is_dead() && close.loss() == 0.0 && close.outputs[0].figures.error.unwrap() > 0.05);
    assert!(judge(Metric::Error, r, None).compare(&[output(&[2, 1], &[0.1, 0.2])]).is_dead());
}

#[test]
fn integers_are_compared_as_such() {
    let r = output(&[2, 2], &[3.0, 4.0, 5.0, 6.0]);
    let verdict = judge(Metric::Equal, r, None).compare(&[output(&[2, 2], &[3.0, 5.0, 5.0, 6.0])]);
    assert_eq!(verdict.loss(), 0.25);
    assert_eq!(verdict.outputs[0].figures.error, None);
}

#[test]
fn cosines_ignore_length() {
    let r = output(&[2, 2], &[1.0, 0.0, 0.0, 2.0]);
    let verdict = judge(Metric::Cosine, r, None).compare(&[output(&[2, 2], &[3.0, 0.0, 1.0, 1.0])]);
    assert!((verdict.loss() - (1.0 - 0.5f64.sqrt()) / 2.0).abs() < 1e-6);
}

#[test]
fn what_is_not_compared_counts_for_nothing() {
    let r = output(&[2, 1], &[1.0, 2.0]);
    let verdict = judge(Metric::NotCompared, r, None).compare(&[output(&[7, 3], &[0.0; 21])]);
    assert!(!verdict.is_measured() && verdict.loss() == 0.0 && verdict.upper_bound(0.05).is_none());
}

#[test]
fn a_metric_of_the_callers_own_replaces_the_others() {
    let metric = CustomMetric(Arc::new(|r, g, _| {
        r[0].values.iter().zip(&g[0].values).map(|(r, g)| f64::from(u8::from(r.signum() != g.signum()))).collect()
    }));
    let r = output(&[4, 1], &[1.0, -1.0, 2.0, -3.0]);
    let judge = Judge::new(vec![rule(Metric::Error)], vec![r], None, Some(metric)).unwrap();
    assert_eq!(judge.compare(&[output(&[4, 1], &[9.0, -0.1, -2.0, -3.0])]).loss(), 0.25);
    assert_eq!(judge.compare(&[output(&[4, 1], &[9.0, -0.1, 2.0, -3.0])]).loss(), 0.0);
}

#[test]
fn expected_losses_grow_with_the_error() {
    let r = output(&[2, 2], &[1.0, 0.0, 0.0, 3.0]);
    let judge = judge(Metric::TopClass, r, None);
    let expected = |g: &[f32]| judge.compare(&[output(&[2, 2], g)]).outputs[0].expected.unwrap().loss;
    let (small, large) = (expected(&[1.1, 0.0, 0.0, 3.1]), expected(&[2.0, 0.0, 0.0, 4.0]));
    assert!(0.0 < small && small < large && large < 0.5, "{small} {large}");
}

#[test]
fn margins_of_other_samples_count_as_those_of_the_compared_ones() {
    let (r, near) = (output(&[2, 2], &[1.0, 0.0, 0.0, 3.0]), output(&[3, 2], &[0.1, 0.0, 0.0, 0.2, 9.0, 0.0]));
    let got = [output(&[2, 2], &[1.3, 0.0, 0.0, 3.3])];
    let of = |judge: Judge| judge.compare(&got).outputs[0].expected.unwrap();
    let alone = of(judge(Metric::TopClass, r.clone(), None));
    let with = of(judge(Metric::TopClass, r.clone(), None).with_margins_of(std::slice::from_ref(&near), None));
    assert_eq!((alone.samples, with.samples), (2, 5));
    assert!(with.loss > 3.0 * alone.loss && with.loss < 0.4, "{alone:?} {with:?}");
    // The loss itself is that of the compared samples.
    let both = judge(Metric::TopClass, r.clone(), None).with_margins_of(std::slice::from_ref(&near), None);
    assert_eq!(both.compare(&got).loss(), 0.0);
    // With labels a flip of what was wrong may be a gain; without labels of their own others are left out.
    let labelled = |labels: Option<&[i64]>| {
        of(judge(Metric::Accuracy, r.clone(), Some(vec![0, 1])).with_margins_of(std::slice::from_ref(&near), labels))
    };
    assert!((labelled(Some(&[0, 1, 0])).loss - with.loss).abs() < 1e-9);
    assert!(labelled(Some(&[1, 1, 0])).loss < with.loss / 2.0);
    assert_eq!(labelled(None).samples, 2);
}

#[test]
fn a_metric_that_a_constant_passes_says_nothing() {
    let scores = |offset: f32| output(&[8, 1], &[0, 1, 2, 3, 4, 5, 6, 7].map(|k| offset + 0.1 * k as f32));
    assert_eq!(judge(Metric::Decisions, scores(0.0), None).idle(0.01), [false]);
    assert_eq!(judge(Metric::Decisions, scores(0.6), None).idle(0.01), [true]);
    let classes = |offset: f32| {
        let row = |k: u16| [offset + f32::from(k), 3.5, 0.0];
        output(&[8, 3], &(0..8).flat_map(row).collect::<Vec<_>>())
    };
    assert_eq!(judge(Metric::TopClass, classes(0.0), None).idle(0.05), [false]);
    assert_eq!(judge(Metric::TopClass, classes(10.0), None).idle(0.05), [true]);
    // All vectors point the same way.
    assert_eq!(judge(Metric::Cosine, classes(0.0), None).idle(0.01), [false]);
    assert_eq!(judge(Metric::Cosine, classes(1e4), None).idle(0.01), [true]);
    assert_eq!(judge(Metric::Error, scores(0.6), None).idle(0.01), [false]);
    let refused = Judge::new(vec![rule(Metric::Cosine)], vec![scores(0.0)], None, None).unwrap_err();
    assert!(refused.to_string().contains("no direction"), "{refused}");
}
