//! Sorting networks for any number of wires, with what the result does not need left out.

/// The lower value goes to the first wire, the higher to the second.
pub(super) type Exchange = (u16, u16);

/// What a rule asks of a wire after the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The value of exactly this rank.
    Rank,
    /// Any value of the set: wires with the same number may hold their values in any order.
    Set(u8),
}

/// The exchanges that bring the value of each rank in `needs` to its wire: Batcher's merge exchange (Knuth, The Art of
/// Computer Programming 3, algorithm 5.2.2M), which takes any number of wires, without the exchanges that only reorder
/// a set.
pub(super) fn network(needs: &[Need]) -> Vec<Exchange> {
    let mut needs = needs.to_vec();
    let mut kept = Vec::new();
    for &(low, high) in merge_exchange(needs.len()).iter().rev() {
        let (a, b) = (needs[usize::from(low)], needs[usize::from(high)]);
        if a == b && a != Need::Rank {
            continue;
        }
        // Its outputs are told apart from here on, so its inputs must arrive as the full network has them.
        needs[usize::from(low)] = Need::Rank;
        needs[usize::from(high)] = Need::Rank;
        kept.push((low, high));
    }
    kept.reverse();
    kept
}

fn merge_exchange(n: usize) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut remainder, mut distance) = (top, 0, p);
        loop {
            for low in (0..n.saturating_sub(distance)).filter(|low| low & p == remainder) {
                exchanges.push((low as u16, (low + distance) as u16));
            }
            if q == p {
                break;
            }
            distance = q - p;
            q /= 2;
            remainder = p;
        }
        p /= 2;
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(n: usize, ranks: std::ops::Range<usize>) -> Vec<Need> {
        let need = |rank| match ranks.contains(&rank) {
            true => Need::Rank,
            false => Need::Set(0),
        };
        (0..n).map(need).collect()
    }

    fn middle(n: usize) -> std::ops::Range<usize> {
        (n - 1) / 2..n / 2 + 1
    }

    #[test]
    fn counts_are_those_of_the_literature() {
        // Full, median, and the ranks from n/5 to n - n/5: counted with a script of its own.
        for (n, full, median, trimmed) in [
            (20, 97, 81, 95),
            (50, 395, 329, 379),
            (100, 1077, 889, 1027),
        ] {
            assert_eq!(network(&only(n, 0..n)).len(), full);
            assert_eq!(network(&only(n, middle(n))).len(), median);
            assert_eq!(network(&only(n, n / 5..n - n / 5)).len(), trimmed);
        }
    }

    /// By the zero-one principle a network that sorts all sequences of 0 and 1 sorts everything.
    #[test]
    fn zeros_and_ones_come_out_in_order() {
        for n in 1..=14 {
            let full = network(&only(n, 0..n));
            let median = network(&only(n, middle(n)));
            for bits in 0..1_u32 << n {
                let run = |exchanges: &[Exchange]| {
                    exchanges.iter().fold(bits, |bits, &(low, high)| {
                        if bits >> low & 1 > bits >> high & 1 {
                            bits ^ (1 << low | 1 << high)
                        } else {
                            bits
                        }
                    })
                };
                let ones = bits.count_ones();
                let sorted = (1_u64 << n) - (1_u64 << (n as u32 - ones));
                assert_eq!(u64::from(run(&full)), sorted, "n = {n}, {bits:b}");
                for rank in middle(n) {
                    let got = u64::from(run(&median)) >> rank & 1;
                    assert_eq!(got, sorted >> rank & 1, "n = {n}, {bits:b}");
                }
            }
        }
    }

    #[test]
    fn a_set_holds_its_values_in_any_order() {
        let n = 13;
        let needs: Vec<Need> = (0..n)
            .map(|rank| Need::Set(u8::from((3..10).contains(&rank))))
            .collect();
        let exchanges = network(&needs);
        assert!(exchanges.len() < network(&only(n, 3..10)).len());
        for bits in 0..1_u32 << n {
            let out = exchanges.iter().fold(bits, |bits, &(low, high)| {
                if bits >> low & 1 > bits >> high & 1 {
                    bits ^ (1 << low | 1 << high)
                } else {
                    bits
                }
            });
            // Of the ones, at most 3 are dropped at the top, and zeros at the bottom likewise.
            let expected = bits.count_ones().saturating_sub(3).min(7);
            assert_eq!((out >> 3 & 0x7f).count_ones(), expected, "{bits:b}");
        }
    }
}
