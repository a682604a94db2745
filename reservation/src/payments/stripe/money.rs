//! Amounts as Stripe counts them, which is not always as ISO 4217 does.
//!
//! Owns: the conversion both ways. Refuses: what would have to be rounded: the ledger and the card must say the same.

use crate::domain::words::{Amount, Currency};

/// `amount` in Stripe's units. Errors: it would have to be rounded, or Stripe does not take the currency; a text for
/// the operator.
pub(super) fn to_stripe(amount: Amount, currency: Currency) -> Result<i64, String> {
    let units = Units::of(currency)?;
    let minor = amount.minor();
    let converted = match units {
        Units::Same => Some(minor),
        Units::Hundredfold => minor.checked_mul(100),
        Units::Hundredth => (minor % 100 == 0).then_some(minor / 100),
        Units::InTens => (minor % 10 == 0).then_some(minor),
    };
    converted.ok_or_else(|| match units {
        Units::InTens => {
            format!("Stripe takes {currency} only in steps of ten minor units, and {minor} is none")
        }
        _ => format!("Stripe takes {currency} only in whole units, and {minor} minor units are none"),
    })
}

/// Stripe's `units` as an amount. Errors: negative, too large, or a fraction; a text for the operator.
pub(super) fn from_stripe(units: i64, currency: &str) -> Result<Amount, String> {
    let unusable = || format!("Stripe tells an amount of {units} that cannot be");
    let currency: Currency =
        currency.to_ascii_uppercase().parse().map_err(|_| "Stripe tells an unknown currency".to_owned())?;
    let minor = match Units::of(currency)? {
        Units::Same | Units::InTens => Some(units),
        Units::Hundredfold => (units % 100 == 0).then_some(units / 100),
        Units::Hundredth => units.checked_mul(100),
    };
    Amount::new(minor.ok_or_else(unusable)?).map_err(|_| unusable())
}

/// How Stripe's units of a currency lie to ISO 4217's.
#[derive(Clone, Copy)]
enum Units {
    /// As ISO: yen are yen, cents are cents.
    Same,
    /// No decimals in ISO, but Stripe still wants two, always `00`.
    Hundredfold,
    /// Two decimals in ISO, none with Stripe.
    Hundredth,
    /// Three decimals, the last always 0.
    InTens,
}

impl Units {
    /// Stripe's "Supported currencies" page, its zero-decimal list, three-decimal list and special cases.
    fn of(currency: Currency) -> Result<Self, String> {
        match (currency.as_str(), currency.minor_digits()) {
            ("ISK" | "UGX", _) => Ok(Self::Hundredfold),
            ("MGA", _) => Ok(Self::Hundredth),
            ("BHD" | "JOD" | "KWD" | "OMR" | "TND", _) => Ok(Self::InTens),
            (_, 0 | 2) => Ok(Self::Same),
            _ => Err(format!("Stripe does not take {currency}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(currency: &str, minor: i64, stripe: Option<i64>) {
        let amount = Amount::new(minor).unwrap();
        assert_eq!(to_stripe(amount, currency.parse().unwrap()).ok(), stripe, "{currency} {minor}");
        if let Some(units) = stripe {
            assert_eq!(from_stripe(units, &currency.to_lowercase()), Ok(amount), "{currency} {minor} back");
        }
    }

    #[test]
    fn amounts_are_what_the_card_is_charged() {
        check("USD", 1050, Some(1050));
        check("JPY", 500, Some(500));
        check("KRW", 500, Some(500));
        check("HUF", 1045, Some(1045));
        check("TWD", 80_050, Some(80_050));
        check("ISK", 5, Some(500));
        check("UGX", 5, Some(500));
        check("MGA", 500, Some(5));
        check("KWD", 5120, Some(5120));
        check("JPY", Amount::MAX, Some(Amount::MAX));
    }

    #[test]
    fn nothing_is_rounded() {
        check("KWD", 5124, None);
        check("MGA", 550, None);
        check("IQD", 1000, None);
        check("LYD", 1000, None);
        assert!(from_stripe(550, "isk").is_err());
        assert!(from_stripe(-1, "usd").is_err());
        assert!(from_stripe(i64::MAX, "mga").is_err());
        assert!(from_stripe(i64::MIN, "jpy").is_err());
        assert!(from_stripe(1, "").is_err());
    }
}
