//! The reservation side inside this process: wired to the streaming side, the configuration and the command line.

mod media;

pub(crate) use media::Media;
