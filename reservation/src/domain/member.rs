//! Members: who may watch, who may reserve, who runs the server.
//!
//! Owns: [`Member`] and what belongs to it, [`Scope`].
//! Not here: checking what somebody typed (`words`), passwords (`service::password`).

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use slotcast_core::time::WallTime;
use strum::{Display, EnumIter, EnumString};
use utoipa::ToSchema;

use super::words::{Email, Language, MemberNumber, UserId};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, Serialize, Deserialize, ToSchema)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// May watch what is open to members.
    General,
    /// May also reserve; has a payment method on file.
    Premium,
}

/// Where a premium member can be reached. All but `fax` and `mobile` must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Postal address, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 300)]
    pub address: String,
    /// Telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub phone: String,
    /// Mobile telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub mobile: Option<String>,
    /// Facsimile.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub fax: Option<String>,
}

/// What is kept of a payment card. Never its number.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Card {
    /// What the payment provider knows it by.
    #[serde(skip)]
    pub token: String,
    /// E.g. `visa`; `invoice` where the operator bills.
    pub brand: String,
    /// The last four digits; empty for an invoice.
    pub last_four: String,
    /// Year and month of its expiry; `null` for an invoice.
    #[serde(serialize_with = "month")]
    #[schema(value_type = Option<String>, pattern = "@month", example = "2029-11")]
    pub expires: Option<(i16, u8)>,
}

fn month<S: Serializer>(month: &Option<(i16, u8)>, serializer: S) -> Result<S::Ok, S::Error> {
    month.map(|(year, month)| format!("{year:04}-{month:02}")).serialize(serializer)
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({} …{})", self.brand, self.last_four)
    }
}

/// What a card's company wants to ask a member before it agrees to the card (3-D Secure).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CardQuestion {
    /// What the payment provider knows it by.
    pub reference: String,
    /// Opens it in the provider's own form. The member's alone: never logged, never kept.
    pub client_secret: String,
}

impl CardQuestion {
    /// Whether it is about a payment; else about a card that is registered.
    pub fn is_about_payment(&self) -> bool {
        self.reference.starts_with("pi_")
    }
}

impl fmt::Debug for CardQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardQuestion({})", self.reference)
    }
}

/// What a token may be used for. A browser's session covers all.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumIter, EnumString, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See what is the member's own.
    Read,
    /// Book, change, cancel, reconfirm.
    Book,
    /// Fetch settings, see the status, extend, end.
    Broadcast,
    /// Of an operator: sell channels, book special programs, recommend programs.
    Sell,
    /// Of an operator: see and block members, cancel their programs, send viewers and links away.
    Moderate,
    /// Of an operator: read the ledger and payments, give money back.
    Ledger,
    /// The account itself: its data, password and tokens. No token covers it.
    Account,
}

impl Scope {
    /// Whether only operators may have it.
    pub const fn is_of_operators(self) -> bool {
        matches!(self, Self::Sell | Self::Moderate | Self::Ledger)
    }
}

/// A registered person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Member {
    /// Names it.
    pub number: MemberNumber,
    /// Logs in with it; unique.
    pub user_id: UserId,
    /// As the person writes it, 1 to 100 characters.
    pub name: String,
    /// Its reading, e.g. romanised; 1 to 100 characters.
    pub reading: String,
    /// Unique.
    pub email: Email,
    /// Whether mail to `email` was shown to arrive.
    pub is_email_verified: bool,
    /// Takes the place of `email` once mail to it was shown to arrive.
    pub new_email: Option<Email>,
    /// Whether others may see it.
    pub email_public: bool,
    /// The member's own page on the web, `http://` or `https://`, at most 200 bytes.
    pub web: Option<String>,
    /// In which mails are written.
    pub language: Language,
    /// What it may do.
    pub kind: MemberKind,
    /// Whether it runs the server.
    pub is_operator: bool,
    /// Whether the operator has shut it out.
    pub is_blocked: bool,
    /// A PHC string of argon2id.
    #[serde(skip)]
    pub password_hash: PasswordHash,
    /// Premium members have one.
    pub contact: Option<Contact>,
    /// Premium members have one.
    pub card: Option<Card>,
    /// The age recipient (`age1…`) of the terminal for which settings files are encrypted.
    pub terminal_key: Option<String>,
    /// When.
    pub registered_at: WallTime,
    /// Counts edits, from 1: what ETag and `If-Match` are about.
    pub version: i64,
}

/// A PHC string; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
