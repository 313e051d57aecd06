//! The final model as the clients judged it, where their data are.

use super::page::{Section, Table, strings};
use crate::record::RunRecord;

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let judged = record.summary.as_ref()?.at_sites.as_ref()?;
    let mut table = Table {
        title: "Sums of what the clients counted".to_owned(),
        head: strings(["figure", "value", "off by"]),
        words: 1,
        rows: judged.rows(),
        ..Table::default()
    };
    table.drop_empty_columns();
    let mut sentences = vec![judged.sentence()];
    if judged.auroc.is_some() {
        sentences.push(
            "The area is that of histograms of scores: examples in one bin have lost their order, and the table says how far that \
             can move it."
                .to_owned(),
        );
    }
    Some(Section {
        heading: "Judged at the sites",
        sentences,
        tables: vec![table],
        ..Section::default()
    })
}
