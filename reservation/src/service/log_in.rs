//! Logging in by user ID and password, sessions of browsers, tokens of programs.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::Serialize;
use slotcast_core::time::WallTime;
use strum::IntoEnumIterator;
use utoipa::ToSchema;

use super::{
    Actor, Answer, Scope, Scopes, Service, ServiceError,
    actor::SessionKey,
    budget::{Guess, one_address},
    counts::count,
    random,
    retry::retry,
    views::TokenView,
};
use crate::{
    domain::{
        member::{Member, PasswordHash},
        refusal::{FieldProblem, Refusal, Thing},
        words::{MemberNumber, UserId, is_one_line, is_visible},
    },
    limits::{PASSWORD_CHARS_MAX, TOKEN_LIFE_MAX, TOKENS_MAX},
    store::{ApiToken, Session},
};

/// A log-in that has just begun. The tokens are shown this once.
#[derive(Clone)]
pub struct LoggedIn {
    /// For the session's cookie.
    pub token: String,
    /// For `X-CSRF-Token` of requests that change something.
    pub csrf: String,
    /// Who.
    pub member: Member,
    /// Not valid from then on.
    pub expires_at: WallTime,
}

impl fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoggedIn(member {})", self.member.number)
    }
}

/// A token that has just been made. The secret is shown this once.
#[derive(Clone, Serialize, ToSchema)]
pub struct NewToken {
    /// For `Authorization: Bearer …`.
    pub secret: String,
    /// What is kept of it.
    pub token: TokenView,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken({:?})", self.token.name)
    }
}

impl Service {
    /// Begins a session.
    ///
    /// Refused: `WrongLogIn` (which of the two was wrong is not told, nor seen from the time it takes), `Blocked`,
    /// `TooMany` (from one address, or for one user ID).
    pub async fn log_in(&self, user_id: &str, password: &str, client: IpAddr) -> Answer<LoggedIn> {
        let asked = self.log_in_once(user_id, password, client).await;
        if let Err(ServiceError::Refused(refusal)) = &asked {
            self.say_refused(client, refusal);
        }
        asked
    }

    async fn log_in_once(&self, user_id: &str, password: &str, client: IpAddr) -> Answer<LoggedIn> {
        let user_id: Option<UserId> = user_id.parse().ok();
        let mono = (self.0.clock)().mono;
        let client = one_address(client);
        self.0.tries.log_in_address.take(&client, mono)?;
        let (member, guess) = self.who_guesses(user_id, client).await?;
        if let Some(guess) = &guess {
            self.0.tries.log_in_user.take(guess, mono)?;
        }
        // A longer password than anybody has is as wrong as any, and as slow.
        let asked: String = password.chars().take(PASSWORD_CHARS_MAX + 1).collect();
        let hash = member.as_ref().map(|member| &member.password_hash);
        let is_right = self.0.passwords.is_right(&asked, hash).await;
        // A wrong password keeps the guess that was taken before it was looked at; a right one, or one that could not
        // be looked at, gives it back.
        if matches!(is_right, Ok(false)) {
            count(&self.0.counts.log_ins_refused);
        } else if let Some(guess) = &guess {
            self.0.tries.log_in_user.give_back(guess);
        }
        let is_right = is_right?;
        let member = member.filter(|_| is_right).ok_or(Refusal::WrongLogIn)?;
        self.begin_session(member, client).await
    }

    /// The member of that user ID, and from where the password is guessed at.
    async fn who_guesses(
        &self,
        user_id: Option<UserId>,
        client: IpAddr,
    ) -> Answer<(Option<Member>, Option<Guess>)> {
        let Some(user_id) = user_id else { return Ok((None, None)) };
        let mut reads = self.0.store.read().await?;
        let member = reads.member_by_user_id(&user_id).await?;
        let number = member.as_ref().map_or(MemberNumber(0), |member| member.number);
        let is_home = reads.is_home(number, &self.0.vault.home(number, client)).await?;
        Ok((member, Some(Guess { user_id, client, is_home })))
    }

