//! The table of operators.

mod elements;
mod layers;
mod shapes;

use crate::common::Row;

pub fn rows() -> Vec<Row> {
    let rows: Vec<Row> = [layers::rows(), elements::rows(), shapes::rows()].into_iter().flatten().collect();
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two rows have the same name");
    rows
}
