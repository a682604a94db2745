//! What is sold, by which rules: values and pure functions. Nothing here waits, reads a clock or draws a number.

pub mod effects;
pub mod event;
pub mod member;
pub mod proof;
pub mod refusal;
pub mod reservation;
pub mod rules;
pub mod words;
