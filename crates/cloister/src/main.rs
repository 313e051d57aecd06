//! The Cloister binary.
fn main() {}
