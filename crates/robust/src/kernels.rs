//! One loop, compiled for each instruction set.
//!
//! A kernel is plain safe code over arrays that the compiler turns into vector instructions. All of it is inlined into
//! a function that has the instruction set switched on; which one is found at run time. Levels may differ in the last
//! bits (fused multiply-add); on one machine the bits are always the same.
//!
//! The gain over the portable path is measured in `docs/results/aggregation.md`.

#![allow(
    unsafe_code,
    reason = "a function with an instruction set switched on can only be called so; the level is checked first"
)]

use std::sync::LazyLock;

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Whatever the target has by default: 16 bytes a vector on x86-64.
    Portable,
    /// AVX2 and FMA: 32 bytes a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, beside AVX2 and FMA: 64 bytes a vector.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this processor has; asked once.
    pub(crate) fn current() -> Self {
        static CURRENT: LazyLock<Level> = LazyLock::new(|| {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                if is_x86_feature_detected!("avx512f") {
                    return Level::Avx512;
                }
                return Level::Avx2;
            }
            Level::Portable
        });
        *CURRENT
    }
}

/// A loop to be compiled for each level: its arguments, and what is done with them.
pub(crate) trait Kernel {
    /// What it gives back.
    type Output;

    /// Does the work. Must be `#[inline(always)]`, as all that it calls in its inner loops: only what is inlined into
    /// the caller gets the caller's instruction set. `level` is a constant there.
    fn run(self, level: Level) -> Self::Output;
}

/// Runs a kernel at the level of this processor.
pub(crate) fn call<K: Kernel>(kernel: K) -> K::Output {
    match Level::current() {
        Level::Portable => kernel.run(Level::Portable),
        // SAFETY: `Level::current` found AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: `Level::current` found AVX2, FMA and AVX-512 F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(kernel) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Level::Avx2)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Level::Avx512)
}

/// Asks for the cache line of a value that will be read soon.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    // SAFETY: any x86-64 has the instruction, and it reads nothing.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
