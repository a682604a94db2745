//! Numbers that nobody can guess, from a seed that nobody knows: SHA-256 of the seed and a counter.

use sha2::{Digest as _, Sha256};

use crate::hash::hex;

/// A generator; two with the same seed yield the same.
#[derive(Clone)]
pub struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    /// - `seed`: 256 bits that nobody knows, of their own for each generator.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// 128 bits.
    pub fn bits128(&mut self) -> [u8; 16] {
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        self.drawn += 1;
        let mut bits = [0; 16];
        bits.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        bits
    }

    /// 128 bits as 32 lower-case hexadecimal digits.
    pub fn hex128(&mut self) -> String {
        hex(&self.bits128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_another_and_a_seed_repeats_them() {
        let draw = |seed| {
            let mut random = Random::new([seed; 32]);
            (random.hex128(), random.hex128())
        };
        let (first, second) = draw(1);
        assert_ne!(first, second);
        assert_eq!((first.clone(), second), draw(1));
        assert_ne!(first, draw(2).0);
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
