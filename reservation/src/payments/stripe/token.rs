//! What stands for a card: the token that the browser brings, and the one that is kept.
//!
//! Owns: [`NewToken`], [`KeptToken`], Stripe's names of things. Refuses: card numbers, before anything is sent.

/// Longest name that Stripe gives.
const NAME_BYTES_MAX: usize = 255;
/// Stands in a client secret, after the name: a secret is never part of an address.
const SECRET_MARK: &str = "_secret_";

/// Whether `text` is a name that Stripe may have given: `prefix`, then letters, digits and `_`. Such a text can stand
/// in a path.
pub(super) fn is_name(text: &str, prefix: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// Whether somewhere in `text` 12 to 19 digits stand, perhaps with spaces and dashes between, that pass the check of
/// card numbers (ISO/IEC 7812-1 annex B).
pub(super) fn holds_card_number(text: &str) -> bool {
    let mut digits = Vec::new();
    for letter in text.chars().chain(['.']) {
        if let Some(digit) = letter.to_digit(10) {
            digits.push(digit);
        } else if !matches!(letter, ' ' | '-') {
            if (12..=19).contains(&digits.len()) && passes_luhn(&digits) {
                return true;
            }
            digits.clear();
        }
    }
    false
}

fn passes_luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, &d)| if at % 2 == 1 { doubled(d) } else { d }).sum();
    sum.is_multiple_of(10)
}

/// What the browser brings for a card.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NewToken<'a> {
    /// A PaymentMethod's name, `pm_…`: the card form was filled in.
    Method(&'a str),
    /// A SetupIntent's name, `seti_…`: the card company's question was answered.
    Setup(&'a str),
}

impl<'a> NewToken<'a> {
    /// Errors: neither of them; a text for the member, without the token.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if holds_card_number(text) {
            Err("That is a card number. Card numbers are never taken here: use the card form.")
        } else if is_name(text, "pm_") {
            Ok(Self::Method(text))
        } else if is_name(text, "seti_") && !text.contains(SECRET_MARK) {
            Ok(Self::Setup(text))
        } else {
            Err("The card form did not answer as it should: fill it in again.")
        }
    }
}

/// What is kept of a card: Stripe's customer and PaymentMethod, `cus_…:pm_…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptToken<'a> {
    pub(super) customer: &'a str,
    pub(super) method: &'a str,
}

impl<'a> KeptToken<'a> {
    /// `None`: kept by another provider.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (customer, method) = text.split_once(':')?;
        (is_name(customer, "cus_") && is_name(method, "pm_")).then_some(Self { customer, method })
    }

    pub(super) fn write(self) -> String {
        format!("{}:{}", self.customer, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_known_however_they_are_written() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "pm_4242424242424242",
            "my card: 378282246310005!",
            "501800000009",
            "6304990000000000044",
        ] {
            assert!(holds_card_number(number), "{number}");
        }
        for other in ["", "pm_1MqLiJLkdIwHu7ixUEgbFdYF", "4242424242424241", "42424242", "Taro Yamada"] {
            assert!(!holds_card_number(other), "{other}");
        }
    }

    #[test]
    fn only_card_entries_and_answered_questions_are_tokens() {
        for good in ["pm_card_visa", "pm_1MqLiJLkdIwHu7ixUEgbFdYF"] {
            assert!(NewToken::parse(good).is_ok_and(|token| token == NewToken::Method(good)), "{good}");
        }
        let good = "seti_1MqLiJLkdIwHu7ixUEgbFdYF";
        assert!(NewToken::parse(good).is_ok_and(|token| token == NewToken::Setup(good)));
        let long = format!("pm_{}", "x".repeat(NAME_BYTES_MAX));
        for bad in [
            "",
            "pm_",
            "tok_visa",
            "pm_a/../b",
            "pm_a?b",
            "pm_a b",
            "pm_名",
            "card_1",
            &long,
            "seti_",
            "seti_1/x",
            "seti_1_secret_2",
        ] {
            assert!(NewToken::parse(bad).is_err(), "{bad}");
        }
        assert!(NewToken::parse("4242 4242 4242 4242").is_err_and(|why| why.contains("card number")));
    }

    #[test]
    fn kept_tokens_are_read_as_written() {
        let kept = KeptToken { customer: "cus_1", method: "pm_2" };
        assert!(KeptToken::parse(&kept.write()).is_some_and(|read| read == kept));
        for bad in ["", "cus_1", "pm_2:cus_1", "cus_1:", ":pm_2", "cus_1:pm_2:x", "cus_1:pm_/"] {
            assert!(KeptToken::parse(bad).is_none(), "{bad}");
        }
    }
}
