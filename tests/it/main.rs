//! Integration tests: the built binary and the real edges, against a real Postgres, a real RabbitMQ and
//! SQLite files. `bash tests/run.sh` starts what they need.
#![allow(clippy::unwrap_used)]

mod cli;
mod contract;
mod docs;
mod faults;
mod hang_up;
mod harness;
mod http;
mod layers;
mod proxy;
mod relay;
mod store_suite;
