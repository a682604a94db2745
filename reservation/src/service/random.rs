//! Random numbers and tokens, and what is kept of tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{Answer, ServiceError};

/// Random bytes of the kernel.
pub(super) fn bytes<const N: usize>() -> Answer<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ServiceError::Internal(format!("randomness: {error}")))?;
    Ok(bytes)
}

/// 64 random bits.
pub(super) fn bits() -> Answer<u64> {
    Ok(u64::from_ne_bytes(bytes()?))
}

/// A token of 256 random bits, in 43 letters.
pub(super) fn token() -> Answer<String> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// What is kept of a token.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A second token that belongs to the first and does not tell it.
pub(super) fn csrf_of(token: &str) -> String {
    let hash = Sha256::new().chain_update(b"slotcast csrf\0").chain_update(token.as_bytes()).finalize();
    URL_SAFE_NO_PAD.encode(hash)
}
