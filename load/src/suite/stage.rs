//! The server under measurement: one that the suite starts itself, or one that runs already.
//!
//! Owns: the generated configuration, starting and ending the child, asking its metrics.
//! Invariant: the child is ended by its pid when its value is dropped; its reservation ID is random and lives in a file
//! that only this user can read, and in the arguments of the tools.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use slotcast_core::time::WallTime;

use super::tool::{Tools, end, last_words, random};
use slotcast_net::clock;
use slotcast_tools::target::Target;

/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// ... and to end by itself.
const END_MAX: Duration = Duration::from_secs(3);
/// ... to answer a question about its metrics.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest page of metrics that is read.
const PAGE_BYTES_MAX: u64 = 8 << 20;
const LOOK: Duration = Duration::from_millis(20);
/// Its windows begin so long before it does.
const BEFORE: Duration = Duration::from_secs(60);

/// Two hours: longer than any measurement.
pub(super) const LONG: Duration = Duration::from_secs(2 * 3600);

/// What the server has.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) channels: u32,
    /// Of each channel.
    pub(super) seats: u32,
    /// The bandwidth class, in kbit/s.
    pub(super) kilobits: u64,
    /// How long sound may wait for a picture, in milliseconds; `None` leaves it to the server.
    pub(super) gather: Option<u32>,
    /// Sending threads.
    pub(super) workers: u32,
    /// What it is kept to.
    pub(super) cores: Vec<usize>,
    /// Until the programs end.
    pub(super) window: Duration,
}

/// A server at its addresses.
pub(super) struct Stage {
    /// Where viewers watch; `{number}` stands for the channel's number.
    pub(super) watch: String,
    /// Where streams are published, likewise.
    pub(super) publish: String,
    pub(super) pid: Option<u32>,
    /// When its programs end, where it is ours.
    pub(super) end: Option<WallTime>,
    own: Option<Own>,
}

struct Own {
    child: Child,
    viewers: SocketAddr,
    http: SocketAddr,
}

impl Stage {
    /// One that runs already.
    pub(super) const fn other(watch: String, publish: String, pid: Option<u32>) -> Self {
        Self { watch, publish, pid, end: None, own: None }
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// It does not start; the error says why.
    pub(super) fn start(tools: &Tools, setup: &Setup) -> io::Result<Self> {
        tools.go_on()?;
        let id = random()?;
        let now = clock::system()().wall;
        let end = now.saturating_add(setup.window);
        let (file, log) = (tools.file("server.toml"), tools.file("server.log"));
        fs::write(&file, config(setup, &id, now.saturating_sub(BEFORE), end))?;
        let mut command = Command::new(&tools.server);
        command.args(["serve", "--config"]).arg(&file).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child =
            on_cores(&setup.cores, || command.spawn().map_err(|error| unstarted(&tools.server, &error)))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut own = Own { child, viewers: nowhere, http: nowhere };
        let until = Instant::now() + START_MAX;
        let links = loop {
            if let Some([viewers, links, http]) = addresses(&fs::read_to_string(&log).unwrap_or_default()) {
                (own.viewers, own.http) = (viewers, http);
                break links;
            }
            tools.go_on()?;
            if own.child.try_wait()?.is_some() || Instant::now() > until {
                let why = last_words(&log, "it says nothing");
                return Err(io::Error::other(format!("the server did not start: {why}")));
            }
            thread::sleep(LOOK);
        };
        Ok(Self {
            watch: format!("rtsp://{}/channel{{number}}", own.viewers),
            publish: format!("rtsp://live:{id}@{links}/channel{{number}}"),
            pid: Some(own.child.id()),
            end: Some(end),
            own: Some(own),
        })
    }

    /// Where viewers of the first channel watch.
    pub(super) fn first(&self) -> String {
        Target::numbered(&self.watch, 1)
    }

    /// Where our own server's viewers connect.
    pub(super) fn viewers(&self) -> Option<SocketAddr> {
        self.own.as_ref().map(|own| own.viewers)
    }

    /// Sum of all samples of our own server's metric `name`, such as `slotcast_send_calls_total`.
    ///
    /// # Errors
    /// It is not ours, does not answer, or has no such metric.
    pub(super) fn metric(&self, name: &str) -> io::Result<f64> {
        sum(&self.metrics()?, name)
            .ok_or_else(|| io::Error::other(format!("the server has no metric {name}")))
    }

    /// The page of our own server's metrics.
    ///
    /// # Errors
    /// It is not ours, or does not answer.
    pub(super) fn metrics(&self) -> io::Result<String> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "no server of our own");
        let address = self.own.as_ref().ok_or_else(none)?.http;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
        Ok(page)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The first ends it after its viewers, the second at once.
        for _ in 0..2 {
            if matches!(self.child.try_wait(), Ok(None)) {
                let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
                thread::sleep(LOOK);
            }
        }
        let until = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK);
        }
        end(&mut self.child);
    }
}

