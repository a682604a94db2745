//! Machines with several links and addresses: media leaves from the one that the viewer spoke to, and reaches a viewer whose
//! address means something on one link only.

use std::{
    net::{SocketAddr, SocketAddrV6, UdpSocket},
    process::Command,
};

use slotcast_fanout::FanoutConfig;
use slotcast_testing::skip;

use crate::rig::{Client, PATIENCE, Rig, Setting, has_bye, sequence_number};

/// Set in the child of this test that runs in a network of its own.
const INSIDE: &str = "SLOTCAST_TEST_INSIDE";

fn listening_at(address: &str) -> Rig {
    listening_with(address, true)
}

fn listening_with(address: &str, segments: bool) -> Rig {
    let setting = Setting::default();
    let listen = SocketAddr::new(address.parse().unwrap(), 0);
    let config = FanoutConfig { listen, segments, ..setting.config };
    let mut rig = Rig::start(Setting { config, ..setting });
    rig.frame(true, 5);
    rig.audio();
    rig.taken();
    rig
}

/// What comes to `socket` next, which must be from `server`.
#[track_caller]
fn receive(socket: &UdpSocket, server: SocketAddr) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from.ip(), server.ip());
    buffer[..length].to_vec()
}

/// A viewer at `from` (any port) who speaks to `to` is sent catching up, live frames and the goodbye from there.
#[track_caller]
fn check_source(mut rig: Rig, from: SocketAddr, mut to: SocketAddr) {
    to.set_port(rig.fanout.local_addr().port());
    let mut client = Client::connect_from(from, to);
    let (rtp, rtcp) = client.play_udp();
    (0..5).for_each(|_| _ = receive(&rtp, to));
    rig.frame(false, 20);
    rig.frame(false, 1);
    let last = rig.next_sequence_number() - 1;
    while sequence_number(&receive(&rtp, to)) != last {}
    let Rig { fanout, .. } = rig;
    let stopped = std::thread::spawn(move || fanout.shutdown(PATIENCE));
    assert!(has_bye(&receive(&rtcp, to)));
    drop(client);
    assert!(stopped.join().unwrap());
}

/// Runs `test` again as the only one, in a network of its own: two addresses on the loopback device, and two links, 10 and
/// 11, on both of which `fe80::1` is ours. Where the system does not let us, the test is skipped.
fn in_a_network_of_its_own(test: &str) {
    // Root needs no user namespace, which many containers refuse.
    let unshare = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    if !Command::new("unshare").args([unshare, "ip", "link"]).output().is_ok_and(|got| got.status.success()) {
        return skip(
            "no network namespace can be made here (unshare and ip, as root or in a user namespace)",
        );
    }
    let set_up = "set -e; ip link set lo up; ip link add v10 index 10 type veth peer name v11 index 11; \
                  for link in v10 v11; do ip link set $link up; ip -6 addr add fe80::1/64 dev $link nodad; done; \
                  for a in fd00::1 fd00::2; do ip -6 addr add $a/128 dev lo nodad; done; \
                  exec \"$0\" --exact \"$1\"";
    let mut child = Command::new("unshare");
    child
        .args([unshare, "sh", "-c", set_up])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1");
    assert!(child.status().unwrap().success());
}

#[test]
fn a_viewer_at_a_link_local_address_is_reached_on_its_link() {
    if std::env::var_os(INSIDE).is_none() {
        return in_a_network_of_its_own("addresses::a_viewer_at_a_link_local_address_is_reached_on_its_link");
    }
    for link in [10, 11] {
        let at = SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, link).into();
        check_source(listening_at("::"), at, at);
    }
}

#[test]
fn media_leaves_from_the_address_that_the_viewer_spoke_to() {
    let [from, to] = ["127.0.0.1:0", "127.0.0.2:0"].map(|at| at.parse().unwrap());
    for segments in [true, false] {
        check_source(listening_with("0.0.0.0", segments), from, to);
    }
    // One socket for both families.
    check_source(listening_at("::"), from, to);
}

#[test]
fn media_leaves_from_the_ipv6_address_that_the_viewer_spoke_to() {
    if std::env::var_os(INSIDE).is_none() {
        return in_a_network_of_its_own(
            "addresses::media_leaves_from_the_ipv6_address_that_the_viewer_spoke_to",
        );
    }
    let [from, to] = ["[fd00::1]:0", "[fd00::2]:0"].map(|at| at.parse().unwrap());
    check_source(listening_at("::"), from, to);
}
