//! The reservation side inside this process: wired to the streaming side, the configuration and the command line.

mod media;
mod open;

pub(crate) use media::{Media, program_id};
pub(crate) use open::{DATABASE_FILE, KEY_FILE, Reservations, lock_data, open_aside, restored};
