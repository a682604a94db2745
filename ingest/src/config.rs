//! What an operator sets on the link side, and how the settings fit together.

use std::{net::SocketAddr, time::Duration};

use crate::limits;

/// The link side's settings.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Where broadcasters connect, one per access port; at least one. Port 0: any free one.
    /// An IPv6 address takes IPv6 only: list both families.
    pub listen: Vec<SocketAddr>,
    /// UDP ports for RTP and RTCP on every address of `listen`; `None`: media over TCP only. `[0, 0]`: any free ones.
    pub rtp_ports: Option<[u16; 2]>,
    /// Links that may be open at once; an operator wants at least twice the number of channels.
    pub lines: usize,
    /// Of these, from one address.
    pub lines_per_address: usize,
    /// Connections that have not shown a valid reservation ID yet, in all.
    pub antechamber: usize,
    /// Of these, from one address.
    pub antechamber_per_address: usize,
    /// How long a connection may stay without having shown a valid reservation ID.
    pub gate_deadline: Duration,
    /// How much of its bandwidth class an encoder may send at once, as time.
    pub burst: Duration,
    /// How long an encoder may be above its class before the link is closed.
    pub class_exceeded_max: Duration,
    /// The `Server` header and the tool name in reports.
    pub server_name: String,
}

impl Default for IngestConfig {
    /// One listener on 127.0.0.1:8555, 20 lines, media over TCP only.
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8555))],
            rtp_ports: None,
            lines: 20,
            lines_per_address: 20,
            antechamber: limits::ANTECHAMBER,
            antechamber_per_address: limits::ANTECHAMBER_PER_ADDRESS,
            gate_deadline: limits::GATE_DEADLINE,
            burst: slotcast_desk::limits::BURST,
            class_exceeded_max: slotcast_desk::limits::CLASS_EXCEEDED_MAX,
            server_name: "slotcast".to_owned(),
        }
    }
}

impl IngestConfig {
    /// Whether the settings fit together; if not, what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("expected at least one address to listen on, got none".to_owned());
        }
        let counts = [
            ("lines", self.lines),
            ("lines_per_address", self.lines_per_address),
            ("antechamber", self.antechamber),
            ("antechamber_per_address", self.antechamber_per_address),
            ("gate_deadline", usize::from(!self.gate_deadline.is_zero())),
        ];
        if let Some((setting, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(format!("expected {setting} above 0, got 0"));
        }
        match self.rtp_ports {
            Some([rtp, rtcp]) if [rtp, rtcp] != [0, 0] && (rtp == rtcp || rtp == 0 || rtcp == 0) => {
                Err(format!("expected two different RTP ports, or both 0, got {rtp} and {rtcp}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut IngestConfig), wrong: Option<&str>) {
        let mut config = IngestConfig::default();
        change(&mut config);
        let error = config.check().err();
        assert_eq!(error.is_some(), wrong.is_some(), "{error:?}");
        assert!(error.is_none_or(|error| wrong.is_some_and(|wrong| error.contains(wrong))));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        check(|_| (), None);
        check(|c| c.rtp_ports = Some([0, 0]), None);
        check(|c| c.rtp_ports = Some([8002, 8003]), None);
        check(|c| c.listen.clear(), Some("listen"));
        check(|c| c.lines = 0, Some("lines"));
        check(|c| c.gate_deadline = Duration::ZERO, Some("gate_deadline"));
        check(|c| c.rtp_ports = Some([8002, 8002]), Some("8002 and 8002"));
        check(|c| c.rtp_ports = Some([8002, 0]), Some("8002 and 0"));
    }
}