    /// A line of the log for a refused log-in, as long as there are few. What was typed is not in it: people type their
    /// passwords where the user ID belongs.
    fn say_refused(&self, client: IpAddr, refusal: &Refusal) {
        let why = match refusal {
            Refusal::TooMany { .. } => "too many tries",
            Refusal::Blocked => "the member is blocked",
            _ => "wrong user ID or password",
        };
        if self.0.tries.refused_lines.take(&(), (self.0.clock)().mono).is_err() {
            self.0.refused_unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unsaid = self.0.refused_unsaid.swap(0, Ordering::Relaxed);
        tracing::warn!(%client, why, unsaid, "a log-in was refused");
    }

    async fn begin_session(&self, member: Member, client: IpAddr) -> Answer<LoggedIn> {
        let token = random::token()?;
        let csrf = random::csrf_of(&token);
        let created_at = self.now();
        let expires_at = created_at.saturating_add(self.0.settings.session_life);
        let session = Session {
            token_hash: random::hash(&token),
            member: member.number,
            csrf_hash: random::hash(&csrf),
            created_at,
            expires_at,
        };
        let home = self.0.vault.home(member.number, client);
        let member = retry(|| self.put_session(&session, &home, &member.password_hash)).await?;
        Ok(LoggedIn { token, csrf, member, expires_at })
    }

    /// Writes the session of whoever showed the password of `verified`, unless the member has another one by now, or was
    /// blocked: what ends sessions locks the member as well, so that none slips in behind it.
    async fn put_session(
        &self,
        session: &Session,
        home: &[u8; 32],
        verified: &PasswordHash,
    ) -> Answer<Member> {
        let mut tx = self.0.store.begin().await?;
        let found = tx.lock_member(session.member).await?;
        let member = found.filter(|now| now.password_hash == *verified).ok_or(Refusal::WrongLogIn)?;
        if member.is_blocked {
            return Err(Refusal::Blocked.into());
        }
        // A commit may have stood although its answer was lost.
        if tx.session(&session.token_hash, session.created_at).await?.is_none() {
            tx.add_session(session).await?;
            tx.put_home(member.number, home, session.created_at).await?;
            tx.commit().await?;
        }
        Ok(member)
    }

    /// Ends the session of that cookie; one that is not there is no error.
    pub async fn log_out(&self, token: &str) -> Answer<()> {
        let hash = random::hash(token);
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.end_session(&hash).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Who a session's cookie stands for.
    ///
    /// Refused: `NotLoggedIn`, `Blocked`.
    pub async fn actor_of_session(&self, token: &str) -> Answer<Actor> {
        let mut reads = self.0.store.read().await?;
        let hash = random::hash(token);
        let session = reads.session(&hash, self.now()).await?.ok_or(Refusal::NotLoggedIn)?;
        let member = reads.member(session.member).await?;
        Ok(actor(member, Scopes::ALL, Some(SessionKey(hash)))?)
    }

    /// A session's CSRF token again: for a page that was loaded anew and has lost it. Only a browser that has the cookie
    /// can ask; whether the session is there is [`actor_of_session`](Self::actor_of_session)'s to say.
    pub fn csrf_of_session(&self, token: &str) -> String {
        random::csrf_of(token)
    }

    /// Who a bearer token stands for. Refused: `NotLoggedIn`, `Blocked`.
    pub async fn actor_of_token(&self, bearer: &str) -> Answer<Actor> {
        let mut reads = self.0.store.read().await?;
        let found = reads.api_token(&random::hash(bearer), self.now()).await?;
        let token = found.ok_or(Refusal::NotLoggedIn)?;
        let scopes = Scopes::of_token(&token.scopes).unwrap_or(Scopes::NONE);
        let member = reads.member(token.member).await?;
        Ok(actor(member, scopes, None)?)
    }

    /// Makes a token for a program.
    ///
    /// - `name`: 1 to 100 characters, unlike the member's other tokens; `life`: a year at most.
    ///
    /// Refused: `Invalid`, `Exists("token")`, `InUse("tokens")` where there are too many, `NotOperator` for a token that
    /// operates.
    pub async fn make_token(
        &self,
        actor: &Actor,
        name: &str,
        scopes: Scopes,
        life: Duration,
    ) -> Answer<NewToken> {
        actor.need(Scope::Account)?;
        let name = name.trim();
        check_token(name, scopes, life)?;
        if scopes.of_a_token().any(Scope::is_of_operators) && !actor.is_operator {
            return Err(Refusal::NotOperator.into());
        }
        let secret = random::token()?;
        let created_at = self.now();
        let token = ApiToken {
            token_hash: random::hash(&secret),
            member: actor.member,
            name: name.to_owned(),
            scopes: scopes.to_string(),
            created_at,
            expires_at: created_at.saturating_add(life),
        };
        retry(|| self.add_token(&token)).await?;
        Ok(NewToken { secret, token: TokenView::from(&token) })
    }

    async fn add_token(&self, token: &ApiToken) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        // Those of one member follow one another.
        tx.lock_member(token.member).await?;
        let tokens = tx.api_tokens(token.member).await?;
        if tokens.iter().any(|other| other.token_hash == token.token_hash) {
            // It stands already: the answer to its commit was lost.
            return Ok(());
        }
        if tokens.iter().any(|other| other.name == token.name && other.expires_at > token.created_at) {
            return Err(Refusal::Exists(Thing::Token).into());
        }
        if tokens.iter().filter(|other| other.expires_at > token.created_at).count() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens { tokens_max: TOKENS_MAX }.into());
        }
        if tokens.iter().any(|other| other.name == token.name) {
            tx.end_api_token(token.member, &token.name).await?;
        }
        tx.add_api_token(token).await?;
        Ok(tx.commit().await?)
    }

    /// The actor's tokens, oldest first.
    pub async fn tokens(&self, actor: &Actor) -> Answer<Vec<TokenView>> {
        actor.need(Scope::Account)?;
        let tokens = self.0.store.read().await?.api_tokens(actor.member).await?;
        Ok(tokens.iter().map(TokenView::from).collect())
    }

    /// Takes a token away.
    pub async fn end_token(&self, actor: &Actor, name: &str) -> Answer<()> {
        actor.need(Scope::Account)?;
        // A try whose commit's answer was lost may have taken it away.
        let was_there = AtomicBool::new(false);
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            if !tx.end_api_token(actor.member, name).await? && !was_there.load(Ordering::Relaxed) {
                return Err(Refusal::NotFound(Thing::Token).into());
            }
            was_there.store(true, Ordering::Relaxed);
            Ok(tx.commit().await?)
        })
        .await
    }
}

