//! `application/x-www-form-urlencoded`, as Stripe takes it: `metadata[key]=value&types[]=card`.
//!
//! Owns: [`Form`]. Invariant: whatever a value is made of, it stays one value.

use std::fmt::Write as _;

/// Pairs in the order in which they were added.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Form(String);

impl Form {
    /// Adds one pair.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        encode(&mut self.0, name);
        self.0.push('=');
        encode(&mut self.0, value);
        self
    }

    /// As it stands in a body, or after the `?` of an address.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All but RFC 3986's unreserved characters as `%XX`.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &str) {
        let form = pairs.iter().fold(Form::default(), |form, (name, value)| form.with(name, value));
        assert_eq!(form.as_str(), expected);
    }

    #[test]
    fn values_stay_one_value() {
        check(&[], "");
        check(&[("amount", "500"), ("currency", "jpy")], "amount=500&currency=jpy");
        check(&[("payment_method_types[]", "card")], "payment_method_types%5B%5D=card");
        check(&[("metadata[slotcast_key]", "a-1.b")], "metadata%5Bslotcast_key%5D=a-1.b");
        check(&[("name", "a&amount=1")], "name=a%26amount%3D1");
        check(&[("name", "太郎 +%")], "name=%E5%A4%AA%E9%83%8E%20%2B%25");
        check(&[("name", ""), ("x", "\r\n\0")], "name=&x=%0D%0A%00");
    }
}
