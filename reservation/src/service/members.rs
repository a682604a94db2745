//! Registering, and the member's own data.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{
    Actor, Answer, Scope, Service, budget::one_address, counts::count, password, proofs::serial, random,
    retry::retry,
};
use crate::{
    domain::{
        effects::MailKind,
        member::{Contact, Member, MemberKind, PasswordHash},
        proof::ProofKind,
        refusal::{FieldProblem, Refusal, Thing},
        rules,
        words::{Email, Language, MemberNumber, UserId, WordError, is_one_line, is_visible},
    },
    limits::{PASSWORD_CHARS_MAX, PAYMENT_WAIT_MAX},
    payments::{CardCheck, NewCard, PaymentError},
};

/// What a new member fills in. Texts come as they were typed; what is missing or wrong is named, all at once.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "user_id": "taro",
    "name": "山田 太郎",
    "reading": "Yamada Taro",
    "email": "taro@example.com",
    "email_public": false,
    "password": "a long pass phrase",
    "language": "ja",
    "premium": { "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": "pm_card_visa" },
}))]
pub struct Registration {
    /// Letters, digits, '.', '_' or '-', beginning with a letter or digit; case does not count.
    #[schema(pattern = "@user-id", min_length = 3, max_length = 32)]
    pub user_id: String,
    /// As the person writes it, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    pub name: String,
    /// Its reading, e.g. romanised, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    pub reading: String,
    /// An e-mail address like name@example.com.
    #[schema(pattern = "@email", min_length = 3, max_length = 254)]
    pub email: String,
    /// Whether others may see the address.
    #[serde(default)]
    pub email_public: bool,
    /// 10 to 128 characters.
    #[schema(pattern = "@password", min_length = 10, max_length = 128)]
    pub password: String,
    /// In which mails are written.
    #[serde(default)]
    pub language: Language,
    /// The member's own page, beginning with `http://` or `https://`.
    #[schema(pattern = "@web", max_length = 200)]
    pub web: Option<String>,
    /// Present where a premium member is registered: then the card is checked before anything is kept.
    pub premium: Option<Premium>,
}

/// Neither password nor address.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration(premium: {})", self.premium.is_some())
    }
}

/// What a premium member fills in besides.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": "pm_card_visa",
}))]
pub struct Premium {
    /// Postal address, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 300)]
    pub address: String,
    /// Telephone: digits, with '+', '-', '(', ')', '.', or spaces between.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub phone: String,
    /// Mobile telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub mobile: Option<String>,
    /// Facsimile.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    pub fax: Option<String>,
    /// What the payment company's own form gave for the card (for Stripe `pm_…`), or `setup_intent` of a question that
    /// was answered (`seti_…`): letters, digits, '_' or '-'. Never a card number. Where the operator bills, it may be
    /// left out.
    #[serde(default)]
    #[schema(pattern = "@card-token", max_length = 255)]
    pub card_token: String,
}

impl fmt::Debug for Premium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Premium(…)")
    }
}

/// What a member changes of the own data; what is left out stays.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email_public": true, "web": "https://example.com/taro" }))]
pub struct MemberEdit {
    /// As the person writes it, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// Its reading, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    pub reading: Option<String>,
    /// An e-mail address like name@example.com. Another one needs `password`; where addresses are verified, it waits as
    /// `new_email` for the code that is mailed to it.
    #[schema(pattern = "@email", min_length = 3, max_length = 254)]
    pub email: Option<String>,
    /// The member's password, beside another `email`.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: Option<String>,
    /// Whether others may see the address.
    pub email_public: Option<bool>,
    /// The member's own page, beginning with `http://` or `https://`; `null`: none any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "@web", max_length = 200)]
    pub web: Option<Option<String>>,
    /// In which mails are written.
    pub language: Option<Language>,
    /// Of a premium member.
    pub contact: Option<Contact>,
    /// The age recipient of the member's terminal; `Some(None)`: none any more. It has an address of its own.
    #[serde(skip)]
    pub terminal_key: Option<Option<String>>,
}

