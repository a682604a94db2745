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

/// A hash that no password has.
pub(super) fn nobodys() -> PasswordHash {
    PasswordHash(NOBODYS.to_owned())
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
    } else if is_trivial(password, others) {
        (
            "a password that is harder to guess: three or four words chosen at random, for example"
                .to_owned(),
            "推測されにくい文字列 (例: 無作為に選んだ3~4語)".to_owned(),
        )
    } else {
        return None;
    };
    Some(FieldProblem::new(field, english, japanese))
}

/// Words that passwords are made of again and again: alone, or with digits and signs around them.
const COMMON: &[&str] = &[
    "abc",
    "admin",
    "administrator",
    "baseball",
    "changeme",
    "default",
    "dragon",
    "football",
    "hello",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "michael",
    "monkey",
    "operator",
    "p@ssw0rd",
    "p@ssword",
    "passw0rd",
    "password",
    "passwort",
    "princess",
    "qwerty",
    "secret",
    "shadow",
    "slotcast",
    "sunshine",
    "superman",
    "test",
    "trustno",
    "welcome",
];
/// Keys beside each other, in rows and in the order of characters.
const ROWS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
];

/// Whether it would be among the first that somebody tries: few different characters, a short piece again and again, keys
/// in a row, a common word or the user ID with digits around it.
fn is_trivial(password: &str, others: &[&str]) -> bool {
    let letters: Vec<char> = password.to_lowercase().chars().collect();
    let different: std::collections::BTreeSet<_> = letters.iter().collect();
    let is_repeated = |piece: usize| letters.iter().zip(&letters[piece..]).all(|(a, b)| a == b);
    if different.len() < 5 || (1..=4).any(is_repeated) {
        return true;
    }
    let text: String = letters.iter().collect();
    let turned: String = letters.iter().rev().collect();
    if ROWS.iter().any(|row| row.contains(&text) || row.contains(&turned)) {
        return true;
    }
    let core_of = |text: &str| text.trim_matches(|c: char| !c.is_alphabetic()).to_owned();
    let core = core_of(&text);
    let mut names = others.iter().filter_map(|other| other.split('@').next());
    COMMON.contains(&core.as_str())
        || names.any(|name| !core.is_empty() && core == core_of(&name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::words::Language;

    #[test]
    fn passwords_strict_and_bad() {
        let wrong = |password: &str| problem("password", password, &["somebody.here", "a@example.com"]);
        for good in [
            "correct horse",
            &"xyzab".repeat(25),
            "ぱすわーどぱすわーど",
            "8231-5590-77",
            "an operator's password",
        ] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in ["", "012345678", &"x".repeat(129), "Somebody.Here"] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
        for bad in [
            "0123456789",
            "9876543210",
            "1234567890",
            "aaaaaaaaaa",
            "abcabcabcabc",
            "abcdefghij",
            "qwertyuiop",
            "password123",
            "PASSWORD!!",
            "welcome2026",
            "somebody.here1",
        ] {
            let problem = wrong(bad).expect(bad);
            assert!(problem.expected.of(Language::English).contains("harder to guess"), "{problem:?}");
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
