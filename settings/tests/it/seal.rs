//! Settings files sealed and opened.

use age::{secrecy::ExposeSecret, x25519};
use proptest::prelude::*;
use slotcast_settings::seal::{
    PASSPHRASE_BYTES_MAX, SEALED_BYTES_MAX, SealError, check_recipient, open_with_identity,
    open_with_passphrase, seal_for, seal_with_passphrase,
};

const TEXT: &str = "{\"format\": \"slotcast-settings\", \"title\": \"生放送\"}\n";
const PASSPHRASE: &str = "correct horse battery";

struct Key {
    secret: String,
    public: String,
}

fn key() -> Key {
    let identity = x25519::Identity::generate();
    Key { secret: identity.to_string().expose_secret().to_owned(), public: identity.to_public().to_string() }
}

#[test]
fn what_is_sealed_for_a_terminal_opens_there_and_nowhere_else() {
    let (mine, other) = (key(), key());
    let sealed = seal_for(&mine.public, TEXT).unwrap();
    assert!(sealed.is_ascii() && sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{sealed}");
    assert_eq!(open_with_identity(&mine.secret, sealed.as_bytes()).unwrap(), TEXT.as_bytes());
    let file = format!("# created: today\n# public key: {}\n{}\n", mine.public, mine.secret);
    assert_eq!(open_with_identity(&file, sealed.as_bytes()).unwrap(), TEXT.as_bytes());
    assert_eq!(open_with_identity(&other.secret, sealed.as_bytes()), Err(SealError::WrongKey));
    assert_eq!(open_with_identity(&mine.public, sealed.as_bytes()), Err(SealError::NotAnIdentity));
    assert_eq!(open_with_identity("", sealed.as_bytes()), Err(SealError::NotAnIdentity));
}

#[test]
fn short_and_endless_passphrases_are_refused() {
    assert_eq!(seal_with_passphrase("hunter2", TEXT), Err(SealError::PassphraseLength));
    let long = "x".repeat(PASSPHRASE_BYTES_MAX + 1);
    assert_eq!(seal_with_passphrase(&long, TEXT), Err(SealError::PassphraseLength));
    assert_eq!(open_with_passphrase(&long, b""), Err(SealError::PassphraseLength));
}

#[test]
fn a_file_that_asks_for_endless_work_is_refused() {
    let sealed = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 40\n\
                  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
                  --- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n0123456789abcdef0123456789abcdef";
    assert_eq!(open_with_passphrase(PASSPHRASE, sealed.as_bytes()), Err(SealError::TooMuchWork));
}

#[test]
fn too_much_is_neither_sealed_nor_opened() {
    assert_eq!(seal_for(&key().public, &"x".repeat(SEALED_BYTES_MAX)), Err(SealError::TooLong));
    assert_eq!(open_with_identity(&key().secret, &vec![b'x'; SEALED_BYTES_MAX + 1]), Err(SealError::TooLong));
}

#[test]
fn recipients_strict_tolerated_and_bad() {
    let key = key();
    assert_eq!(check_recipient(&key.public), Ok(key.public.clone()));
    assert_eq!(check_recipient(&format!(" {}\n", key.public)), Ok(key.public.clone()));
    assert_eq!(check_recipient(&key.secret), Err(SealError::SecretKeyGiven));
    let mut mistyped = key.public.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'q' { b'p' } else { b'q' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    for bad in ["", "age1", "ssh-ed25519 AAAA", "生放送の生放送の生放送", &mistyped, &"age1".repeat(1_000)]
    {
        assert_eq!(check_recipient(bad), Err(SealError::NotARecipient), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_or_cut_file_never_opens_and_never_panics(
        at in any::<proptest::sample::Index>(), bit in 0_u8..7, cut in any::<proptest::sample::Index>(),
    ) {
        let key = key();
        let sealed = seal_for(&key.public, TEXT).unwrap().into_bytes();
        let mut changed = sealed.clone();
        let place = at.index(changed.len());
        changed[place] ^= 1 << bit;
        if let Ok(text) = open_with_identity(&key.secret, &changed) {
            // Blanks around the armor do not count.
            prop_assert_eq!(text, TEXT.as_bytes());
        }
        let cut = cut.index(sealed.len() - 40);
        prop_assert!(open_with_identity(&key.secret, &sealed[..cut]).is_err());
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let key = key();
        prop_assert!(open_with_identity(&key.secret, &bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(check_recipient(&text).is_err());
        let headed = [b"age-encryption.org/v1\n", &bytes[..]].concat();
        prop_assert!(open_with_identity(&key.secret, &headed).is_err());
    }
}
