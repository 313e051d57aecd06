//! Settings of `[data.prepare]` that cannot be meant.

use super::config::{
    Buckets, ClassWeights, ColumnConfig, ColumnType, Constant, Encoding, Fill, PrepareConfig,
    Unseen,
};
use super::time::{Format, parse_date};
use crate::error::DataError;

/// Most features of hashed codes, of a text, and of random Fourier features.
const MOST_WIDTH: usize = 1 << 16;
/// Longest run of words or bytes.
const MOST_LENGTH: usize = 8;
/// Most intervals of a number.
const MOST_BUCKETS: usize = 1000;

/// A fault of a key, in words.
type Fault = (&'static str, String);

impl PrepareConfig {
    /// Refuses what cannot be meant, before any file is touched.
    ///
    /// # Errors
    /// [`DataError::Setting`] with the key.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let named = |prefix: String| {
            move |(key, reason): Fault| DataError::setting(format!("{prefix}.{key}"), reason)
        };
        let all = self.all.check(None).and_then(|()| self.all.idle());
        all.map_err(named("prepare.all".into()))?;
        for (name, column) in &self.columns {
            let merged = column.over(&self.all);
            let prefix = column_key(name);
            column
                .misplaced(column.kind)
                .and_then(|()| column.idle())
                .and_then(|()| merged.check(merged.kind))
                .map_err(named(prefix))?;
        }
        if let Some(kind @ (ColumnType::Label | ColumnType::Ordinal)) = self.all.kind {
            let reason = format!("{} can be one column only", kind.words());
            return Err(DataError::setting("prepare.all.type", reason));
        }
        let reduced = self.check_reduced();
        reduced.map_err(named("prepare".into()))?;
        if let Some(ClassWeights::Explicit(weights)) = &self.class_weights {
            for (class, weight) in weights {
                if !(*weight > 0.0 && weight.is_finite()) {
                    let reason = format!("the weight {weight} of '{class}' is not above 0");
                    return Err(DataError::setting("prepare.class_weights", reason));
                }
            }
        }
        self.images.as_ref().map_or(Ok(()), |images| {
            let checked = images.check();
            checked.map_err(named("prepare.images".into()))
        })
    }

    fn check_reduced(&self) -> Result<(), Fault> {
        if let Some(pca) = &self.pca {
            match (pca.components, pca.variance) {
                (Some(0), _) => return fault("pca.components", "0 leaves no feature"),
                (Some(_), None) => {}
                (None, Some(share)) if share > 0.0 && share <= 1.0 => {}
                (None, Some(share)) => {
                    return fault(
                        "pca.variance",
                        format!("{share} is not above 0 and at most 1"),
                    );
                }
                _ => return fault("pca", "give either `components` or `variance`"),
            }
        }
        if let Some(fourier) = &self.fourier {
            if fourier.features == 0 || fourier.features > MOST_WIDTH {
                let reason = format!("{} is not in 1 to {MOST_WIDTH}", fourier.features);
                return fault("fourier.features", reason);
            }
            if let Some(gamma) = fourier.gamma.filter(|g| !(*g > 0.0 && g.is_finite())) {
                return fault("fourier.gamma", format!("{gamma} is not above 0"));
            }
        }
        if let Some(flow) = &self.flow {
            if flow.bytes.len() > 2 || flow.packets.len() > 2 {
                return fault("flow", "one column, or one for each direction");
            }
            if flow.bytes.is_empty() && flow.packets.is_empty() {
                return fault("flow", "give `bytes` or `packets`");
            }
        }
        Ok(())
    }

    /// The first key that was set although it concerns tables only.
    pub(crate) fn table_key(&self) -> Option<&'static str> {
        [
            ("prepare.all", self.all != ColumnConfig::default()),
            ("prepare.columns", !self.columns.is_empty()),
            ("prepare.flow", self.flow.is_some()),
            ("prepare.pca", self.pca.is_some()),
            ("prepare.fourier", self.fourier.is_some()),
        ]
        .iter()
        .find_map(|&(key, set)| set.then_some(key))
    }
}

/// The key of a column's table, quoted where TOML would need it.
pub(crate) fn column_key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(bare) {
        true => format!("prepare.columns.{name}"),
        false => format!("prepare.columns.{name:?}"),
    }
}

fn fault(key: &'static str, reason: impl Into<String>) -> Result<(), Fault> {
    Err((key, reason.into()))
}

impl ColumnType {
    /// As messages name it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::Ordinal => "ordinal",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Text => "text",
            Self::Label => "label",
            Self::Identifier => "identifier",
        }
    }
}

