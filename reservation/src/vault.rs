//! The server's own key: reservation IDs and codes in mails are derived from it, viewers' passwords are sealed with it.
//!
//! Owns: [`Vault`], [`ReservationId`], [`ProofCode`], the key file. Refuses: a key file that others can read.
//! Invariant: the database alone opens no link and shows no password; the key never leaves its file and this room.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::{
    proof::ProofKind,
    reservation::ReservationIdHash,
    words::{Email, MemberNumber, ReservationNumber},
};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Crockford's base 32, in lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in base 32.
const ID_LETTERS: usize = 26;

/// The unguessable credential of one reservation: 128 bits, written in groups of base 32, e.g.
/// `7r9kq-2mxw8-tzb4n-vc31d-ha6ey0`.
#[derive(Clone, PartialEq, Eq)]
pub struct ReservationId(String);

impl ReservationId {
    /// As it is written in mails and addresses.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> ReservationIdHash {
        ReservationIdHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// Reads what somebody typed: case, dashes and spaces do not count, `o` is 0, `i` and `l` are 1. `None`: it
    /// cannot be one.
    pub fn from_typed(text: &str) -> Option<Self> {
        typed(text).map(Self)
    }

    fn from_bits(bits: u128) -> Self {
        Self(written(bits))
    }
}

/// A code that a mail carries, written as a [`ReservationId`].
#[derive(Clone, PartialEq, Eq)]
pub struct ProofCode(String);

impl ProofCode {
    /// As it is written in mails and addresses.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// Reads what somebody typed, as [`ReservationId::from_typed`].
    pub fn from_typed(text: &str) -> Option<Self> {
        typed(text).map(Self)
    }
}

impl fmt::Debug for ProofCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofCode(…)")
    }
}

/// 128 bits as somebody typed them, in groups; `None`: they cannot be.
fn typed(text: &str) -> Option<String> {
    if text.len() > 4 * ID_LETTERS {
        return None;
    }
    let mut letters = String::with_capacity(ID_LETTERS);
    for letter in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let letter = match letter.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        };
        if !letter.is_ascii() || !ALPHABET.contains(&(letter as u8)) {
            return None;
        }
        letters.push(letter);
    }
    (letters.len() == ID_LETTERS).then(|| grouped(&letters))
}

fn written(bits: u128) -> String {
    let mut left = bits;
    let mut letters = [0; ID_LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(left & 31) as usize];
        left >>= 5;
    }
    grouped(&letters.map(char::from).iter().collect::<String>())
}

/// Five groups: 5, 5, 5, 5, 6.
fn grouped(letters: &str) -> String {
    let mut text = String::with_capacity(ID_LETTERS + 4);
    for (at, letter) in letters.chars().enumerate() {
        if at % 5 == 0 && (5..25).contains(&at) {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

/// What signs the events of one webhook (the Standard Webhooks scheme, symmetric).
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; KEY_BYTES]);

impl WebhookSecret {
    /// As its receiver gets it, once: `whsec_` and the key in base 64.
    pub fn expose(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The signature of one message: `v1,` and HMAC-SHA256 of `ID.TIMESTAMP.BODY` in base 64.
    ///
    /// - `seconds`: when it is sent, since 1970.
    pub fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let text = format!("{id}.{seconds}.{body}");
        format!("v1,{}", STANDARD.encode(keyed(&self.0, &[text.as_bytes()])))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReservationId(…)")
    }
}

/// Whether two hashes are the same, in constant time.
pub fn same_hash(a: &ReservationIdHash, b: &ReservationIdHash) -> bool {
    a.0.ct_eq(&b.0).into()
}

/// Why something sealed could not be opened: another key, or a changed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError;

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealed with another key: put back the secret.key that belongs to this database")
    }
}

impl std::error::Error for OpenError {}

