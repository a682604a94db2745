//! The rules of admission, from outside: publishes, viewers, links.

mod common;
mod digest;
mod link;
mod timetable;
mod viewer;
