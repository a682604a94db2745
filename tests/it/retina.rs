//! retina as a viewer: a Rust client that takes nothing for granted. It wants RTP-Info and Session as the standards say,
//! depacketizes by itself, and says how many packets were lost.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::StreamExt;
use retina::client::{
    Credentials, Demuxed, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, Session,
    SessionOptions, SetupOptions, TcpTransportOptions, Transport, UdpTransportOptions,
};
use retina::codec::CodecItem;
use slotcast_testing::server::{Channel, channel};
use url::Url;

use crate::stage::on_air;

const LIMIT: Duration = Duration::from_secs(40);

/// Watches with retina until 15 pictures and some sound have come, none of them with a loss before it.
#[track_caller]
fn check(channel: Channel, transport: Transport) {
    let password = channel.program.as_ref().unwrap().password;
    let (server, _publisher) = on_air(channel);
    let url = Url::parse(&server.watch_url("stage")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, watch(url, password, transport))
            .await
            .expect("retina is not served in time");
    });
}

async fn watch(url: Url, password: Option<&str>, transport: Transport) {
    let mut stream = play(url, password, transport).await;
    let (mut pictures, mut sounds, mut reports) = (0, 0, 0);
    while pictures < 15 || sounds < 20 {
        match stream.next().await.expect("the stream ended").expect("the stream is well-formed") {
            CodecItem::VideoFrame(frame) => {
                assert_eq!(frame.loss(), 0, "packets lost before picture {pictures}");
                assert!(pictures > 0 || frame.is_random_access_point(), "the first picture is no key frame");
                pictures += 1;
            }
            CodecItem::AudioFrame(frame) => {
                assert_eq!(frame.loss(), 0, "packets lost before sound {sounds}");
                sounds += 1;
            }
            CodecItem::Rtcp(_) => reports += 1,
            _ => {}
        }
    }
    assert!(reports >= 2, "{reports} sender reports came, not one for each track");
}

async fn play(url: Url, password: Option<&str>, transport: Transport) -> Demuxed {
    let credentials =
        password.map(|password| Credentials { username: "anyone".to_owned(), password: password.to_owned() });
    let options = SessionOptions::default().creds(credentials).user_agent("slotcast-test".to_owned());
    let mut session = Session::describe(url, options).await.expect("DESCRIBE");
    assert_eq!(session.streams().len(), 2, "{:#?}", session.streams());
    for index in 0..2 {
        session.setup(index, SetupOptions::default().transport(transport.clone())).await.expect("SETUP");
    }
    let strict = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Require)
        .initial_seq(InitialSequenceNumberPolicy::Respect)
        .enforce_timestamps_with_max_jump_secs(NonZeroU32::new(10).unwrap());
    session.play(strict).await.expect("PLAY").demuxed().expect("codecs that retina knows")
}

fn tcp() -> Transport {
    Transport::Tcp(TcpTransportOptions::default())
}

fn udp() -> Transport {
    Transport::Udp(UdpTransportOptions::default())
}

#[test]
fn retina_watches_over_tcp() {
    check(channel("stage", 2), tcp());
}

#[test]
fn retina_watches_over_udp() {
    check(channel("stage", 2), udp());
}

#[test]
fn retina_watches_with_a_password_over_tcp() {
    check(channel("stage", 2).password("correct-horse"), tcp());
}

#[test]
fn retina_watches_with_a_password_over_udp() {
    check(channel("stage", 2).password("correct-horse"), udp());
}
