//! A grid of any number of keys as tables of two: one key down, one across, one table for each setting of the others.

use std::collections::BTreeMap;

use super::{ComparedCell, Comparison, Spread, setting_words, short_key};
use crate::format;
use crate::record::HeadlineMetric;

/// More tables than this are more than anybody looks at; the long table has all.
const MOST_BLOCKS: usize = 60;

/// Rows and columns of a table at most.
const MOST_SIDE: usize = 40;

/// A comparison laid out as tables of two keys.
pub(crate) struct Pivot<'a> {
    comparison: &'a Comparison,
    /// The key down and the key across, short.
    pub(crate) axes: (String, String),
    /// Their values, in words.
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// What the tables are for: the settings of the other keys, in words; empty where there are none.
    pub(crate) blocks: Vec<String>,
    /// Tables beyond those of [`Pivot::blocks`].
    pub(crate) left_out: usize,
    /// Cells by table, row and column.
    cells: BTreeMap<(usize, usize, usize), usize>,
}

/// What a place of a table has to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The mean over the runs that ended.
    Figure(Spread),
    /// The settings cannot work together.
    Refused,
    /// All runs failed.
    Failed,
    /// Not run, not ended, or not measured.
    Nothing,
}

/// A figure that a table shows.
pub(crate) struct Measure {
    pub(crate) heading: &'static str,
    pub(crate) of: fn(&ComparedCell) -> Option<Spread>,
    pub(crate) words: fn(f64) -> String,
    /// Whether more of it is worse.
    pub(crate) bad: bool,
    /// What the figure is, a sentence.
    pub(crate) note: &'static str,
}

impl Comparison {
    /// The tables; `None` where fewer than two keys vary, or where the runs are no grid.
    pub(crate) fn pivot(&self) -> Option<Pivot<'_>> {
        if self.named {
            return None;
        }
        let values: Vec<Vec<&str>> = (0..self.keys.len()).map(|key| self.values(key)).collect();
        let varying: Vec<usize> = (0..self.keys.len())
            .filter(|&key| values[key].len() > 1)
            .collect();
        let (row, column) = self.axes(&varying, &values)?;
        if values[row].len() > MOST_SIDE || values[column].len() > MOST_SIDE {
            return None;
        }
        let others: Vec<usize> = varying
            .into_iter()
            .filter(|&key| key != row && key != column)
            .collect();
        let mut placed = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let place = |key: usize| {
                let at = |value: &&str| *value == cell.settings[key];
                values[key].iter().position(at)
            };
            let block: Vec<usize> = others.iter().filter_map(|&key| place(key)).collect();
            placed.push((block, place(row)?, place(column)?, index));
        }
        // The order of the grid: the first key slowest.
        let mut blocks: Vec<Vec<usize>> = placed.iter().map(|(block, ..)| block.clone()).collect();
        blocks.sort();
        blocks.dedup();
        let room = blocks.len() * values[row].len() * values[column].len();
        if !self.sweep && self.cells.len() * 2 < room {
            return None;
        }
        let cells = placed
            .into_iter()
            .filter_map(|(block, row, column, index)| {
                Some(((blocks.binary_search(&block).ok()?, row, column), index))
            });
        let short = |key: usize| short_key(&self.keys, &self.keys[key]);
        let title = |block: &Vec<usize>| {
            let settings = others.iter().zip(block).map(|(&key, &value)| {
                format!("{} = {}", short(key), setting_words(values[key][value]))
            });
            settings.collect::<Vec<_>>().join(", ")
        };
        let all = |key: usize| {
            values[key]
                .iter()
                .map(|value| setting_words(value))
                .collect()
        };
        Some(Pivot {
            comparison: self,
            axes: (short(row).to_owned(), short(column).to_owned()),
            rows: all(row),
            columns: all(column),
            left_out: blocks.len().saturating_sub(MOST_BLOCKS),
            cells: cells.collect(),
            blocks: blocks.iter().take(MOST_BLOCKS).map(title).collect(),
        })
    }

    /// The key down and the key across: what is compared goes down, how strong it is goes across.
    fn axes(&self, varying: &[usize], values: &[Vec<&str>]) -> Option<(usize, usize)> {
        if varying.len() < 2 {
            return None;
        }
        let ends = |key: usize, end: &str| self.keys[key].ends_with(end);
        let numeric = |key: usize| values[key].iter().all(|value| value.parse::<f64>().is_ok());
        let longest = |keys: &mut dyn Iterator<Item = usize>| {
            // The first of the longest.
            keys.fold(None, |best: Option<usize>, key| match best {
                Some(best) if values[best].len() >= values[key].len() => Some(best),
                _ => Some(key),
            })
        };
        let keys = || varying.iter().copied();
        let column_of = |row: Option<usize>| {
            let others = || keys().filter(move |&key| Some(key) != row);
            others()
                .find(|&key| ends(key, "attack.clients"))
                .or_else(|| others().find(|&key| ends(key, "byzantine")))
                .or_else(|| longest(&mut others().filter(|&key| numeric(key))))
        };
        let rule = keys().find(|&key| ends(key, "aggregation.rule"));
        if self.keys.len() == 2 && rule.is_none() {
            return Some((varying[0], varying[1]));
        }
        let column = column_of(rule);
        let others = || keys().filter(move |&key| Some(key) != column);
        let row = rule
            .or_else(|| longest(&mut others().filter(|&key| !numeric(key))))
            .or_else(|| others().next())?;
        let column = column.or_else(|| longest(&mut keys().filter(|&key| key != row)))?;
        Some((row, column))
    }

    /// The values of a key: numbers ascending, words in order of first appearance.
    fn values(&self, key: usize) -> Vec<&str> {
        let mut values: Vec<&str> = Vec::new();
        for cell in &self.cells {
            let value = cell.settings[key].as_str();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let number = |value: &&str| value.parse::<f64>().unwrap_or(f64::NAN);
        if !values.iter().any(|value| number(value).is_nan()) {
            values.sort_by(|a, b| number(a).total_cmp(&number(b)));
        }
        values
    }

    /// The figures of which at least one cell has a value, the headline metric first.
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let judged = match self.metric {
            HeadlineMetric::Accuracy => [ACCURACY, ACCURACY_IMPACT],
            HeadlineMetric::Auroc => [AUROC, AUROC_IMPACT],
            HeadlineMetric::R2 => [R2, R2_IMPACT],
        };
        let reached = [ATTACK_SUCCESS, SOURCE_RECALL, MALICIOUS_USED];
        let present =
            |measure: &Measure| self.cells.iter().any(|cell| (measure.of)(cell).is_some());
        judged.into_iter().chain(reached).filter(present).collect()
    }
}

