//! The assignment problem.

/// The column of each row that makes the sum of `costs`, `[rows, columns]`, least, no column being used twice: the Hungarian
/// algorithm with potentials (Kuhn 1955, Munkres 1957; shortest augmenting paths), O(rows^2 columns). `rows` is at most
/// `columns`; costs that are not numbers count as the largest.
///
/// # Panics
/// When the lengths do not fit.
pub fn assign(costs: &[f64], rows: usize, columns: usize) -> Vec<usize> {
    assert!(rows <= columns, "{rows} rows of {columns} columns");
    assert_eq!(costs.len(), rows * columns, "length of the costs");
    let cost = |row: usize, column: usize| {
        let cost = costs[(row - 1) * columns + column - 1];
        if cost.is_finite() {
            cost
        } else {
            f64::MAX / 1e6
        }
    };
    // Row and column 0 are where a path begins.
    let (mut by_row, mut by_column) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut owner = vec![0; columns + 1];
    let mut before = vec![0; columns + 1];
    for row in 1..=rows {
        owner[0] = row;
        let mut at = 0;
        let mut least = vec![f64::INFINITY; columns + 1];
        let mut used = vec![false; columns + 1];
        while owner[at] != 0 {
            used[at] = true;
            let (mut step, mut next) = (f64::INFINITY, 0);
            for column in 1..=columns {
                if used[column] {
                    continue;
                }
                let reduced = cost(owner[at], column) - by_row[owner[at]] - by_column[column];
                if reduced < least[column] {
                    least[column] = reduced;
                    before[column] = at;
                }
                if least[column] < step {
                    step = least[column];
                    next = column;
                }
            }
            for column in 0..=columns {
                if used[column] {
                    by_row[owner[column]] += step;
                    by_column[column] -= step;
                } else {
                    least[column] -= step;
                }
            }
            at = next;
        }
        // The path found is turned around, from its free end.
        while at != 0 {
            owner[at] = owner[before[at]];
            at = before[at];
        }
    }
    let mut of_row = vec![0; rows];
    for (column, &row) in owner.iter().enumerate().skip(1) {
        if row != 0 {
            of_row[row - 1] = column - 1;
        }
    }
    of_row
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least sum, by trying all.
    fn brute(costs: &[f64], columns: usize, row: usize, used: &mut Vec<bool>) -> f64 {
        if row * columns == costs.len() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for column in 0..columns {
            if !used[column] {
                used[column] = true;
                let rest = brute(costs, columns, row + 1, used);
                best = best.min(costs[row * columns + column] + rest);
                used[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_assignment_is_cheaper(
            (rows, columns, costs) in (1_usize..6, 0_usize..3).prop_flat_map(|(rows, more)| {
                let columns = rows + more;
                let costs = proptest::collection::vec((0_u8..20).prop_map(f64::from), rows * columns);
                (Just(rows), Just(columns), costs)
            })
        ) {
            let assigned = assign(&costs, rows, columns);
            let mut seen = assigned.clone();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), rows);
            let sum: f64 = assigned.iter().enumerate().map(|(row, column)| costs[row * columns + column]).sum();
            prop_assert_eq!(sum, brute(&costs, columns, 0, &mut vec![false; columns]));
        }
    }

    #[test]
    fn costs_that_are_no_numbers_are_avoided() {
        let costs = [f64::NAN, 1.0, 2.0, f64::INFINITY];
        assert_eq!(assign(&costs, 2, 2), [1, 0]);
        assert_eq!(assign(&[f64::NAN; 4], 2, 2).len(), 2);
        assert!(assign(&[], 0, 0).is_empty());
    }
}
