//! Host 2: a federation of processes between organisations.
//!
//! So far only its first room: [`pki`], the keys and certificates. The director and the envoys do not exist yet.

pub mod clock;
pub mod pki;