/// Runs `start` with this thread on `cores`, which its children inherit.
fn on_cores<T>(cores: &[usize], start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    for &core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(core);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("core {cores:?} for the server: {error}"))
    })?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

fn unstarted(server: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be started: {error}", server.display()))
}

fn config(setup: &Setup, id: &str, start: WallTime, end: WallTime) -> String {
    let mut text = format!(
        r#"[server]
uplink = "1000Gbit/s"
oversell = true
drain = "100ms"

[viewers]
listen = "127.0.0.1:0"
rtp_ports = [0, 0]
workers = {}
pin = false
connections = 30000
per_address = 30000

[links]
listen = ["127.0.0.1:0"]
rtp_ports = [0, 0]
lines = {lines}
per_address = {lines}
waiting = {lines}
waiting_per_address = {lines}

[http]
listen = "127.0.0.1:0"

[log]
format = "json"
"#,
        setup.workers,
        lines = (2 * setup.channels).max(20),
    );
    let gather = setup.gather.map(|ms| format!("gather = \"{ms}ms\"\n")).unwrap_or_default();
    for number in 1..=setup.channels {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            r#"
[[channels]]
number = {number}
name = "channel{number}"
seats = {seats}
rate = "{kilobits}kbit/s"
toll = 0
{gather}
[[programs]]
channel = {number}
start = "{start}"
end = "{end}"
reservation_id = "{id}"
open_level = "public"
title = "Load suite"
"#,
            seats = setup.seats,
            kilobits = setup.kilobits,
        );
    }
    text
}

/// Viewers', links' and HTTP's address, from the line with which the server says that it runs.
fn addresses(log: &str) -> Option<[SocketAddr; 3]> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut found = lines.filter_map(|line| {
        let [viewers, links, http] = ["viewers", "links", "http"].map(|key| line[key].as_str()?.parse().ok());
        Some([viewers?, links?, http?])
    });
    found.next()
}

/// Sum over all labels; `None`: there is no sample.
pub(super) fn sum(page: &str, name: &str) -> Option<f64> {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    samples.reduce(|sum, sample| sum + sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_line_has_the_addresses() {
        let log = "{\"level\":\"WARN\",\"message\":\"x\"}\n{\"message\":\"slotcast runs\",\"viewers\":\"127.0.0.1:1\",\
                   \"links\":\"127.0.0.1:2\",\"http\":\"127.0.0.1:3\"}\n{\"mess";
        let ports = addresses(log).unwrap().map(|address| address.port());
        assert_eq!((ports, addresses("{\"mess")), ([1, 2, 3], None));
    }

    #[test]
    fn samples_are_summed_over_their_labels() {
        let page = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 7\na_total 1\n# EOF\n";
        assert_eq!((sum(page, "a_total"), sum(page, "b_total")), (Some(6.0), None));
    }
}
