//! Which instruction set the kernels use, chosen once at run time.

use std::cell::Cell;

/// An instruction set that the kernels can use. A later one is wider and faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust for any processor.
    Portable,
    /// x86-64 with AVX2 and FMA: eight lanes.
    Avx2,
    /// x86-64 with AVX-512F: sixteen lanes.
    Avx512,
}

impl Level {
    /// All levels that this processor can run, slowest first.
    pub fn supported() -> &'static [Level] {
        const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];
        &ALL[..=detected() as usize]
    }

    /// Entries of a vector.
    pub(super) fn lanes(self) -> usize {
        match self {
            Level::Portable | Level::Avx2 => 8,
            Level::Avx512 => 16,
        }
    }

    /// The level that kernels called from this thread use now.
    pub fn current() -> Level {
        FORCED.get().unwrap_or_else(detected)
    }
}

thread_local! {
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Runs `work` with the kernels of this thread held at `level`, or at the highest supported level below it.
///
/// For tests and measurements; other threads, such as those that `work` starts, are not affected.
///
/// ```
/// use cloister_nn::kernels::{self, Level};
///
/// let mut y = [0.0];
/// kernels::with_level(Level::Portable, || {
///     kernels::linear_forward(&[1.0, 2.0], &[3.0, 4.0], &[0.5], &mut y, 1, 2, 1);
/// });
/// assert_eq!(y, [11.5]);
/// ```
pub fn with_level<R>(level: Level, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Level>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(Some(level.min(detected()))));
    work()
}

/// The highest level of this processor. The standard library asks the processor once and remembers.
fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return if is_x86_feature_detected!("avx512f") {
            Level::Avx512
        } else {
            Level::Avx2
        };
    }
    Level::Portable
}
