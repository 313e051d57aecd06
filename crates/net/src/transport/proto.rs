//! What `build.rs` made of the contract.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "generated"
)]

tonic::include_proto!("cloister.v1");
