//! Work on all cores, results in order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs `work` on each of `jobs` on up to `threads` threads and hands the results to `consume` in the order of the
/// jobs, on the calling thread, until it breaks.
///
/// At most `2 x threads` results wait for a slower predecessor, so memory does not grow with the number of jobs, and
/// what `consume` sees does not depend on the number of threads. A panic in `work` is passed on.
pub(crate) fn for_each_ordered<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(&J) -> R + Sync,
    mut consume: impl FnMut(&J, R) -> ControlFlow<()>,
) {
    let threads = threads.min(jobs.len());
    if threads <= 1 {
        for job in jobs {
            if consume(job, work(job)).is_break() {
                return;
            }
        }
        return;
    }
    let queue = Queue::new(jobs.len(), 2 * threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _guard = StopOnPanic(&queue);
                while let Some(place) = queue.claim() {
                    queue.finish(place, work(&jobs[place]));
                }
            });
        }
        for (place, job) in jobs.iter().enumerate() {
            let Some(result) = queue.wait_for(place) else {
                break; // A worker panicked; the scope passes it on.
            };
            if consume(job, result).is_break() {
                break;
            }
        }
        queue.stop();
    });
}

struct Queue<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
    stopped: AtomicBool,
    jobs: usize,
    window: usize,
}

struct State<R> {
    next: usize,
    consumed: usize,
    results: BTreeMap<usize, R>,
}

impl<R> Queue<R> {
    fn new(jobs: usize, window: usize) -> Self {
        Self {
            state: Mutex::new(State {
                next: 0,
                consumed: 0,
                results: BTreeMap::new(),
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            jobs,
            window,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, once it is within the window; `None` when there is no more to do.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if self.stopped.load(Ordering::Relaxed) || state.next == self.jobs {
                return None;
            }
            if state.next < state.consumed + self.window {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.wait(state);
        }
    }

    fn finish(&self, place: usize, result: R) {
        self.lock().results.insert(place, result);
        self.changed.notify_all();
    }

    fn wait_for(&self, place: usize) -> Option<R> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.results.remove(&place) {
                state.consumed = place + 1;
                drop(state);
                self.changed.notify_all();
                return Some(result);
            }
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        // Under the lock, so that nobody checks the flag before and sleeps after.
        let state = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }
}

struct StopOnPanic<'a, R>(&'a Queue<R>);

impl<R> Drop for StopOnPanic<'_, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        let jobs: Vec<usize> = (0..100).collect();
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            for_each_ordered(
                &jobs,
                threads,
                |job| {
                    // Uneven work, so that later jobs finish first.
                    (0..(job * 7919) % 5000).fold(*job, |a, b| a ^ b ^ (b & a));
                    job * 2
                },
                |job, result| {
                    seen.push((*job, result));
                    ControlFlow::Continue(())
                },
            );
            let expected: Vec<_> = jobs.iter().map(|job| (*job, job * 2)).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_break_stops_the_work_within_the_window() {
        let started = AtomicUsize::new(0);
        let jobs = vec![(); 1000];
        let mut consumed = 0;
        for_each_ordered(
            &jobs,
            3,
            |()| started.fetch_add(1, Ordering::Relaxed),
            |(), _| {
                consumed += 1;
                if consumed == 10 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!(consumed, 10);
        assert!(started.into_inner() <= 10 + 6);
    }

    #[test]
    #[should_panic(expected = "scoped thread panicked")]
    fn a_panic_in_a_worker_is_passed_on() {
        let jobs: Vec<u32> = (0..50).collect();
        for_each_ordered(
            &jobs,
            2,
            |job| assert_ne!(*job, 20),
            |_, ()| ControlFlow::Continue(()),
        );
    }
}