/// Tells `null` from what was left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Neither password nor address.
impl fmt::Debug for MemberEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberEdit(…)")
    }
}

impl Service {
    /// Registers a member. A premium member's card is checked before anything is kept.
    ///
    /// Refused: `Invalid` with each item that is missing or wrong, `UserIdTaken`, `EmailTaken`, `PaymentDeclined`,
    /// `RegisterFirst`, `PaymentUnavailable`, `TooMany` (from one address).
    pub async fn register(&self, registration: Registration, client: IpAddr) -> Answer<Member> {
        let blank = self.blank_member(&registration)?;
        // Whether an address is a member's is told, but not to those who ask for many.
        self.0.tries.register.take(&one_address(client), (self.0.clock)().mono)?;
        self.check_unique(&blank).await?;
        let card = match &registration.premium {
            Some(premium) => match self.check_card(&blank, &premium.card_token).await? {
                CardCheck::Kept(card) => Some(card),
                // An answer is taken from the member who was asked, and there is none yet.
                CardCheck::Ask(_) => return Err(Refusal::RegisterFirst.into()),
            },
            None => None,
        };
        let password_hash = self.0.passwords.hash(&registration.password).await?;
        let member = Member { card, password_hash, ..blank };
        let serial = serial()?;
        retry(|| self.add_member(&member, serial)).await?;
        self.committed();
        Ok(member)
    }

