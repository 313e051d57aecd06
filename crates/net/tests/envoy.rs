//! Envoys over real data, driven by a server in the test: no network.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "envoy/documents.rs"]
mod documents;
#[path = "envoy/privacy.rs"]
mod privacy;
#[path = "envoy/recording.rs"]
mod recording;
#[path = "envoy/rounds.rs"]
mod rounds;
#[path = "envoy/support.rs"]
mod support;
