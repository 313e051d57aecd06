//! One loop, compiled for each instruction set.
//!
//! A kernel is plain safe code over arrays that the compiler turns into vector instructions. All of it is inlined into a
//! function that has the instruction set switched on; which one is found at run time. Nothing here fuses a multiplication
//! with an addition, and square roots and divisions are correctly rounded, so all levels give the same bits: noise from a
//! seed is the same on every machine.

#![allow(
    unsafe_code,
    reason = "a function with an instruction set switched on can only be called so; the level is checked first"
)]

/// A loop to be compiled for each level: its arguments, and what is done with them.
pub(crate) trait Kernel {
    /// What it gives back.
    type Output;

    /// Does the work. Must be `#[inline(always)]`, as all that it calls in its inner loops: only what is inlined into
    /// the caller gets the caller's instruction set.
    fn run(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors of this processor.
pub(crate) fn call<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was found.
            return unsafe { avx2(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
