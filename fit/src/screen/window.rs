//! Convolutions and pools: extents of windows against extents of what they slide over.

use adntn_onnx::pb;

use super::rules::{Attributes, refuse_unless};

/// The most that a stride, dilation, kernel extent or padding may be; real ones have four digits at most.
const MOST: i64 = 1 << 24;

/// What slides over what.
pub(super) struct Window {
    kernel: Option<Vec<u64>>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    pads: Vec<u64>,
    same: bool,
    ceil: bool,
}

impl Window {
    /// Reads and bounds the attributes. `kernel`: from the weight, where the attribute is left out.
    pub(super) fn new(node: &pb::NodeProto, kernel: Option<Vec<u64>>) -> Result<Window, String> {
        let attributes = Attributes(node);
        let list = |name: &str, least: i64| -> Result<Option<Vec<u64>>, String> {
            let Some(numbers) = attributes.ints(name) else { return Ok(None) };
            refuse_unless(numbers.iter().all(|n| (least..=MOST).contains(n)), || {
                format!("has {name} {}: each must be from {least} to {MOST}", short(numbers))
            })?;
            Ok(Some(numbers.iter().map(|n| n.unsigned_abs()).collect()))
        };
        let given = list("kernel_shape", 1)?;
        if let (Some(given), Some(kernel)) = (&given, &kernel) {
            refuse_unless(given == kernel, || format!("has kernel_shape {given:?}, but a weight of {kernel:?}"))?;
        }
        let auto = attributes.text("auto_pad");
        let window = Window {
            kernel: given.or(kernel),
            strides: list("strides", 1)?.unwrap_or_default(),
            dilations: list("dilations", 1)?.unwrap_or_default(),
            pads: list("pads", 0)?.unwrap_or_default(),
            same: auto.starts_with(b"SAME"),
            ceil: attributes.int("ceil_mode").unwrap_or(0) != 0,
        };
        if let Some(kernel) = &window.kernel {
            let fits = |list: &[u64], times: usize| list.is_empty() || list.len() == times * kernel.len();
            let agree = fits(&window.strides, 1) && fits(&window.dilations, 1) && fits(&window.pads, 2);
            refuse_unless(agree, || {
                format!("has strides, dilations or pads that are not of its kernel's rank, {}", kernel.len())
            })?;
        }
        Ok(window)
    }

    /// Extents of the output for those of the input (without samples and channels).
    pub(super) fn slide(&self, input: &[Option<u64>]) -> Result<Vec<Option<u64>>, String> {
        let Some(kernel) = &self.kernel else { return Ok(vec![None; input.len()]) };
        refuse_unless(kernel.len() == input.len(), || {
            format!("has a kernel of rank {} for {} axes", kernel.len(), input.len())
        })?;
        let rank = kernel.len();
        let at = |list: &[u64], axis: usize, default: u64| list.get(axis).copied().unwrap_or(default);
        (0..rank)
            .map(|axis| {
                let Some(extent) = input[axis] else { return Ok(None) };
                let stride = at(&self.strides, axis, 1);
                if self.same {
                    return Ok(Some(extent.div_ceil(stride)));
                }
                let reach = (kernel[axis] - 1) * at(&self.dilations, axis, 1) + 1;
                let padded = extent.saturating_add(at(&self.pads, axis, 0) + at(&self.pads, rank + axis, 0));
                let Some(room) = padded.checked_sub(reach) else {
                    return Err(format!(
                        "has a window of {reach} elements along axis {axis}, where {padded} are, padding included"
                    ));
                };
                Ok(Some(if self.ceil { room.div_ceil(stride) } else { room / stride } + 1))
            })
            .collect()
    }

    /// Extents of the output of a transposed convolution.
    pub(super) fn spread(&self, input: &[Option<u64>]) -> Vec<Option<u64>> {
        let Some(kernel) = self.kernel.as_ref().filter(|kernel| kernel.len() == input.len()) else {
            return vec![None; input.len()];
        };
        let at = |list: &[u64], axis: usize, default: u64| list.get(axis).copied().unwrap_or(default);
        let extent = |axis: usize| {
            let pads = at(&self.pads, axis, 0) + at(&self.pads, kernel.len() + axis, 0);
            let reach = (kernel[axis] - 1) * at(&self.dilations, axis, 1) + 1;
            let steps = input[axis]?.saturating_sub(1).saturating_mul(at(&self.strides, axis, 1));
            Some(if self.same {
                input[axis]?.saturating_mul(at(&self.strides, axis, 1))
            } else {
                (steps.saturating_add(reach)).saturating_sub(pads)
            })
        };
        (0..kernel.len()).map(extent).collect()
    }
}

/// A list for a message: the first numbers.
pub(super) fn short(numbers: &[i64]) -> String {
    match numbers.get(..8) {
        Some(first) if numbers.len() > 8 => format!("{first:?} and more"),
        _ => format!("{numbers:?}"),
    }
}
