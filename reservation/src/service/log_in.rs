//! Logging in by user ID and password, sessions of browsers, tokens of programs.

use std::{fmt, net::IpAddr, time::Duration};

use slotcast_core::time::WallTime;

use super::{Actor, Answer, Scopes, Service, error::unready};
use crate::{domain::member::Member, store::ApiToken};

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
#[derive(Clone)]
pub struct NewToken {
    /// For `Authorization: Bearer`.
    pub secret: String,
    /// What is kept of it.
    pub token: ApiToken,
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
        let _ = (user_id, password, client);
        unready()
    }

    /// Ends the session of that cookie; one that is not there is no error.
    pub async fn log_out(&self, token: &str) -> Answer<()> {
        let _ = token;
        unready()
    }

    /// Who a session's cookie stands for.
    ///
    /// - `csrf`: `Some` for requests that change something: what `X-CSRF-Token` said (`""` where it was missing).
    ///
    /// Refused: `NotLoggedIn`, `Csrf`, `Blocked`.
    pub async fn actor_of_session(&self, token: &str, csrf: Option<&str>) -> Answer<Actor> {
        let _ = (token, csrf);
        unready()
    }

    /// Gives a session a new CSRF token: for a page that was loaded anew and has lost the first.
    pub async fn renew_csrf(&self, token: &str) -> Answer<String> {
        let _ = token;
        unready()
    }

    /// Who a bearer token stands for. Refused: `NotLoggedIn`, `Blocked`.
    pub async fn actor_of_token(&self, bearer: &str) -> Answer<Actor> {
        let _ = bearer;
        unready()
    }

    /// Makes a token for a program.
    ///
    /// - `name`: 1 to 100 characters, unlike the member's other tokens; `life`: a year at most.
    pub async fn make_token(
        &self,
        actor: &Actor,
        name: &str,
        scopes: Scopes,
        life: Duration,
    ) -> Answer<NewToken> {
        let _ = (actor, name, scopes, life);
        unready()
    }

    /// The actor's tokens, oldest first.
    pub async fn tokens(&self, actor: &Actor) -> Answer<Vec<ApiToken>> {
        let _ = actor;
        unready()
    }

    /// Takes a token away.
    pub async fn end_token(&self, actor: &Actor, name: &str) -> Answer<()> {
        let _ = (actor, name);
        unready()
    }
}