    async fn add_member(&self, member: &Member, serial: i64) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        if tx.member(member.number).await?.is_some_and(|found| found.password_hash == member.password_hash) {
            // It stands already: the answer to its commit was lost.
            return Ok(());
        }
        tx.add_member(member).await?;
        tx.add_mails(&[rules::welcome(member)], self.now()).await?;
        if self.rules().verify_email {
            self.mail_code(tx.as_mut(), member, ProofKind::Email, &member.email, serial).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The new member but for card and password; names every item that is wrong.
    pub(super) fn blank_member(&self, registration: &Registration) -> Answer<Member> {
        let mut wrong = Vec::new();
        let user_id = parsed::<UserId>(&mut wrong, "user_id", &registration.user_id);
        let email = parsed::<Email>(&mut wrong, "email", &registration.email);
        let name = line(&mut wrong, "name", &registration.name, 1, 100);
        let reading = line(&mut wrong, "reading", &registration.reading, 1, 100);
        let web = registration.web.as_deref().and_then(|web| web_address(&mut wrong, web));
        let others = [registration.user_id.as_str(), registration.email.as_str()];
        wrong.extend(password::problem("password", &registration.password, &others));
        let premium = registration.premium.as_ref();
        let contact = premium.map(|premium| contact_of(&mut wrong, "premium.", premium));
        match (user_id, email, wrong.is_empty()) {
            (Some(user_id), Some(email), true) => Ok(Member {
                number: MemberNumber::from_random(random::bits()?),
                user_id,
                name,
                reading,
                email,
                is_email_verified: false,
                new_email: None,
                email_public: registration.email_public,
                web,
                language: registration.language,
                kind: if premium.is_some() { MemberKind::Premium } else { MemberKind::General },
                is_operator: false,
                is_blocked: false,
                password_hash: PasswordHash(String::new()),
                contact,
                card: None,
                terminal_key: None,
                registered_at: self.now(),
                version: 1,
            }),
            _ => Err(Refusal::Invalid(wrong).into()),
        }
    }

    async fn check_unique(&self, member: &Member) -> Answer<()> {
        let mut reads = self.0.store.read().await?;
        if reads.member_by_user_id(&member.user_id).await?.is_some() {
            return Err(Refusal::UserIdTaken.into());
        }
        match reads.member_by_email(&member.email).await? {
            Some(_) => Err(Refusal::EmailTaken.into()),
            None => Ok(()),
        }
    }

    async fn check_card(&self, member: &Member, token: &str) -> Answer<CardCheck> {
        let card = NewCard {
            token: token.to_owned(),
            member: member.number,
            email: member.email.clone(),
            name: member.name.clone(),
        };
        let checked = timeout(PAYMENT_WAIT_MAX, self.0.payments.check_card(&card)).await;
        match checked {
            Ok(Ok(check)) => Ok(check),
            Ok(Err(PaymentError::Declined(reason))) => Err(Refusal::PaymentDeclined { reason }.into()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a card could not be checked");
                Err(Refusal::PaymentUnavailable.into())
            }
            Err(_) => Err(Refusal::PaymentUnavailable.into()),
        }
    }

    /// Makes a general member a premium one, or replaces a premium member's contact and card.
    ///
    /// Where the card's company wants to ask the member, nothing is changed: the same comes again once that is done,
    /// with the question's reference as the card's token.
    ///
    /// Refused: `Invalid`, `PaymentDeclined`, `CardQuestion`, `PaymentUnavailable`, `TooMany`.
    pub async fn upgrade(&self, actor: &Actor, premium: Premium) -> Answer<Member> {
        actor.need(Scope::Account)?;
        let mut wrong = Vec::new();
        let contact = contact_of(&mut wrong, "", &premium);
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong).into());
        }
        let member = self.me(actor).await?;
        self.0.tries.card.take(&actor.member, (self.0.clock)().mono)?;
        let card = match self.check_card(&member, &premium.card_token).await? {
            CardCheck::Kept(card) => card,
            CardCheck::Ask(question) => return Err(Refusal::CardQuestion(question).into()),
        };
        let edit = |member: Member| Member {
            kind: MemberKind::Premium,
            contact: Some(contact.clone()),
            card: Some(card.clone()),
            ..member
        };
        retry(|| self.edit_member_once(actor.member, None, &edit)).await
    }

    /// The actor's own data.
    pub async fn me(&self, actor: &Actor) -> Answer<Member> {
        actor.need(Scope::Read)?;
        let member = self.0.store.read().await?.member(actor.member).await?;
        Ok(member.ok_or(Refusal::NotLoggedIn)?)
    }

    /// Changes the actor's own data. `version`: what was read (`If-Match`), else `Stale`.
    ///
    /// Another address asks for the password, and the old address is told. Where addresses are verified, it counts once a
    /// code that is mailed to it has come back.
    ///
    /// Refused: `Invalid`, `WrongLogIn` (the password), `EmailTaken`, `TooMany` (other addresses, wrong passwords).
    pub async fn edit_me(
        &self,
        actor: &Actor,
        version: Option<i64>,
        edit: MemberEdit,
        client: IpAddr,
    ) -> Answer<Member> {
        actor.need(Scope::Account)?;
        let checked = CheckedEdit::of(edit)?;
        let member = self.me(actor).await?;
        if checked.edit.contact.is_some() && member.kind != MemberKind::Premium {
            return Err(Refusal::NotPremium.into());
        }
        if checked.email.as_ref().is_some_and(|email| *email != member.email) {
            let mono = (self.0.clock)().mono;
            // As at the registration: whether an address is a member's is not told to those who ask for many.
            self.0.tries.register.take(&one_address(client), mono)?;
            let Some(password) = &checked.edit.password else {
                let problem = FieldProblem::new(
                    "password",
                    "your password, since the address changes",
                    "アドレス変更のための現在のパスワード",
                );
                return Err(Refusal::from(problem).into());
            };
            self.check_own_password(&member, password).await?;
            self.0.tries.verification.take(&actor.member, mono)?;
        }
        let serial = serial()?;
        let member = retry(|| self.edit_me_once(&member, version, &checked, serial)).await?;
        // What programs show of their broadcaster may have changed.
        self.committed();
        Ok(member)
    }

    /// - `seen`: the member whose password was shown.
    async fn edit_me_once(
        &self,
        seen: &Member,
        version: Option<i64>,
        edit: &CheckedEdit,
        serial: i64,
    ) -> Answer<Member> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(seen.number).await?.ok_or(Refusal::NotFound(Thing::Member))?;
        if let Err(stale) = is_current(version, member.version) {
            // It is as was asked already, perhaps by a try before, whose commit's answer was lost.
            let has = |email: &Email| *email == member.email || member.new_email.as_ref() == Some(email);
            let is_as_asked = edit.email.as_ref().is_none_or(has) && edit.applied(member.clone()) == member;
            return if is_as_asked { Ok(member) } else { Err(stale.into()) };
        }
        let before = member.clone();
        let mut after = edit.applied(Member { version: member.version + 1, ..member });
        match &edit.email {
            None => {}
            // Back to the one that counts: nothing waits any more.
            Some(email) if *email == before.email => {
                after.new_email = None;
                tx.end_proof(after.number, ProofKind::Email).await?;
            }
            Some(email) => {
                if before.password_hash != seen.password_hash || before.email != seen.email {
                    return Err(Refusal::Stale { version: before.version }.into());
                }
                let owner = tx.member_by_email(email).await?;
                if owner.is_some_and(|owner| owner.number != before.number) {
                    return Err(Refusal::EmailTaken.into());
                }
                if self.rules().verify_email {
                    after.new_email = Some(email.clone());
                    self.mail_code(tx.as_mut(), &after, ProofKind::Email, email, serial).await?;
                } else {
                    (after.email, after.new_email, after.is_email_verified) = (email.clone(), None, false);
                }
                let mut told = rules::about_member(
                    MailKind::EmailChanged,
                    &after,
                    &before.email,
                    &format!("{}-{}", after.number, after.version),
                );
                told.changes.push(email.as_str().to_owned());
                tx.add_mails(&[told], self.now()).await?;
            }
        }
        tx.put_member(&after).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Refuses another password than the member's own. Of wrong ones each member has so many, whoever guesses elsewhere.
    pub(super) async fn check_own_password(&self, member: &Member, password: &str) -> Answer<()> {
        let tries = &self.0.tries.own_password;
        tries.take(&member.number, (self.0.clock)().mono)?;
        let asked: String = password.chars().take(PASSWORD_CHARS_MAX + 1).collect();
        let is_right = self.0.passwords.is_right(&asked, Some(&member.password_hash)).await;
        if matches!(is_right, Ok(false)) {
            count(&self.0.counts.log_ins_refused);
            return Err(Refusal::WrongLogIn.into());
        }
        tries.give_back(&member.number);
        is_right.map(drop)
    }

    /// Locks, edits and writes one member.
    pub(super) async fn edit_member_once(
        &self,
        number: MemberNumber,
        version: Option<i64>,
        edit: &(dyn Fn(Member) -> Member + Sync),
    ) -> Answer<Member> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(number).await?.ok_or(Refusal::NotFound(Thing::Member))?;
        let after = edit(member.clone());
        // It is as was asked already, perhaps by a try before, whose commit's answer was lost.
        if after == member {
            return Ok(member);
        }
        is_current(version, member.version)?;
        let after = Member { version: member.version + 1, ..after };
        tx.put_member(&after).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Replaces the password; ends every other session and all tokens.
    ///
    /// Refused: `Invalid`, `WrongLogIn` (the old one), `TooMany` (wrong ones of this member who is logged in; guesses of
    /// strangers do not count).
    pub async fn change_password(&self, actor: &Actor, old: &str, new: &str) -> Answer<()> {
        actor.need(Scope::Account)?;
        let member = self.me(actor).await?;
        let others = [member.user_id.as_str(), member.email.as_str()];
        if let Some(problem) = password::problem("new_password", new, &others) {
            return Err(Refusal::Invalid(vec![problem]).into());
        }
        self.check_own_password(&member, old).await?;
        let hash = self.0.passwords.hash(new).await?;
        retry(|| self.put_password(actor, &member.password_hash, &hash)).await
    }

    async fn put_password(&self, actor: &Actor, old: &PasswordHash, new: &PasswordHash) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
        if member.password_hash == *new {
            // It stands already: the answer to its commit was lost.
            return Ok(());
        }
        if member.password_hash != *old {
            return Err(Refusal::Stale { version: member.version }.into());
        }
        let (version, password_hash) = (member.version + 1, new.clone());
        tx.put_member(&Member { version, password_hash, ..member }).await?;
        let keep = actor.session.map(|key| key.0);
        tx.end_sessions(actor.member, keep.as_ref(), true).await?;
        tx.end_proof(actor.member, ProofKind::Password).await?;
        Ok(tx.commit().await?)
    }
}

