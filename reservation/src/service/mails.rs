//! Handing mails on: jobs become letters when they are sent, from what is known then.
//!
//! Invariant: a mail whose end was not noted goes out again under the same Message-ID. What fails is tried again by `mail::retry`; texts of errors hold no secret.

use tokio::time::timeout;

use super::{
    Answer, Service, ServiceError, counts::count, random, refunding::refund_that_stands, retry::retry,
};
use crate::{
    domain::{
        effects::{LedgerKind, MailKind, MailRequest, PaymentState},
        member::Member,
        refusal::{Refusal, Thing},
        reservation::{CancelledBy, Reservation, State},
        rules,
        words::{Email, ReservationNumber},
    },
    limits::{DAY, ERROR_CHARS_MAX, MAIL_WAIT_MAX, MAILS_TO_FRIEND_PER_DAY},
    mail::{self, Letter, MailSettings, MailedCode, PostError, Program, retry::Next},
    store::{JobEnd, MailCount, Reads},
    vault::same_hash,
};

/// What became of one try.
enum Tried {
    Sent,
    /// There is nothing to say any more.
    Needless,
    Failed(PostError),
}

impl Service {
    /// Sends one mail; `tries`: those before.
    pub(super) async fn send_mail(&self, request: &MailRequest, tries: u32) -> Answer<JobEnd> {
        let (key, counts) = (request.key.as_str(), &self.0.counts);
        Ok(match self.try_mail(request).await? {
            Tried::Sent => {
                count(&counts.mails_sent);
                tracing::info!(mail = key, "sent");
                JobEnd::Done
            }
            Tried::Needless => JobEnd::GivenUp("not needed any more".to_owned()),
            Tried::Failed(error) => {
                let cut = |text: String| text.chars().take(ERROR_CHARS_MAX).collect::<String>();
                match mail::retry::next(tries.saturating_add(1), key, &error) {
                    Next::After(wait) => {
                        let error = cut(error.to_string());
                        count(&counts.mails_failed);
                        tracing::warn!(mail = key, error, "not sent yet");
                        JobEnd::Again(error, self.now().saturating_add(wait))
                    }
                    Next::GiveUp(why) => {
                        let error = cut(why);
                        count(&counts.mails_given_up);
                        tracing::error!(mail = key, error, "given up");
                        JobEnd::GivenUp(error)
                    }
                }
            }
        })
    }

    async fn try_mail(&self, request: &MailRequest) -> Answer<Tried> {
        let letter = {
            let mut reads = self.0.store.read().await?;
            self.letter(reads.as_mut(), request).await?
        };
        let Some(letter) = letter else { return Ok(Tried::Needless) };
        let message = match mail::render(&letter, &self.mail_settings(), self.now()) {
            Ok(message) => message,
            // Nothing will mend what the mail is made of.
            Err(error) => return Ok(Tried::Failed(PostError::Permanent(error.to_string()))),
        };
        let sent = timeout(MAIL_WAIT_MAX, self.0.post.send(&message, &request.key)).await;
        Ok(match sent {
            Ok(Ok(())) => Tried::Sent,
            Ok(Err(error)) => Tried::Failed(error),
            Err(_) => Tried::Failed(PostError::Temporary("no answer in time".to_owned())),
        })
    }

