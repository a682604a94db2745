//! RTSP on the link side: one connection ([`link`]), what it asks ([`requests`]), what it sends ([`drive`]).

mod drive;
mod link;
mod requests;

pub(crate) use link::{Link, LinkId, Stage};
