//! One network as SVG: wires first, then σ, then cores and labels on top of them.

use std::ops::Range;

use adntn_networks::{Activation, Core, CoreKind, GeneratorSpec, Leg, Shape, Side};

use super::geometry::{Geometry, OVERHANG};
use super::pen::{Anchor, Pen, escape, n, width};
use super::{count, subscript};

/// Room for the names of the levels on the left and those of σ on the right.
pub(super) const LEFT: f64 = 132.0;
pub(super) const RIGHT: f64 = 112.0;
/// Font sizes of labels of legs, and of text in cores.
const LEG_TEXT: f64 = 12.0;
const CORE_TEXT: f64 = 11.0;

/// `o4` or `i8`.
fn name(leg: &Leg) -> String {
    format!("{}{}", if leg.side == Side::Output { 'o' } else { 'i' }, leg.dim)
}

/// A network with everything that its drawing follows from.
pub(super) struct Drawing<'s> {
    spec: &'s GeneratorSpec,
    shape: &'s Shape,
    place: Geometry,
}

impl<'s> Drawing<'s> {
    pub(super) fn new(spec: &'s GeneratorSpec, shape: &'s Shape) -> Self {
        let bonds = shape.levels.iter().flatten().map(|dim| width(&dim.to_string(), LEG_TEXT));
        let legs = spec.layout.legs().iter().map(|leg| width(&name(leg), LEG_TEXT) + 8.0);
        let place = Geometry::new(shape, bonds.chain(legs).fold(0.0, f64::max));
        Drawing { spec, shape, place }
    }

    /// Width with its margins.
    pub(super) fn width(&self) -> f64 {
        LEFT + self.place.width + RIGHT
    }

    pub(super) fn height(&self) -> f64 {
        self.place.height()
    }

    /// Draws with the upper left corner, margins included, at `origin`.
    pub(super) fn draw(&self, pen: &mut Pen, origin: (f64, f64)) {
        pen.open("g", &format!("transform=\"translate({} {})\"", n(origin.0 + LEFT), n(origin.1)));
        self.wires(pen);
        for level in 0..self.shape.levels.len() {
            self.sigma(pen, level);
        }
        for core in &self.shape.cores {
            self.core(pen, core);
        }
        self.bonds(pen);
        self.legs(pen);
        pen.close("g");
    }

    fn last(&self) -> usize {
        self.shape.levels.len() - 1
    }

    /// The children of a leg on the level below, if there is one.
    fn children(&self, level: usize, leg: usize) -> Option<Range<usize>> {
        (level < self.last()).then(|| self.shape.tree().children(level + 1).nth(leg)).flatten()
    }

    /// Whether the leg comes out of a core of its level rather than passing through it.
    fn is_made(&self, level: usize, leg: usize) -> bool {
        level == 0 || self.shape.tree().children(level).any(|children| children.contains(&leg) && children.len() > 1)
    }

    /// The physical leg that a leg is if no core of a later level acts on it.
    fn physical(&self, level: usize, leg: usize) -> Option<&Leg> {
        match self.children(level, leg) {
            None => self.spec.layout.legs().get(leg),
            Some(children) if children.len() > 1 || self.is_disentangled(level + 1, children.start) => None,
            Some(children) => self.physical(level + 1, children.start),
        }
    }

    fn wires(&self, pen: &mut Pen) {
        for (level, xs) in self.place.x.iter().enumerate() {
            let rows = &self.place.rows[level];
            let end = self.place.rows.get(level + 1).map_or(self.place.pills.start, |next| next.cores.start);
            for (leg, &x) in xs.iter().enumerate() {
                let start = if self.is_made(level, leg) { rows.cores.end } else { rows.cores.start };
                let class = match self.physical(level, leg).map(|leg| leg.side) {
                    Some(Side::Output) => "wire out",
                    Some(Side::Input) => "wire in",
                    None => "wire",
                };
                // Before a disentangler a leg is not yet one of W.
                let bare = rows.disentanglers.as_ref().filter(|_| self.is_disentangled(level, leg));
                if let Some(row) = bare.filter(|_| class != "wire") {
                    pen.wire(x, (start, row.start), "wire");
                    pen.wire(x, (row.end, end), class);
                } else {
                    pen.wire(x, (start, end), class);
                }
            }
        }
    }

    fn is_disentangled(&self, level: usize, leg: usize) -> bool {
        level > 0
            && self.shape.disentanglers(level).iter().any(|core| match core.kind {
                CoreKind::Disentangler { leg: first, .. } => (first..first + 2).contains(&leg),
                _ => false,
            })
    }

