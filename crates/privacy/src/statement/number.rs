//! Serde for figures that may not be finite: JSON has no such numbers, and `serde_json` would write a `null` that cannot be
//! read back. They are the texts `NaN`, `inf` and `-inf`, as in the other files of a run.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
enum Word {
    #[serde(rename = "NaN")]
    NotANumber,
    #[serde(rename = "inf")]
    Infinite,
    #[serde(rename = "-inf")]
    MinusInfinite,
}

impl From<f64> for Written {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Number(value)
        } else if value.is_nan() {
            Self::Word(Word::NotANumber)
        } else if value > 0.0 {
            Self::Word(Word::Infinite)
        } else {
            Self::Word(Word::MinusInfinite)
        }
    }
}

impl From<Written> for f64 {
    fn from(written: Written) -> Self {
        match written {
            Written::Number(value) => value,
            Written::Word(Word::NotANumber) => Self::NAN,
            Written::Word(Word::Infinite) => Self::INFINITY,
            Written::Word(Word::MinusInfinite) => Self::NEG_INFINITY,
        }
    }
}

pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Written::from(*value).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Written::deserialize(deserializer).map(f64::from)
}

/// The same for a figure that may be absent.
pub(super) mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    pub(in crate::statement) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Written::from).serialize(serializer)
    }

    pub(in crate::statement) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(f64::from))
    }
}
