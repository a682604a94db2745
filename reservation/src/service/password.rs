//! Members' passwords: what is asked of them, argon2id, and never more than a few at once.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc},
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{Answer, ServiceError, random::bytes};
use crate::{
    domain::{
        member::PasswordHash,
        refusal::{FieldProblem, Refusal},
    },
    limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PASSWORD_WAIT_MAX, PASSWORDS_AT_ONCE},
};

/// KiB of memory, passes and lanes: what OWASP asks for argon2id at least.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// A hash of the same cost that no password has: what is tried where there is no such member.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2xvdGNhc3Qgbm9ib2R5IQ$\
                       AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Hashes and checks passwords.
#[derive(Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Passwords {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PASSWORDS_AT_ONCE)))
    }

    /// The hash to keep.
    pub(super) async fn hash(&self, password: &str) -> Answer<PasswordHash> {
        let password = password.to_owned();
        let salt: [u8; 16] = bytes()?;
        self.work(move || {
            let hash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(internal)?;
            Ok(PasswordHash(hash.to_string()))
        })
        .await
    }

    /// Whether `password` has that hash; `None`: nobody's, which takes as long and is never right.
    pub(super) async fn is_right(&self, password: &str, hash: Option<&PasswordHash>) -> Answer<bool> {
        let password = password.to_owned();
        let is_somebody = hash.is_some();
        let hash = hash.map_or_else(|| NOBODYS.to_owned(), |hash| hash.0.clone());
        self.work(move || {
            let hash = phc::PasswordHash::new(&hash).map_err(internal)?;
            Ok(argon2()?.verify_password(password.as_bytes(), &hash).is_ok() && is_somebody)
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
        let turn = timeout(PASSWORD_WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(turn) = turn else {
            return Err(Refusal::TooMany { retry_after: PASSWORD_WAIT_MAX.as_secs() }.into());
        };
        let turn = turn.map_err(internal)?;
        // The turn goes along: the work goes on when whoever asked has left.
        let worker = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worker.await.map_err(internal)?
    }
}

fn argon2() -> Answer<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn internal(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::Internal(format!("password: {error}"))
}

/// What is wrong with a new password.
pub(super) fn problem(field: &'static str, password: &str, others: &[&str]) -> Option<FieldProblem> {
    let length = password.chars().take(PASSWORD_CHARS_MAX + 1).count();
    let (english, japanese) = if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&length) {
        (
            format!("{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters"),
            format!("{PASSWORD_CHARS_MIN}~{PASSWORD_CHARS_MAX}文字"),
        )
    } else if others.iter().any(|other| other.eq_ignore_ascii_case(password)) {
        (
            "something else than your user ID or e-mail address".to_owned(),
            "ユーザーIDやメールアドレスと異なる文字列".to_owned(),
        )
    } else {
        return None;
    };
    Some(FieldProblem::new(field, english, japanese))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn passwords_strict_and_bad() {
        let wrong = |password: &str| problem("password", password, &["somebody.here", "a@example.com"]);
        for good in ["0123456789", &"x".repeat(128), "ぱすわーどぱすわーど"] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in ["", "012345678", &"x".repeat(129), "Somebody.Here"] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let passwords = Passwords::new();
        let both = async {
            let hash = passwords.hash("correct horse").await.unwrap();
            assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
            assert!(passwords.is_right("correct horse", Some(&hash)).await.unwrap());
            assert!(!passwords.is_right("correct house", Some(&hash)).await.unwrap());
            assert!(!passwords.is_right("correct horse", None).await.unwrap());
        };
        timeout(Duration::from_secs(60), both).await.unwrap();
    }
}
