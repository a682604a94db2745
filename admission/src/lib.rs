//! slotcast-admission: who may watch and who may send.
//!
//! Seats, passwords, windows, bandwidth classes, lines and the budgets of wrong guesses, as plain values and plain
//! functions of (snapshot of the programs, what was asked, now). Nothing here does I/O, reads a clock or waits.
//!
//! Invariant: the viewers of a program never exceed its seats; no protocol and no status code is known here;
//! whoever was refused is told what to do next.

pub mod class_meter;
pub mod gate;
pub mod guesses;
pub mod limits;
pub mod lines;
pub mod link;
pub mod program;
pub mod reason;
pub mod seats;
pub mod timetable;
pub mod viewer;

pub use class_meter::{ClassMeter, MeterVerdict};
pub use gate::{Cut, Gate, Seat};
pub use guesses::{GuessLimits, Guesses};
pub use lines::{Line, Lines};
pub use link::{LinkGrant, LinkRequest};
pub use program::{Channel, Program, ProgramSpec, Programs};
pub use reason::{Decision, Fault, Outcome, Reason, Refusal, Then};
pub use slotcast_auth::{LinkKey, Secret};
pub use timetable::{Changes, Timetable, TimetableError};
pub use viewer::ViewerRequest;
