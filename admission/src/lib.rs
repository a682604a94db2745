//! slotcast-admission: who may watch and who may send.
//!
//! Seats, passwords, windows, bandwidth classes, lines and the budgets of wrong guesses, as plain values and plain
//! functions of (snapshot of the programs, what was asked, now). Nothing here does I/O, reads a clock or waits.
//!
//! Holds: the viewers of a program never exceed its seats; a secret leaves this crate only into the digest check;
//! whoever was refused is told what to do next.

pub mod class_meter;
pub mod gate;
pub mod guesses;
pub mod limits;
pub mod lines;
pub mod link;
pub mod link_key;
pub mod program;
pub mod proof;
pub mod reason;
pub mod seats;
pub mod secret;
pub mod timetable;
pub mod viewer;

pub use class_meter::{ClassMeter, MeterVerdict};
pub use gate::{Cut, Gate, Seat};
pub use guesses::{GuessLimits, Guesses, Standing};
pub use limits::Limits;
pub use lines::{Line, LineRefusal, Lines};
pub use link::{LinkDecision, LinkGrant, LinkRequest};
pub use link_key::LinkKey;
pub use program::{Channel, Program, ProgramSpec, Programs};
pub use proof::Proof;
pub use reason::{Challenge, Decision, Fault, Reason, Refusal, Then};
pub use seats::SeatRefusal;
pub use secret::Secret;
pub use timetable::{Changes, Timetable, TimetableError};
pub use viewer::{SeatDecision, Seated, ViewerDecision, ViewerRequest};