    fn sigma(&self, pen: &mut Pen, level: usize) {
        let band = &self.place.rows[level].band;
        let middle = f64::midpoint(band.start, band.end);
        let right = self.place.width;
        let sigma = self.spec.activation_at(level);
        let words = if sigma == Activation::Identity {
            pen.rule((0.0, right), middle, "linear");
            "linear".to_owned()
        } else {
            pen.rectangle((0.0, band.start), (right, band.end - band.start), 4.0, "sigma");
            format!("σ = {sigma}")
        };
        pen.label((right + 12.0, middle + 4.0), "text", Anchor::Start, &words);
        let dims = &self.shape.levels[level];
        let size: usize = dims.iter().product();
        let elements = format!("{} elements", count(size));
        pen.label((-12.0, middle - 2.0), "name", Anchor::End, &format!("T{}", subscript(level)));
        pen.label((-12.0, middle + 12.0), "small", Anchor::End, &elements);
    }

    fn core(&self, pen: &mut Pen, core: &Core) {
        let Core { kind, p, q, range } = core;
        let class = match kind {
            CoreKind::Top => "top",
            CoreKind::Isometry { .. } => "isometry",
            CoreKind::Disentangler { .. } => "disentangler",
        };
        let words = match kind {
            CoreKind::Top => self.shape.levels[0].iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
            _ => format!("{p}×{q}"),
        };
        pen.open("g", &format!("data-core=\"{}\"", escape(&kind.to_string())));
        pen.word("title", "", &format!("{kind}: {words}, {} parameters", count(range.len())));
        let (room, at) = match *kind {
            CoreKind::Top => {
                let xs = &self.place.x[0];
                self.block(pen, (xs[0], xs[xs.len() - 1]), &self.place.rows[0].cores, 7.0, class)
            }
            CoreKind::Isometry { level, leg } => self.isometry(pen, level, leg),
            CoreKind::Disentangler { level, leg } => {
                let rows = &self.place.rows[level];
                let xs = (self.place.x[level][leg], self.place.x[level][leg + 1]);
                self.block(pen, xs, rows.disentanglers.as_ref().unwrap_or(&rows.cores), 2.0, class)
            }
        };
        if width(&words, CORE_TEXT) <= room {
            pen.label(at, "core", Anchor::Middle, &words);
        }
        pen.close("g");
    }

    /// A rectangle around wires; gives the room for text in it, and where that goes.
    fn block(&self, pen: &mut Pen, wires: (f64, f64), row: &Range<f64>, radius: f64, class: &str) -> (f64, (f64, f64)) {
        let (from, to) = (wires.0 - OVERHANG, wires.1 + OVERHANG);
        pen.rectangle((from, row.start), (to - from, row.end - row.start), radius, class);
        (to - from - 6.0, (f64::midpoint(from, to), f64::midpoint(row.start, row.end) + 4.0))
    }

    /// A trapezoid: narrow at the parent's leg, as wide as the children below.
    fn isometry(&self, pen: &mut Pen, level: usize, leg: usize) -> (f64, (f64, f64)) {
        let row = &self.place.rows[level].cores;
        let x = self.place.x[level - 1][leg];
        let children = self.children(level - 1, leg).unwrap_or(0..1);
        let xs = &self.place.x[level];
        let (from, to) = (xs[children.start] - OVERHANG, xs[children.end - 1] + OVERHANG);
        let half = OVERHANG.min((to - from) / 2.0);
        pen.polygon(&[(x - half, row.start), (x + half, row.start), (to, row.end), (from, row.end)], "isometry");
        ((to - from) * 0.75, (x, row.end - 7.0))
    }

    /// The dimensions of bonds, beside their wires; once for a leg that passes through.
    fn bonds(&self, pen: &mut Pen) {
        for (level, xs) in self.place.x.iter().enumerate().take(self.last()) {
            let y = self.place.rows[level].band.end + 19.0;
            for (leg, &x) in xs.iter().enumerate().filter(|&(leg, _)| self.is_made(level, leg)) {
                let dim = self.shape.levels[level][leg].to_string();
                pen.label((x + 5.0, y), "bond", Anchor::Start, &dim);
            }
        }
    }

    fn legs(&self, pen: &mut Pen) {
        let row = &self.place.pills;
        for (leg, &x) in self.spec.layout.legs().iter().zip(&self.place.x[self.last()]) {
            let (words, side) = (name(leg), if leg.side == Side::Output { "out" } else { "in" });
            let wide = (width(&words, LEG_TEXT) + 10.0).max(30.0);
            pen.rectangle((x - wide / 2.0, row.start), (wide, row.end - row.start), 9.0, &format!("leg {side}"));
            pen.label((x, row.start + 14.5), &format!("leg-name {side}"), Anchor::Middle, &words);
        }
    }
}
