//! The settings file's encryption: age (<https://age-encryption.org/v1>), in its armored form.
//!
//! Owns: sealing for a terminal's key or a passphrase, and opening for the broadcaster's side.
//! Refuses: work without bounds, input beyond [`SEALED_BYTES_MAX`]. Invariant: no error tells a key, a passphrase or a text.

use std::{
    fmt,
    io::{Read, Write},
    iter,
};

use age::{
    DecryptError, Decryptor, Encryptor, Identity, Recipient,
    armor::{ArmoredReader, ArmoredWriter, Format},
    scrypt,
    secrecy::SecretString,
    x25519,
};

use super::file::FILE_BYTES_MAX;

/// Longest sealed file that is opened: the longest file in base 64, with its header.
pub const SEALED_BYTES_MAX: usize = 2 * FILE_BYTES_MAX;
/// Fewest characters of a passphrase: who has the sealed file may try as many as they like.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
/// Longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 256;
/// scrypt's log2 N when sealing: 64 MiB of memory, on a server that serves others meanwhile.
const WORK_FACTOR: u8 = 16;
/// The most that is done when opening: what the `age` tool itself asks for (256 MiB).
const WORK_FACTOR_MAX: u8 = 18;
/// Longest text that can be a recipient.
const RECIPIENT_BYTES_MAX: usize = 200;

/// Why something was not sealed or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The recipient is not one of X25519.
    NotARecipient,
    /// A secret key was given where a recipient belongs.
    SecretKeyGiven,
    /// The identity is not one of X25519.
    NotAnIdentity,
    /// Too short or too long.
    PassphraseLength,
    /// Longer than may be sealed or opened.
    TooLong,
    /// Not an age file, or one that was changed on its way.
    NotSealed,
    /// Sealed for another key, or with another passphrase.
    WrongKey,
    /// The passphrase would take too much work to try.
    TooMuchWork,
    /// The library failed, e.g. for want of randomness.
    Failed,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotARecipient => {
                "not a terminal's key: expected a text that begins with age1; age-keygen makes one"
            }
            Self::SecretKeyGiven => {
                "that is the secret key, which must stay on the terminal: give the one that begins with age1; \
                 age-keygen -y shows it"
            }
            Self::NotAnIdentity => "not a secret key: expected a text that begins with AGE-SECRET-KEY-1",
            Self::PassphraseLength => "expected a passphrase of 12 characters or more, of at most 256 bytes",
            Self::TooLong => "too long for a settings file",
            Self::NotSealed => "not a sealed settings file, or it was changed on its way: fetch it again",
            Self::WrongKey => "sealed for another key or with another passphrase",
            Self::TooMuchWork => "sealed in a way that takes too much work to open",
            Self::Failed => "could not be sealed; try again",
        })
    }
}

impl std::error::Error for SealError {}

/// The terminal's key as it is kept, from what somebody typed.
///
/// - `text`: an age recipient of X25519, `age1…`; blanks around it do not count.
/// - Errors: it is none. The text says what to do, and is for the member.
pub fn check_recipient(text: &str) -> Result<String, SealError> {
    recipient(text).map(|recipient| recipient.to_string())
}

/// Seals `text` for the terminal with this key. Returns armored ASCII.
pub fn seal_for(terminal_key: &str, text: &str) -> Result<String, SealError> {
    seal(&recipient(terminal_key)?, text)
}

/// Seals `text` with a passphrase. Returns armored ASCII.
///
/// Cost: about 64 MiB and a tenth of a second; not for a thread that serves others.
pub fn seal_with_passphrase(passphrase: &str, text: &str) -> Result<String, SealError> {
    let is_long_enough = passphrase.chars().take(PASSPHRASE_CHARS_MIN).count() == PASSPHRASE_CHARS_MIN;
    if !is_long_enough || passphrase.len() > PASSPHRASE_BYTES_MAX {
        return Err(SealError::PassphraseLength);
    }
    seal_at(WORK_FACTOR, passphrase, text)
}

