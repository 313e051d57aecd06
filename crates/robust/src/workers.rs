//! Threads that share the columns: the parts are fixed by the shape, never by the number of threads.

use std::ops::Range;

use rayon::prelude::*;

/// A pool of threads, or the caller's own thread.
pub(crate) struct Workers {
    pool: Option<rayon::ThreadPool>,
}

impl Workers {
    /// `threads` threads; the caller's own where that is 1 or where the system gives no more.
    pub(crate) fn new(threads: usize) -> Self {
        let pool = (threads > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
            .and_then(Result::ok);
        Self { pool }
    }

    /// `work` of each part, in the order of the parts.
    pub(crate) fn map<R: Send>(
        &self,
        parts: usize,
        work: impl Fn(usize) -> R + Send + Sync,
    ) -> Vec<R> {
        match &self.pool {
            Some(pool) => pool.install(|| (0..parts).into_par_iter().map(work).collect()),
            None => (0..parts).map(work).collect(),
        }
    }

    /// `work` of each stretch of `length` values of `out` (the last may be shorter) and of its columns; the results in
    /// the order of the columns.
    pub(crate) fn map_stretches<T: Send, R: Send>(
        &self,
        out: &mut [T],
        length: usize,
        work: impl Fn(Range<usize>, &mut [T]) -> R + Send + Sync,
    ) -> Vec<R> {
        let stretch = |(at, out): (usize, &mut [T])| {
            let start = at * length;
            work(start..start + out.len(), out)
        };
        match &self.pool {
            Some(pool) => pool.install(|| {
                out.par_chunks_mut(length)
                    .enumerate()
                    .map(stretch)
                    .collect()
            }),
            None => out.chunks_mut(length).enumerate().map(stretch).collect(),
        }
    }
}
