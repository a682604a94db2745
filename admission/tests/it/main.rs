//! The rules of admission, from outside: publishes, viewers, links, and a crowd on one gate.

mod common;
mod digest;
mod link;
mod seats;
mod timetable;
mod viewer;