fn seal_at(work_factor: u8, passphrase: &str, text: &str) -> Result<String, SealError> {
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(work_factor);
    seal(&recipient, text)
}

/// Opens what was sealed for the terminal with this secret key.
///
/// - `identity`: `AGE-SECRET-KEY-1…`, or a file of `age-keygen` with its comments.
/// - `sealed`: armored or not; from outside.
pub fn open_with_identity(identity: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut lines = identity.lines().take(100).map(str::trim);
    let key =
        lines.find(|line| !line.is_empty() && !line.starts_with('#')).ok_or(SealError::NotAnIdentity)?;
    let identity: x25519::Identity = key.parse().map_err(|_| SealError::NotAnIdentity)?;
    open(&identity, sealed)
}

/// Opens what was sealed with this passphrase.
///
/// Cost: up to 256 MiB and about a second.
pub fn open_with_passphrase(passphrase: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    if passphrase.len() > PASSPHRASE_BYTES_MAX {
        return Err(SealError::PassphraseLength);
    }
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    open(&identity, sealed)
}

fn recipient(text: &str) -> Result<x25519::Recipient, SealError> {
    let text = text.trim();
    if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("AGE-SECRET-KEY-")) {
        return Err(SealError::SecretKeyGiven);
    }
    if text.len() > RECIPIENT_BYTES_MAX {
        return Err(SealError::NotARecipient);
    }
    text.parse().map_err(|_| SealError::NotARecipient)
}

fn seal(recipient: &dyn Recipient, text: &str) -> Result<String, SealError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(SealError::TooLong);
    }
    let encryptor = Encryptor::with_recipients(iter::once(recipient)).map_err(|_| SealError::Failed)?;
    let write = || {
        let armored = ArmoredWriter::wrap_output(Vec::with_capacity(2 * text.len()), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armored)?;
        writer.write_all(text.as_bytes())?;
        writer.finish()?.finish()
    };
    let sealed: Vec<u8> = write().map_err(|_| SealError::Failed)?;
    String::from_utf8(sealed).map_err(|_| SealError::Failed)
}

fn open(identity: &dyn Identity, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    if sealed.len() > SEALED_BYTES_MAX {
        return Err(SealError::TooLong);
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(|error| refused(&error))?;
    let reader = decryptor.decrypt(iter::once(identity)).map_err(|error| refused(&error))?;
    let mut text = Vec::new();
    let limit = FILE_BYTES_MAX as u64;
    reader.take(limit + 1).read_to_end(&mut text).map_err(|_| SealError::NotSealed)?;
    if text.len() > FILE_BYTES_MAX { Err(SealError::TooLong) } else { Ok(text) }
}

fn refused(error: &DecryptError) -> SealError {
    match error {
        DecryptError::ExcessiveWork { .. } => SealError::TooMuchWork,
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            SealError::WrongKey
        }
        _ => SealError::NotSealed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So little work that a test need not wait for it.
    const QUICK: u8 = 8;

    #[track_caller]
    fn check(sealed_with: &str, opened_with: &str, expected: Result<&str, SealError>) {
        let sealed = seal_at(QUICK, sealed_with, "{}").unwrap();
        let opened = open_with_passphrase(opened_with, sealed.as_bytes());
        assert_eq!(opened, expected.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn what_is_sealed_with_a_passphrase_opens_with_it_alone() {
        check("correct horse battery", "correct horse battery", Ok("{}"));
        check("correct horse battery", "correct horse batterY", Err(SealError::WrongKey));
        check("正しい馬と電池とホチキス", "正しい馬と電池とホチキス", Ok("{}"));
        check("correct horse battery", "", Err(SealError::WrongKey));
    }

    #[test]
    fn a_key_does_not_open_what_a_passphrase_sealed() {
        let sealed = seal_at(QUICK, "correct horse battery", "{}").unwrap();
        assert_eq!(open(&x25519::Identity::generate(), sealed.as_bytes()), Err(SealError::WrongKey));
    }
}