/// Refuses what was decided on another version.
pub(super) fn is_current(asked: Option<i64>, version: i64) -> Result<(), Refusal> {
    match asked {
        Some(asked) if asked != version => Err(Refusal::Stale { version }),
        _ => Ok(()),
    }
}

/// A [`MemberEdit`] whose texts were checked.
struct CheckedEdit {
    edit: MemberEdit,
    email: Option<Email>,
    terminal_key: Option<Option<String>>,
}

impl CheckedEdit {
    fn of(edit: MemberEdit) -> Result<Self, Refusal> {
        let mut wrong = Vec::new();
        for (field, text) in [("name", &edit.name), ("reading", &edit.reading)] {
            if let Some(text) = text {
                line(&mut wrong, field, text, 1, 100);
            }
        }
        let email = edit.email.as_deref().and_then(|email| parsed(&mut wrong, "email", email));
        if let Some(Some(web)) = &edit.web {
            web_address(&mut wrong, web);
        }
        if let Some(contact) = &edit.contact {
            check_contact(&mut wrong, "contact.", contact);
        }
        let terminal_key = edit.terminal_key.as_ref().map(|key| {
            key.as_deref().and_then(|key| terminal_key(key).map_err(|problem| wrong.push(problem)).ok())
        });
        if wrong.is_empty() { Ok(Self { edit, email, terminal_key }) } else { Err(Refusal::Invalid(wrong)) }
    }

