//! The parts of a page, and the one template that lays them out.

use std::path::PathBuf;

use askama::Template;

use crate::record::{RecordError, file_name};

#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Page {
    /// A small line above the title.
    pub(super) over: String,
    pub(super) title: String,
    pub(super) lead: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) sections: Vec<Section>,
    pub(super) footer: String,
}

impl Page {
    pub(super) fn html(&self) -> Result<String, RecordError> {
        self.render().map_err(|error| RecordError::Encode {
            file: PathBuf::from(file_name::REPORT),
            message: error.to_string(),
        })
    }
}

/// A figure in large type.
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) note: String,
}

#[derive(Default)]
pub(super) struct Section {
    pub(super) heading: &'static str,
    /// A verdict, before all else.
    pub(super) badge: Option<Badge>,
    pub(super) sentences: Vec<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) bullets: Vec<String>,
    /// A legend for all figures.
    pub(super) keys: Vec<Key>,
    pub(super) figures: Vec<Figure>,
    /// Figures one below the other instead of two in a row.
    pub(super) wide: bool,
    pub(super) lists: Vec<List>,
    pub(super) tables: Vec<Table>,
    pub(super) verbatim_title: &'static str,
    /// Shown letter by letter, folded; empty for none.
    pub(super) verbatim: String,
}

/// A verdict in large type. Its sign says in shape what its colour says.
pub(super) struct Badge {
    /// `good`, `fair` or `bad`.
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) text: String,
}

/// Points below a heading of their own.
pub(super) struct List {
    pub(super) title: &'static str,
    pub(super) items: Vec<String>,
}

/// A chart with its heading, legend and note.
#[derive(Default)]
pub(super) struct Figure {
    pub(super) heading: String,
    pub(super) keys: Vec<Key>,
    /// Markup by `chart`, where all text in it has been escaped.
    pub(super) svg: String,
    pub(super) note: String,
}

/// A line of a legend.
pub(super) struct Key {
    pub(super) class: String,
    pub(super) label: String,
    pub(super) value: String,
    pub(super) dashed: bool,
    /// A dot instead of a line.
    pub(super) dot: bool,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) folded: bool,
    pub(super) head: Vec<String>,
    /// The first so many columns hold words; the others hold figures and are set to the right.
    pub(super) words: usize,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) note: String,
}

/// Owned strings from literals.
pub(super) fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

impl Table {
    /// Leaves out the columns in which no row has anything.
    pub(super) fn drop_empty_columns(&mut self) {
        for column in (self.words..self.head.len()).rev() {
            let empty = |row: &Vec<String>| row.get(column).is_none_or(String::is_empty);
            if self.rows.iter().all(empty) {
                self.head.remove(column);
                for row in self.rows.iter_mut().filter(|row| column < row.len()) {
                    row.remove(column);
                }
            }
        }
    }
}
