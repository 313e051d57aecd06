//! The federated round as state machines without IO.
