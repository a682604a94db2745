//! The rules of a publish, seen through `Programs` and the gates.

use std::sync::Arc;

use proptest::prelude::*;
use slotcast_admission::{
    Channel, Cut, Program, ProgramSpec, Programs, Seat, Secret, Timetable, TimetableError,
};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, OpenLevel, ProgramId, Window},
};

use crate::common::{channel, minute, published, republish, seats, spec};

fn on_air(timetable: &Timetable, at: i64) -> Arc<Program> {
    timetable.on_air("channel1", minute(at)).unwrap()
}

#[track_caller]
fn refused(programs: Vec<ProgramSpec>, words: &[&str]) -> TimetableError {
    let timetable = published(vec![spec(99, 2, 0, 10)]);
    let error = timetable.publish(vec![channel(1), channel(2)], programs).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    assert!(timetable.on_air("channel2", minute(5)).is_some(), "a refused publish changed something");
    error
}

#[test]
fn the_program_of_the_moment_is_on_air_from_start_to_end() {
    let timetable = published(vec![spec(1, 1, 0, 10), spec(2, 1, 10, 20), spec(3, 1, 30, 40)]);
    let id_at = |at| timetable.on_air("channel1", minute(at)).map(|program| program.id.0);
    let ids: Vec<_> = [-1, 0, 9, 10, 19, 20, 29, 30, 40].into_iter().map(id_at).collect();
    assert_eq!(ids, [None, Some(1), Some(1), Some(2), Some(2), None, None, Some(3), None]);
    assert!(timetable.on_air("channel2", minute(5)).is_none());
    assert!(timetable.on_air("../etc/passwd", minute(5)).is_none());
}

#[test]
fn two_programs_back_to_back_are_connectable_at_once() {
    let timetable = published(vec![spec(2, 1, 10, 20), spec(1, 1, 0, 10)]);
    let ids = |at| -> Vec<u64> {
        timetable.connectable("channel1", minute(at)).iter().map(|program| program.id.0).collect()
    };
    assert_eq!(ids(-6), [] as [u64; 0]);
    assert_eq!(ids(0), [1]);
    assert_eq!(ids(7), [1, 2]);
    assert_eq!(ids(14), [1, 2]);
    assert_eq!(ids(15), [2]);
}

#[test]
fn an_overlap_is_refused_and_both_are_named() {
    let error = refused(vec![spec(1, 1, 0, 10), spec(2, 1, 9, 20)], &["show 1", "show 2", "channel 1"]);
    assert!(matches!(error, TimetableError::Overlap(..)));
    refused(vec![spec(1, 1, 0, 60), spec(2, 1, 10, 20), spec(3, 1, 30, 40)], &["show 1", "show 2"]);
    published(vec![spec(1, 1, 0, 10), spec(2, 2, 0, 10), spec(3, 1, 10, 20)]);
}

#[test]
fn a_program_on_an_unknown_channel_is_refused() {
    refused(vec![spec(1, 7, 0, 10)], &["show 1", "channel 7"]);
}

#[test]
fn two_of_one_name_number_or_id_are_refused() {
    refused(vec![spec(1, 1, 0, 10), spec(1, 1, 20, 30)], &["id 1"]);
    let twin = Channel { number: ChannelNumber(2), ..channel(1) };
    assert!(Timetable::new().publish(vec![channel(1), twin], Vec::new()).is_err());
    assert!(Timetable::new().publish(vec![channel(1), channel(1)], Vec::new()).is_err());
}

#[test]
fn a_protected_program_without_a_password_is_refused() {
    refused(
        vec![ProgramSpec { open_level: OpenLevel::Secret, ..spec(1, 1, 0, 10) }],
        &["show 1", "password"],
    );
}

#[test]
fn a_connect_window_that_leaves_out_the_start_is_refused() {
    let connect = Window::new(minute(1), minute(15)).unwrap();
    refused(vec![ProgramSpec { connect, ..spec(1, 1, 0, 10) }], &["show 1", "connect window"]);
}

#[test]
fn errors_never_hold_a_secret() {
    let password = Some(Secret::new("hunter2".to_owned()));
    let closed = ProgramSpec { password, open_level: OpenLevel::Secret, ..spec(1, 1, 0, 10) };
    let error = refused(vec![closed.clone(), spec(2, 1, 5, 10)], &["show 1"]);
    for shown in [format!("{error:?}"), format!("{closed:?}")] {
        assert!(!shown.contains("hunter2") && !shown.contains("ID-1"), "{shown}");
    }
}

