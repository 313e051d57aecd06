//! Who learns what, in words, with the numbers of the session at hand.

use crate::graph::Graph;
use crate::params::{Mode, Params};

/// What one party learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learns {
    /// Who.
    pub who: String,
    /// What it learns.
    pub what: String,
}

/// Who learns what in a session, and what is not promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The guarantee in one sentence.
    pub guarantee: String,
    /// Party by party.
    pub learns: Vec<Learns>,
    /// What nobody should conclude from it.
    pub not_promised: Vec<String>,
}

impl Statement {
    /// The statement for sessions with these numbers.
    pub fn of(params: &Params) -> Self {
        Self {
            guarantee: guarantee(params),
            learns: vec![
                server(params),
                client(params),
                colluders(params),
                observer(),
            ],
            not_promised: not_promised(params),
        }
    }
}

/// Corrupt members that the numbers of a complete graph stand, of a cohort or of a bucket: at least one is assumed.
pub fn corrupt_members(params: &Params) -> u32 {
    let share = u64::from(params.group()) * u64::from(params.corrupt_ppm);
    (share.div_ceil(1_000_000) as u32).max(1)
}

/// Members of a sum that are honest for certain, if no more are corrupt than assumed.
pub fn honest_members(params: &Params) -> u32 {
    params.needed().saturating_sub(corrupt_members(params))
}

/// The fewest corrupt members, with the server, from whom single updates are not hidden.
///
/// A server that lies tells two stories of who survived, and wants a threshold of answers to each; honest members answer once.
fn breaking(params: &Params) -> u32 {
    match params.mode {
        Mode::Malicious => (2 * params.threshold).saturating_sub(params.group()),
        Mode::SemiHonest => params.threshold,
    }
}

fn clients(count: u32) -> String {
    match count {
        1 => "one client".to_owned(),
        count => format!("{count} clients"),
    }
}

fn sum_of(params: &Params) -> String {
    let needed = params.needed();
    match params.buckets() {
        1 => format!(
            "the sum of the updates of a cohort of {} if at least {needed} of them stay to the end",
            params.members()
        ),
        count => format!(
            "the sums of {count} random buckets of about {} clients each, of each in which at least {needed} stay to the end",
            params.group()
        ),
    }
}

fn guarantee(params: &Params) -> String {
    let (corrupt, honest) = (corrupt_members(params), honest_members(params));
    let of_each = if params.buckets() > 1 {
        " of each bucket"
    } else {
        ""
    };
    match (params.mode, params.graph) {
        (Mode::Malicious, _) => format!(
            "A server that lies, together with up to {}{of_each}, learns nothing but {}; at least {honest} honest updates are in \
             a sum.",
            clients(corrupt),
            sum_of(params)
        ),
        (Mode::SemiHonest, Graph::Harary { degree }) => format!(
            "A server that follows the protocol, together with up to {:.0} % of the clients, learns nothing but {}. Each \
             client shares masks with {degree} others; the graph fails to hide with a chance of at most 2^-{}, and fails to \
             finish with one of at most 2^-{}.",
            f64::from(params.corrupt_ppm) / 1e4,
            sum_of(params),
            params.security_bits,
            params.correctness_bits
        ),
        (Mode::SemiHonest, _) => format!(
            "A server that follows the protocol, together with up to {}{of_each}, learns nothing but {}; one that lies about \
             who survived can unmask anybody.",
            clients(corrupt),
            sum_of(params)
        ),
    }
}

fn server(params: &Params) -> Learns {
    let figures = match params.bits {
        0 => "the sum of the noisy updates",
        _ => {
            "the sum of the updates, of the weights, of the examples, of the losses and of the squared norms"
        }
    };
    let per = if params.buckets() > 1 {
        ", for each bucket"
    } else {
        ""
    };
    Learns {
        who: "the server".to_owned(),
        what: format!(
            "who is in the cohort, when each answered, and who dropped out; {figures}{per}. Of a client that drops out: nothing \
             but that it did."
        ),
    }
}

fn client(params: &Params) -> Learns {
    let keys = match params.mode {
        Mode::Malicious => "the keys and names of the cohort, which an authority has signed",
        Mode::SemiHonest => "the keys of the cohort, as the server tells them",
    };
    Learns {
        who: "a client".to_owned(),
        what: format!(
            "{keys}; who shared, who survived; the next global model, and from it about the sum."
        ),
    }
}

fn colluders(params: &Params) -> Learns {
    let of_whom = match (params.graph, params.buckets()) {
        (Graph::Harary { .. }, _) => " among the neighbours of a client",
        (_, 1) => "",
        _ => " of a bucket",
    };
    Learns {
        who: format!("up to {} with the server", clients(corrupt_members(params))),
        what: format!(
            "the sum of the honest clients' updates: the whole sum less what they sent themselves. From {} with the server \
             on{of_whom}, single updates are no longer hidden.",
            clients(breaking(params))
        ),
    }
}

fn observer() -> Learns {
    Learns {
        who: "an eavesdropper".to_owned(),
        what: "lengths and times of messages; in a deployment they are inside TLS.".to_owned(),
    }
}

fn not_promised(params: &Params) -> Vec<String> {
    let mut lines = vec![
        "The sum itself is not private: what a few updates add up to can tell about each. Noise ([privacy]) is what bounds that."
            .to_owned(),
        "Sums over overlapping cohorts can be subtracted from each other, round after round.".to_owned(),
        "A malicious client can still poison the sum, and a malicious model that all clients accept can be made to leak through \
         it."
        .to_owned(),
        "The server can end a round at any time, and can report a wrong result.".to_owned(),
    ];
    if params.buckets() > 1 {
        lines.push(format!(
            "A client is hidden in its bucket only, among about {}; the rule stands up to its own number of malicious clients, \
             each of which can spoil one bucket. A server that may lie can draw buckets anew by turning clients away.",
            params.group()
        ));
    }
    if honest_members(params) <= 1 {
        lines.push(
            "If all corrupt clients assumed are there, one honest update is left in the sum: it is that update.".to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::config::SecureAggregationConfig;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_session() {
        let params = SecureAggregationConfig::default().params(10, 5).unwrap();
        let statement = Statement::of(&params);
        assert!(statement.guarantee.contains("up to 2 clients"));
        assert!(statement.guarantee.contains("a cohort of 10 if at least 8"));
        assert!(statement.guarantee.contains("at least 6 honest"));
        assert_eq!(statement.learns.len(), 4);
        // Two stories of the survivors need 7 + 7 answers; ten members give ten, and four of them a second time.
        assert!(statement.learns[2].what.contains("From 4 clients"));
    }

    #[test]
    fn buckets_say_what_they_cost() {
        let config = SecureAggregationConfig {
            buckets: 5,
            ..SecureAggregationConfig::default()
        };
        let statement = Statement::of(&config.params(50, 5).unwrap());
        assert!(statement.guarantee.contains("5 random buckets of about 10"));
        assert!(
            statement
                .not_promised
                .iter()
                .any(|line| line.contains("its bucket only"))
        );
    }
}
