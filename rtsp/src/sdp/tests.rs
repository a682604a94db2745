//! What real broadcasters announce, and what becomes of it.

use slotcast_core::media::Codec;

use super::*;

const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    a=tool:libavformat 59.27.100\r\n\
    m=video 0 RTP/AVP 96\r\nb=AS:800\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkA,aMuMsg==; profile-level-id=42C01E\r\n\
    a=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 97\r\nb=AS:128\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
    a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=1190\r\n\
    a=control:streamid=1\r\n";

const RTSPCLIENTSINK: &str = "v=0\r\no=- 1188340656180883 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\n\
    i=rtspclientsink\r\nt=0 0\r\na=tool:GStreamer\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 192.0.2.7\r\nb=AS:2048\r\na=rtpmap:96 H264/90000\r\na=framerate:25\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42c01e;sprop-parameter-sets=Z0LAHtkA,aMuMsg==\r\n\
    a=control:stream=0\r\na=ts-refclk:local\r\na=mediaclk:sender\r\na=ssrc:123 cname:user@secret-host\r\n";

fn media(lines: &str) -> String {
    format!("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n{lines}")
}

#[track_caller]
fn read(text: &str) -> Announced {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn ffmpeg() {
    let announced = read(FFMPEG);
    let [video, audio] = &announced.tracks[..] else { panic!("{announced:?}") };
    assert_eq!(
        (video.codec, video.clock_rate.get(), &video.payload_types[..]),
        (Codec::H264, 90_000, &[96][..])
    );
    assert_eq!(
        (audio.codec, audio.clock_rate.get(), &audio.payload_types[..]),
        (Codec::Audio, 48_000, &[97][..])
    );
    assert_eq!(announced.controls, ["streamid=0", "streamid=1"]);
    assert_eq!(announced.bandwidth_kbps, Some(928));
}

#[test]
fn rtspclientsink() {
    let announced = read(RTSPCLIENTSINK);
    assert_eq!(announced.controls, ["stream=0"]);
    assert_eq!(announced.tracks[0].codec, Codec::H264);
    assert_eq!(
        announced.description.media[0],
        "m=video 0 RTP/AVP 96\r\nb=AS:2048\r\na=rtpmap:96 H264/90000\r\na=framerate:25\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42c01e;sprop-parameter-sets=Z0LAHtkA,aMuMsg==\r\n\
         a=ts-refclk:local\r\na=mediaclk:sender\r\n"
    );
}

#[test]
fn viewers_get_lines_of_ours_and_no_address_of_the_broadcaster() {
    let title = "News\r\nm=evil 1 RTP/AVP 0".to_owned();
    let description = Description { title, ..read(FFMPEG).description };
    let text = render(&description, None, false);
    assert_eq!(
        text,
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=News  m=evil 1 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
         a=range:npt=now-\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\nb=AS:800\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkA,aMuMsg==; profile-level-id=42C01E\r\n\
         a=control:trackID=0\r\n\
         m=audio 0 RTP/AVP 97\r\nb=AS:128\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
         a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=1190\r\n\
         a=control:trackID=1\r\n"
    );
}

#[test]
fn what_is_rendered_is_read_as_the_same_tracks() {
    for sdp in [FFMPEG, RTSPCLIENTSINK] {
        let announced = read(sdp);
        let again = read(&render(&announced.description, Some("rtsp://h/ch?q"), false));
        assert_eq!(again.tracks, announced.tracks);
        assert_eq!(again.description, announced.description);
        assert_eq!(again.bandwidth_kbps, announced.bandwidth_kbps);
        assert_eq!(again.session_control.as_deref(), Some("rtsp://h/ch?q"));
        assert_eq!(again.controls[0], "rtsp://h/ch/trackID=0?q");
    }
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    for (payload_type, clock_rate) in [(0, 8_000), (9, 8_000), (10, 44_100), (14, 90_000), (33, 90_000)] {
        let announced = read(&media(&format!("m=audio 0 RTP/AVP {payload_type}\r\n")));
        assert_eq!(announced.tracks[0].clock_rate.get(), clock_rate);
        assert_eq!(announced.bandwidth_kbps, None);
    }
}

#[test]
fn codecs_by_their_names() {
    for (name, codec) in [
        ("H264", Codec::H264),
        ("h265", Codec::H265),
        ("VP8", Codec::Vp8),
        ("VP9", Codec::Vp9),
        ("AV1", Codec::Av1),
        ("JPEG", Codec::Other),
    ] {
        let sdp = media(&format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96 {name}/90000\r\n"));
        assert_eq!(read(&sdp).tracks[0].codec, codec, "{name}");
    }
}

#[test]
fn tolerated() {
    let bare =
        "v=0\nm=video 5004/2 rtp/avp 96 96 97\nc=IN IP4 nonsense here\na=rtpmap:96  H264/90000/1\nz=?\n\0";
    let announced = read(bare);
    assert_eq!(announced.tracks[0].payload_types, [96, 97]);
    assert_eq!(announced.controls, [""]);
    let tias = read(&media("b=AS:10\r\nm=audio 0 RTP/AVP 0\r\nb=TIAS:64001\r\nb=RS:9\r\nb=AS:60\r\n"));
    assert_eq!(tias.bandwidth_kbps, Some(65));
    let of_session = read(&media("b=AS:500\r\nm=audio 0 RTP/AVP 0\r\n"));
    assert_eq!(of_session.bandwidth_kbps, Some(500));
}

#[test]
fn a_track_that_is_not_understood_passes_through_at_90_khz() {
    let with_map = |map: &str| format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96{map}\r\n");
    for (lines, codec, shown) in [
        ("m=application 0 RTP/AVP 107\r\n".to_owned(), Codec::Other, "m=application 0 RTP/AVP 107\r\n"),
        ("m=x/y 0 RTP/AVP 107 z\r\n".to_owned(), Codec::Other, "m=application 0 RTP/AVP 107\r\n"),
        ("m=video -1353744643 RTP/AVP 96\r\n".to_owned(), Codec::Other, "m=video 0 RTP/AVP 96\r\n"),
        (with_map(" H264/0"), Codec::H264, "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        (with_map(" H264"), Codec::H264, "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        (with_map(" H264/x/y"), Codec::H264, "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        (with_map("\tH265/90000"), Codec::H265, "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n"),
        (with_map(" /"), Codec::Other, "m=video 0 RTP/AVP 96\r\n"),
        (with_map("H265/90000"), Codec::Other, "m=video 0 RTP/AVP 96\r\n"),
        (
            "m=video  0 RTP/AVP  96\r\nb=AS:4096.5\r\nnonsense\r\na=fmtp:96\tx=1\r\n".to_owned(),
            Codec::Other,
            "m=video 0 RTP/AVP 96\r\nb=AS:4096\r\na=fmtp:96 x=1\r\n",
        ),
    ] {
        let announced = read(&media(&format!("{lines}m=audio 0 RTP/AVP 0\r\n")));
        assert_eq!(announced.tracks.len(), 2, "{lines}");
        let track = &announced.tracks[0];
        assert_eq!((track.codec, track.clock_rate.get()), (codec, 90_000), "{lines}");
        assert_eq!(announced.description.media[0], shown, "{lines}");
        assert_eq!(announced.left_out, []);
    }
    let audio = read(&media("m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU\r\n"));
    assert_eq!(audio.tracks[0].clock_rate.get(), 8_000, "its number says the clock");
    for clock in ["48000;", "48000.0/2", "48000 /2", "48000Hz"] {
        let audio = read(&media(&format!("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/{clock}\r\n")));
        assert_eq!(audio.tracks[0].clock_rate.get(), 48_000, "{clock}");
    }
}

#[test]
fn a_track_that_cannot_be_taken_is_left_out_and_the_rest_goes_on() {
    for (line, reason) in [
        ("m=application/X 0 RTP/AVP smart/1/90000", SdpError::PayloadType(0)),
        ("m=video 0 RTP/AVP 128", SdpError::PayloadType(0)),
        ("m=video 0 RTP/SAVP 96", SdpError::Profile(0)),
        ("m=application 0 UDP/DTLS/SCTP webrtc", SdpError::Profile(0)),
        ("m=video", SdpError::Malformed("a line m= has less than three words")),
    ] {
        let text =
            media(&format!("{line}\r\na=control:first\r\nm=audio 0 RTP/AVP 0\r\na=control:second\r\n"));
        let announced = read(&text);
        assert_eq!((announced.tracks.len(), &announced.controls[..]), (1, &["second".to_owned()][..]));
        assert_eq!(announced.description.media, ["m=audio 0 RTP/AVP 0\r\n"]);
        let left_out = LeftOut { control: "first".to_owned(), reason: reason.clone() };
        assert_eq!(announced.left_out, [left_out]);
        assert_eq!(parse(media(&format!("{line}\r\n")).as_bytes()), Err(reason), "nothing is left");
    }
}

#[test]
fn bad() {
    for (text, error) in [
        (media(""), SdpError::NoMedia),
        (media(&"m=audio 0 RTP/AVP 0\r\n".repeat(5)), SdpError::TooManyTracks(5)),
        (media(&"m=audio 0 RTP/SAVP 0\r\n".repeat(17)), SdpError::TooManyTracks(17)),
        (media(&"a=x\r\n".repeat(limits::SDP_LINES_MAX)), SdpError::TooLong),
        (media(&format!("a={}\r\n", "x".repeat(limits::SDP_LINE_BYTES_MAX))), SdpError::TooLong),
        ("x".repeat(limits::SDP_BYTES_MAX + 1), SdpError::TooLong),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(error), "{:.200}", text);
    }
    for text in ["", "v=1\r\n", "m=audio 0 RTP/AVP 0\r\n"] {
        assert!(matches!(parse(text.as_bytes()), Err(SdpError::Malformed(_))), "{text}");
    }
}
