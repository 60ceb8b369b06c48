//! Sliding windows of convolutions and pools: kernel, stride, dilation, padding.

use crate::attributes::Node;
use crate::error::{Problem, refuse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auto {
    No,
    SameUpper,
    SameLower,
    Valid,
}

/// The attributes that convolutions and pools share, as the node gives them.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub strides: Option<Vec<usize>>,
    pub dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    auto: Auto,
    ceil: bool,
}

/// A window over the spatial axes of an input of known extents.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Declared padding, before and after each axis.
    pub pads: Vec<(usize, usize)>,
    pub output: Vec<usize>,
}

/// The largest stride, padding and so on: sums and products of two of them and an extent are numbers still.
pub(crate) const MOST: usize = 1 << 30;

/// Positive integers, as strides and kernels are.
pub(crate) fn positive(node: &Node, name: &str) -> Result<Option<Vec<usize>>, Problem> {
    let Some(given) = node.ints(name)? else { return Ok(None) };
    let found: Option<Vec<usize>> =
        given.iter().map(|&n| usize::try_from(n).ok().filter(|n| (1..=MOST).contains(n))).collect();
    match found {
        Some(found) => Ok(Some(found)),
        None => refuse!("attribute {name} is {given:?}, where 1 to 2³⁰ is covered"),
    }
}

/// Padding as pairs, from ONNX's order (all begins, then all ends).
pub(crate) fn pairs(pads: &[usize]) -> Vec<(usize, usize)> {
    let (begins, ends) = pads.split_at(pads.len() / 2);
    begins.iter().copied().zip(ends.iter().copied()).collect()
}

/// Padding of a node that is not negative.
pub(crate) fn pads(node: &Node) -> Result<Option<Vec<usize>>, Problem> {
    let Some(given) = node.ints("pads")? else { return Ok(None) };
    match given.iter().map(|&pad| usize::try_from(pad).ok().filter(|&pad| pad <= MOST)).collect() {
        Some(pads) => Ok(Some(pads)),
        None => refuse!("padding {given:?}, where 0 to 2³⁰ is covered"),
    }
}

impl Attributes {
    pub(crate) fn read(node: &Node) -> Result<Attributes, Problem> {
        let auto = match node.text_or("auto_pad", "NOTSET")? {
            "NOTSET" | "" => Auto::No,
            "SAME_UPPER" => Auto::SameUpper,
            "SAME_LOWER" => Auto::SameLower,
            "VALID" => Auto::Valid,
            other => refuse!("auto_pad {other}"),
        };
        Ok(Attributes {
            strides: positive(node, "strides")?,
            dilations: positive(node, "dilations")?,
            pads: pads(node)?,
            auto,
            ceil: node.flag("ceil_mode")?,
        })
    }

    pub(crate) fn over(&self, spatial: &[usize], kernel: &[usize]) -> Result<Window, Problem> {
        let rank = spatial.len();
        let ones = || vec![1; rank];
        let strides = self.strides.clone().unwrap_or_else(ones);
        let dilations = self.dilations.clone().unwrap_or_else(ones);
        let pads = self.pads.clone().unwrap_or_else(|| vec![0; 2 * rank]);
        if [kernel.len(), strides.len(), dilations.len()] != [rank; 3] || pads.len() != 2 * rank {
            refuse!("kernel, strides, dilations or pads do not fit {rank} spatial axes");
        }
        if kernel.contains(&0) {
            refuse!("a kernel without elements");
        }
        let mut window = Window { kernel: kernel.to_vec(), strides, dilations, pads: pairs(&pads), output: ones() };
        for (axis, &extent) in spatial.iter().enumerate() {
            self.place(&mut window, axis, extent)?;
        }
        Ok(window)
    }

    fn place(&self, window: &mut Window, axis: usize, extent: usize) -> Result<(), Problem> {
        let reach = window.reach(axis);
        let stride = window.strides[axis];
        window.pads[axis] = match self.auto {
            Auto::No => window.pads[axis],
            Auto::Valid => (0, 0),
            Auto::SameUpper | Auto::SameLower => {
                let needed = ((extent.div_ceil(stride) - 1) * stride + reach).saturating_sub(extent);
                let (less, more) = (needed / 2, needed - needed / 2);
                if self.auto == Auto::SameUpper { (less, more) } else { (more, less) }
            }
        };
        let (begin, end) = window.pads[axis];
        let padded = extent + begin + end;
        let Some(room) = padded.checked_sub(reach) else {
            refuse!("a window of {reach} on {padded} elements, padding included");
        };
        let mut output = room / stride + 1;
        // Rounded up, unless the last window would start in the padding at the end.
        if self.ceil && !room.is_multiple_of(stride) && output * stride < extent + begin {
            output += 1;
        }
        window.output[axis] = output;
        Ok(())
    }
}

impl Window {
    /// Extent of the kernel along an axis, dilation included.
    pub(crate) fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }
}