fn actor(member: Option<Member>, scopes: Scopes, session: Option<SessionKey>) -> Result<Actor, Refusal> {
    let member = member.ok_or(Refusal::NotLoggedIn)?;
    if member.is_blocked {
        return Err(Refusal::Blocked);
    }
    Ok(Actor { member: member.number, is_operator: member.is_operator, scopes, session })
}

fn check_token(name: &str, scopes: Scopes, life: Duration) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    if !(1..=100).contains(&name.chars().take(101).count()) || !is_one_line(name) || !is_visible(name) {
        wrong.push(FieldProblem::new(
            "name",
            "1 to 100 characters on one line, one of them to be seen",
            "目に見える文字を含む1~100文字、1行",
        ));
    }
    if scopes == Scopes::NONE || scopes.has(Scope::Account) {
        let scopes = Scope::iter().filter(|scope| *scope != Scope::Account);
        let scopes = scopes.map(|scope| scope.to_string()).collect::<Vec<_>>().join(", ");
        wrong.push(FieldProblem::new(
            "scopes",
            format!("one or more of {scopes}"),
            format!("{scopes} のうち1つ以上"),
        ));
    }
    if life.is_zero() || life > TOKEN_LIFE_MAX {
        wrong.push(FieldProblem::new("days", "1 to 366 days", "1~366日"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::Invalid(wrong)) }
}
