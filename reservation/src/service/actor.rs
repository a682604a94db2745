//! Who asks, and what that one may: every scope and every ownership is checked by the functions of this room.

use std::fmt;

use strum::IntoEnumIterator;

use crate::domain::{
    member::Scope,
    refusal::{Refusal, Thing},
    reservation::Reservation,
    words::MemberNumber,
};

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What a browser's session covers.
    pub const ALL: Self = Self(0b111_1111);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// These and `scope`.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Whether `scope` is among them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// Those that a token may carry.
    pub fn of_a_token(self) -> impl Iterator<Item = Scope> {
        Scope::iter().filter(move |scope| *scope != Scope::Account && self.has(*scope))
    }

    /// Reads names separated by spaces; `operate`, of older tokens, is all that operators may. `None`: a name is not one of a token's scopes, or there is none at all.
    pub fn of_token(names: &str) -> Option<Self> {
        let mut scopes = Self::NONE;
        for name in names.split_ascii_whitespace() {
            if name == "operate" {
                scopes = scopes.with(Scope::Sell).with(Scope::Moderate).with(Scope::Ledger);
                continue;
            }
            scopes = scopes.with(name.parse().ok().filter(|scope| *scope != Scope::Account)?);
        }
        (scopes != Self::NONE).then_some(scopes)
    }
}

/// Names separated by spaces.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for scope in self.of_a_token() {
            write!(f, "{between}{scope}")?;
            between = " ";
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// Who asks, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The member.
    pub member: MemberNumber,
    /// Whether it runs the server.
    pub is_operator: bool,
    /// What the session or token covers.
    pub scopes: Scopes,
    /// Which log-in it is, by its number in the database (`None`: a token).
    pub(super) session: Option<SessionKey>,
}

/// SHA-256 of a session's token: not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionKey(pub(super) [u8; 32]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

impl Actor {
    /// Whoever sits at the server's own command line: an operator without being a member.
    pub const fn console() -> Self {
        Self { member: MemberNumber(0), is_operator: true, scopes: Scopes::ALL, session: None }
    }

    /// Refuses what the session or token does not cover.
    pub(super) fn need(&self, scope: Scope) -> Result<(), Refusal> {
        if !self.scopes.has(scope) {
            return Err(Refusal::Scope(scope));
        }
        if scope.is_of_operators() && !self.is_operator {
            return Err(Refusal::NotOperator);
        }
        Ok(())
    }

    /// The reservation, if it is there and the actor's own, or an operator asks whose session or token covers it.
    pub(super) fn own(&self, reservation: Option<Reservation>) -> Result<Reservation, Refusal> {
        reservation
            .filter(|found| found.member == self.member || self.may(Scope::Moderate))
            .ok_or(Refusal::NotFound(Thing::Reservation))
    }

    /// The reservation, if it is there and the actor's own, or an operator asks, whatever of operators that one may do.
    pub(super) fn see(&self, reservation: Option<Reservation>) -> Result<Reservation, Refusal> {
        reservation
            .filter(|found| found.member == self.member || self.operates().is_ok())
            .ok_or(Refusal::NotFound(Thing::Reservation))
    }

    /// The reservation, if it is the actor's own: what costs money is nobody else's to decide.
    pub(super) fn paid_by(&self, reservation: Option<Reservation>) -> Result<Reservation, Refusal> {
        reservation.filter(|found| found.member == self.member).ok_or(Refusal::NotFound(Thing::Reservation))
    }

    /// Whether the session or token covers it.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.need(scope).is_ok()
    }

    /// Refuses whoever may do none of what operators do.
    pub(super) fn operates(&self) -> Result<(), Refusal> {
        let found = [Scope::Sell, Scope::Moderate, Scope::Ledger].map(|scope| self.need(scope));
        if found.iter().any(Result::is_ok) { Ok(()) } else { self.need(Scope::Moderate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_never_cover_the_account() {
        let scopes = Scopes::of_token("read book broadcast operate").unwrap();
        assert!(!scopes.has(Scope::Account) && Scopes::ALL.has(Scope::Account));
        assert_eq!(scopes.to_string(), "read book broadcast sell moderate ledger");
        for bad in ["", " ", "account", "read,book", "READ", "read admin"] {
            assert_eq!(Scopes::of_token(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_operators_token_needs_the_scope_as_well() {
        let mut actor =
            Actor { member: MemberNumber(1), is_operator: true, scopes: Scopes::ALL, session: None };
        assert_eq!(actor.need(Scope::Ledger), Ok(()));
        actor.scopes = Scopes::NONE.with(Scope::Read).with(Scope::Sell);
        assert_eq!(actor.need(Scope::Ledger), Err(Refusal::Scope(Scope::Ledger)));
        assert_eq!((actor.need(Scope::Sell), actor.operates()), (Ok(()), Ok(())));
        actor = Actor { is_operator: false, scopes: Scopes::ALL, ..actor };
        assert_eq!(actor.need(Scope::Sell), Err(Refusal::NotOperator));
        assert_eq!(actor.operates(), Err(Refusal::NotOperator));
    }
}