#[test]
fn a_reload_keeps_the_seats_of_a_running_program() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let seat = on_air(&timetable, 5).gate.enter().unwrap();
    republish(
        &timetable,
        vec![ProgramSpec { title: "new title".to_owned(), ..spec(1, 1, 0, 10) }, spec(2, 1, 10, 20)],
    );
    let program = on_air(&timetable, 5);
    assert!(seat.holds() && Arc::ptr_eq(seat.gate(), &program.gate));
    assert_eq!((program.title.as_str(), program.gate.viewers()), ("new title", 1));
}

#[test]
fn a_removed_program_is_cut() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let program = on_air(&timetable, 5);
    let seat = program.gate.enter().unwrap();
    let changes = timetable.publish(vec![channel(1)], Vec::new()).unwrap();
    assert_eq!((changes.removed, program.gate.cut()), (vec![ProgramId(1)], Some(Cut::Withdrawn)));
    assert!(!seat.holds() && program.gate.enter().is_err());
    assert!(timetable.on_air("channel1", minute(5)).is_none() && timetable.program(ProgramId(1)).is_none());
}

#[test]
fn a_program_that_comes_back_starts_with_an_empty_house() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let seat = on_air(&timetable, 5).gate.enter().unwrap();
    republish(&timetable, Vec::new());
    republish(&timetable, vec![spec(1, 1, 0, 10)]);
    let program = on_air(&timetable, 5);
    assert!(!seat.holds() && program.gate.viewers() == 0 && program.gate.is_open());
}

#[test]
fn a_changed_end_and_changed_seats_count_at_once() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let held_by_a_worker = on_air(&timetable, 5);
    republish(&timetable, vec![ProgramSpec { seats: Some(seats(1)), ..spec(1, 1, 0, 30) }]);
    let gate = &held_by_a_worker.gate;
    assert_eq!((gate.end(), gate.seats()), (minute(30), 1));
    assert!(on_air(&timetable, 29).gate.is_open());
    republish(&timetable, vec![spec(1, 1, 0, 6)]);
    assert!(!gate.lets_through(minute(6)) && timetable.on_air("channel1", minute(6)).is_none());
}

#[test]
fn a_program_never_has_more_than_its_channel() {
    let greedy = ProgramSpec {
        seats: Some(seats(1_000)),
        class: Some(BitRate::new(1_000_000).unwrap()),
        ..spec(1, 1, 0, 10)
    };
    let program = on_air(&published(vec![greedy]), 5);
    assert_eq!((program.gate.seats(), program.class.bits_per_second()), (10, 64_000));
}

#[test]
fn an_ended_program_opens_again_only_for_a_later_end() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let program = on_air(&timetable, 5);
    let old = program.gate.enter().unwrap();
    program.gate.close_as(Cut::Ended);
    republish(&timetable, vec![spec(1, 1, 0, 10)]);
    assert!(!program.gate.is_open());
    republish(&timetable, vec![spec(1, 1, 0, 20)]);
    assert!(program.gate.lets_through(minute(15)) && !old.holds() && program.gate.viewers() == 0);
}

#[test]
fn an_ended_program_opens_again_when_its_end_lies_ahead_by_a_second() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let gate = on_air(&timetable, 5).gate.clone();
    let seat = gate.enter().unwrap();
    assert!(!gate.reopen_if_early(minute(5)), "it is open");
    assert!(gate.close_if_over(minute(10)));
    let before_end = |micros| WallTime::from_micros(minute(10).as_micros() - micros);
    for early in [0, 1, 999_999] {
        assert!(!gate.reopen_if_early(before_end(early)));
    }
    assert!(gate.reopen_if_early(before_end(1_000_000)));
    assert!(gate.lets_through(before_end(1_000_000)) && !seat.holds() && gate.viewers() == 0);
    for cut in [Cut::Stopped, Cut::Withdrawn] {
        let timetable = published(vec![spec(1, 1, 0, 10)]);
        let gate = on_air(&timetable, 5).gate.clone();
        gate.close_as(cut);
        assert!(!gate.reopen_if_early(minute(5)), "{cut:?} stays");
    }
}

#[test]
fn a_program_that_was_stopped_stays_stopped() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let program = on_air(&timetable, 5);
    program.gate.close_as(Cut::Stopped);
    republish(&timetable, vec![spec(1, 1, 0, 20)]);
    assert!(!program.gate.is_open() && timetable.on_air("channel1", minute(5)).is_none());
}

