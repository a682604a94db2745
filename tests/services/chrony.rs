//! The watch over the clock against chrony.

use std::{
    env,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use slotcast::ntp::ClockWatch;
use slotcast_net::clock::system;
use slotcast_testing::skip;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where chronyd is. `None`: it is not installed, and the test is skipped.
fn chronyd() -> Option<PathBuf> {
    let places = [env::var_os("SLOTCAST_TEST_TOOLS"), env::var_os("PATH"), Some("/usr/sbin".into())];
    let places = places.iter().flatten().flat_map(env::split_paths);
    let found = places.map(|place| place.join("chronyd")).find(|path| path.is_file());
    if found.is_none() {
        skip("chronyd is not installed (Debian: chrony)");
    }
    found
}

#[tokio::test]
async fn chrony_on_this_machine_says_that_its_clock_is_right() {
    let Some(chronyd) = chronyd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let config = directory.path().join("chrony.conf");
    let lines = format!(
        "local stratum 8\nallow 127.0.0.0/8\nbindaddress 127.0.0.1\nport {port}\ncmdport 0\nbindcmdaddress /\n\
         pidfile {0}/chronyd.pid\ndriftfile {0}/drift\n",
        directory.path().display()
    );
    std::fs::write(&config, lines).unwrap();
    // -x: it leaves the clock of the machine alone; -U: it may run without being root.
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let mut command = Command::new(chronyd);
    command.args(["-d", "-x", "-U", "-u", user.trim(), "-f"]).arg(&config);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut running = Running(command.spawn().unwrap());
    let watch = ClockWatch::new(vec![format!("127.0.0.1:{port}")], system())
        .with_patience(Duration::from_millis(500));
    let clock = system();
    let deadline = clock().mono + Duration::from_secs(20);
    while watch.check().is_none_or(|check| check.offset_micros.is_none()) {
        let log = || std::fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(running.0.try_wait().unwrap().is_none(), "chronyd ended:\n{}", log());
        assert!(clock().mono < deadline, "{:?}\n{}", watch.check(), log());
        watch.ask_once().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Half of the longest way that an answer may have had.
    let offset = watch.check().and_then(|check| check.offset_micros).expect("an offset");
    assert!(offset.abs() <= 250_000, "{offset} µs");
}