const ACCURACY: Measure = Measure {
    heading: "Final test accuracy, %",
    of: |cell| cell.accuracy,
    words: hundredths,
    bad: false,
    note: "Share of the test examples that the final model classifies rightly.",
};

const AUROC: Measure = Measure {
    heading: "Final test AUROC",
    of: |cell| cell.auroc,
    words: thousandths,
    bad: false,
    note: "AUROC of the final model on the test examples: 1 is perfect, 0.5 is guessing.",
};

const ACCURACY_IMPACT: Measure = Measure {
    heading: "Impact of the attack, points of accuracy",
    of: |cell| cell.impact,
    words: hundredths,
    bad: true,
    note: "Final test accuracy without the attack minus that with it: 0 is harmless.",
};

const AUROC_IMPACT: Measure = Measure {
    heading: "Impact of the attack, AUROC",
    of: |cell| cell.impact,
    words: thousandths,
    bad: true,
    note: "Final test AUROC without the attack minus that with it: 0 is harmless.",
};

const R2: Measure = Measure {
    heading: "Final test R\u{b2}",
    of: |cell| cell.r2,
    words: thousandths,
    bad: false,
    note: "Share of the variance of the target on the test examples that the final model explains: 1 is perfect, 0 is their mean.",
};

const R2_IMPACT: Measure = Measure {
    heading: "Impact of the attack, R\u{b2}",
    of: |cell| cell.impact,
    words: thousandths,
    bad: true,
    note: "Final test R\u{b2} without the attack minus that with it: 0 is harmless.",
};

const ATTACK_SUCCESS: Measure = Measure {
    heading: "Attack success, %",
    of: |cell| cell.attack_success,
    words: hundredths,
    bad: true,
    note: "Test examples with the attack's trigger that are taken for its target class.",
};

