//! What the kernel dropped at a tool's own sockets: the tool's fault, not the server's.

use std::os::fd::AsFd;

use slotcast_net::sys::receive_drops;

/// Datagrams that the kernel dropped because a socket was full; `None`: the kernel does not tell.
pub fn udp_drops<'a, S: AsFd + 'a>(sockets: impl IntoIterator<Item = &'a S>) -> Option<u64> {
    sockets.into_iter().map(|socket| receive_drops(socket.as_fd()).ok().map(u64::from)).sum()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_that_nobody_reads_drops() {
        let full = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&full).set_recv_buffer_size(4096).unwrap();
        assert_eq!(udp_drops([&full]), Some(0));
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            from.send_to(&[0; 1000], full.local_addr().unwrap()).unwrap();
        }
        assert!(udp_drops([&full, &from]).unwrap() > 900);
    }
}
