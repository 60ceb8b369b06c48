//! Tensor-network diagrams (SVG) of the generators that stand for layers.
//!
//! A diagram reads from top to bottom, in the generating direction: top tensor, then level by level the isometries, the
//! disentanglers and σ, down to the physical legs of the weight in leaf order. Everything in it follows from a
//! [`GeneratorSpec`]; parameters are not needed.

mod geometry;
mod legend;
mod network;
mod pen;

use adntn_networks::{Arrangement as _, Bonds, GeneratorSpec, Shape};

use crate::error::Error;
use legend::Legend;
use network::{Drawing, LEFT};
use pen::{Anchor, Pen, n, wrapped};

const MARGIN: f64 = 24.0;
/// Captions need this much, however small the network.
const MIN_WIDTH: f64 = 660.0;
const TITLE: f64 = 16.0;
const TEXT: f64 = 12.5;
const LINE: f64 = 18.0;

const STYLE: &str = "
    text { font-family: Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif; fill: #1f2933 }
    .page { fill: #ffffff; stroke: #d5dbe1 }
    .title { font-size: 16px; font-weight: bold }
    .text { font-size: 12.5px }
    .name { font-size: 13px; font-weight: bold }
    .small { font-size: 11px; fill: #52606d }
    .core { font-size: 11px }
    .bond { font-size: 12px }
    .wire { stroke: #3e4c59; stroke-width: 1.8; fill: none }
    .wire.out { stroke: #1d4ed8 }
    .wire.in { stroke: #b4470a }
    .top { fill: #fdecc0; stroke: #9a6b00; stroke-width: 1.4 }
    .isometry { fill: #d6ece6; stroke: #2b6e62; stroke-width: 1.4 }
    .disentangler { fill: #e9ddf3; stroke: #6d3b96; stroke-width: 1.4 }
    .sigma { fill: #f7d6d9; fill-opacity: 0.75; stroke: #c2576b; stroke-width: 0.8 }
    .linear { stroke: #9aa5b1; stroke-width: 1; stroke-dasharray: 3 4; fill: none }
    .leg { stroke-width: 1.4 }
    .leg.out { fill: #e0eaff; stroke: #1d4ed8 }
    .leg.in { fill: #ffe9d9; stroke: #b4470a }
    .leg-name { font-size: 12px; font-weight: bold }
    .leg-name.out { fill: #1d3fa8 }
    .leg-name.in { fill: #8f3806 }
  ";

/// A layer and the network to draw for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Name of the layer.
    pub layer: String,
    /// Its ONNX operator.
    pub op: String,
    /// Shape of its weight as stored.
    pub dims: Vec<i64>,
    /// A sentence for the caption, such as how this network was chosen.
    pub note: Option<String>,
    /// The network.
    pub network: GeneratorSpec,
}

impl Panel {
    fn caption(&self, shape: &Shape) -> Vec<String> {
        let spec = &self.network;
        let (before, after) = (spec.outputs * spec.inputs, shape.parameters());
        let dims: Vec<String> = self.dims.iter().map(i64::to_string).collect();
        let chi = match &spec.bonds {
            Bonds::Uniform(chi) => chi.to_string(),
            Bonds::PerLevel(list) => list.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        };
        let title = spec.topology.title();
        let mut lines = vec![
            format!(
                "{} weight {} as {title} with χ = {chi}: {} → {} parameters, ratio {:.1}",
                self.op,
                dims.join("×"),
                count(before),
                count(after),
                before as f64 / after.max(1) as f64
            ),
            format!("legs in leaf order {}, tree {}", spec.layout, spec.tree),
        ];
        lines.extend(self.note.clone());
        lines
    }

    /// How W comes from the last tensor.
    fn formula(&self, shape: &Shape) -> String {
        let spec = &self.network;
        let factor = if spec.output_scale { "s · diag(d)" } else { "s" };
        let (rows, columns) = (spec.layout.outputs(), spec.layout.inputs());
        let sliced = if (rows, columns) == (spec.outputs, spec.inputs) {
            String::new()
        } else {
            format!(", sliced to {}×{}", spec.outputs, spec.inputs)
        };
        let last = subscript(shape.levels.len() - 1);
        format!("W = {factor} · T{last} as a matrix of outputs × inputs: {rows}×{columns}{sliced}")
    }
}

/// Draws `panels` under one another on one page, with one legend.
///
/// Well-formed SVG 1.1 with a background of its own; every core of every network is one `<g>` whose `data-core` names it.
///
/// # Errors
/// [`Error::Network`] when a network is inconsistent.
pub fn svg(panels: &[Panel]) -> Result<String, Error> {
    let shapes = panels.iter().map(|panel| Shape::new(&panel.network)).collect::<Result<Vec<_>, _>>()?;
    let drawings: Vec<Drawing<'_>> =
        panels.iter().zip(&shapes).map(|(panel, shape)| Drawing::new(&panel.network, shape)).collect();
    let inner = drawings.iter().map(Drawing::width).fold(MIN_WIDTH, f64::max);
    let disentanglers = shapes.iter().any(|s| (1..s.levels.len()).any(|level| !s.disentanglers(level).is_empty()));
    let legend = Legend { disentanglers };

    let mut body = Pen::inside();
    let mut y = MARGIN;
    if panels.is_empty() {
        body.label((MARGIN, y + LINE), "text", Anchor::Start, "No layer is replaced by a network.");
        y += 2.0 * LINE;
    }
    for (index, ((panel, shape), drawing)) in panels.iter().zip(&shapes).zip(&drawings).enumerate() {
        if index > 0 {
            body.rule((MARGIN, MARGIN + inner), y, "linear");
            y += MARGIN;
        }
        for line in wrapped(&format!("Layer {}", panel.layer), inner, TITLE) {
            y += LINE + 2.0;
            body.label((MARGIN, y), "title", Anchor::Start, &line);
        }
        y += 4.0;
        for line in panel.caption(shape).iter().flat_map(|line| wrapped(line, inner, TEXT)) {
            y += LINE;
            body.label((MARGIN, y), "text", Anchor::Start, &line);
        }
        y += 24.0;
        let left = MARGIN + (inner - drawing.width()) / 2.0;
        drawing.draw(&mut body, (left, y));
        y += drawing.height() + 26.0;
        body.label((left + LEFT, y), "text", Anchor::Start, &panel.formula(shape));
        y += 26.0;
    }
    if !panels.is_empty() {
        body.rule((MARGIN, MARGIN + inner), y, "linear");
        y += 18.0;
        legend.draw(&mut body, (MARGIN, y), inner);
        y += legend.height(inner) + 10.0;
    }
    Ok(page(&body.text, panels, (inner + 2.0 * MARGIN, y + 6.0)))
}

fn page(body: &str, panels: &[Panel], (width, height): (f64, f64)) -> String {
    let mut pen = Pen::default();
    let (w, h) = (n(width), n(height));
    pen.open(
        "svg",
        &format!(
            "xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\""
        ),
    );
    let names: Vec<String> =
        panels.iter().map(|p| format!("{} for layer {}", p.network.topology.title(), p.layer)).collect();
    pen.word("title", "", &format!("Tensor networks: {}", names.join("; ")));
    // Style sheets have no characters to escape, and keep their lines.
    pen.text += &format!("  <style>{STYLE}</style>\n");
    pen.rectangle((0.5, 0.5), (width - 1.0, height - 1.0), 6.0, "page");
    pen.text += body;
    pen.close("svg");
    pen.text
}

/// Digits in groups of three.
fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A number as an index: ₀₁₂….
fn subscript(number: usize) -> String {
    let digit = |d: char| d.to_digit(10).and_then(|d| char::from_u32(0x2080 + d)).unwrap_or(d);
    number.to_string().chars().map(digit).collect()
}
