//! Which UDP ports at peers' addresses are taken: two sessions at one address would get each other's media.
//!
//! Invariant: a port of an address is one session's; dropping its claim gives it back.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use slotcast_core::address::canonical;

/// The ports that sessions have. It is asked once per SETUP, so one lock is enough.
#[derive(Debug, Default)]
pub struct ClaimedPorts(Mutex<HashSet<SocketAddr>>);

/// Two ports of an address; dropping it gives them back.
pub(super) struct Claim {
    all: Arc<ClaimedPorts>,
    pair: [SocketAddr; 2],
}

impl ClaimedPorts {
    /// Takes both; `None` where a session has one of them.
    pub(super) fn claim(self: &Arc<Self>, pair: [SocketAddr; 2]) -> Option<Claim> {
        let pair = pair.map(canonical);
        let mut claimed = self.0.lock();
        if pair.iter().any(|port| claimed.contains(port)) {
            return None;
        }
        claimed.extend(pair);
        Some(Claim { all: Arc::clone(self), pair })
    }

    /// How many ports are taken.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.all.0.lock();
        for port in &self.pair {
            claimed.remove(port);
        }
    }
}