    fn applied(&self, member: Member) -> Member {
        let edit = &self.edit;
        let text =
            |new: &Option<String>, old: String| new.as_deref().map_or(old, |text| text.trim().to_owned());
        Member {
            name: text(&edit.name, member.name),
            reading: text(&edit.reading, member.reading),
            email_public: edit.email_public.unwrap_or(member.email_public),
            web: edit.web.clone().unwrap_or(member.web),
            language: edit.language.unwrap_or(member.language),
            contact: match (member.kind, &edit.contact) {
                (MemberKind::Premium, Some(contact)) => Some(contact.clone()),
                _ => member.contact,
            },
            terminal_key: self.terminal_key.clone().unwrap_or(member.terminal_key),
            ..member
        }
    }
}

/// The terminal's key as it is kept.
pub(super) fn terminal_key(text: &str) -> Result<String, FieldProblem> {
    slotcast_settings::seal::check_recipient(text)
        .map_err(|error| FieldProblem::new("terminal_key", error.to_string(), error.to_string()))
}

fn parsed<T: FromStr<Err = WordError>>(
    wrong: &mut Vec<FieldProblem>,
    field: &'static str,
    text: &str,
) -> Option<T> {
    text.parse()
        .map_err(|error: WordError| wrong.push(FieldProblem::new(field, error.expected, error.expected)))
        .ok()
}

