//! Moves and sums of tensors that are larger than a piece, against one element after the other.

use super::Tensor;

fn numbers(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product::<usize>()).map(|at| ((at * 7919) % 1009) as f32 / 1009.0 - 0.3);
    Tensor::from_array(shape, values.collect())
}

/// The places of an element along the axes.
fn places(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut places = vec![0; shape.len()];
    for (place, &extent) in places.iter_mut().zip(shape).rev() {
        *place = flat % extent;
        flat /= extent;
    }
    places
}

fn element(x: &Tensor, places: &[usize]) -> f32 {
    let flat =
        places.iter().zip(x.value.shape()).fold(0, |flat, (&place, &extent)| flat * extent + place.min(extent - 1));
    x.value.values()[flat]
}

#[test]
fn axes_in_any_order() {
    let shapes: [(&[usize], &[usize]); 6] = [
        (&[3, 70, 21, 33], &[0, 2, 3, 1]),
        (&[3, 70, 21, 33], &[3, 1, 0, 2]),
        (&[3, 70, 21, 33], &[0, 2, 1, 3]),
        (&[301, 203], &[1, 0]),
        (&[40_000, 3], &[1, 0]),
        (&[5, 1, 9, 1, 1001], &[4, 1, 0, 2, 3]),
    ];
    for (shape, order) in shapes {
        let x = numbers(shape);
        let y = x.clone().permute(order);
        for (flat, &value) in y.value.values().iter().enumerate().step_by(7) {
            let mut from = vec![0; shape.len()];
            places(flat, y.value.shape()).into_iter().zip(order).for_each(|(place, &axis)| from[axis] = place);
            assert_eq!(value, element(&x, &from), "{shape:?} in the order {order:?}");
        }
    }
}

#[test]
fn shapes_broadcast() {
    let shapes: [[&[usize]; 2]; 7] = [
        [&[5, 17, 400], &[17, 1]],
        [&[400], &[90, 400]],
        [&[100, 1, 30], &[1, 20, 1]],
        [&[30_000], &[1]],
        [&[1, 1], &[200, 150]],
        [&[150, 1, 200], &[150, 3, 200]],
        [&[4, 5000], &[4, 5000]],
    ];
    for [a, b] in shapes {
        let (a, b) = (numbers(a), numbers(b));
        let y = a.clone().sub(b.clone()).unwrap();
        for (flat, value) in y.value.values().iter().enumerate() {
            let places = places(flat, y.value.shape());
            let of = |x: &Tensor| element(x, &places[places.len() - x.rank()..]);
            assert_eq!(*value, of(&a) - of(&b), "{:?} and {:?} at {places:?}", a.shape(), b.shape());
        }
    }
}

#[test]
fn sums_and_maxima_over_any_axes() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[300_000], &[0]),
        (&[40, 30, 100], &[0, 2]),
        (&[200, 5000], &[0]),
        (&[5000, 200], &[0]),
        (&[90_000, 3], &[0]),
        (&[3, 90_000], &[1]),
        (&[2, 50, 3, 400], &[1, 3]),
        (&[20, 1, 30], &[1]),
    ];
    for (shape, axes) in shapes {
        let x = numbers(shape);
        let (sum, squares, most) = (x.clone().sum(axes), x.clone().sum_of_squares(axes), x.clone().largest(axes));
        let mut exact = vec![(0.0_f64, 0.0_f64, f32::MIN); sum.value.len()];
        for (flat, &value) in x.value.values().iter().enumerate() {
            let own = places(flat, shape).into_iter().zip(sum.value.shape());
            let exact = &mut exact[own.fold(0, |flat, (place, &extent)| flat * extent + place.min(extent - 1))];
            *exact = (exact.0 + f64::from(value), exact.1 + f64::from(value).powi(2), exact.2.max(value));
        }
        for (at, exact) in exact.iter().enumerate() {
            let close =
                |x: &Tensor, exact: f64| (f64::from(x.value.values()[at]) - exact).abs() < 1e-5 * exact.abs().max(1.0);
            assert!(close(&sum, exact.0) && close(&squares, exact.1), "{shape:?} over {axes:?}: {exact:?}");
            assert_eq!(most.value.values()[at], exact.2, "{shape:?} over {axes:?}");
        }
    }
}
