//! Where the parts of a network stand on the page, in pixels.
//!
//! All wires are vertical. A leg stands above the middle of its children, so cores of one row never overlap: an isometry is
//! as wide as its children are apart, a disentangler as wide as its two legs.

use std::ops::Range;

use adntn_networks::Shape;

/// Least distance between neighbouring physical legs.
const PITCH: f64 = 46.0;
/// Height of the top tensor, of a disentangler, of a bond with its label, of a σ band, and of the label of a physical leg.
const TOP: f64 = 34.0;
const DISENTANGLER: f64 = 28.0;
const BOND: f64 = 30.0;
const BAND: f64 = 16.0;
const PILL: f64 = 20.0;
/// A short piece of wire.
const GAP: f64 = 14.0;
/// How far a core goes beyond its outer wires.
pub(super) const OVERHANG: f64 = 15.0;

/// The rows of one level, from top to bottom; each from its upper to its lower edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    /// The top tensor, or the isometries.
    pub(super) cores: Range<f64>,
    /// The disentanglers, if the level has any.
    pub(super) disentanglers: Option<Range<f64>>,
    /// σ.
    pub(super) band: Range<f64>,
}

/// A network laid out with its upper left corner at (0, 0).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Geometry {
    /// Horizontal position of every leg of every level.
    pub(super) x: Vec<Vec<f64>>,
    pub(super) rows: Vec<Rows>,
    /// The labels of the physical legs.
    pub(super) pills: Range<f64>,
    pub(super) width: f64,
}

impl Geometry {
    /// `widest` is the width of the widest label of a leg.
    pub(super) fn new(shape: &Shape, widest: f64) -> Geometry {
        let tree = shape.tree();
        let pitch = PITCH.max(widest + 10.0);
        let leaves = tree.leaves();
        let mut x = vec![(0..leaves).map(|k| (k as f64 + 0.5) * pitch).collect::<Vec<f64>>()];
        for level in (1..tree.levels()).rev() {
            let below = &x[x.len() - 1];
            let middle = |children: Range<usize>| f64::midpoint(below[children.start], below[children.end - 1]);
            let row = tree.children(level).map(middle).collect();
            x.push(row);
        }
        x.reverse();
        let mut rows = Vec::with_capacity(tree.levels());
        let mut y = 0.0;
        let mut take = |height: f64, gap: f64| {
            let range = y..y + height;
            y = range.end + gap;
            range
        };
        for (level, xs) in x.iter().enumerate() {
            let cores = if level == 0 {
                take(TOP, GAP)
            } else {
                take(BOND, 0.0);
                let span = |children: Range<usize>| xs[children.end - 1] - xs[children.start];
                let widest = tree.children(level).map(span).fold(0.0, f64::max);
                take((26.0 + widest * 0.06).min(54.0), GAP)
            };
            let acting = level > 0 && !shape.disentanglers(level).is_empty();
            let disentanglers = acting.then(|| take(DISENTANGLER, GAP));
            rows.push(Rows { cores, disentanglers, band: take(BAND, 0.0) });
        }
        take(GAP, 0.0);
        let pills = take(PILL, 0.0);
        Geometry { x, rows, pills, width: leaves as f64 * pitch }
    }

    pub(super) fn height(&self) -> f64 {
        self.pills.end
    }
}
