//! Integration tests: the built binary and the real edges, against a real Postgres, a real RabbitMQ and
//! SQLite files. `bash tests/run.sh` starts what they need.
#![allow(clippy::unwrap_used)]

/// The parts of the fault bench that have tests of their own here.
#[path = "../faults"]
mod bench {
    // The bench itself uses the rest of them.
    #![allow(dead_code)]

    pub mod checker;
    pub mod generator;
    pub mod levels;
    pub mod proved;
    pub mod random;
    pub mod records;
    pub mod sink;
}
mod bench_checker;
mod cli;
mod console;
mod contract;
mod dev_ghl;
mod docs;
mod faults;
mod follow_ups;
mod fuzz;
mod hang_up;
mod harness;
mod http;
mod layers;
mod properties;
mod proxy;
mod reference;
mod relay;
mod store_suite;
mod supply_chain;
mod upgrade;
