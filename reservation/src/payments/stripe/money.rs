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
            format!("Stripe takes {currency} only in steps of ten minor units, and {minor} is none: set a multiple of 10")
        }
        _ => format!(
            "Stripe takes {currency} only in whole units, and {minor} minor units are none: set a multiple of 100"
        ),
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

/// Whether Stripe can charge `amount`. Errors: a text for the operator that says what to set instead.
pub fn check(amount: Amount, currency: Currency) -> Result<(), String> {
    let units = to_stripe(amount, currency)?;
    let least = LEAST.iter().find(|(name, _)| *name == currency.as_str()).map_or(1, |(_, least)| *least);
    if amount == Amount::ZERO || units >= least {
        return Ok(());
    }
    let minor = from_stripe(least, currency.as_str())?.minor();
    Err(format!(
        "Stripe charges at least {minor} minor units of {currency} at once: set 0, or {minor} or more"
    ))
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

/// What Stripe's "Supported currencies" page lists, and the five that it takes with three decimals.
const TAKEN: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD \
    CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG \
    HUF IDR ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP \
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR \
    SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF \
    XPF YER ZAR ZMW";

/// The least that Stripe charges at once, in its units, where its page names one. Of other currencies it takes what is
/// worth as much in the currency of the operator's account.
const LEAST: [(&str, i64); 23] = [
    ("AED", 200),
    ("AUD", 50),
    ("BRL", 50),
    ("CAD", 50),
    ("CHF", 50),
    ("CZK", 1500),
    ("DKK", 250),
    ("EUR", 50),
    ("GBP", 30),
    ("HKD", 400),
    ("HUF", 17_500),
    ("INR", 50),
    ("JPY", 50),
    ("MXN", 1000),
    ("MYR", 200),
    ("NOK", 300),
    ("NZD", 50),
    ("PLN", 200),
    ("RON", 200),
    ("SEK", 300),
    ("SGD", 50),
    ("THB", 1000),
    ("USD", 50),
];

impl Units {
    /// Stripe's "Supported currencies" page, its zero-decimal list, three-decimal list and special cases.
    fn of(currency: Currency) -> Result<Self, String> {
        if TAKEN.split(' ').all(|taken| taken != currency.as_str()) {
            return Err(format!(
                "Stripe does not take {currency}: set another currency in [server], or way = \"invoice\" in [payments]"
            ));
        }
        Ok(match (currency.as_str(), currency.minor_digits()) {
            ("ISK" | "UGX", _) => Self::Hundredfold,
            ("MGA", _) => Self::Hundredth,
            (_, 3) => Self::InTens,
            _ => Self::Same,
        })
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
    fn prices_below_the_least_are_told_what_to_set() {
        let check =
            |currency: &str, minor| super::check(Amount::new(minor).unwrap(), currency.parse().unwrap());
        for (currency, minor) in
            [("JPY", 50), ("USD", 50), ("HUF", 17_500), ("JPY", 0), ("KRW", 1), ("KWD", 10), ("ISK", 1)]
        {
            assert_eq!(check(currency, minor), Ok(()), "{currency} {minor}");
        }
        for (currency, minor, what) in [
            ("JPY", 49, "set 0, or 50 or more"),
            ("GBP", 29, "set 0, or 30 or more"),
            ("KWD", 1005, "set a multiple of 10"),
            ("MGA", 550, "set a multiple of 100"),
            ("LYD", 1000, "set another currency"),
            ("QQQ", 1000, "set another currency"),
            ("IQD", 0, "set another currency"),
        ] {
            let error = check(currency, minor).unwrap_err();
            assert!(error.contains(what), "{currency} {minor}: {error}");
        }
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
