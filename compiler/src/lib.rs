//! The adntn compiler: replaces the dense weights of a trained ONNX model by tensor-network generators that were fitted
//! to them, and writes a smaller model with the same inputs and outputs that runs on standard runtimes.
//!
//! ```no_run
//! use adntn_compiler::{Options, compile};
//!
//! let mut options = Options::new("model.onnx", "small.onnx");
//! options.calibration = Some("samples.npz".into());
//! let report = compile(&options)?;
//! println!("{:.1}x smaller", report.file_ratio().unwrap_or(1.0));
//! # Ok::<(), adntn_compiler::Error>(())
//! ```

mod cache;
mod calibrate;
mod certify;
mod check;
mod compiled;
mod data;
mod describe;
pub mod diagram;
mod endtoend;
mod error;
mod goal;
mod in_memory;
mod layer;
mod layout;
mod menu;
mod metric;
mod observer;
mod options;
mod paths;
mod pipeline;
mod probe;
mod quality;
mod recall;
pub mod report;
mod rules;
mod select;
mod settle;
pub mod spread;
mod training;
mod trial;
mod verify;

pub use adntn_fit::data::ImageOptions;
pub use adntn_fit::distill::{Augment, Check, Ended, Progress};
pub use adntn_fit::layerwise::Effort;
pub use adntn_fit::quality::{CustomLoss, CustomMetric, Metric};
pub use adntn_fit::runner::Output;
pub use adntn_networks::{Activation, Arrangement, GeneratorSpec, KernelLegs, LayoutKind, LegLayout, Topology};
pub use cache::CacheOptions;
pub use compiled::{Compiled, compile_staged, compile_with};
pub use error::Error;
pub use goal::SearchEffort;
pub use in_memory::{Arrays, CompiledBytes, Number, compile_bytes};
pub use layout::LayoutChoice;
pub use observer::{Event, Observer, Silent};
pub use options::{CoreType, Options};
pub use probe::Probe;
pub use report::Report;
pub use rules::GeneratorChoice;
pub use spread::{Plan, Shard, plan, work};
pub use training::{FitKind, LossKind, Training};

/// Compiles a model as `options` say, and writes it.
///
/// # Errors
/// As for [`compile_with`]; nothing is written then.
pub fn compile(options: &Options) -> Result<Report, Error> {
    compile_with(options, &mut Silent)
}
