//! The experiment config: parse, overlay, check, schema.