impl ColumnConfig {
    /// The keys that are set, and the types that they concern.
    fn keys(&self) -> [(&'static str, bool, &'static [ColumnType]); 25] {
        use ColumnType::{Boolean, Category, Number, Ordinal, Text, Time};
        const FILLED: &[ColumnType] = &[Number, Category, Ordinal, Boolean, Time];
        const SCALED: &[ColumnType] = &[Number, Ordinal, Boolean, Time];
        [
            ("unit", self.unit.is_some(), &[Number]),
            ("missing", self.missing.is_some(), FILLED),
            (
                "missing_values",
                self.missing_values.is_some(),
                &[Number, Category, Ordinal, Boolean, Time, Text],
            ),
            ("indicator", self.indicator.is_some(), FILLED),
            ("range", self.range.is_some(), &[Number]),
            ("outside", self.outside.is_some(), &[Number]),
            ("clip_quantiles", self.clip_quantiles.is_some(), &[Number]),
            ("transform", self.transform.is_some(), &[Number]),
            ("buckets", self.buckets.is_some(), &[Number]),
            ("scaling", self.scaling.is_some(), SCALED),
            ("case", self.case.is_some(), &[Category, Ordinal, Text]),
            ("trim", self.trim.is_some(), &[Category, Ordinal]),
            ("at_least", self.at_least.is_some(), &[Category]),
            ("most", self.most.is_some(), &[Category]),
            ("unseen", self.unseen.is_some(), &[Category]),
            ("encoding", self.encoding.is_some(), &[Category]),
            ("width", self.width.is_some(), &[Category, Text]),
            ("smoothing", self.smoothing.is_some(), &[Category]),
            ("order", self.order.is_some(), &[Ordinal]),
            ("yes", self.yes.is_some(), &[Boolean]),
            ("no", self.no.is_some(), &[Boolean]),
            (
                "formats",
                self.formats.is_some() || self.ambiguous.is_some(),
                &[Time],
            ),
            ("parts", self.parts.is_some(), &[Time]),
            ("since", self.since.is_some(), &[Time]),
            (
                "grams",
                self.grams.is_some() || self.lengths.is_some(),
                &[Text],
            ),
        ]
    }

    /// Refuses a key that does not concern a column of type `kind`.
    pub(crate) fn misplaced(&self, kind: Option<ColumnType>) -> Result<(), Fault> {
        let Some(kind) = kind else {
            return Ok(());
        };
        for (key, set, kinds) in self.keys() {
            if set && !kinds.contains(&kind) {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
                let reason = format!(
                    "concerns columns of type {}, but this one is of type {}",
                    kinds.join(", "),
                    kind.words()
                );
                return fault(key, reason);
            }
        }
        let fits = match (&self.missing, kind) {
            (None | Some(Fill::DropRow), _) => true,
            (Some(Fill::Mean | Fill::Median), kind) => kind != ColumnType::Category,
            (Some(Fill::MostFrequent), kind) => {
                matches!(kind, ColumnType::Category | ColumnType::Boolean)
            }
            (Some(Fill::Zeros | Fill::Category), kind) => kind == ColumnType::Category,
            (Some(Fill::Constant(Constant::Number(_))), kind) => {
                matches!(kind, ColumnType::Number | ColumnType::Boolean)
            }
            (Some(Fill::Constant(Constant::Code(_))), kind) => {
                matches!(kind, ColumnType::Category | ColumnType::Ordinal)
            }
        };
        match fits {
            true => Ok(()),
            false => fault(
                "missing",
                format!("does not fit a column of type {}", kind.words()),
            ),
        }
    }

    /// Refuses a key that another key of the same table leaves without effect.
    fn idle(&self) -> Result<(), Fault> {
        let grouped = self.at_least.is_some() || self.most.is_some();
        match self.encoding {
            Some(Encoding::Hashing) if grouped || self.unseen.is_some() => fault(
                "encoding",
                "hashing lists no categories: `at_least`, `most` and `unseen` have no effect",
            ),
            Some(Encoding::Ordinal | Encoding::Target)
                if self.unseen == Some(Unseen::Other) || self.missing == Some(Fill::Category) =>
            {
                fault(
                    "encoding",
                    "has no place for a further category, which `unseen` or `missing` asks for",
                )
            }
            _ => Ok(()),
        }
    }

