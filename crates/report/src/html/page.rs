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
    pub(super) judged: Vec<Judged>,
    pub(super) strips: Vec<Strip>,
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

/// A verdict in small type, for the cells of a table.
#[derive(Clone, Copy)]
pub(super) struct Chip {
    /// `good`, `fair`, `bad` or `mute`.
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) text: &'static str,
}

/// A table of verdicts: words, a verdict, a small picture, figures.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) title: String,
    pub(super) words: Vec<&'static str>,
    /// Head of the pictures, and the labels of their axis.
    pub(super) picture: (&'static str, String),
    pub(super) figures: Vec<&'static str>,
    pub(super) groups: Vec<JudgedGroup>,
    pub(super) note: String,
}

/// Rows below a common heading, which may be empty.
#[derive(Default)]
pub(super) struct JudgedGroup {
    pub(super) title: String,
    pub(super) rows: Vec<JudgedRow>,
}

pub(super) struct JudgedRow {
    /// Words with a remark each.
    pub(super) words: Vec<(String, String)>,
    pub(super) chip: Chip,
    /// Markup by `chart`.
    pub(super) picture: String,
    pub(super) figures: Vec<String>,
    /// Whether it is one of those that count.
    pub(super) strong: bool,
}

/// A picture whose columns are named.
pub(super) struct Strip {
    pub(super) heading: String,
    pub(super) over: String,
    /// Names of its columns, all equally wide.
    pub(super) panels: Vec<String>,
    /// A PNG in base64.
    pub(super) data: String,
    /// On the screen, in CSS pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) alt: String,
    /// What is seen on it.
    pub(super) captions: Vec<(Chip, String)>,
    pub(super) note: String,
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

impl Judged {
    /// Columns of the table.
    pub(super) fn columns(&self) -> usize {
        self.words.len() + 2 + self.figures.len()
    }

    /// Leaves out the figures that no row has.
    pub(super) fn drop_empty_columns(&mut self) {
        let rows = |groups: &[JudgedGroup], column: usize| {
            let empty = |row: &JudgedRow| row.figures.get(column).is_none_or(String::is_empty);
            groups.iter().all(|group| group.rows.iter().all(empty))
        };
        for column in (0..self.figures.len()).rev() {
            if rows(&self.groups, column) {
                self.figures.remove(column);
                for row in self.groups.iter_mut().flat_map(|group| &mut group.rows) {
                    row.figures.remove(column);
                }
            }
        }
    }
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
