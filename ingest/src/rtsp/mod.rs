//! RTSP on the link side: a connection ([`link`]), what it asks ([`requests`]), what it sends and how it ends ([`drive`]), its
//! deadlines ([`upkeep`]), and media and reports over UDP ([`udp`], [`datagrams`]).

mod datagrams;
mod drive;
mod link;
mod requests;
mod udp;
mod upkeep;

pub(crate) use link::Link;
pub(crate) use udp::{Half, UdpPair};
