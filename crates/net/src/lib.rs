//! Host 2: a federation of processes between organisations.
//!
//! A director hosts the server of `cloister-protocol`, an envoy at each site one client; [`transport`] carries their
//! messages over mutual TLS, [`pki`] says who is who.

pub mod audit;
pub mod clock;
pub mod director;
pub mod envoy;
pub mod experiment;
pub mod operator;
pub mod pki;
pub mod plan;
pub mod store;
pub mod transport;
