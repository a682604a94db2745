//! Tests with real players and encoders: ffmpeg, GStreamer, OBS, and the viewer on live555.

mod end;
mod life;
mod live555;
mod pages;
mod publish;
mod publisher;
mod returns;
mod settings;
mod stills;
mod watch;
