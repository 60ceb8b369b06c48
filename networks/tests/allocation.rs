//! Memory of a step: no buffer is allocated after the first one, and the first takes little more than the tensors themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use adntn_networks::{
    Activation, Activations, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology, Workspace,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Counts allocations, but for those in which `gemm` notes in every call, a byte for each panel, what it has packed.
struct Counting;

const BOOKKEEPING: usize = 16 << 10;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(usize::from(layout.size() > BOOKKEEPING), Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test alone in this file: others would be counted too.
#[test]
fn a_step_allocates_nothing_and_holds_little_more_than_its_tensors() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("consistent by construction");
    for topology in [Topology::Ttn, Topology::Attn, Topology::Mera] {
        for (legs, chi) in [(16, 8), (8, 16)] {
            for output_scale in [false, true] {
                let layout = LegLayout::for_matrix(LayoutKind::Interleaved, 512, 384, legs).unwrap();
                let mut spec = GeneratorSpec::new(topology, 512, 384, layout, Bonds::Uniform(chi), Activation::Tanh);
                spec.output_scale = output_scale;
                if output_scale {
                    spec.activations = Activations::Uniform(Activation::Tanh);
                }
                let g = Generator::<f32>::random(spec, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
                let dw = vec![0.01f32; g.shape().elements()];
                let mut ws = Workspace::new();
                pool.install(|| {
                    g.forward(&mut ws);
                    g.adjoint(&mut ws, &dw);
                    let before = COUNT.load(Ordering::Relaxed);
                    for _ in 0..3 {
                        g.forward(&mut ws);
                        g.adjoint(&mut ws, &dw);
                    }
                    assert_eq!(COUNT.load(Ordering::Relaxed), before, "{topology}, {legs} legs");
                });
                // One tensor a core at most, as large as W at most; gradients; one more buffer of W's size.
                let intermediates = g.shape().cores.len() * g.shape().elements();
                let gradients = 65 * g.parameter_count() + 32 * 512;
                let most = 4 * (intermediates + g.shape().elements() + gradients);
                assert!(ws.bytes() <= most, "{topology}, {legs} legs: {} of {most} bytes", ws.bytes());
            }
        }
    }
}
