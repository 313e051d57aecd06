//! A third host of the protocol: one thread, virtual time, and everything that can go wrong, in an order that a seed decides.
//!
//! The director's [`Hosted`](super::hosted::Hosted) over its store and the envoys of some sites are real, and so are their folders; what
//! travels between them lies in a queue. Transfers are lost, late, repeated, out of order and damaged, clocks jump, and either
//! side dies between any two of its steps, and within those that write in several places. After a while there is peace, and what
//! must hold is looked at: [`checks`].
//!
//! `CLOISTER_SCHEDULE=seed` runs one schedule and prints what happens in it.

mod checks;
mod house;
mod office;
mod site;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use house::{MIXTURES, Mixture, Template};
use world::{Sabotage, World};

/// Schedules of the test.
const SCHEDULES: u64 = 2_000;
/// Lines of a log that a failure shows.
const SHOWN: usize = 40;
/// Schedules within which a wrong step must have been seen.
const TRIES: u64 = 400;

/// Runs one schedule; its final model, or why it failed, and in either case its log.
fn schedule(
    template: &Template,
    reference: Option<&String>,
    seed: Option<u64>,
    sabotage: Sabotage,
) -> (Result<Option<String>, String>, Vec<String>) {
    let log = RefCell::new(Vec::new());
    let run = || {
        let mut world = World::new(template, reference, seed, sabotage, &log);
        world.run().map(|()| world.seen.model.take())
    };
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", words.unwrap_or_default()))
    });
    (result, log.into_inner())
}

/// An experiment with the model that it comes to undisturbed.
struct Prepared {
    template: Template,
    reference: Option<String>,
}

fn prepared(mixture: &'static Mixture) -> Prepared {
    let template = Template::new(mixture);
    let (result, log) = schedule(&template, None, None, Sabotage::Nothing);
    let reference = result.unwrap_or_else(|words| failed(None, &template, &words, &log));
    Prepared {
        template,
        reference,
    }
}

fn failed(seed: Option<u64>, template: &Template, words: &str, log: &[String]) -> ! {
    let shown = &log[log.len().saturating_sub(SHOWN)..];
    panic!(
        "schedule {seed:?} ({}): {words}\n{}",
        template.mixture.name,
        shown.join("\n")
    );
}

/// Works on both cores until `work` has had all numbers.
fn share_out(end: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

#[test]
fn whatever_happens_between_director_and_sites_nothing_is_lost_or_counted_twice() {
    let prepared: Vec<Prepared> = MIXTURES.iter().map(prepared).collect();
    let of = |seed: u64| &prepared[(seed % MIXTURES.len() as u64) as usize];
    if let Some(seed) = std::env::var("CLOISTER_SCHEDULE")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        let Prepared {
            template,
            reference,
        } = of(seed);
        let (result, log) = schedule(template, reference.as_ref(), Some(seed), Sabotage::Nothing);
        println!("{}\n{}: {result:?}", log.join("\n"), template.mixture.name);
        return assert!(result.is_ok(), "{result:?}");
    }
    let failures = Mutex::new(Vec::new());
    share_out(SCHEDULES, |seed| {
        let Prepared {
            template,
            reference,
        } = of(seed);
        let (result, log) = schedule(template, reference.as_ref(), Some(seed), Sabotage::Nothing);
        if let Err(words) = result {
            failures.lock().unwrap().push((seed, template, words, log));
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|(seed, ..)| *seed);
    if let Some((seed, template, words, log)) = failures.first() {
        let others: Vec<String> = failures
            .iter()
            .map(|(seed, template, words, _)| {
                format!("{seed} ({}): {words}", template.mixture.name)
            })
            .collect();
        let words = format!(
            "{words}\n{} of {SCHEDULES} fail:\n{}\n",
            failures.len(),
            others.join("\n")
        );
        failed(Some(*seed), template, &words, log);
    }
}

/// Whether a wrong step is noticed, in these words, by one of the schedules; else what was said of it.
fn is_noticed(prepared: &Prepared, sabotage: Sabotage, expected: &str) -> Result<(), Vec<String>> {
    let found = AtomicBool::new(false);
    let said = Mutex::new(Vec::new());
    share_out(TRIES, |seed| {
        if found.load(Ordering::Relaxed) {
            return;
        }
        let Prepared {
            template,
            reference,
        } = prepared;
        if let (Err(error), _) = schedule(template, reference.as_ref(), Some(seed), sabotage) {
            found.fetch_or(error.contains(expected), Ordering::Relaxed);
            said.lock().unwrap().push(error);
        }
    });
    match found.into_inner() {
        true => Ok(()),
        false => Err(said.into_inner().unwrap()),
    }
}

#[test]
fn wrong_steps_are_noticed() {
    let by_name = |name: &str| {
        prepared(
            MIXTURES
                .iter()
                .find(|mixture| mixture.name == name)
                .unwrap(),
        )
    };
    let [mean, central, dp_sgd] = ["mean", "central-gaussian", "dp-sgd"].map(by_name);
    for (prepared, sabotage, expected) in [
        (
            &mean,
            Sabotage::AcknowledgeFirst,
            "was acknowledged, and is not in the log",
        ),
        (&mean, Sabotage::TakeTwice, "has refused"),
        (&central, Sabotage::ForgetNoise, "repeated it is"),
        (&central, Sabotage::CallFirst, "ledger"),
        (&dp_sgd, Sabotage::Amnesia, "sends another"),
    ] {
        let noticed = is_noticed(prepared, sabotage, expected);
        assert_eq!(noticed, Ok(()), "{sabotage:?}");
    }
}
