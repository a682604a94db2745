//! Reads many datagrams with one call, as players with offload do.
//!
//! Owns: joining datagrams in the kernel (UDP_GRO) and cutting them apart again, both by `quinn-udp`.

use std::{
    io::{self, IoSliceMut},
    os::fd::AsFd,
};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

/// Messages of one call.
const MESSAGES: usize = 8;
/// Room for each: the largest UDP datagram, or as many datagrams as the kernel puts together.
const MESSAGE_BYTES: usize = 65_536;

/// Lets the kernel hand over datagrams of one sender put together, and reading not wait.
///
/// # Errors
/// Of the kernel.
pub fn join_datagrams(socket: &impl AsFd) -> io::Result<()> {
    UdpSocketState::new(UdpSockRef::from(socket)).map(drop)
}

/// Room for what one call brings.
pub struct Datagrams {
    /// What the kernel can, by the first socket that is read.
    state: Option<UdpSocketState>,
    bytes: Box<[u8]>,
    messages: [RecvMeta; MESSAGES],
    count: usize,
}

impl Default for Datagrams {
    fn default() -> Self {
        let bytes = vec![0; MESSAGES * MESSAGE_BYTES].into();
        Self { state: None, bytes, messages: [RecvMeta::default(); MESSAGES], count: 0 }
    }
}

impl Datagrams {
    /// Reads once from `socket`, which does not wait. Whether more may wait there.
    ///
    /// # Errors
    /// Of the kernel; `WouldBlock`: nothing waits.
    pub fn read(&mut self, socket: &impl AsFd) -> io::Result<bool> {
        self.count = 0;
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(UdpSocketState::new(UdpSockRef::from(socket))?),
        };
        let mut rooms = self.bytes.chunks_mut(MESSAGE_BYTES).map(IoSliceMut::new);
        let mut rooms: [IoSliceMut<'_>; MESSAGES] =
            std::array::from_fn(|_| rooms.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        self.count = state.recv(UdpSockRef::from(socket), &mut rooms, &mut self.messages)?;
        Ok(self.count == MESSAGES)
    }

    /// The datagrams of the last read, in their order.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        let messages = self.messages.iter().take(self.count).zip(self.bytes.chunks(MESSAGE_BYTES));
        messages.flat_map(|(message, room)| room[..message.len].chunks(message.stride.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::IoSlice,
        net::UdpSocket,
        time::{Duration, Instant},
    };

    use slotcast_net::sys::send_datagrams;

    use super::*;

    #[test]
    fn datagrams_that_the_kernel_joined_are_cut_apart() {
        for joining in [false, true] {
            let (from, to) =
                (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
            to.set_nonblocking(true).unwrap();
            if joining {
                join_datagrams(&to).unwrap();
            }
            let destination = to.local_addr().unwrap().into();
            let parts = [IoSlice::new(&[1; 100]), IoSlice::new(&[2; 100]), IoSlice::new(&[3; 40])];
            send_datagrams(from.as_fd(), &destination, &parts, Some(100)).unwrap();
            send_datagrams(from.as_fd(), &destination, &[IoSlice::new(&[4; 7])], None).unwrap();
            let (mut datagrams, mut got) = (Datagrams::default(), Vec::new());
            let deadline = Instant::now() + Duration::from_secs(5);
            while got.len() < 4 {
                assert!(Instant::now() < deadline, "{} of 4 came", got.len());
                if datagrams.read(&to).is_ok() {
                    got.extend(datagrams.all().map(<[u8]>::to_vec));
                }
            }
            assert_eq!(got, [vec![1; 100], vec![2; 100], vec![3; 40], vec![4; 7]]);
            assert!(datagrams.read(&to).is_err(), "nothing waits");
        }
    }
}
