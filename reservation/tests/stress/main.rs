//! What keeps the machine busy for long: schemathesis asks the API all that its document allows, and the books are put to the
//! test by many games.

mod books;
mod schemathesis;
