//! Forward and adjoint of generators on the threads rayon has by default: `cargo bench -p adntn-networks`.
//!
//! `bench/run generators` compares with PyTorch; this compares with an earlier self.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use adntn_networks::{
    Activation, Activations, Arrangement, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology, Workspace,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng;

/// A square weight's generator with interleaved legs.
fn spec(topology: Topology, side: usize, legs: usize, chi: usize) -> GeneratorSpec {
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, side, side, legs).unwrap();
    GeneratorSpec::new(topology, side, side, layout, Bonds::Uniform(chi), Activation::Tanh)
}

fn random(spec: GeneratorSpec) -> Generator<f32> {
    Generator::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap()
}

fn sweeps(c: &mut Criterion) {
    for (sweep, both) in [("forward", false), ("forward and adjoint", true)] {
        let mut group = c.benchmark_group(sweep);
        for (side, legs, chi) in [(256, 8, 8), (1024, 8, 16), (1024, 16, 32), (2048, 8, 16)] {
            for &topology in Topology::ALL {
                let generator = random(spec(topology, side, legs, chi));
                let mut ws = Workspace::new();
                let dw = generator.forward(&mut ws).to_vec();
                group.throughput(Throughput::Elements(dw.len() as u64));
                let id = BenchmarkId::new(topology.name(), format!("{side}x{side}, {legs} legs, chi {chi}"));
                group.bench_function(id, |b| {
                    b.iter(|| {
                        generator.forward(&mut ws);
                        if both {
                            generator.adjoint(&mut ws, &dw);
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

/// The same small contraction with every σ on all levels: what they differ by is σ.
fn activations(c: &mut Criterion) {
    let mut group = c.benchmark_group("sigma");
    for &sigma in Activation::ALL {
        let mut spec = spec(Topology::Ttn, 1024, 8, 2);
        spec.activations = Activations::Uniform(sigma);
        let generator = random(spec);
        let mut ws = Workspace::new();
        let dw = generator.forward(&mut ws).to_vec();
        group.throughput(Throughput::Elements(dw.len() as u64));
        group.bench_function(BenchmarkId::new("forward", sigma), |b| b.iter(|| generator.forward(&mut ws).len()));
        group.bench_function(BenchmarkId::new("forward and adjoint", sigma), |b| {
            b.iter(|| {
                generator.forward(&mut ws);
                generator.adjoint(&mut ws, &dw).len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = sweeps, activations
}
criterion_main!(benches);
