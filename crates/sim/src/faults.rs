//! Simulated dropouts, stragglers and garbled replies, on a virtual clock.

use std::time::Duration;

use cloister_config::Faults;
use cloister_protocol::{ClientId, Purpose, Streams};
use cloister_secagg::message::Kind;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// What becomes of a cohort member in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is gone: in a round with a secure sum from the message on that it would answer with this one, else from the start.
    Dropout { from: Kind },
    /// It answers so long after the round began, with its bytes garbled in transit or not.
    Reply { after: Duration, garbled: bool },
}

/// What members of a secure sum send, in this order.
const STAGES: [Kind; 5] = [
    Kind::Advertise,
    Kind::Shares,
    Kind::Masked,
    Kind::Ack,
    Kind::Reveal,
];

/// Draws the fate of `client` in `round`, which trains for `steps` steps: a function of its arguments, so that it does
/// not depend on the order of the asking.
pub(crate) fn fate(
    faults: &Faults,
    streams: &Streams,
    round: u32,
    client: ClientId,
    steps: u64,
) -> Fate {
    let mut rng = streams.stream(Purpose::Faults, round, client.0);
    // Always the same number of draws: switching one fault on leaves the others where they were.
    let [dropout, straggles, garbles]: [f64; 3] = [rng.random(), rng.random(), rng.random()];
    let normal: f64 = StandardNormal.sample(&mut rng);
    if dropout < faults.dropout {
        // Drawn last, so that it moves no other draw.
        let from = STAGES[rng.random_range(0..STAGES.len())];
        return Fate::Dropout { from };
    }
    // Lognormal with mean 1: exp(s z - s²/2).
    let spread = (faults.seconds_spread * normal - faults.seconds_spread.powi(2) / 2.0).exp();
    let slowdown = if straggles < faults.straggler.chance {
        faults.straggler.slowdown
    } else {
        1.0
    };
    let seconds = faults.seconds_per_step * steps as f64 * spread * slowdown;
    Fate::Reply {
        after: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        garbled: garbles < faults.corrupt,
    }
}

/// Garbles an encoded reply: one to eight bytes changed, or the end cut off.
pub(crate) fn garble(bytes: &mut Vec<u8>, streams: &Streams, round: u32, client: ClientId) {
    let mut rng = streams.stream(Purpose::Garble, round, client.0);
    if bytes.is_empty() {
        return;
    }
    if rng.random_bool(0.25) {
        let keep = rng.random_range(0..bytes.len());
        bytes.truncate(keep);
        return;
    }
    for _ in 0..rng.random_range(1..=8) {
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= rng.random_range(1..=255_u8);
    }
}