/// One line of `least` to `most` characters, without blanks around it.
fn line(
    wrong: &mut Vec<FieldProblem>,
    field: impl Into<Cow<'static, str>>,
    text: &str,
    least: usize,
    most: usize,
) -> String {
    let text = text.trim();
    let length = text.chars().take(most + 1).count();
    if !(least..=most).contains(&length) || !is_one_line(text) || (least > 0 && !is_visible(text)) {
        wrong.push(FieldProblem::new(
            field,
            format!("{least} to {most} characters on one line"),
            format!("{least}~{most}文字、1行"),
        ));
    } else if !is_visible(text) {
        wrong.push(FieldProblem::new(field, "a letter or sign that one can see", "目に見える文字"));
    }
    text.to_owned()
}

fn web_address(wrong: &mut Vec<FieldProblem>, text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_right = text.len() <= 200 && rest.is_some_and(is_host_and_path);
    if !is_right {
        wrong.push(FieldProblem::new(
            "web",
            "an address like https://example.com/, of at most 200 bytes",
            "https://example.com/ のような200バイト以内のアドレス",
        ));
    }
    is_right.then(|| text.to_owned())
}

/// What follows `https://`: a host, perhaps a port, perhaps a path. No user, whose name could pose as the host.
fn is_host_and_path(text: &str) -> bool {
    let (place, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let (host, port) = place.split_once(':').unwrap_or((place, "80"));
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        && (1..=5).contains(&port.len())
        && port.bytes().all(|b| b.is_ascii_digit())
        && path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>[\\]^`{|}".contains(&b))
}

/// `below`: what stands before the names of its items, such as `premium.`.
fn contact_of(wrong: &mut Vec<FieldProblem>, below: &str, premium: &Premium) -> Contact {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let contact = Contact {
        address: premium.address.trim().to_owned(),
        phone: premium.phone.trim().to_owned(),
        mobile: some(&premium.mobile),
        fax: some(&premium.fax),
    };
    check_contact(wrong, below, &contact);
    if !premium.card_token.is_empty() {
        let is_right = premium.card_token.len() <= 255
            && premium.card_token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            // Fourteen digits or more in a row would be a card's number: it must not come here.
            && !premium.card_token.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if !is_right {
            wrong.push(FieldProblem::new(
                format!("{below}card_token"),
                "the token that the card form gave, never the card's number",
                "カード入力フォームのトークン (カード番号は不可)",
            ));
        }
    }
    contact
}

fn check_contact(wrong: &mut Vec<FieldProblem>, below: &str, contact: &Contact) {
    line(wrong, format!("{below}address"), &contact.address, 1, 300);
    for (field, text) in
        [("phone", Some(&contact.phone)), ("mobile", contact.mobile.as_ref()), ("fax", contact.fax.as_ref())]
    {
        let is_right = text.is_none_or(|text| {
            (3..=40).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_digit() || b" +-().".contains(&b))
                && text.bytes().any(|b| b.is_ascii_digit())
        });
        if !is_right {
            wrong.push(FieldProblem::new(
                format!("{below}{field}"),
                "a telephone number like +81 3 1234 5678",
                "+81 3 1234 5678 のような電話番号",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_name_a_host_and_nobody_else() {
        let is_right = |text: &str| web_address(&mut Vec::new(), text).is_some();
        for right in [
            "https://example.com",
            "http://a-b.example:8080/~taro?x=1#y",
            "https://1.example./",
            "http://a?b",
        ] {
            assert!(is_right(right), "{right}");
        }
        for wrong in [
            "https://",
            "https:///path",
            "https://[::1",
            "https://bank.example@evil.example/",
            "https://bank.example:80@evil.example/",
            "https://a:b/",
            "https://a:/",
            "https://a:123456/",
            "https://-a/",
            "https://a\\b/",
            "https://a/<b>",
            "https://a/ b",
            "javascript:alert(1)",
            "HTTPS://a/",
        ] {
            assert!(!is_right(wrong), "{wrong}");
        }
    }
}
