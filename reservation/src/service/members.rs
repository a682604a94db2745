//! Registering, and the member's own data.

use std::{fmt, net::IpAddr};

use super::{Actor, Answer, Service, error::unready};
use crate::domain::{
    member::{Contact, Member},
    words::Language,
};

/// What a new member fills in. Texts come as they were typed; what is missing or wrong is named, all at once.
#[derive(Clone, Default)]
pub struct Registration {
    /// The wished one.
    pub user_id: String,
    /// As the person writes it.
    pub name: String,
    /// Its reading.
    pub reading: String,
    /// Where mails go.
    pub email: String,
    /// Whether others may see the address.
    pub email_public: bool,
    /// 10 to 128 characters.
    pub password: String,
    /// In which mails are written.
    pub language: Language,
    /// The member's own page.
    pub web: Option<String>,
    /// Present where a premium member is registered.
    pub premium: Option<Premium>,
}

/// Neither password nor address.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration(premium: {})", self.premium.is_some())
    }
}

/// What a premium member fills in besides.
#[derive(Clone, Default)]
pub struct Premium {
    /// Postal address.
    pub address: String,
    /// Telephone.
    pub phone: String,
    /// Mobile telephone.
    pub mobile: Option<String>,
    /// Facsimile.
    pub fax: Option<String>,
    /// What the payment provider's form gave; ignored where the operator bills. Never a card number.
    pub card_token: String,
}

impl fmt::Debug for Premium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Premium(…)")
    }
}

/// What a member changes of the own data; `None`: stays.
#[derive(Clone, Debug, Default)]
pub struct MemberEdit {
    /// As the person writes it.
    pub name: Option<String>,
    /// Its reading.
    pub reading: Option<String>,
    /// Where mails go.
    pub email: Option<String>,
    /// Whether others may see the address.
    pub email_public: Option<bool>,
    /// The member's own page; `Some(None)`: none any more.
    pub web: Option<Option<String>>,
    /// In which mails are written.
    pub language: Option<Language>,
    /// Of a premium member.
    pub contact: Option<Contact>,
    /// The age recipient of the member's terminal; `Some(None)`: none any more.
    pub terminal_key: Option<Option<String>>,
}

impl Service {
    /// Registers a member. A premium member's card is checked before anything is kept.
    ///
    /// Refused: `Invalid` with each item that is missing or wrong, `UserIdTaken`, `EmailTaken`, `PaymentDeclined`,
    /// `PaymentUnavailable`, `TooMany` (from one address).
    pub async fn register(&self, registration: Registration, client: IpAddr) -> Answer<Member> {
        let _ = (registration, client);
        unready()
    }

    /// Makes a general member a premium one, or replaces a premium member's contact and card.
    pub async fn upgrade(&self, actor: &Actor, premium: Premium) -> Answer<Member> {
        let _ = (actor, premium);
        unready()
    }

    /// The actor's own data.
    pub async fn me(&self, actor: &Actor) -> Answer<Member> {
        let _ = actor;
        unready()
    }

    /// Changes the actor's own data. `version`: what was read (`If-Match`), else `Stale`.
    pub async fn edit_me(&self, actor: &Actor, version: Option<i64>, edit: MemberEdit) -> Answer<Member> {
        let _ = (actor, version, edit);
        unready()
    }

    /// Replaces the password; ends every other session and all tokens.
    pub async fn change_password(&self, actor: &Actor, old: &str, new: &str, client: IpAddr) -> Answer<()> {
        let _ = (actor, old, new, client);
        unready()
    }
}
