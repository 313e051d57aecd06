//! What a rule made of each row.

/// What a rule made of the rows, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// One entry a row.
    pub rows: Vec<RowVerdict>,
}

/// What a rule made of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowVerdict {
    /// Whether the row has a part in the result. Rules that work coordinate by coordinate keep all.
    pub kept: bool,
    /// Its weight, where the result is a weighted sum of the rows.
    pub weight: Option<f64>,
    /// What the rule judged it by: see [`Rule::score_meaning`](crate::Rule::score_meaning).
    pub score: Option<f64>,
}
