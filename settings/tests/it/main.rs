//! Settings files: their format, and what seals them.

mod file;
mod seal;
