//! The shell commands of README.md and `docs/`, and a shell in which they stand as printed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    process::{Finished, Process},
    program,
};

/// Nothing in a page takes longer, but on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The blocks of shell commands of a page, in their order.
#[track_caller]
pub fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    text.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// The one block of `page` that begins so.
#[track_caller]
pub fn block(page: &str, begins: &str) -> String {
    let found: Vec<_> = blocks(page).into_iter().filter(|block| block.starts_with(begins)).collect();
    let [block] = found.as_slice() else { panic!("{page}: {} blocks begin {begins:?}", found.len()) };
    block.clone()
}

/// A directory with `slotcast` in the path of its shells. The server's listeners are at a loopback address of this
/// process's own, by the environment, so that its commands and configuration stand as they are printed.
pub struct Shell {
    pub place: TempDir,
    pub ip: IpAddr,
    programs: TempDir,
}

impl Default for Shell {
    fn default() -> Self {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 128 | (high & 0x3f), middle, low));
        let shell = Self { place: tempfile::tempdir().unwrap(), ip, programs: tempfile::tempdir().unwrap() };
        symlink(program(), shell.programs.path().join("slotcast")).unwrap();
        shell
    }
}

impl Shell {
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// The script with this shell's address wherever a page has 127.0.0.1 or HOST.
    pub fn here(&self, script: &str) -> String {
        script.replace("127.0.0.1:", &format!("{}:", self.ip)).replace("HOST:", &format!("{}:", self.ip))
    }

    /// bash with this script; it ends at the first command that fails.
    pub fn command(&self, script: &str) -> Command {
        let old = std::env::var_os("PATH").unwrap();
        let path = [self.programs.path().to_owned()].into_iter().chain(std::env::split_paths(&old));
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.place.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("SLOTCAST_VIEWERS__LISTEN", self.address(8554).to_string())
            .env("SLOTCAST_LINKS__LISTEN", self.address(8555).to_string())
            .env("SLOTCAST_HTTP__LISTEN", self.address(8080).to_string());
        command
    }

    /// Runs a script to its good end.
    #[track_caller]
    pub fn run(&self, script: &str) -> Finished {
        let finished = Process::spawn("shell", &mut self.command(script)).wait(PATIENCE);
        assert!(finished.status.success(), "{}:\n{script}\n{}", finished.status, finished.text());
        finished
    }

    /// Runs a block whose last command is the server, and waits until that runs.
    #[track_caller]
    pub fn serve(&self, block: &str) -> Process {
        // The signals of the test are for the server, not for the shell.
        let script = block.replace("\nslotcast serve", "\nexec slotcast serve");
        assert_ne!(script, block, "no server in\n{block}");
        let mut process = Process::spawn("the page's server", &mut self.command(&script));
        process.wait_for_line(PATIENCE, |line| line.contains(": ok: "));
        process.wait_for_line(PATIENCE, |line| line.contains("slotcast runs"));
        process
    }

    /// Ends a server, which must end well.
    #[track_caller]
    pub fn stop(&self, server: Process) {
        server.signal(Signal::TERM);
        let finished = server.wait(PATIENCE);
        assert!(finished.status.success(), "{}:\n{}", finished.status, finished.text());
    }
}