/// The key and what is done with it.
#[derive(Clone)]
pub struct Vault {
    ids: [u8; KEY_BYTES],
    stops: [u8; KEY_BYTES],
    seals: XChaCha20Poly1305,
    marker: [u8; KEY_BYTES],
    proofs: [u8; KEY_BYTES],
    homes: [u8; KEY_BYTES],
    webhooks: [u8; KEY_BYTES],
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// Of a key of 32 random bytes.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let part = |name: &str| keyed(key, &[name.as_bytes()]);
        Self {
            ids: part("slotcast reservation IDs"),
            stops: part("slotcast mail stops"),
            seals: XChaCha20Poly1305::new(&part("slotcast seals").into()),
            marker: part("slotcast marker"),
            proofs: part("slotcast proofs"),
            homes: part("slotcast homes"),
            webhooks: part("slotcast webhooks"),
        }
    }

    /// Reads the key file, or makes one with fresh random bytes that only its owner can read.
    ///
    /// Errors: it cannot be read or made, is not 32 bytes in base 64, or others can read it.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        match fs::File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(named(&error, path)),
        }
    }

    fn read(file: fs::File, path: &Path) -> io::Result<Self> {
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            let text = format!("{}: others can read the key: chmod 600 it", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).map_err(|error| named(&error, path))?;
        let key = STANDARD_NO_PAD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(key) = key else {
            let text = format!("{}: expected 32 bytes in base 64; restore it from a backup", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        Ok(Self::new(&key))
    }

    fn create(path: &Path) -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| named(&error, path))?;
        writeln!(file, "{}", STANDARD_NO_PAD.encode(key))?;
        file.sync_all()?;
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(Self::new(&key))
    }

    /// Tells one key from another without telling the key: stored in the database when it is made.
    pub const fn marker(&self) -> [u8; 32] {
        self.marker
    }

    /// The reservation ID of that issue; the same every time.
    pub fn reservation_id(&self, number: ReservationNumber, issue: u32) -> ReservationId {
        let bytes = keyed(&self.ids, &[&number.0.to_be_bytes(), &issue.to_be_bytes()]);
        ReservationId::from_bits(first_bits(&bytes))
    }

    /// The code of that proof; the same every time.
    pub fn proof_code(&self, kind: ProofKind, member: MemberNumber, serial: i64) -> ProofCode {
        let parts = [&member.0.to_be_bytes()[..], &serial.to_be_bytes(), kind.name().as_bytes()];
        ProofCode(written(first_bits(&keyed(&self.proofs, &parts))))
    }

    /// What is kept of a network from which a member logged in: whoever has the database alone cannot tell which it is.
    pub fn home(&self, member: MemberNumber, network: IpAddr) -> [u8; 32] {
        keyed(&self.homes, &[&member.0.to_be_bytes(), network.to_string().as_bytes()])
    }

    /// The secret of that issue, by which a webhook's receiver tells our events from others'; the same every time.
    pub fn webhook_secret(&self, webhook: i64, issue: u32) -> WebhookSecret {
        WebhookSecret(keyed(&self.webhooks, &[&webhook.to_be_bytes(), &issue.to_be_bytes()]))
    }

    /// What is shown to say that `address` wants no more mails as somebody's friend: letters, digits, `-`, `_` and a dot.
    pub fn mail_stop(&self, address: &Email) -> String {
        let address = address.as_str().to_ascii_lowercase();
        let proof = keyed(&self.stops, &[address.as_bytes()]);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(address), URL_SAFE_NO_PAD.encode(&proof[..16]))
    }

    /// The address, in lower case, for which that was made. `None`: it was not made with this key.
    pub fn stopped_address(&self, token: &str) -> Option<Email> {
        let (address, proof) = token.split_once('.').filter(|_| token.len() <= 400)?;
        let address = String::from_utf8(URL_SAFE_NO_PAD.decode(address).ok()?).ok()?;
        let expected = keyed(&self.stops, &[address.as_bytes()]);
        let is_right = URL_SAFE_NO_PAD.decode(proof).ok()?.ct_eq(&expected[..16]);
        address.parse().ok().filter(|_| is_right.into())
    }

    /// What opens the calendar of a member; the same as long as the member keeps the password. 32 letters and digits.
    pub fn calendar_feed(&self, member: MemberNumber, password_hash: &str) -> String {
        let bytes = keyed(&self.ids, &[b"calendar feed", &member.0.to_be_bytes(), password_hash.as_bytes()]);
        bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals `text` for `place` (table and row): moved elsewhere it does not open.
    pub fn seal(&self, place: &str, text: &str) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = self
            .seals
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| io::Error::other("too long to seal"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<String, OpenError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES).ok_or(OpenError)?;
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let opened = self.seals.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenError)?;
        String::from_utf8(opened).map_err(|_| OpenError)
    }
}

fn first_bits(bytes: &[u8; 32]) -> u128 {
    let mut bits = [0; 16];
    bits.copy_from_slice(&bytes[..16]);
    u128::from_be_bytes(bits)
}

fn keyed(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a shorter key with zeros to its block (RFC 2104 §2); done here, nothing can fail.
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(&[7; 32])
    }

    #[test]
    fn ids_are_read_as_people_type_them() {
        let id = vault().reservation_id(ReservationNumber(42), 1);
        let typed = format!("  {} ", id.expose().to_uppercase().replace('-', " ").replace('0', "O"));
        assert_eq!(ReservationId::from_typed(&typed), Some(id.clone()));
        assert_eq!(id.expose().len(), 30, "{}", id.expose());
        for bad in ["", "7r9kq", &"u".repeat(26), &"0".repeat(27), "日本語"] {
            assert_eq!(ReservationId::from_typed(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_reservation_and_issue_has_its_own_id() {
        let vault = vault();
        let id = |number, issue| vault.reservation_id(ReservationNumber(number), issue);
        assert_eq!(id(1, 1), id(1, 1));
        assert_ne!(id(1, 1), id(1, 2));
        assert_ne!(id(1, 1), id(2, 1));
        assert_ne!(id(1, 1), Vault::new(&[8; 32]).reservation_id(ReservationNumber(1), 1));
        assert!(
            same_hash(&id(1, 1).hash(), &id(1, 1).hash()) && !same_hash(&id(1, 1).hash(), &id(1, 2).hash())
        );
    }

    #[test]
    fn seals_open_only_where_they_belong() {
        let vault = vault();
        let sealed = vault.seal("password of 1", "open sesame").unwrap();
        assert_eq!(vault.open("password of 1", &sealed).as_deref(), Ok("open sesame"));
        assert_eq!(vault.open("password of 2", &sealed), Err(OpenError));
        assert_eq!(Vault::new(&[8; 32]).open("password of 1", &sealed), Err(OpenError));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(vault.open("password of 1", &changed), Err(OpenError), "{at}");
            assert_eq!(vault.open("password of 1", &sealed[..at]), Err(OpenError), "{at}");
        }
    }

    #[test]
    fn the_key_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret.key");
        let first = Vault::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::open_or_create(&path).unwrap().marker(), first.marker());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Vault::open_or_create(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(Vault::open_or_create(&path).unwrap_err().to_string().contains("backup"));
    }
}
