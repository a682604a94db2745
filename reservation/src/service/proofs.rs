//! Codes in mails: a forgotten password, and whether mail to a member's address arrives.
//!
//! Owns: asking for a code and using one up. Not here: what a code looks like (`vault`), the mails (`mail`).
//! Invariant: an unknown member gets the same answer as a known one, for about the same work; a code is used once.

use std::net::IpAddr;

use super::{
    Actor, Answer, Scope, Service, ServiceError, budget::one_address, password, random, retry::retry,
};
use crate::{
    domain::{
        effects::MailKind,
        member::{Member, PasswordHash},
        proof::{Proof, ProofKind},
        refusal::Refusal,
        rules,
        words::{Email, MemberNumber, UserId},
    },
    store::{Conflict, Reads, StoreError, Tx},
    vault::ProofCode,
};

/// Nobody, whose codes no mail holds.
const NOBODY: MemberNumber = MemberNumber(0);

/// A serial is one request's own: where its mail is there already, the answer to the commit of a try before was lost.
fn once_mailed(done: Answer<()>) -> Answer<()> {
    match done {
        Err(ServiceError::Store(StoreError::Conflict(Conflict::Key))) => Ok(()),
        done => done,
    }
}

impl Service {
    /// Mails a code by which the member who is named sets another password. Nothing is told of whether there is one.
    ///
    /// - `who`: user ID or e-mail address.
    ///
    /// Refused: `TooMany` (from one address). A member who was mailed several is mailed no more for a while, in silence.
    pub async fn forgot_password(&self, who: &str, client: IpAddr) -> Answer<()> {
        let mono = (self.0.clock)().mono;
        self.0.tries.forgotten_address.take(&one_address(client), mono)?;
        let found = {
            let mut reads = self.0.store.read().await?;
            named(reads.as_mut(), who).await?.filter(|member| !member.is_blocked)
        };
        let number = found.as_ref().map_or(NOBODY, |member| member.number);
        let is_left = self.0.tries.forgotten_member.take(&number, mono).is_ok();
        let found = found.filter(|_| is_left);
        let serial = serial()?;
        once_mailed(retry(|| self.forgot_once(found.as_ref(), serial)).await)?;
        self.committed();
        Ok(())
    }

