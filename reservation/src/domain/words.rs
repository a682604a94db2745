//! The reservation side's words as types: numbers, user IDs, addresses, money, languages.
//!
//! Owns: their ranges and how they are written.
//! Refuses: what is out of range, with what was expected; never shows a secret.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// Why a text is not one of the words. Holds no part of the text: it may be private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordError {
    /// What would have been right.
    pub expected: &'static str,
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for WordError {}

/// Whether `text` stands on one line as it was written: no control character, no separator of lines, and nothing that
/// turns the direction of what stands beside it (the embeddings, overrides and isolates of Unicode's UAX #9; marks that
/// only say which way a letter reads may stand).
pub fn is_one_line(text: &str) -> bool {
    let breaks = |letter: char| {
        letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !text.chars().any(breaks)
}

/// Whether `text` has a letter or sign that one can see: neither space, nor control, nor one that fonts leave blank (the
/// default-ignorable code points of Unicode, the blank of Braille, fillers of Hangul).
pub fn is_visible(text: &str) -> bool {
    let is_blank = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || matches!(
                letter,
                '\u{ad}'
                    | '\u{34f}'
                    | '\u{61c}'
                    | '\u{115f}'..='\u{1160}'
                    | '\u{17b4}'..='\u{17b5}'
                    | '\u{180b}'..='\u{180f}'
                    | '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{2800}'
                    | '\u{3164}'
                    | '\u{fe00}'..='\u{fe0f}'
                    | '\u{feff}'
                    | '\u{ffa0}'
                    | '\u{fff0}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e0fff}'
            )
    };
    !text.chars().all(is_blank)
}

/// Largest number that JSON carries exactly: 2^53 - 1.
pub const NUMBER_MAX: i64 = (1 << 53) - 1;

macro_rules! number {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// 1 to 2^53 - 1, drawn at random, so that it tells nothing about others.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
        pub struct $name(pub i64);

        impl $name {
            /// Made of 64 random bits.
            pub const fn from_random(bits: u64) -> Self {
                Self((bits % NUMBER_MAX as u64) as i64 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(MemberNumber, "What names a member.");
number!(
    ReservationNumber,
    "What names a reservation and its program. Not the reservation ID, which is a secret."
);

/// What a member logs in with: 3 to 32 of `a-z 0-9 . _ -`, beginning with a letter or digit; kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let text = text.to_ascii_lowercase();
        let right = (3..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if right {
            Ok(Self(text))
        } else {
            Err(WordError { expected: "a user ID of 3 to 32 letters, digits, '.', '_' or '-'" })
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An e-mail address, at most 254 bytes, without control characters, spaces, quotes, `<>` or commas.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let error = WordError { expected: "an e-mail address like name@example.com" };
        let (local, domain) = text.rsplit_once('@').ok_or(error)?;
        let local_right = (1..=64).contains(&local.len())
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b));
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let domain_right = text.len() <= 254 && domain.contains('.') && domain.split('.').all(label);
        if local_right && (domain_right || domain == "localhost") {
            Ok(Self(text.to_owned()))
        } else {
            Err(error)
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Only the domain: logs need no more.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…@{}", self.0.rsplit('@').next().unwrap_or_default())
    }
}

/// An ISO 4217 code: three capital letters. One per server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ToSchema)]
#[schema(value_type = String, example = "JPY")]
pub struct Currency([u8; 3]);

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Currency {
    /// The code.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// Digits after the point in its usual form: JPY 0, most 2, BHD 3 (ISO 4217 minor units).
    pub const fn minor_digits(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF"
            | b"UGX" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.as_bytes() {
            &[a, b, c] if text.bytes().all(|b| b.is_ascii_uppercase()) => Ok(Self([a, b, c])),
            _ => Err(WordError { expected: "an ISO 4217 code like JPY" }),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Money in minor units of the server's currency; never negative, at most 10^15.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest.
    pub const MAX: i64 = 1_000_000_000_000_000;

    /// `minor` units, 0 to [`Amount::MAX`].
    pub fn new(minor: i64) -> Result<Self, WordError> {
        if (0..=Self::MAX).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(WordError { expected: "an amount of 0 to 10^15 minor units" })
        }
    }

    /// In minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// The sum; `None` above the largest.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0.checked_add(other.0)?).ok()
    }

    /// `self` taken `times`; `None` above the largest.
    pub fn checked_mul(self, times: u32) -> Option<Self> {
        Self::new(self.0.checked_mul(i64::from(times))?).ok()
    }
}

/// In which mails and pages speak to a member (BCP 47).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Language {
    /// `en`
    #[default]
    #[serde(rename = "en")]
    English,
    /// `ja`
    #[serde(rename = "ja")]
    Japanese,
}

impl Language {
    /// The tag of BCP 47.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// The language of that tag.
    pub fn from_tag(tag: &str) -> Option<Self> {
        match tag {
            "en" => Some(Self::English),
            "ja" => Some(Self::Japanese),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_strict_and_bad() {
        for good in ["abc", "Taro.Yamada", "7seas", "a-b_c"] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good.to_lowercase());
        }
        for bad in ["", "ab", "-abc", ".abc", "a b c", "名前です", &"x".repeat(33)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_line_is_what_it_looks_like() {
        for good in
            ["", "Piano — evening", "ピアノ", "شب موسیقی", "می\u{200c}خواهم", "C\u{200e}++", "👩\u{200d}🎤"]
        {
            assert!(is_one_line(good), "{good:?}");
        }
        for bad in [
            "a\nb",
            "a\0",
            "\u{85}",
            "a\u{2028}b",
            "a\u{2029}b",
            "\u{202e}gpj.exe",
            "a\u{202a}",
            "\u{2066}a\u{2069}",
        ] {
            assert!(!is_one_line(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_name_can_be_seen() {
        for good in ["a", " 山 ", "\u{200b}x\u{200b}", "👩\u{200d}🎤", "."] {
            assert!(is_visible(good), "{good:?}");
        }
        for bad in
            ["", " ", "\u{200b}", "\u{3164}", "\u{2800}\u{2800}", "\u{ad}\u{feff}", "\u{e0041}", "\u{3000}"]
        {
            assert!(!is_visible(bad), "{bad:?}");
        }
    }

    #[test]
    fn addresses_cannot_carry_headers() {
        for good in ["a@example.com", "first.last+tag@sub.example.co.jp", "root@localhost"] {
            assert_eq!(good.parse::<Email>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b",
            "a@example.com\r\nBcc: x@y.z",
            "a b@example.com",
            "\"a\"@example.com",
            "<a@example.com>",
            "a@example..com",
            "a@-example.com",
            ".a@example.com",
            "a,b@example.com",
        ] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_hides_the_person() {
        assert_eq!(format!("{:?}", "taro@example.com".parse::<Email>().unwrap()), "…@example.com");
    }

    #[test]
    fn random_numbers_stay_in_range() {
        for bits in [0, 1, u64::MAX, NUMBER_MAX as u64, NUMBER_MAX as u64 - 1] {
            let number = ReservationNumber::from_random(bits).0;
            assert!((1..=NUMBER_MAX).contains(&number), "{bits}");
        }
    }

    #[test]
    fn money_never_wraps() {
        let most = Amount::new(Amount::MAX).unwrap();
        assert_eq!(most.checked_add(Amount::new(1).unwrap()), None);
        assert_eq!(Amount::new(10_000).unwrap().checked_mul(3).map(Amount::minor), Some(30_000));
        assert!(Amount::new(-1).is_err());
    }
}