#[test]
fn a_program_moved_to_another_channel_or_a_later_start_leaves_its_viewers() {
    for moved in [spec(1, 2, 0, 10), spec(1, 1, 6, 10)] {
        let timetable = published(vec![spec(1, 1, 0, 10)]);
        let seat = on_air(&timetable, 5).gate.enter().unwrap();
        let changes = timetable.publish(vec![channel(1), channel(2)], vec![moved]).unwrap();
        assert!(!seat.holds());
        assert_eq!((changes.added.len(), changes.removed.len(), changes.changed.len()), (1, 1, 0));
        assert!(timetable.program(ProgramId(1)).unwrap().gate.is_open());
    }
}

#[test]
fn publishing_the_same_changes_nothing() {
    let timetable = published(vec![spec(1, 1, 0, 10)]);
    let changes = timetable.publish(vec![channel(1), channel(2)], vec![spec(1, 1, 0, 10)]).unwrap();
    assert_eq!(changes, slotcast_admission::Changes::default());
}

/// What one reload does to the programs; program `n` keeps its hour, so no two overlap.
#[derive(Clone, Debug)]
struct Reload {
    listed: Vec<(u64, i64, u32)>,
    overlapping: bool,
}

fn reload() -> impl Strategy<Value = Reload> {
    let program = (0u64..6, 10i64..60, 1u32..=10);
    let listed = proptest::collection::vec(program, 0..6).prop_map(|mut listed| {
        listed.sort_by_key(|(id, ..)| *id);
        listed.dedup_by_key(|(id, ..)| *id);
        listed
    });
    (listed, proptest::bool::weighted(0.2)).prop_map(|(listed, overlapping)| Reload { listed, overlapping })
}

fn specs(reload: &Reload) -> Vec<ProgramSpec> {
    let one = |&(id, minutes, count): &(u64, i64, u32)| {
        let from = id as i64 * 60;
        ProgramSpec { seats: Some(seats(count)), ..spec(id, 1, from, from + minutes) }
    };
    let mut specs: Vec<_> = reload.listed.iter().map(one).collect();
    if reload.overlapping {
        specs.extend([spec(100, 2, 0, 10), spec(101, 2, 5, 15)]);
    }
    specs
}

proptest! {
    #[test]
    fn reloads_never_lose_a_running_programs_seats(reloads in proptest::collection::vec(reload(), 1..12)) {
        let timetable = Timetable::new();
        let mut held: Vec<(ProgramId, Vec<Seat>)> = Vec::new();
        for reload in reloads {
            let accepted = timetable.publish(vec![channel(1), channel(2)], specs(&reload)).is_ok();
            prop_assert_eq!(accepted, !reload.overlapping);
            if accepted {
                let listed = |id: ProgramId| reload.listed.iter().any(|(listed, ..)| *listed == id.0);
                for (id, viewers) in &held {
                    prop_assert!(viewers.iter().all(|seat| seat.holds() == listed(*id)));
                }
                held.retain(|(id, _)| listed(*id));
            }
            for (id, viewers) in &held {
                let program = timetable.program(*id).unwrap();
                prop_assert_eq!(program.gate.viewers() as usize, viewers.len());
                prop_assert_eq!(program.gate.end(), program.window.end());
                prop_assert_eq!(program.gate.seats(), program.seats.count());
            }
            for program in timetable.programs() {
                prop_assert!(program.gate.is_open());
                if !held.iter().any(|(id, _)| *id == program.id) {
                    held.push((program.id, Vec::new()));
                }
                let entry = held.iter_mut().find(|(id, _)| *id == program.id).unwrap();
                let full = entry.1.len() >= program.gate.seats() as usize;
                match program.gate.enter() {
                    Ok(seat) => entry.1.push(seat),
                    Err(_) => prop_assert!(full),
                }
            }
        }
    }
}

