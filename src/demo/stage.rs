//! The demo's server: the classic channel table on loopback, with a reservation side in a directory of its own.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::Program;
use slotcast_core::{
    time::{Clock, WallTime},
    words::Toll,
};
use slotcast_fanout::FanoutStats;
use tempfile::TempDir;

use crate::{
    config::{Config, LogFormat},
    demo::{
        DemoArgs,
        sale::{self, Sale, Settled},
    },
    logging,
    reservations::program_id,
    serve::Server,
};

const CLASSIC: &str = include_str!("../../config/classic.toml");
const RESERVATIONS: &str = "\n[reservations]\nenabled = true\n";
/// How long a confirmed program may take until the streaming side knows it.
const PUBLISHED_MAX: Duration = Duration::from_secs(5);

/// A running server with its one program.
pub(super) struct Stage {
    server: Server,
    sale: Sale,
    program: Arc<Program>,
    data: TempDir,
    _log: Option<logging::Guard>,
}

impl Stage {
    /// Starts the server on the usual ports, or on free ones where those are taken, and books the program.
    pub(super) fn open(args: &DemoArgs, clock: Clock) -> Result<Self, Box<dyn Error>> {
        // For its owner alone: the key in it opens the link.
        let data = tempfile::Builder::new().prefix("slotcast-demo-").tempdir()?;
        let mut config = config(args, data.path())?;
        let log = logging::start(&config.log)?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = match Server::start(config.clone(), Arc::clone(&clock)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                println!("The usual ports are taken ({error}): free ones are used instead.");
                config.viewers.listen.set_port(0);
                config.viewers.rtp_ports = [0, 0];
                config.links.listen = vec![loopback(0)];
                config.links.rtp_ports = Some([0, 0]);
                config.http.listen = Some(loopback(0));
                Server::start(config, Arc::clone(&clock))?
            }
            started => started?,
        };
        let sale = Sale::make(&server, &data.path().join("mail"), args, &clock)?;
        let program = published(&server, &sale)?;
        Ok(Self { server, sale, program, data, _log: log })
    }

    /// Tells people where to watch.
    pub(super) fn introduce(&self, args: &DemoArgs) {
        let url = format!("rtsp://{}/{}", self.viewers(), self.channel());
        let channel = &self.program.channel;
        println!(
            "slotcast demo: {}, {} seats, {}, on air for {} s until {}",
            channel.name,
            channel.seats,
            channel.class,
            args.seconds,
            self.end()
        );
        for step in self.sale.steps() {
            println!("  {step}");
        }
        println!();
        println!("Watch it (each line is a command to paste):");
        println!("  vlc {url}");
        println!("  ffplay -rtsp_transport udp {url}");
        println!("  ffplay -rtsp_transport tcp {url}");
        println!("  gst-launch-1.0 playbin uri={url}");
        if let Some(http) = self.server.addresses().http {
            println!("See it run:\n  curl http://{http}/metrics\n  curl http://{http}/api/v1/today");
        }
        println!();
    }

    /// Where viewers connect.
    pub(super) const fn viewers(&self) -> SocketAddr {
        self.server.addresses().viewers
    }

    /// Where the broadcaster connects, as its settings file says.
    ///
    /// Errors: the file names no access port, or one whose host is not an IP address.
    pub(super) fn links(&self) -> Result<SocketAddr, Box<dyn Error>> {
        let access =
            self.sale.settings.ingest.access.first().ok_or("the settings file has no access port")?;
        let host = access.host.as_str();
        let ip: IpAddr =
            host.parse().map_err(|_| format!("the settings file's access port is no IP address: {host}"))?;
        Ok(SocketAddr::new(ip, access.port.get()))
    }

    pub(super) fn channel(&self) -> &str {
        self.sale.settings.ingest.path.as_str()
    }

    pub(super) fn reservation_id(&self) -> &str {
        self.sale.settings.reservation.id.expose()
    }

    /// Waits for the decision about the money, after the end.
    pub(super) fn settled(&self) -> Result<Settled, Box<dyn Error>> {
        self.sale.settled(&self.server)
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

    /// RTP packets that the server has sent to viewers.
    pub(super) fn packets_sent(&self) -> u64 {
        self.fanout_stats().sum(|worker| &worker.packets_sent)
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
        if let Err(error) = self.data.close() {
            eprintln!("slotcast: the demo's directory could not be removed: {error}");
        }
    }
}

/// The classic table on loopback, with short slots and tolls in proportion.
fn config(args: &DemoArgs, data: &Path) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::parse(&format!("{CLASSIC}{RESERVATIONS}"))?.config;
    config.log.level = "warn".to_owned();
    config.log.format = LogFormat::Text;
    config.viewers.listen.set_ip(Ipv4Addr::LOCALHOST.into());
    let port = config.links.listen.first().map_or(0, SocketAddr::port);
    config.links.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    // All viewers of a demo come from one address.
    config.viewers.per_address = config.viewers.per_address.max(2 * args.viewers as usize + 64);
    config.viewers.connections = config.viewers.connections.max(config.viewers.per_address);
    config.server.slot = sale::slot(args.seconds);
    for channel in &mut config.channels {
        channel.toll = Toll(sale::toll(channel.toll.0, config.server.slot));
    }
    if let Some(sold) = &mut config.reservations {
        data.clone_into(&mut sold.data);
        sold.slots_per_reservation = u32::try_from(args.seconds)?;
        sold.slots_per_month = sold.slots_per_reservation;
    }
    Ok(config)
}

/// The program, once the streaming side knows it.
fn published(server: &Server, sale: &Sale) -> Result<Arc<Program>, Box<dyn Error>> {
    let deadline = Instant::now() + PUBLISHED_MAX;
    loop {
        if let Some(program) = server.programs().program(program_id(sale.number())) {
            return Ok(program);
        }
        if Instant::now() >= deadline {
            return Err("the streaming side was not told of the program".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
