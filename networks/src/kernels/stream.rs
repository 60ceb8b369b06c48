//! Writing to memory past the caches.

use super::LANES;

/// Writes the rows of a panel to `first`, `first` + `step`, … without reading what is there into a cache first: false, and
/// nothing done, where the processor cannot.
///
/// # Safety
/// All those places must be writable for [`LANES`] elements, aligned to 64 bytes, and not accessed otherwise during the call.
/// Before another thread reads them, [`finish`] must be called on this one.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) unsafe fn stream_f32(panel: &[[f32; LANES]], first: *mut f32, step: usize) -> bool {
    use pulp::x86::V3;

    struct Rows<'a> {
        simd: V3,
        panel: &'a [[f32; LANES]],
        first: *mut f32,
        step: usize,
    }

    impl pulp::NullaryFnOnce for Rows<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let avx = self.simd.avx;
            for (k, row) in self.panel.iter().enumerate() {
                let [low, high]: [[f32; LANES / 2]; 2] = pulp::cast(*row);
                let to = self.first.wrapping_add(k * self.step);
                // SAFETY: by the caller.
                unsafe {
                    avx._mm256_stream_ps(to, pulp::cast(low));
                    avx._mm256_stream_ps(to.wrapping_add(LANES / 2), pulp::cast(high));
                }
            }
        }
    }

    match V3::try_new() {
        Some(simd) => {
            simd.vectorize(Rows { simd, panel, first, step });
            true
        }
        None => false,
    }
}

/// As above; this processor cannot.
///
/// # Safety
/// None needed.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code)]
pub(crate) unsafe fn stream_f32(_: &[[f32; LANES]], _: *mut f32, _: usize) -> bool {
    false
}

/// Makes what was streamed by this thread visible to others, as ordinary writes would be.
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has this instruction.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
