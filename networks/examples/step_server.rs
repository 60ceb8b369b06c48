//! Times forward and adjoint for another program: reads one JSON request a line on standard input, answers each with one line.
//! Driven by `bench/generators`.
//!
//! - `{"prepare": {topology, outputs, channels, kernel, legs, chi, sigma, folder}}` builds a random generator with interleaved
//!   legs, takes a first step, and leaves `params`, `dw`, `w` and `gradient` in `folder` as little-endian f32;
//! - `{"time": {threads, steps}}` takes steps with the generator prepared last;
//! - `{"peak": {threads}}` measures the processor's multiply-add rate.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use adntn_networks::{
    Activation, Bonds, CoreKind, Generator, GeneratorSpec, KernelLegs, LayoutKind, LegLayout, Topology, Workspace,
};
use pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Prepare(Prepare),
    Time { threads: usize, steps: usize },
    Peak { threads: usize },
}

#[derive(Deserialize)]
struct Prepare {
    topology: Topology,
    outputs: usize,
    channels: usize,
    kernel: Vec<usize>,
    legs: usize,
    chi: usize,
    sigma: Activation,
    folder: PathBuf,
}

/// A generator with what its steps need.
struct Subject {
    generator: Generator<f32>,
    ws: Workspace<f32>,
    dw: Vec<f32>,
}

#[derive(Default)]
struct Server {
    subject: Option<Subject>,
    pools: BTreeMap<usize, ThreadPool>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::default();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Prepare(request) => server.prepare(request)?,
            Request::Time { threads, steps } => server.time(threads, steps)?,
            Request::Peak { threads } => json!({ "gflops": server.peak(threads)? }),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Server {
    fn prepare(&mut self, request: Prepare) -> Result<Value, Box<dyn Error>> {
        self.subject = None;
        let Prepare { topology, outputs, channels, kernel, legs, chi, sigma, folder } = request;
        let inputs = channels * kernel.iter().product::<usize>();
        let place = KernelLegs::WithInputs;
        let layout = LegLayout::for_conv(LayoutKind::Interleaved, place, outputs, channels, &kernel, legs)?;
        let spec = GeneratorSpec::new(topology, outputs, inputs, layout, Bonds::Uniform(chi), sigma);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let generator = Generator::<f32>::random(spec, &mut rng)?;
        let mut ws = Workspace::new();
        let dw: Vec<f32> = (0..generator.shape().elements()).map(|_| rng.random_range(-1.0..1.0)).collect();
        write(&folder, "params", generator.params())?;
        write(&folder, "dw", &dw)?;
        write(&folder, "w", generator.forward(&mut ws))?;
        write(&folder, "gradient", generator.adjoint(&mut ws, &dw))?;

        let shape = generator.shape();
        let cores: Vec<Value> = shape
            .cores
            .iter()
            .map(|core| {
                let (kind, level, leg) = match core.kind {
                    CoreKind::Top => ("top", 0, 0),
                    CoreKind::Isometry { level, leg } => ("isometry", level, leg),
                    CoreKind::Disentangler { level, leg } => ("disentangler", level, leg),
                };
                json!({"kind": kind, "level": level, "leg": leg, "start": core.range.start, "p": core.p, "q": core.q})
            })
            .collect();
        let children = |level| shape.tree().children(level).map(|c| c.len()).collect();
        let children: Vec<Vec<usize>> = (1..shape.levels.len()).map(children).collect();
        let answer = json!({
            "parameters": generator.parameter_count(),
            "levels": shape.levels,
            "children": children,
            "cores": cores,
            "forward_flops": 2.0 * shape.multiply_adds() as f64,
            "workspace_bytes": ws.bytes(),
        });
        self.subject = Some(Subject { generator, ws, dw });
        Ok(answer)
    }

    /// Seconds of each step.
    fn time(&mut self, threads: usize, steps: usize) -> Result<Value, Box<dyn Error>> {
        let pool = pool(&mut self.pools, threads)?;
        let Subject { generator, ws, dw } = self.subject.as_mut().ok_or("time before prepare")?;
        let mut step = || {
            let start = Instant::now();
            black_box(generator.forward(ws));
            black_box(generator.adjoint(ws, dw));
            start.elapsed().as_secs_f64()
        };
        let seconds: Vec<f64> = pool.install(|| (0..steps).map(|_| step()).collect());
        let mut sorted = seconds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(json!({ "seconds": seconds, "median": sorted.get(steps / 2), "minimum": sorted.first() }))
    }

    /// Most GFLOP/s that this many threads reached together.
    fn peak(&mut self, threads: usize) -> Result<f64, Box<dyn Error>> {
        let pool = pool(&mut self.pools, threads)?;
        let rate = || {
            let start = Instant::now();
            let flops: f64 = pool.broadcast(|_| Arch::new().dispatch(MultiplyAdds)).iter().sum();
            flops / start.elapsed().as_secs_f64() / 1e9
        };
        Ok((0..20).map(|_| rate()).fold(0.0, f64::max))
    }
}

fn pool(pools: &mut BTreeMap<usize, ThreadPool>, threads: usize) -> Result<&ThreadPool, Box<dyn Error>> {
    if let std::collections::btree_map::Entry::Vacant(entry) = pools.entry(threads) {
        entry.insert(ThreadPoolBuilder::new().num_threads(threads).build()?);
    }
    pools.get(&threads).ok_or_else(|| "the pool was just made".into())
}

fn write(folder: &Path, name: &str, values: &[f32]) -> std::io::Result<()> {
    std::fs::write(folder.join(name), values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

/// Independent multiply-adds in registers; returns their number of operations.
struct MultiplyAdds;

impl WithSimd for MultiplyAdds {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        /// Sums at once: enough for two units of four to five cycles' latency.
        const SUMS: usize = 12;
        const ROUNDS: usize = 4_000_000;
        let factor = simd.splat_f32s(black_box(0.5));
        let term = simd.splat_f32s(black_box(1.0));
        let mut sums = [simd.splat_f32s(black_box(0.25)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, term);
            }
        }
        black_box(sums);
        (2 * ROUNDS * SUMS * size_of::<S::f32s>() / size_of::<f32>()) as f64
    }
}