    async fn forgot_once(&self, found: Option<&Member>, serial: i64) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        let number = found.map_or(NOBODY, |member| member.number);
        let member = tx.lock_member(number).await?;
        match member {
            Some(member) => {
                let to = member.email.clone();
                self.mail_code(tx.as_mut(), &member, ProofKind::Password, &to, serial).await?;
            }
            // The same work for nobody.
            None => {
                let to = self.0.settings.provider.from.clone();
                self.put_code(tx.as_mut(), NOBODY, ProofKind::Password, &to, serial).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Writes a proof of mail to `to`, unless one that does as well is there.
    async fn put_code(
        &self,
        tx: &mut dyn Tx,
        member: MemberNumber,
        kind: ProofKind,
        to: &Email,
        serial: i64,
    ) -> Answer<()> {
        let now = self.now();
        let found = tx.proof_of(member, kind).await?;
        if found.is_some_and(|found| member != NOBODY && found.serves_again(to, now)) {
            return Ok(());
        }
        let code_hash = self.0.vault.proof_code(kind, member, serial).hash();
        let expires_at = now.saturating_add(kind.life());
        let proof = Proof { member, kind, serial, code_hash, email: to.clone(), expires_at };
        Ok(tx.put_proof(&proof, now).await?)
    }

    /// Writes a proof of mail to `to`, and the mail that holds its code.
    pub(super) async fn mail_code(
        &self,
        tx: &mut dyn Tx,
        member: &Member,
        kind: ProofKind,
        to: &Email,
        serial: i64,
    ) -> Answer<()> {
        self.put_code(tx, member.number, kind, to, serial).await?;
        let mail = match kind {
            ProofKind::Email => MailKind::VerifyEmail,
            ProofKind::Password => MailKind::NewPassword,
        };
        let mail = rules::about_member(mail, member, to, &serial.to_string());
        Ok(tx.add_mails(&[mail], self.now()).await?)
    }

    /// Sets another password by a code that was mailed; ends all sessions and tokens. The mail arrived, so the address
    /// is verified as well.
    ///
    /// Refused: `WrongCode`, `Invalid`, `Blocked`, `TooMany` (from one address).
    pub async fn replace_password(&self, code: &str, new: &str, client: IpAddr) -> Answer<()> {
        let proof = self.proof_of_code(code, ProofKind::Password, client).await?;
        let member = self.0.store.read().await?.member(proof.member).await?.ok_or(Refusal::WrongCode)?;
        let others = [member.user_id.as_str(), member.email.as_str()];
        if let Some(problem) = password::problem("new_password", new, &others) {
            return Err(Refusal::Invalid(vec![problem]).into());
        }
        let hash = self.0.passwords.hash(new).await?;
        retry(|| self.replace_once(&proof, &hash)).await?;
        self.committed();
        tracing::info!(member = %member.number, "a forgotten password was replaced by a mailed code");
        Ok(())
    }

    async fn replace_once(&self, proof: &Proof, hash: &PasswordHash) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(proof.member).await?.ok_or(Refusal::WrongCode)?;
        if member.password_hash == *hash {
            // It stands already: the answer to its commit was lost.
            return Ok(());
        }
        self.use_up(tx.as_mut(), proof).await?;
        if member.is_blocked {
            return Err(Refusal::Blocked.into());
        }
        if member.email != proof.email {
            return Err(Refusal::WrongCode.into());
        }
        let (version, password_hash) = (member.version + 1, hash.clone());
        let after = Member { version, password_hash, is_email_verified: true, ..member };
        tx.put_member(&after).await?;
        tx.end_sessions(after.number, None, true).await?;
        let mail = rules::about_member(
            MailKind::PasswordChanged,
            &after,
            &after.email,
            &format!("{}-{version}", after.number),
        );
        tx.add_mails(&[mail], self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Mails the code of the address that waits to be verified once more. Nothing where none does.
    ///
    /// Refused: `TooMany` (of one member).
    pub async fn ask_verification(&self, actor: &Actor) -> Answer<()> {
        actor.need(Scope::Account)?;
        self.0.tries.verification.take(&actor.member, (self.0.clock)().mono)?;
        let serial = serial()?;
        let mailed = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            let member = tx.lock_member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
            let unverified = Some(&member.email).filter(|_| !member.is_email_verified);
            let Some(to) = member.new_email.as_ref().or(unverified) else { return Ok(()) };
            self.mail_code(tx.as_mut(), &member, ProofKind::Email, to, serial).await?;
            Ok(tx.commit().await?)
        })
        .await;
        once_mailed(mailed)?;
        self.committed();
        Ok(())
    }

    /// Verifies an address by the code that was mailed to it: a new one counts from now on.
    ///
    /// Refused: `WrongCode`, `EmailTaken` (by somebody else meanwhile), `TooMany` (from one address).
    pub async fn verify_email(&self, code: &str, client: IpAddr) -> Answer<Member> {
        let proof = self.proof_of_code(code, ProofKind::Email, client).await?;
        let member = retry(|| self.verify_once(&proof)).await?;
        self.committed();
        Ok(member)
    }

    async fn verify_once(&self, proof: &Proof) -> Answer<Member> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(proof.member).await?.ok_or(Refusal::WrongCode)?;
        let is_new = member.new_email.as_ref() == Some(&proof.email);
        if member.email == proof.email && member.is_email_verified && !is_new {
            // It stands already: the answer to its commit was lost.
            return Ok(member);
        }
        self.use_up(tx.as_mut(), proof).await?;
        if !is_new && member.email != proof.email {
            return Err(Refusal::WrongCode.into());
        }
        let (version, email) = (member.version + 1, proof.email.clone());
        let new_email = member.new_email.clone().filter(|_| !is_new);
        let after = Member { version, email, new_email, is_email_verified: true, ..member };
        tx.put_member(&after).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// The proof of a code that somebody typed.
    async fn proof_of_code(&self, code: &str, kind: ProofKind, client: IpAddr) -> Answer<Proof> {
        self.0.tries.log_in_address.take(&one_address(client), (self.0.clock)().mono)?;
        let code = ProofCode::from_typed(code).ok_or(Refusal::WrongCode)?;
        let found = self.0.store.read().await?.proof(&code.hash()).await?;
        let found = found.filter(|found| found.kind == kind && self.now() < found.expires_at);
        Ok(found.ok_or(Refusal::WrongCode)?)
    }

    /// Refuses a code that was used or replaced since it was looked up.
    async fn use_up(&self, tx: &mut dyn Tx, proof: &Proof) -> Answer<()> {
        if tx.proof(&proof.code_hash).await?.is_none() {
            return Err(Refusal::WrongCode.into());
        }
        Ok(tx.end_proof(proof.member, proof.kind).await?)
    }
}

/// What makes a code another one.
pub(super) fn serial() -> Answer<i64> {
    Ok((random::bits()? >> 1) as i64)
}

/// The member of that user ID or e-mail address.
async fn named(reads: &mut (dyn Reads + '_), who: &str) -> Answer<Option<Member>> {
    let who = who.trim();
    if let Ok(email) = who.parse::<Email>() {
        return Ok(reads.member_by_email(&email).await?);
    }
    match who.parse::<UserId>() {
        Ok(user_id) => Ok(reads.member_by_user_id(&user_id).await?),
        Err(_) => Ok(None),
    }
}
