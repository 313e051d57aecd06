//! Single records, as they come once a model is trained.

use super::cells::Reading;
use super::pipeline::Pipeline;
use super::plan::{PlannedColumn, PreparePlan};
use super::table::Coded;
use crate::classes::shortened;
use crate::error::DataError;

/// A pipeline and the places of its columns in the records of a source.
#[derive(Clone, Debug)]
pub struct Binding<'p> {
    coded: &'p Coded,
    /// For each column of the training table its place in a record; that of a column that is not read is never looked at.
    places: Vec<usize>,
    /// Cells of a record.
    cells: usize,
    /// Features of a record.
    width: usize,
    passed_over: Vec<String>,
}

impl Pipeline {
    /// Finds the pipeline's columns in a header, in any order; or, for records without one, by their places: a record has
    /// either all columns of the training table, or those that are features.
    ///
    /// # Errors
    /// [`DataError::Schema`], which names the columns that are missing or there twice; for a pipeline of images.
    pub fn bind<S: AsRef<str>>(
        &self,
        header: Option<&[S]>,
        cells: usize,
    ) -> Result<Binding<'_>, DataError> {
        let coded = self.table()?;
        let plan = &coded.plan;
        let mut binding = Binding {
            coded,
            places: vec![usize::MAX; plan.width],
            cells,
            width: coded.width(),
            passed_over: Vec::new(),
        };
        match header {
            Some(header) if plan.named => {
                let names: Vec<&str> = header.iter().map(|name| name.as_ref().trim()).collect();
                binding.by_name(plan, &names)?;
            }
            _ => binding.by_place(plan)?,
        }
        Ok(binding)
    }

    /// The features of one record, with the bits that a training row of the same cells has (but for columns that are coded
    /// by classes, where training rows see other folds only).
    ///
    /// # Errors
    /// As [`Pipeline::bind`]; [`DataError::Record`] with the column of a cell that cannot be read.
    ///
    /// ```
    /// use cloister_data::{DataConfig, open};
    ///
    /// let raw = open(&DataConfig::bundled("heart-disease"), 1)?;
    /// let pipeline = raw.fit()?;
    /// let header = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal"];
    /// let cells = ["63", "1", "1", "145", "233", "1", "2", "150", "0", "2.3", "3", "0", "6"];
    /// assert_eq!(pipeline.apply(Some(&header), &cells)?.len(), pipeline.shape().len());
    /// let error = pipeline.apply(Some(&header[1..]), &cells[1..]).unwrap_err();
    /// assert!(error.to_string().starts_with("the records do not match the pipeline: no column 'age' (number)"));
    /// # Ok::<(), cloister_data::DataError>(())
    /// ```
    pub fn apply<S: AsRef<str>>(
        &self,
        header: Option<&[S]>,
        cells: &[S],
    ) -> Result<Vec<f32>, DataError> {
        self.bind(header, cells.len())?.apply(cells)
    }

    /// The features of one image of values as they are stored (CHW), with the bits that a training image has.
    ///
    /// # Errors
    /// [`DataError::Schema`] for an image of another size; for a pipeline of a table.
    pub fn apply_image(&self, pixels: &[f32]) -> Result<Vec<f32>, DataError> {
        let images = self.images()?;
        if pixels.len() != images.from.len() {
            let reason = format!(
                "an image of {} values, not of {}",
                pixels.len(),
                images.from
            );
            return Err(DataError::Schema { reason });
        }
        let divided: Vec<f32> = pixels.iter().map(|pixel| pixel / images.white).collect();
        let mut values = images.reshape(&divided);
        images.standardise(&mut values);
        if values.iter().any(|value| !value.is_finite()) {
            let reason = "an image with a value that is not finite".to_owned();
            return Err(DataError::Schema { reason });
        }
        Ok(values)
    }
}

impl Binding<'_> {
    fn by_name(&mut self, plan: &PreparePlan, names: &[&str]) -> Result<(), DataError> {
        let mut absent = Vec::new();
        for column in &plan.columns {
            let mut places = (0..names.len()).filter(|place| names[*place] == column.name);
            match (places.next(), places.next()) {
                (Some(place), None) => self.places[column.index] = place,
                (Some(_), Some(_)) => {
                    let reason = format!("two columns are named '{}'", column.name);
                    return Err(DataError::Schema { reason });
                }
                (None, _) => absent.push(format!("'{}' ({})", column.name, column.words())),
            }
        }
        let read = |name: &&&str| plan.columns.iter().any(|column| column.name == **name);
        self.passed_over = names
            .iter()
            .filter(|name| !read(name))
            .map(|name| (*name).to_owned())
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "no column {}; the records have {}",
            shortened(absent.iter().map(String::as_str)),
            shortened(names.iter().copied())
        );
        Err(DataError::Schema { reason })
    }

    fn by_place(&mut self, plan: &PreparePlan) -> Result<(), DataError> {
        if self.cells == plan.width {
            self.places = (0..plan.width).collect();
            return Ok(());
        }
        if self.cells == plan.columns.len() {
            for (place, column) in plan.columns.iter().enumerate() {
                self.places[column.index] = place;
            }
            return Ok(());
        }
        let reason = format!(
            "{} cells without names; the training table had {} columns, of which {} are read",
            self.cells,
            plan.width,
            plan.columns.len()
        );
        Err(DataError::Schema { reason })
    }

    /// Columns of the records that are not read.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The features of a record.
    ///
    /// # Errors
    /// [`DataError::Schema`] for a record of another length, [`DataError::Record`] with the column of a cell that cannot
    /// be read.
    pub fn apply<S: AsRef<str>>(&self, cells: &[S]) -> Result<Vec<f32>, DataError> {
        if cells.len() != self.cells {
            let reason = format!("a record of {} cells, not of {}", cells.len(), self.cells);
            return Err(DataError::Schema { reason });
        }
        let cell = |column: usize| cells[self.places[column]].as_ref().trim();
        let plan = &self.coded.plan;
        let fault = |column: usize, reason: String| DataError::Record {
            column: plan.columns[column].name.clone(),
            reason,
        };
        let row = plan
            .values(cell)
            .map_err(|found| fault(found.column, found.reason))?;
        let mut features = Vec::with_capacity(self.width);
        let coded = self.coded.encode(&row.values, None, &mut features);
        coded.map_err(|found| {
            let cell = cell(plan.columns[found.column].index);
            fault(found.column, format!("'{cell}' {}", found.reason))
        })?;
        Ok(features)
    }
}

impl PlannedColumn {
    /// What it holds, in words.
    fn words(&self) -> String {
        let kind = match &self.reading {
            Reading::Number { .. } => "number",
            Reading::Category { .. } => "category",
            Reading::Ordinal { .. } => "ordinal",
            Reading::Boolean { .. } => "boolean",
            Reading::Time { .. } => "time",
            Reading::Text { .. } => "text",
        };
        match &self.unit {
            Some(unit) => format!("{kind}, in {unit}"),
            None => kind.to_owned(),
        }
    }
}