    /// What the mail is made of, as it is now; `None`: there is nothing to say any more.
    async fn letter(&self, reads: &mut (dyn Reads + '_), request: &MailRequest) -> Answer<Option<Letter>> {
        let Some(member) = reads.member(request.member).await? else { return Ok(None) };
        let Some(number) = request.reservation else {
            let letter = Letter::new(request.clone(), &member, None, None);
            return self.with_code(reads, letter, &member).await;
        };
        let Some(reservation) = reads.reservation(number).await? else { return Ok(None) };
        if is_needless(request, &reservation)
            || (request.is_to_friend() && !self.friend_hears(reads, request, number).await?)
        {
            return Ok(None);
        }
        let channels = reads.channels().await?;
        let channel = channels.into_iter().find(|channel| channel.number == reservation.channel);
        let channel =
            channel.ok_or_else(|| ServiceError::Internal(format!("reservation {number} has no channel")))?;
        let rules = self.rules();
        let total = rules::total(&reservation, rules);
        let watch_url = self.watch_url(&channel.name);
        let mut program = Program::of(&reservation, &channel, total, rules.currency, watch_url);
        match request.kind {
            MailKind::ReservationId => {
                let id = self.0.vault.reservation_id(number, reservation.id_issue);
                let hash = reservation.id_hash.unwrap_or_else(|| id.hash());
                if !same_hash(&id.hash(), &hash) {
                    let text = format!(
                        "the reservation ID of {number} is not this key's: put back the secret.key that belongs \
                         to this database"
                    );
                    return Err(ServiceError::Internal(text));
                }
                program.reservation_id = Some(id);
            }
            MailKind::Cancelled => {
                let ledger = reads.ledger_of(number).await?;
                program.is_waived = ledger.iter().all(|entry| entry.kind != LedgerKind::Charged);
            }
            MailKind::CardNeeded => {
                let is_needed = match rules::payment_of_mail(&request.key) {
                    Some(payment) => {
                        let row = reads.payment(payment).await?;
                        row.is_some_and(|row| row.state != PaymentState::Done)
                            && reservation.state != State::Cancelled(CancelledBy::NotReconfirmed)
                    }
                    None => {
                        reservation.state == State::Registered && self.payer(member.clone()).card.is_none()
                    }
                };
                if !is_needed {
                    return Ok(None);
                }
            }
            MailKind::Settled => program.viewers_peak = Some(reads.run(number).await?.viewers_peak),
            MailKind::Refunded => {
                let key = rules::refund_of_mail(&request.key).unwrap_or_default();
                // It may have come back meanwhile.
                let Some(given_back) = refund_that_stands(reads, number, key).await? else { return Ok(None) };
                program.given_back = Some(given_back);
            }
            _ => {}
        }
        let stop_url = request.is_to_friend().then(|| self.mail_stop_url(&request.to));
        Ok(Some(Letter::new(request.clone(), &member, Some(program), stop_url)))
    }

    /// Whether a friend is to get this mail: not if its address wants none or has got enough today, and nothing is called
    /// off that it was never told of.
    async fn friend_hears(
        &self,
        reads: &mut (dyn Reads + '_),
        request: &MailRequest,
        number: ReservationNumber,
    ) -> Answer<bool> {
        if reads.is_stopped(&folded_hash(&request.to)).await? {
            return Ok(false);
        }
        if request.kind == MailKind::Cancelled {
            let told = reads.told_last(number, &request.to).await?;
            return Ok(told.is_some_and(|kind| kind != MailKind::Cancelled));
        }
        let since = self.now().saturating_sub(DAY);
        let got = reads.mails_since(MailCount::ToFriend(&request.to), since).await?;
        Ok(got < MAILS_TO_FRIEND_PER_DAY)
    }

    /// Where that address stops mails to it as somebody's friend.
    pub fn mail_stop_url(&self, friend: &Email) -> String {
        let base_url = &self.0.settings.provider.base_url;
        format!("{base_url}/api/v1/mail-stops/{}", self.0.vault.mail_stop(friend))
    }

    /// The address for which that was put into a mail.
    pub fn stopped_address(&self, token: &str) -> Option<Email> {
        self.0.vault.stopped_address(token)
    }

    /// No mails as somebody's friend go to the address any more for which `token` was made. Done already: as it is.
    ///
    /// Refused: `NotFound`.
    pub async fn stop_mails(&self, token: &str) -> Answer<Email> {
        let address = self.0.vault.stopped_address(token).ok_or(Refusal::NotFound(Thing::Link))?;
        let hash = folded_hash(&address);
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.stop_mails(&hash, self.now()).await?;
            Ok(tx.commit().await?)
        })
        .await?;
        Ok(address)
    }

    /// A letter that is about a member alone, with its code. `None`: the code was used, replaced or forgotten meanwhile.
    async fn with_code(
        &self,
        reads: &mut (dyn Reads + '_),
        letter: Letter,
        member: &Member,
    ) -> Answer<Option<Letter>> {
        let Some(kind) = letter.request.kind.proof() else { return Ok(Some(letter)) };
        let proof = reads.proof_of(member.number, kind).await?;
        let proof = proof.filter(|proof| proof.email == letter.request.to && self.now() < proof.expires_at);
        Ok(proof.map(|proof| {
            let code = self.0.vault.proof_code(kind, member.number, proof.serial);
            Letter { code: Some(MailedCode { code, until: proof.expires_at }), ..letter }
        }))
    }

    /// Where viewers find a channel.
    pub(super) fn watch_url(&self, name: &slotcast_core::words::ChannelName) -> String {
        let places = &self.0.settings.places;
        slotcast_settings::file::WatchUrl::new(&places.viewers_host, places.viewers_port, name)
            .as_str()
            .to_owned()
    }

    fn mail_settings(&self) -> MailSettings {
        let provider = &self.0.settings.provider;
        MailSettings {
            from: provider.from.clone(),
            provider: provider.name.clone(),
            public_url: provider.base_url.clone(),
            zone: self.rules().zone.clone(),
        }
    }
}

/// What is kept of an address that wants no mails: case does not count.
fn folded_hash(address: &Email) -> [u8; 32] {
    random::hash(&address.as_str().to_ascii_lowercase())
}

/// Whether the mail would say what is not so any more.
fn is_needless(request: &MailRequest, reservation: &Reservation) -> bool {
    let is_cancelled = matches!(reservation.state, State::Cancelled(_));
    match request.kind {
        MailKind::ReconfirmReminder => reservation.state != State::Registered,
        MailKind::ReservationId => {
            !matches!(reservation.state, State::Registered | State::Confirmed | State::OnAir)
        }
        // Whoever is told that it is cancelled should not be invited to it afterwards.
        MailKind::Confirmed | MailKind::Extended => is_cancelled,
        // A mail is written when it goes: one that waited would tell whoever is no friend any more today's password.
        MailKind::Invitation | MailKind::Changed => {
            let has = |friend: &Email| friend.as_str().eq_ignore_ascii_case(request.to.as_str());
            is_cancelled || !reservation.program.friends.iter().any(has)
        }
        MailKind::Welcome
        | MailKind::Cancelled
        | MailKind::Settled
        | MailKind::Refunded
        | MailKind::CardNeeded
        | MailKind::VerifyEmail
        | MailKind::NewPassword
        | MailKind::PasswordChanged
        | MailKind::EmailChanged => false,
    }
}
