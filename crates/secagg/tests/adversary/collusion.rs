//! The server and t - 1 members put together all that they have.

use std::collections::BTreeMap;

use cloister_secagg::lanes::Vector;
use cloister_secagg::message::Kind;
use cloister_secagg::{Mode, Secrets};
use rand::RngExt;

use crate::common::view::{Loot, View};
use crate::common::{Drops, World};
use crate::{counted, sent, set};

/// An honest member's share of each secret of the victim, for the positive controls.
fn one_more_share(world: &World, view: &View, loot: &mut Loot, victim: u32, holder: u32) {
    let pair = view
        .opened(victim, holder, &world.secrets[&holder].c)
        .unwrap();
    loot.add(victim, holder, pair);
}

fn colluders(world: &World, range: std::ops::Range<u32>) -> BTreeMap<u32, Secrets> {
    range
        .map(|index| (index, world.secrets[&index].clone()))
        .collect()
}

/// Lanes in which the attacker says rightly who of two holds what, of all that it says.
#[derive(Clone, Copy, Default)]
struct Score {
    right: u64,
    all: u64,
}

impl Score {
    /// |2 p - 1| of the share p of right answers.
    fn advantage(self) -> f64 {
        (2.0 * self.right as f64 / self.all as f64 - 1.0).abs()
    }

    /// For each lane: is `residual` nearer to what the victim holds, or to what it would hold were the two exchanged?
    fn judge(&mut self, residual: &Vector, held: &Vector, other: &Vector) {
        let distance = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a));
        for lane in 0..held.layout().model {
            let (r, mine, theirs) = (
                residual.model_lane(lane),
                held.model_lane(lane),
                other.model_lane(lane),
            );
            let (near, far) = (distance(r, mine), distance(r, theirs));
            if near != far {
                self.right += u64::from(near < far);
                self.all += 1;
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.all += other.all;
    }
}

const LANES: u32 = 1024;

/// Members 0 and 1 hold (x, y) or (y, x), by a coin for each lane: their sum says nothing of it.
fn exchange(world: &mut World) {
    for lane in 0..LANES as usize {
        let (x, y) = (
            world.rng.random_range(0..1 << 20),
            (1 << 28) + world.rng.random_range(0..1 << 20),
        );
        let (first, second) = match world.rng.random() {
            true => (x, y),
            false => (y, x),
        };
        world.vectors[0].set_model(lane, first);
        world.vectors[1].set_model(lane, second);
    }
}

/// What the attacker is good for, knowing and guessing, with t - 1 members' secrets and with one more share.
#[derive(Clone, Copy, Default)]
struct Trials {
    knowing: Score,
    guessing: Score,
    recovered: u32,
}

impl Trials {
    fn run(&mut self, world: &mut World, mut colluding: Loot, view: &View, holder: u32) {
        for (score, guess) in [(&mut self.knowing, false), (&mut self.guessing, true)] {
            let (residual, all) = colluding.residual(view, 0, guess);
            assert!(guess || !all);
            score.judge(&residual, &world.vectors[0], &world.vectors[1]);
        }
        one_more_share(world, view, &mut colluding, 0, holder);
        let (residual, all) = colluding.residual(view, 0, false);
        self.recovered += u32::from(all && residual == counted(world, 0));
    }

    fn add(&mut self, other: Self) {
        self.knowing.add(other.knowing);
        self.guessing.add(other.guessing);
        self.recovered += other.recovered;
    }

    /// `trials` in two halves.
    fn of(trials: u64, one: impl Fn(u64, &mut Self) + Sync) -> Self {
        let half = |which: u64| {
            let mut sum = Self::default();
            (which..trials)
                .step_by(2)
                .for_each(|seed| one(seed, &mut sum));
            sum
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| half(1));
            let mut sum = half(0);
            sum.add(other.join().unwrap());
            sum
        })
    }

    /// A million answers have an advantage of one in a thousand by chance (one deviation): 0.005 is passed by chance once in
    /// 1.7 million draws, and each draw is fixed by its seed.
    fn check(&self, trials: u32) {
        for score in [self.knowing, self.guessing] {
            assert!(score.all >= u64::from(trials) * u64::from(LANES) * 99 / 100);
            let sigma = (score.all as f64).sqrt().recip();
            assert!(score.advantage() < 5.0 * sigma, "{}", score.advantage());
            assert!(trials < 1000 || score.advantage() < 0.01);
        }
        assert_eq!(self.recovered, trials);
    }
}

/// The server follows the protocol and hands all it has to t - 1 members: everything sent, what was revealed, their secrets. It
/// has b of both honest members, as always, and all masks with colluders; what is left is one pair mask.
#[test]
fn the_server_and_all_but_t_members_learn_nothing_of_one_of_two() {
    let trials = 1000;
    let sum = Trials::of(trials, |seed, sum| {
        let mut world = World::new(4, LANES, Mode::SemiHonest, 1000 + seed);
        world.params.threshold = 3;
        exchange(&mut world);
        let mut stand = world.begin();
        world.go_on(&mut stand, None, &Drops::new());
        assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3]));
        let view = View::of(&stand);
        let mut loot = Loot::of(&view, &colluders(&world, 2..4));
        for (_, message) in &stand.up {
            if message[0] == Kind::Reveal as u8 {
                loot.add_reveal(&view, &set(4, 0..4), message);
            }
        }
        assert!(loot.b(&view, 0, false).is_some() && loot.r(&view, 0, false).is_none());
        sum.run(&mut world, loot, &view, 1);
    });
    sum.check(trials as u32);
}

/// A vector that comes after the survivors are named has all its pair masks known: r of a dropout is restored. Its b is not,
/// for t - 1 members.
#[test]
fn a_late_vector_is_safe_from_the_server_and_all_but_t_members() {
    let trials = 40;
    let sum = Trials::of(trials, |seed, sum| {
        let mut world = World::new(6, LANES, Mode::Malicious, 5000 + seed);
        world.params.threshold = 5;
        exchange(&mut world);
        let mut stand = world.until(Kind::Deliver, &Drops::new());
        let message = stand.pending.remove(&0).unwrap();
        let late = sent(world.hand(&mut stand.clients, 0, &message));
        stand.server.lost(0);
        world.go_on(&mut stand, None, &Drops::new());
        assert_eq!(stand.sum().vector, world.plain_sum(&[1, 2, 3, 4, 5]));
        stand.up.push((0, late));
        let view = View::of(&stand);
        let mut loot = Loot::of(&view, &colluders(&world, 2..6));
        for (_, message) in &stand.up {
            if message[0] == Kind::Reveal as u8 {
                loot.add_reveal(&view, &set(6, 1..6), message);
            }
        }
        assert!(loot.r(&view, 0, false).is_some() && loot.b(&view, 0, false).is_none());
        sum.run(&mut world, loot, &view, 1);
    });
    sum.check(trials as u32);
}