const SOURCE_RECALL: Measure = Measure {
    heading: "Source recall, %",
    of: |cell| cell.source_recall,
    words: hundredths,
    bad: false,
    note: "Test examples of the class that the attack is after that are still recognised.",
};

const MALICIOUS_USED: Measure = Measure {
    heading: "Malicious updates used, %",
    of: |cell| cell.malicious_used,
    words: hundredths,
    bad: true,
    note: "Replies of malicious clients that the rule used, of those that passed the server's checks: all of them for rules \
           that leave no reply out as a whole.",
};

/// A share as a percentage without its sign.
fn hundredths(share: f64) -> String {
    signless(share * 100.0, 1)
}

fn thousandths(value: f64) -> String {
    signless(value, 3)
}

impl Pivot<'_> {
    pub(crate) fn cell(&self, block: usize, row: usize, column: usize) -> Option<&ComparedCell> {
        let index = self.cells.get(&(block, row, column))?;
        self.comparison.cells.get(*index)
    }

    pub(crate) fn place(
        &self,
        measure: &Measure,
        block: usize,
        row: usize,
        column: usize,
    ) -> Place {
        let Some(cell) = self.cell(block, row, column) else {
            return Place::Nothing;
        };
        let runs = cell.runs.len();
        match (measure.of)(cell) {
            Some(spread) => Place::Figure(spread),
            None if cell.refused_runs > 0 && cell.refused_runs == runs => Place::Refused,
            None if cell.failed_runs + cell.refused_runs == runs => Place::Failed,
            None => Place::Nothing,
        }
    }

    /// What stands in a place: the mean, with a star where some of the runs have no result.
    pub(crate) fn text(
        &self,
        measure: &Measure,
        block: usize,
        row: usize,
        column: usize,
    ) -> String {
        match self.place(measure, block, row, column) {
            Place::Figure(spread) if spread.n == 0 => "diverged".to_owned(),
            Place::Figure(spread) => {
                let partial = spread.not_finite > 0
                    || self
                        .cell(block, row, column)
                        .is_some_and(|cell| cell.unfinished > 0);
                format!(
                    "{}{}",
                    (measure.words)(spread.mean),
                    if partial { "*" } else { "" }
                )
            }
            Place::Refused => "refused".to_owned(),
            Place::Failed => "failed".to_owned(),
            Place::Nothing => "\u{2013}".to_owned(),
        }
    }

    /// Whether a cell can be the mean of several runs.
    pub(crate) fn repeats(&self) -> bool {
        self.comparison.cells.iter().any(|cell| cell.runs.len() > 1)
    }

    /// Whether a place has a star.
    pub(crate) fn starred(&self, measure: &Measure) -> bool {
        self.any(|block, row, column| self.text(measure, block, row, column).ends_with('*'))
    }

    /// Whether a place says that its settings were refused.
    pub(crate) fn refuses(&self, measure: &Measure) -> bool {
        self.any(|block, row, column| self.place(measure, block, row, column) == Place::Refused)
    }

    /// Whether a table has anything to show of a figure.
    pub(crate) fn shows(&self, measure: &Measure, block: usize) -> bool {
        let figure =
            |row, column| matches!(self.place(measure, block, row, column), Place::Figure(_));
        (0..self.rows.len()).any(|row| (0..self.columns.len()).any(|column| figure(row, column)))
    }

    fn any(&self, of: impl Fn(usize, usize, usize) -> bool) -> bool {
        (0..self.blocks.len()).any(|block| {
            (0..self.rows.len())
                .any(|row| (0..self.columns.len()).any(|column| of(block, row, column)))
        })
    }

    /// Lowest and highest mean over all tables, so that their shades can be compared.
    pub(crate) fn extent(&self, measure: &Measure) -> Option<(f64, f64)> {
        let shown = self
            .cells
            .iter()
            .filter(|((block, _, _), _)| *block < self.blocks.len());
        let means =
            shown.filter_map(|(_, &index)| Some((measure.of)(&self.comparison.cells[index])?.mean));
        means
            .filter(|mean| mean.is_finite())
            .fold(None, |extent, mean| match extent {
                None => Some((mean, mean)),
                Some((low, high)) => Some((f64::min(low, mean), f64::max(high, mean))),
            })
    }
}

/// With so many decimals, and no minus before a zero.
fn signless(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return format::plain(value);
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}
