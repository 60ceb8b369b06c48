//! Times forward and adjoint of one generator: `step OUTPUTS INPUTS LEGS CHI [TOPOLOGY] [SIGMA] [LAYOUT]`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use adntn_networks::{Activation, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Workspace};
use rand::SeedableRng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default: usize| args.get(k).map_or(Ok(default), |text| text.parse());
    let (outputs, inputs, legs, chi) = (number(0, 4096)?, number(1, 4096)?, number(2, 16)?, number(3, 16)?);
    let sigma: Activation = args.get(5).map_or("tanh", String::as_str).parse()?;
    let kind: LayoutKind = args.get(6).map_or("interleaved", String::as_str).parse()?;
    let layout = LegLayout::for_matrix(kind, outputs, inputs, legs)?;
    let mut spec = GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), sigma);
    spec.topology = args.get(4).map_or("ttn", String::as_str).parse()?;
    let generator = Generator::<f32>::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1))?;
    println!("legs per level {:?}", generator.shape().levels);
    println!("{} parameters, {} outputs", generator.parameter_count(), generator.shape().elements());
    let mut ws = Workspace::new();
    let dw = generator.forward(&mut ws).to_vec();
    let (mut forward, mut adjoint) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let start = Instant::now();
        generator.forward(&mut ws);
        forward.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        generator.adjoint(&mut ws, &dw);
        adjoint.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "forward {:.1} ms, adjoint {:.1} ms, sum {:.1} ms, workspace {:.0} MiB",
        least(&forward),
        least(&adjoint),
        least(&forward) + least(&adjoint),
        ws.bytes() as f64 / 1048576.0
    );
    let (mut matrix, mut leaf) = (Vec::new(), Vec::new());
    let layout = &generator.spec().layout;
    for _ in 0..3 {
        let start = Instant::now();
        layout.scatter(&dw, outputs, inputs, &mut matrix);
        let scatter = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        layout.gather(&matrix, outputs, inputs, &mut leaf);
        println!("scatter {scatter:.1} ms, gather {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
