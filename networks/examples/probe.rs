use adntn_networks::*;
use rand::SeedableRng;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (topology, o, i, legs): (Topology, usize, usize, usize) =
        (args[1].parse().unwrap(), args[2].parse().unwrap(), args[3].parse().unwrap(), args[4].parse().unwrap());
    let threads: usize = args[5].parse().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for chi in args[6..].iter().map(|x| x.parse::<usize>().unwrap()) {
        let layout = LegLayout::for_matrix(LayoutKind::Interleaved, o, i, legs).unwrap();
        let spec = GeneratorSpec::new(topology, o, i, layout, Bonds::Uniform(chi), Activation::Tanh);
        let g = Generator::<f32>::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap();
        let dw = vec![0.01f32; g.shape().elements()];
        let mut ws = Workspace::new();
        pool.install(|| {
            g.forward(&mut ws);
            g.adjoint(&mut ws, &dw);
            let (mut f, mut b) = (f64::MAX, f64::MAX);
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < 1.0 {
                let t = Instant::now();
                g.forward(&mut ws);
                f = f.min(t.elapsed().as_secs_f64());
                let t = Instant::now();
                g.adjoint(&mut ws, &dw);
                b = b.min(t.elapsed().as_secs_f64());
            }
            let flops = 2.0 * g.shape().multiply_adds() as f64;
            println!(
                "{topology} {o}x{i} legs {legs} chi {chi} params {} forward {:.2} ms {:.1} GF/s  adjoint {:.2} ms {:.1} GF/s | step {:.2} ms {:.1} GF/s  {:?}",
                g.parameter_count(), f * 1e3, flops / f / 1e9, b * 1e3, 2.0 * flops / b / 1e9, (f + b) * 1e3, 3.0 * flops / (f + b) / 1e9, g.shape().levels
            );
        });
    }
}