#[test]
fn an_update_leaves_what_it_does_not_name_as_it_is() {
    let timetable = published(vec![spec(1, 1, 0, 10), spec(2, 1, 10, 20), spec(3, 2, 0, 10)]);
    let [first, third] = ["channel1", "channel2"].map(|name| timetable.on_air(name, minute(5)).unwrap());
    let (seat, other) = (first.gate.enter().unwrap(), third.gate.enter().unwrap());
    let longer = spec(3, 2, 0, 15);
    let changes = timetable
        .update(vec![channel(1), channel(2)], vec![longer, spec(4, 1, 20, 30)], &[ProgramId(2)])
        .unwrap();
    assert_eq!((changes.added, changes.changed), (vec![ProgramId(4)], vec![ProgramId(3)]));
    assert_eq!(changes.removed, [ProgramId(2)]);
    assert!(
        seat.holds() && other.holds() && Arc::ptr_eq(&on_air(&timetable, 5), &first),
        "not even built anew"
    );
    assert_eq!(timetable.program(ProgramId(3)).unwrap().gate.end(), minute(15));
    assert!(
        timetable.on_air("channel1", minute(15)).is_none()
            && timetable.on_air("channel1", minute(25)).is_some()
    );
    // A refused update changes nothing.
    let overlap = timetable.update(vec![channel(1), channel(2)], vec![spec(5, 1, 29, 40)], &[ProgramId(1)]);
    assert!(matches!(overlap, Err(TimetableError::Overlap(..))), "{overlap:?}");
    let unknown = timetable.update(vec![channel(2)], vec![], &[]);
    assert!(
        matches!(unknown, Err(TimetableError::UnknownChannel(..))),
        "its programs are still there: {unknown:?}"
    );
    assert!(seat.holds() && timetable.of_link(on_air(&timetable, 5).link_key.hash()).len() == 1);
}

#[test]
fn a_channel_that_grows_gives_its_programs_what_was_published_of_them() {
    let wide = ProgramSpec { seats: Some(seats(20)), ..spec(1, 1, 0, 10) };
    let timetable = published(vec![wide]);
    let seat = on_air(&timetable, 5).gate.enter().unwrap();
    let grown = Channel { seats: seats(30), name: "sea".parse().unwrap(), ..channel(1) };
    timetable.update(vec![grown, channel(2)], vec![], &[]).unwrap();
    assert!(timetable.on_air("channel1", minute(5)).is_none());
    let program = timetable.on_air("sea", minute(5)).unwrap();
    assert_eq!((program.seats, program.channel.seats, program.gate.seats()), (seats(20), seats(30), 20));
    assert!(seat.holds());
}

#[test]
fn those_that_have_begun_are_all_that_can_have_viewers() {
    let timetable = published(vec![spec(1, 1, 0, 10), spec(2, 2, 5, 20), spec(3, 1, 10, 20)]);
    let begun = |at| timetable.begun(minute(at)).iter().map(|program| program.id.0).collect::<Vec<_>>();
    assert_eq!([begun(-1), begun(5), begun(10)], [vec![], vec![1, 2], vec![1, 2, 3]]);
}

/// What can be seen of a timetable.
fn seen(timetable: &Timetable) -> String {
    let lines = timetable.programs().into_iter().map(|program| {
        let found = timetable.of_link(program.link_key.hash()).iter().any(|found| found.id == program.id);
        let named = timetable.connectable(program.channel.name.as_str(), program.window.start());
        let (is_named, at) = (named.iter().any(|named| named.id == program.id), program.window.start());
        let on_air = timetable.on_air(program.channel.name.as_str(), at).map(|program| program.id);
        format!(
            "{:?} {found} {is_named} {on_air:?}",
            (program.id, program.window, program.seats, &program.channel)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

proptest! {
    #[test]
    fn updates_come_to_the_same_as_publishing_it_all(reloads in proptest::collection::vec(reload(), 1..12)) {
        let (updated, mut listed) = (Timetable::new(), Vec::<ProgramSpec>::new());
        for (turn, reload) in reloads.into_iter().enumerate() {
            // Programs of this turn are put, those of its even ids are taken away again in the next.
            let put: Vec<_> = specs(&reload);
            let gone: Vec<_> = listed.iter().map(|spec| spec.id).filter(|id| id.0 % 2 == turn as u64 % 2).collect();
            let mut next: Vec<_> = listed
                .iter()
                .filter(|spec| !gone.contains(&spec.id) && put.iter().all(|put| put.id != spec.id))
                .cloned()
                .collect();
            next.extend(put.iter().cloned());
            let channels = vec![Channel { seats: seats(5 + turn as u32 / 3), ..channel(1) }, channel(2)];
            let whole = Timetable::new();
            let expected = whole.publish(channels.clone(), next.clone()).map(drop);
            prop_assert_eq!(updated.update(channels, put, &gone).map(drop), expected.clone());
            if expected.is_ok() {
                listed = next;
                prop_assert_eq!(seen(&updated), seen(&whole));
            }
        }
    }
}
