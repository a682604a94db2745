//! The rules of admission, from outside: publishes, viewers, links.

mod common;
mod link;
mod timetable;
mod viewer;
