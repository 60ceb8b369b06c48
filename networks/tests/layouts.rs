//! Layouts and the factoriser.

mod common;

use adntn_networks::{Error, KernelLegs, LayoutKind, Leg, LegLayout, Side, factorise};
use common::layouts;
use proptest::prelude::*;

fn leg(side: Side, dim: usize, place: usize) -> Leg {
    Leg { side, dim, place }
}

/// Row and column of a position in leaf order, by the definition of a leg.
fn row_and_column(layout: &LegLayout, mut position: usize) -> (usize, usize) {
    let mut digits = vec![0; layout.legs().len()];
    for (digit, leg) in digits.iter_mut().zip(layout.legs()).rev() {
        *digit = position % leg.dim;
        position /= leg.dim;
    }
    let number = |side| {
        let mut own: Vec<_> = layout.legs().iter().zip(&digits).filter(|(leg, _)| leg.side == side).collect();
        own.sort_by_key(|(leg, _)| leg.place);
        own.iter().fold(0, |number, (leg, digit)| number * leg.dim + *digit)
    };
    (number(Side::Output), number(Side::Input))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn gather_puts_every_element_where_its_legs_say(
        layout in prop_oneof![layouts(4, 16), layouts(7, 5), layouts(8, 4), layouts(16, 2)],
        cut in (0usize..4, 0usize..4),
    ) {
        let (outputs, inputs) = (layout.outputs().saturating_sub(cut.0).max(1), layout.inputs().saturating_sub(cut.1).max(1));
        let w: Vec<u32> = (1..=(outputs * inputs) as u32).collect();
        let mut leaf = vec![7; 3];
        layout.gather(&w, outputs, inputs, &mut leaf);
        prop_assert_eq!(leaf.len(), layout.outputs() * layout.inputs());
        for (position, &x) in leaf.iter().enumerate() {
            let (row, column) = row_and_column(&layout, position);
            let expected = if row < outputs && column < inputs { w[row * inputs + column] } else { 0 };
            prop_assert_eq!(x, expected);
        }
        let mut back = Vec::new();
        layout.scatter(&leaf, outputs, inputs, &mut back);
        prop_assert_eq!(&back, &w);
        let transposed: Vec<u32> = (0..w.len()).map(|k| w[k % outputs * inputs + k / outputs]).collect();
        layout.transposed().scatter(&leaf, inputs, outputs, &mut back);
        prop_assert_eq!(back, transposed);
    }

    #[test]
    fn layouts_are_read_as_they_are_written(layout in prop_oneof![layouts(4, 16), layouts(9, 5)]) {
        prop_assert_eq!(layout.to_string().parse::<LegLayout>(), Ok(layout));
    }

    #[test]
    fn factors_cover_the_dimension_evenly(n in 1usize..20_000, legs in 1usize..9) {
        let factors = factorise(n, legs);
        prop_assert_eq!(factors.dims.len(), legs);
        prop_assert_eq!(factors.dims.iter().product::<usize>(), factors.padded);
        prop_assert!(factors.padded >= n);
        prop_assert!(factors.dims.windows(2).all(|pair| pair[0] >= pair[1]));
        let root = (n as f64).powf(1.0 / legs as f64).ceil() as usize;
        prop_assert!(factors.dims[0] <= (2 * root).max(16));
        prop_assert!(factors.dims[legs - 1] >= 2 || n < 1 << legs);
        // Never more waste than taking the rounded-up root for every leg.
        prop_assert!(factors.padded <= root.pow(legs as u32));
    }
}

#[test]
fn awkward_dimensions_have_known_factors() {
    let cases: [(usize, usize, &[usize]); 10] = [
        (4096, 8, &[4, 4, 4, 4, 2, 2, 2, 2]),
        (4608, 8, &[4, 4, 4, 3, 3, 2, 2, 2]),
        (1000, 4, &[8, 5, 5, 5]),
        (84, 4, &[7, 3, 2, 2]),
        (10, 2, &[5, 2]),
        (10, 4, &[5, 2, 1, 1]),
        (97, 4, &[5, 5, 2, 2]),
        (6625, 4, &[17, 13, 6, 5]),
        (8210, 4, &[17, 11, 11, 4]),
        (1, 4, &[1, 1, 1, 1]),
    ];
    for (n, legs, dims) in cases {
        assert_eq!(factorise(n, legs).dims, dims, "{n} in {legs} legs");
    }
}

#[test]
fn padding_is_the_least_that_gives_fitting_factors() {
    for n in 1..400usize {
        let root = (1..).find(|root: &usize| root.pow(3) >= n).expect("a root exists");
        let largest = (2 * root).max(16);
        let smallest = if n >= 8 { 2 } else { 1 };
        let range = || smallest..=largest;
        let products = range().flat_map(|a| range().flat_map(move |b| range().map(move |c| a * b * c)));
        assert_eq!(Some(factorise(n, 3).padded), products.filter(|&product| product >= n).min(), "{n}");
    }
}

