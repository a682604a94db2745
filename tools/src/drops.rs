//! What the kernel dropped at a tool's own sockets: the tool's fault, not the server's.

use std::{
    collections::HashSet,
    fs,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

/// Datagrams that the kernel dropped because a socket was full; `None`: the kernel does not tell.
pub fn udp_drops<'a, S: AsRawFd + 'a>(sockets: impl IntoIterator<Item = &'a S>) -> Option<u64> {
    let links = sockets.into_iter().map(|socket| format!("/proc/self/fd/{}", socket.as_raw_fd()));
    let inodes: HashSet<u64> = links.filter_map(|link| Some(fs::metadata(link).ok()?.ino())).collect();
    if inodes.is_empty() {
        return Some(0);
    }
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"].map(fs::read_to_string);
    let known = tables.iter().flatten().map(|table| drops_of(table, &inodes));
    known.reduce(|sum, drops| sum + drops)
}

/// The drops of these sockets, as `/proc/net/udp` counts them: inode in the tenth column, drops in the last.
fn drops_of(table: &str, inodes: &HashSet<u64>) -> u64 {
    let of_line = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let inode: u64 = columns.nth(9)?.parse().ok()?;
        let drops: u64 = columns.last()?.parse().ok()?;
        inodes.contains(&inode).then_some(drops)
    };
    table.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn drops_are_read_from_the_kernels_table() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                     2060: 0100007F:A4F5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 3\n\
                     2061: 0100007F:A4F6 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 40\n";
        assert_eq!(drops_of(table, &HashSet::from([4711])), 3);
        assert_eq!(drops_of(table, &HashSet::from([4711, 4712, 9])), 43);
        assert_eq!(drops_of("", &HashSet::from([0])), 0);
    }

    #[test]
    fn a_socket_that_nobody_reads_drops() {
        let full = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&full).set_recv_buffer_size(4096).unwrap();
        assert_eq!(udp_drops([&full]), Some(0));
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            from.send_to(&[0; 1000], full.local_addr().unwrap()).unwrap();
        }
        assert!(udp_drops([&full]).unwrap() > 900);
    }
}
