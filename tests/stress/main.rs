//! Tests that keep the machine busy for long: crowds that book, servers that are killed, the load suite.

mod history;
mod kill;
mod load_faults;
mod load_storm;
mod load_suite;