#[test]
fn standard_orders_are_what_they_are_called() {
    let (o, i) = (|dim, place| leg(Side::Output, dim, place), |dim, place| leg(Side::Input, dim, place));
    let interleaved = LegLayout::interleaved(&[2, 3], &[4, 5]).unwrap();
    assert_eq!(interleaved.legs(), [o(2, 0), i(4, 0), o(3, 1), i(5, 1)]);
    let separated = LegLayout::separated(&[2, 3], &[4, 5]).unwrap();
    assert_eq!(separated.legs(), [o(2, 0), o(3, 1), i(4, 0), i(5, 1)]);
    assert_eq!((separated.outputs(), separated.inputs()), (6, 20));
    let uneven = LegLayout::interleaved(&[2], &[3, 4, 5]).unwrap();
    assert_eq!(uneven.legs(), [o(2, 0), i(3, 0), i(4, 1), i(5, 2)]);
    for kind in LayoutKind::ALL {
        let layout = LegLayout::for_matrix(*kind, 8210, 1024, 8).unwrap();
        assert!(layout.outputs() >= 8210 && layout.outputs() < 8400 && layout.inputs() == 1024);
    }
}

#[test]
fn inconsistent_layouts_are_refused() {
    let (o, i) = (|dim, place| leg(Side::Output, dim, place), |dim, place| leg(Side::Input, dim, place));
    let refused = |legs: Vec<Leg>| LegLayout::custom(legs).unwrap_err();
    assert_eq!(refused(vec![o(2, 0), i(2, 0), i(2, 1)]), Error::LegCount { legs: 3, needed: 4 });
    assert_eq!(refused(vec![o(2, 0), i(0, 0), o(2, 1), i(2, 1)]), Error::EmptyLeg { leg: 1 });
    assert_eq!(refused(vec![o(2, 0), i(2, 0), o(2, 2), i(2, 1)]), Error::Places { side: "output", count: 2, place: 1 });
    assert_eq!(refused(vec![o(2, 0), i(2, 0), o(2, 1), i(2, 0)]), Error::Places { side: "input", count: 2, place: 1 });
    assert_eq!(refused(vec![o(usize::MAX, 0), i(2, 0), o(2, 1), i(2, 1)]), Error::TooLarge);
    assert!("diagonal".parse::<LayoutKind>().unwrap_err().to_string().contains("interleaved, separated"));
}

#[test]
fn kernel_legs_hang_where_they_are_asked_for() {
    let conv = |kind, place, kernel: &[usize]| LegLayout::for_conv(kind, place, 16, 9, kernel, 4).unwrap().to_string();
    let cases = [
        (LayoutKind::Interleaved, KernelLegs::First, "i5@2 i3@3 o4 i3@0 o4 i3@1"),
        (LayoutKind::Interleaved, KernelLegs::Last, "o4 i3 o4 i3 i5 i3"),
        (LayoutKind::Interleaved, KernelLegs::WithInputs, "o4 i3 i3 o4 i5 i3"),
        (LayoutKind::Separated, KernelLegs::First, "i5@2 i3@3 o4 o4 i3@0 i3@1"),
        (LayoutKind::Separated, KernelLegs::Last, "o4 o4 i3 i3 i5 i3"),
        (LayoutKind::Separated, KernelLegs::WithInputs, "o4 o4 i3 i3 i5 i3"),
    ];
    for (kind, place, legs) in cases {
        assert_eq!(conv(kind, place, &[5, 1, 3]), legs, "{kind}, {place}");
    }
    assert_eq!(conv(LayoutKind::Interleaved, KernelLegs::First, &[1, 1]), "o4 i3 o4 i3");
}

#[test]
fn input_legs_follow_the_axes_that_columns_are_flattened_from() {
    let layout = |outputs, axes: &[usize], legs| LegLayout::for_axes(outputs, axes, legs).unwrap().to_string();
    // An image of 28 × 28: two legs are rows, two columns.
    assert_eq!(layout(1024, &[1, 28, 28], 8), "o8 i7 o8 i4 o4 i7 o4 i4");
    assert_eq!(layout(1024, &[28, 28], 4), "o32 i28 o32 i28");
    // 28 = 7·2·2 has no more factors: fewer legs than wished for. Each axis has one at least: more.
    assert_eq!(layout(256, &[28, 28], 16), "o2 i7 o2 i2 o2 i2 o2 o2 i7 o2 i2 o2 i2 o2");
    assert_eq!(layout(64, &[3, 5, 7], 4), "o8 i3 i5 o8 i7");
    assert!(matches!(LegLayout::for_axes(8, &[0, 4], 4), Err(Error::EmptyWeight { .. })));
    assert_eq!(LegLayout::for_axes(8, &[4, 4], 3), Err(Error::LegCount { legs: 3, needed: 4 }));
}

#[test]
fn text_that_is_no_layout_is_refused() {
    let refused = |text: &str| text.parse::<LegLayout>().unwrap_err();
    for word in ["x4", "o", "o4@", "ox", "4", "o-4", "ö4", "o4@x"] {
        let error = refused(&format!("o4 i4 {word} i4"));
        assert!(matches!(&error, Error::UnknownName { what: "leg", given, .. } if given == word), "{error}");
    }
    assert_eq!(refused("o4 i4 o4"), Error::LegCount { legs: 3, needed: 4 });
    assert_eq!(refused("o4 i4 o4 i0"), Error::EmptyLeg { leg: 3 });
    assert_eq!(refused("o4@0 i4 o4@0 i4"), Error::Places { side: "output", count: 2, place: 1 });
}
