//! Asks one NTP server for the time (SNTP, RFC 4330).
//!
//! Owns: the lookup, the socket and the sanity of an answer. Invariant: ends within the timeout.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use rsntp::{AsyncSntpClient, Config, KissCode, ProtocolError, SynchronizationError, SynchronizationResult};

use super::NtpServer;

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its time minus the time here.
    pub(super) offset_micros: i64,
    /// There and back.
    pub(super) round_trip_micros: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    /// For people.
    pub(super) why: String,
    /// Whether the server wants to be asked less.
    pub(super) leave_alone: bool,
}

impl NoAnswer {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), leave_alone: false }
    }
}

/// Asks `server`; ends after `timeout` at the latest.
pub(super) async fn ask(server: &NtpServer, timeout: Duration) -> Result<Answer, NoAnswer> {
    match tokio::time::timeout(timeout, exchange(server, timeout)).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer::because(format!("no answer within {} ms", timeout.as_millis()))),
    }
}

async fn exchange(server: &NtpServer, timeout: Duration) -> Result<Answer, NoAnswer> {
    let mut addresses = tokio::net::lookup_host((server.host.as_str(), server.port))
        .await
        .map_err(|error| NoAnswer::because(format!("its name cannot be looked up: {error}")))?;
    let address = addresses.next().ok_or_else(|| NoAnswer::because("its name has no address"))?;
    let from: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let client = AsyncSntpClient::with_config(Config::default().bind_address(from).timeout(timeout));
    let result = client.synchronize(address).await.map_err(|error| refused(&error))?;
    sane(&result, timeout)
}

fn refused(error: &SynchronizationError) -> NoAnswer {
    match error {
        SynchronizationError::IOError(error) => NoAnswer::because(error.to_string()),
        SynchronizationError::ProtocolError(ProtocolError::KissODeath(code)) => NoAnswer {
            why: format!("it asks to be left alone: {}", code.to_string().trim()),
            leave_alone: !matches!(code, KissCode::AssociationNotYetSynchronized | KissCode::StepChange),
        },
        SynchronizationError::ProtocolError(error) => NoAnswer::because(error.to_string()),
    }
}

/// An answer that took less than no time, or longer than was waited, tells nothing.
fn sane(result: &SynchronizationResult, timeout: Duration) -> Result<Answer, NoAnswer> {
    let (offset, round_trip) = (result.clock_offset().as_secs_f64(), result.round_trip_delay().as_secs_f64());
    // Both clocks are read to some microseconds; on one machine that can come out below zero.
    if !offset.is_finite() || !(-0.001..=timeout.as_secs_f64()).contains(&round_trip) {
        return Err(NoAnswer::because("its answer contradicts itself"));
    }
    // `as` holds at the ends; fractions of a microsecond do not matter.
    Ok(Answer { offset_micros: (offset * 1e6) as i64, round_trip_micros: (round_trip * 1e6) as u64 })
}
