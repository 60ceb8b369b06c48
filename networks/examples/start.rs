//! Times the hierarchical SVD of a random weight: `start OUTPUTS INPUTS LEGS CHI`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use adntn_networks::start::hierarchical_svd;
use adntn_networks::{Activation, Bonds, GeneratorSpec, LayoutKind, LegLayout};
use rand::{RngExt, SeedableRng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default: usize| args.get(k).map_or(Ok(default), |text| text.parse());
    let (outputs, inputs, legs, chi) = (number(0, 4096)?, number(1, 4096)?, number(2, 16)?, number(3, 16)?);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let w: Vec<f32> = (0..outputs * inputs).map(|_| rng.random_range(-1.0..1.0)).collect();
    for kind in LayoutKind::ALL {
        let layout = LegLayout::for_matrix(*kind, outputs, inputs, legs)?;
        let spec = GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), Activation::Tanh);
        let start = Instant::now();
        let generator = hierarchical_svd(&w, &spec, None)?;
        println!("{kind}: {:.2} s for {} parameters", start.elapsed().as_secs_f64(), generator.parameter_count());
    }
    Ok(())
}
