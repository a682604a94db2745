//! The demo's server: the classic channel table on loopback, one program that is on air at once.

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use slotcast_admission::{LinkKey, Program, ProgramSpec};
use slotcast_core::{
    time::{Clock, WallTime},
    words::{ChannelNumber, OpenLevel, ProgramId, Window},
};
use slotcast_fanout::FanoutStats;

use crate::{
    config::{Config, LogFormat},
    demo::DemoArgs,
    logging,
    serve::Server,
};

const CLASSIC: &str = include_str!("../../config/classic.toml");
const PROGRAM: ProgramId = ProgramId(1);

/// A running server with its one program.
pub(super) struct Stage {
    server: Server,
    program: Arc<Program>,
    reservation_id: String,
    _log: Option<logging::Guard>,
}

impl Stage {
    /// Starts the server on the usual ports, or on free ones where those are taken.
    pub(super) fn open(args: &DemoArgs, clock: Clock) -> Result<Self, Box<dyn Error>> {
        let mut config = Config::parse(CLASSIC)?.config;
        config.log.level = "warn".to_owned();
        config.log.format = LogFormat::Text;
        let log = logging::start(&config.log)?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        config.viewers.listen.set_ip(Ipv4Addr::LOCALHOST.into());
        config.links.listen = vec![loopback(config.links.listen.first().map_or(0, SocketAddr::port))];
        // All viewers of a demo come from one address.
        config.viewers.per_address = config.viewers.per_address.max(2 * args.viewers as usize + 64);
        config.viewers.connections = config.viewers.connections.max(config.viewers.per_address);
        let reservation_id = random_id()?;
        let start = clock().wall;
        let window = Window::new(start, start.saturating_add(Duration::from_secs(args.seconds)))?;
        config.programs = vec![ProgramSpec {
            id: PROGRAM,
            channel: ChannelNumber(args.channel),
            window,
            connect: window,
            seats: None,
            class: None,
            title: "slotcast demo".to_owned(),
            open_level: OpenLevel::Public,
            password: None,
            link_key: LinkKey::from_reservation_id(&reservation_id),
        }];
        let server = match Server::start(config.clone(), Arc::clone(&clock)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                println!("The usual ports are taken ({error}): free ones are used instead.");
                config.viewers.listen.set_port(0);
                config.viewers.rtp_ports = [0, 0];
                config.links.listen = vec![loopback(0)];
                config.links.rtp_ports = Some([0, 0]);
                config.http.listen = Some(loopback(0));
                Server::start(config, clock)?
            }
            started => started?,
        };
        let program =
            server.programs().program(PROGRAM).ok_or("the demo's program is not in the timetable")?;
        Ok(Self { server, program, reservation_id, _log: log })
    }

    /// Tells people where to watch.
    pub(super) fn introduce(&self, args: &DemoArgs) {
        let url = format!("rtsp://{}/{}", self.viewers(), self.channel());
        let channel = &self.program.channel;
        println!(
            "slotcast demo: {}, {} seats, {}, on air for {} s until {}\n",
            channel.name,
            channel.seats,
            channel.class,
            args.seconds,
            self.end()
        );
        println!("Watch it (each line is a command to paste):");
        println!("  vlc {url}");
        println!("  ffplay -rtsp_transport udp {url}");
        println!("  ffplay -rtsp_transport tcp {url}");
        println!("  gst-launch-1.0 playbin uri={url}");
        if let Some(http) = self.server.addresses().http {
            println!("See it run:\n  curl http://{http}/metrics");
        }
        println!();
    }

    /// Where viewers connect.
    pub(super) const fn viewers(&self) -> SocketAddr {
        self.server.addresses().viewers
    }

    /// Where the broadcaster connects.
    pub(super) fn links(&self) -> SocketAddr {
        self.server.addresses().links.first().copied().unwrap_or_else(|| self.viewers())
    }

    pub(super) fn channel(&self) -> &str {
        self.program.channel.name.as_str()
    }

    pub(super) fn reservation_id(&self) -> &str {
        &self.reservation_id
    }

    pub(super) fn seats(&self) -> u32 {
        self.program.gate.seats()
    }

    pub(super) fn seats_taken(&self) -> u32 {
        self.program.gate.viewers()
    }

    pub(super) fn end(&self) -> WallTime {
        self.program.gate.end()
    }

    pub(super) const fn fanout_stats(&self) -> &Arc<FanoutStats> {
        self.server.fanout_stats()
    }

    /// Bytes that the broadcaster has sent.
    pub(super) fn bytes_in(&self) -> u64 {
        let channels = self.server.ingest_stats().channels();
        channels.iter().map(|(_, traffic)| traffic.bytes.value()).sum()
    }

    /// Ends everything.
    pub(super) fn close(self) {
        if !self.server.shutdown() {
            eprintln!("slotcast: not every thread ended in time");
        }
    }
}

/// 128 random bits in hexadecimal.
fn random_id() -> Result<String, Box<dyn Error>> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers from the kernel: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
