//! Sound travels with the picture's frames.

use slotcast_core::chunk::Chunk;

use crate::studio::{ID, Studio, both, frame, ip, ms, packet, picture, program, secs, sound, this_hour};

fn gathering(gather: u64) -> Studio {
    Studio::with(vec![this_hour()], ms(gather), |_| ())
}

/// The tracks of the RTP packets of each chunk that was published since the last look.
fn tracks(studio: &mut Studio) -> Vec<Vec<u8>> {
    let rtp = |chunk: &Chunk| chunk.packets().iter().filter(|p| p.is_rtp()).map(|p| p.track).collect();
    studio.chunks().iter().map(|chunk| rtp(chunk)).collect()
}

#[test]
fn sound_waits_for_the_next_picture_and_keeps_its_place_before_it() {
    let mut studio = gathering(20);
    let link = studio.link(both());
    studio.rtp(&link, 1, &frame(2, 1));
    studio.pass(ms(15));
    assert!(tracks(&mut studio).is_empty());
    studio.rtp(&link, 0, &picture(1, 1));
    assert_eq!(tracks(&mut studio), [[1, 0]]);
}

#[test]
fn sound_waits_no_longer_than_it_may() {
    let mut studio = gathering(20);
    let link = studio.link(both());
    studio.rtp(&link, 1, &frame(2, 1));
    studio.pass(ms(10));
    studio.rtp(&link, 1, &frame(2, 2));
    studio.pass(ms(9));
    assert!(tracks(&mut studio).is_empty());
    studio.pass(ms(1));
    assert_eq!(tracks(&mut studio), [[1, 1]], "both, twenty milliseconds after the first");
}

#[test]
fn a_picture_is_never_held_for_sound() {
    let mut studio = gathering(20);
    let link = studio.link(both());
    studio.rtp(&link, 1, &frame(2, 1));
    studio.pass(ms(5));
    studio.rtp(&link, 0, &packet(96, 1, 1, 3000, false, &[0x65, 0x88, 0xaa]));
    studio.rtp(&link, 1, &frame(2, 2));
    studio.pass(ms(1));
    assert!(tracks(&mut studio).is_empty());
    studio.pass(ms(1));
    assert_eq!(tracks(&mut studio), [[1, 0, 1]], "two milliseconds after the picture's first packet");
}

#[test]
fn sound_alone_is_never_held() {
    let mut studio = gathering(20);
    let link = studio.link(sound());
    studio.rtp(&link, 0, &packet(97, 2, 1, 960, true, &[0xaa; 40]));
    assert_eq!(tracks(&mut studio), [[0]]);
}

#[test]
fn sound_beside_a_picture_that_is_not_sent_is_never_held() {
    let mut studio = gathering(20);
    let mut offer = both();
    offer.is_sent[0] = false;
    let link = studio.link(offer);
    studio.rtp(&link, 1, &frame(2, 1));
    assert_eq!(tracks(&mut studio), [[1]]);
}

#[test]
fn without_gathering_sound_goes_after_two_milliseconds() {
    let mut studio = gathering(0);
    let link = studio.link(both());
    studio.rtp(&link, 1, &frame(2, 1));
    studio.pass(ms(2));
    assert_eq!(tracks(&mut studio), [[1]]);
}

#[test]
fn reports_alone_wait_as_sound_does() {
    let mut studio = gathering(20);
    let link = studio.link(both());
    for number in 0..2 {
        studio.rtp(&link, 0, &picture(1, number));
        studio.rtp(&link, 1, &frame(2, number));
        studio.pass(ms(3_900));
        studio.chunks();
    }
    // The reports of both tracks are due 4 s after the first packets.
    studio.rtp(&link, 0, &picture(1, 2));
    studio.pass(ms(205));
    studio.chunks();
    studio.pass(ms(5));
    studio.rtp(&link, 0, &picture(1, 3));
    let chunks = studio.chunks();
    let is_rtp: Vec<Vec<_>> =
        chunks.iter().map(|chunk| chunk.packets().iter().map(|packet| packet.is_rtp()).collect()).collect();
    assert_eq!(is_rtp, [[false, false, true]]);
}

#[test]
fn near_the_end_of_the_window_nothing_is_held_past_it() {
    for before_end in [5, 50, 110, 1000] {
        let ends = program(1, "10:00:00", "10:10:01", ID);
        let mut studio = Studio::with(vec![ends], ms(100), |_| ());
        let link = studio.link_from(ip(1), both());
        studio.pass(ms(1000 - before_end));
        studio.rtp(&link, 1, &frame(2, 1));
        studio.pass(ms(before_end - 1));
        assert_eq!(tracks(&mut studio), [[1]], "{before_end} ms before the end");
        studio.pass(secs(1));
        assert!(tracks(&mut studio).is_empty());
    }
}

#[test]
fn near_the_end_sound_of_a_new_link_does_not_wait_for_a_picture_of_the_link_before() {
    let mut studio = gathering(0);
    let link = studio.link(both());
    studio.rtp(&link, 0, &packet(96, 1, 1, 3000, false, &[0x65, 0x88, 0xaa]));
    studio.pass(ms(5));
    drop(link);
    studio.pass(ms(5));
    studio.set_wall("10:59:59.950");
    let link = studio.link(sound());
    studio.chunks();
    studio.rtp(&link, 0, &packet(97, 2, 1, 960, false, &[0xaa; 40]));
    studio.pass(ms(10));
    assert_eq!(tracks(&mut studio), [[0]]);
}
