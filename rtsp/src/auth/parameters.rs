//! The `name="value", …` list of an Authorization or WWW-Authenticate header.

use crate::{
    headers::{split_unquoted, unquoted},
    limits,
};

/// Names in lower case, values without quotes.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads at most [`limits::AUTH_PARAMETERS_MAX`]; parts without `=` are left out.
    pub(super) fn read(text: &str) -> Self {
        let parts = split_unquoted(text, ',').take(limits::AUTH_PARAMETERS_MAX);
        let pairs = parts.filter_map(|part| part.split_once('='));
        Self(pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), unquoted(value))).collect())
    }

    /// The first of that name, which is in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}
