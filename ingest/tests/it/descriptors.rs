//! What happens when the process has no descriptors left. Needs a process of its own, as nextest gives each test: the limit is
//! the process's.

use std::{fs::File, net::TcpStream};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::house::{self, House, wait_for};

#[test]
fn without_descriptors_accepting_pauses_and_then_goes_on() {
    let house = House::new();
    let address = house.ingest.local_addrs()[0];
    let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let stats = house.ingest.stats();
    wait_for("all to be accepted", || (stats.accepted.value() == 20).then_some(()));
    let mut spare: Vec<_> = (0..8).map(|_| File::open("/dev/null").unwrap()).collect();

    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(open);
    setrlimit(Resource::Nofile, limit).unwrap();
    // The last descriptor goes to this side of a connection, so that there is none for the other.
    for _ in 0..8 {
        match TcpStream::connect(address) {
            Ok(client) => clients.push(client),
            Err(_) => drop(spare.pop()),
        }
        let seen = clients.len() as u64;
        wait_for("the connection or a pause", || {
            (stats.accepted.value() >= seen || stats.accept_pauses.value() > 0).then_some(())
        });
    }
    assert!(stats.accept_pauses.value() > 0);
    assert!(house.ingest.is_running());

    clients.clear();
    spare.clear();
    wait_for("the descriptors to be given back", || (stats.unproven.value() == 0).then_some(()));
    house.connect().record_over_tcp("channel4", house::ID);
}