    /// Refuses values that no column can have.
    fn check(&self, kind: Option<ColumnType>) -> Result<(), Fault> {
        self.check_numbers()?;
        self.check_categories()?;
        if kind == Some(ColumnType::Ordinal) {
            let order = self.order.as_deref().unwrap_or_default();
            if order.len() < 2 {
                return fault(
                    "order",
                    "an ordinal needs at least two codes in their order",
                );
            }
            let mut sorted: Vec<&String> = order.iter().collect();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return fault("order", format!("'{}' is there twice", pair[0]));
            }
            if let Some(Fill::Constant(Constant::Code(code))) = &self.missing
                && !order.contains(code)
            {
                return fault("missing", format!("'{code}' is not in `order`"));
            }
        }
        for format in self.formats.iter().flatten() {
            Format::parse(format).map_err(|reason| ("formats", reason))?;
        }
        if self.formats.as_ref().is_some_and(Vec::is_empty) {
            return fault("formats", "the list is empty");
        }
        if self.parts.as_ref().is_some_and(Vec::is_empty) {
            return fault("parts", "the list is empty");
        }
        if let Some(since) = &self.since
            && parse_date(since).is_none()
        {
            return fault("since", format!("'{since}' is no date such as 2020-01-31"));
        }
        if let Some([short, long]) = self.lengths
            && (short == 0 || short > long || long > MOST_LENGTH)
        {
            let reason = format!("[{short}, {long}] is not rising within 1 to {MOST_LENGTH}");
            return fault("lengths", reason);
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Fault> {
        if let Some([low, high]) = self.range
            && !(low < high && low.is_finite() && high.is_finite())
        {
            return fault("range", format!("[{low}, {high}] is not rising"));
        }
        if self.outside.is_some() && self.range.is_none() {
            return fault("outside", "needs `range` beside it");
        }
        if let Some([low, high]) = self.clip_quantiles
            && !(0.0 < low && low < high && high < 1.0)
        {
            let reason = format!("[{low}, {high}] is not rising between 0 and 1");
            return fault("clip_quantiles", reason);
        }
        match &self.buckets {
            Some(Buckets::Edges(edges)) => {
                let rising = edges.windows(2).all(|pair| pair[0] < pair[1]);
                if edges.is_empty() || edges.len() >= MOST_BUCKETS || !rising {
                    let reason =
                        format!("edges must be rising, and between 1 and {MOST_BUCKETS} of them");
                    return fault("buckets", reason);
                }
            }
            Some(Buckets::Quantiles(count)) if !(2..=MOST_BUCKETS).contains(count) => {
                return fault("buckets", format!("{count} is not in 2 to {MOST_BUCKETS}"));
            }
            _ => {}
        }
        if self.buckets.is_some() && self.scaling.is_some() {
            return fault("buckets", "stands instead of `scaling`; give one of them");
        }
        let transform = self.transform.unwrap_or_default();
        if let Some(Buckets::Edges(edges)) = &self.buckets
            && let Some(edge) = edges.iter().find(|edge| transform.of(**edge).is_none())
        {
            return fault("buckets", format!("{edge} has no logarithm of 1 + x"));
        }
        match &self.missing {
            Some(Fill::Constant(Constant::Number(value))) if !value.is_finite() => {
                fault("missing", format!("{value} is not a finite number"))
            }
            Some(Fill::Constant(Constant::Number(value))) if transform.of(*value).is_none() => {
                fault("missing", format!("{value} has no logarithm of 1 + x"))
            }
            _ => Ok(()),
        }
    }

    fn check_categories(&self) -> Result<(), Fault> {
        if self.at_least == Some(0) || self.most == Some(0) {
            let key = if self.most == Some(0) {
                "most"
            } else {
                "at_least"
            };
            return fault(key, "must be at least 1");
        }
        if let Some(width) = self.width
            && !(2..=MOST_WIDTH).contains(&width)
        {
            return fault("width", format!("{width} is not in 2 to {MOST_WIDTH}"));
        }
        if let Some(smoothing) = self.smoothing
            && !(smoothing > 0.0 && smoothing.is_finite())
        {
            return fault("smoothing", format!("{smoothing} is not above 0"));
        }
        Ok(())
    }

    /// These settings, and those of `all` where they say nothing.
    pub(crate) fn over(&self, all: &Self) -> Self {
        fn first<T: Clone>(own: &Option<T>, all: &Option<T>) -> Option<T> {
            own.as_ref().or(all.as_ref()).cloned()
        }
        // A scale and buckets stand instead of each other.
        let scaled = self.scaling.is_some();
        let cut = self.buckets.is_some();
        Self {
            kind: first(&self.kind, &all.kind),
            unit: first(&self.unit, &all.unit),
            missing: first(&self.missing, &all.missing),
            missing_values: first(&self.missing_values, &all.missing_values),
            indicator: first(&self.indicator, &all.indicator),
            range: first(&self.range, &all.range),
            outside: first(&self.outside, &all.outside),
            clip_quantiles: first(&self.clip_quantiles, &all.clip_quantiles),
            transform: first(&self.transform, &all.transform),
            buckets: first(&self.buckets, if scaled { &None } else { &all.buckets }),
            scaling: first(&self.scaling, if cut { &None } else { &all.scaling }),
            case: first(&self.case, &all.case),
            trim: first(&self.trim, &all.trim),
            at_least: first(&self.at_least, &all.at_least),
            most: first(&self.most, &all.most),
            unseen: first(&self.unseen, &all.unseen),
            encoding: first(&self.encoding, &all.encoding),
            width: first(&self.width, &all.width),
            smoothing: first(&self.smoothing, &all.smoothing),
            order: first(&self.order, &all.order),
            yes: first(&self.yes, &all.yes),
            no: first(&self.no, &all.no),
            formats: first(&self.formats, &all.formats),
            ambiguous: first(&self.ambiguous, &all.ambiguous),
            parts: first(&self.parts, &all.parts),
            since: first(&self.since, &all.since),
            grams: first(&self.grams, &all.grams),
            lengths: first(&self.lengths, &all.lengths),
        }
    }
}
