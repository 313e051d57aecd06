//! Random tables `[anomalies]`.

use cloister_config::AnomaliesConfig;
use proptest::prelude::*;

pub(crate) fn anomalies() -> impl Strategy<Value = AnomaliesConfig> {
    let counts = (1u32..=100, 4u32..1000, 1u32..1000, 1u32..1000);
    let figures = (1e-3f64..1e9, 1e-6f64..=1.0, 1e-6f64..1e6);
    (any::<bool>(), counts, figures, any::<prop::sample::Index>()).prop_map(
        |(enabled, (window, least_replies, refusals, silences), figures, index)| AnomaliesConfig {
            enabled,
            deviation: figures.0,
            persistence: 1 + index.index(window as usize) as u32,
            window,
            least_replies,
            accuracy_drop: figures.1,
            examples_change: figures.2,
            refusals,
            silences,
        },
    )
}
