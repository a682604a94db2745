//! What mails say, read back by other people's readers.

use std::fs;

use serde_json::{Value, json};
use slotcast_reservation::{
    domain::{effects::MailKind, reservation::State, words::Language},
    mail::{Letter, render},
};
use slotcast_reservation_testing::letters::{
    BOTH, PASSWORD, addresses, all_letters, hostile, letter, names, now, program, settings, shown,
    shown_in_header, with_text,
};

use crate::python::{python, read_back};

/// Renders all and lets Python read them. `None`: skipped.
fn read_all(letters: &[Letter]) -> Option<Vec<Value>> {
    let python = python()?;
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = letters
        .iter()
        .enumerate()
        .map(|(at, letter)| {
            let path = folder.path().join(format!("{at}.eml"));
            fs::write(&path, render(letter, &settings(), now()).unwrap().formatted()).unwrap();
            path
        })
        .collect();
    Some(read_back(&python, &files))
}

#[test]
fn every_kind_is_read_back_in_both_languages() {
    let letters = all_letters();
    let Some(read) = read_all(&letters) else { return };
    assert_eq!(read.len(), letters.len());
    for (letter, read) in letters.iter().zip(&read) {
        let kind = letter.request.kind;
        let text = read["text"].as_str().unwrap();
        assert_eq!(read["defects"], json!([]), "{read:#}");
        assert_eq!(read["from"], json!(["Example Live, \"Tokyo\"", "slots@live.example.com"]));
        let to_name = if !letter.request.is_to_friend() { "山田 太郎" } else { "" };
        assert_eq!(read["to"], json!([to_name, letter.request.to.as_str()]));
        assert_eq!(read["date"], "2026-11-20T03:04:05+00:00");
        assert_eq!(read["message_id"], format!("<{}@live.example.com>", letter.request.key));
        assert_eq!(read["auto_submitted"], "auto-generated");
        assert_eq!(read["language"], letter.language.tag());
        assert_eq!(read["charset"], "utf-8");
        assert_eq!(read["is_ascii"], true);
        assert!(read["longest_line"].as_u64().unwrap() <= 998, "{read:#}");
        assert!(!text.contains(['{', '}', '\0']), "{text}");
        assert!(text.contains("山田 太郎") && text.contains("Example Live, \"Tokyo\""), "{text}");
        let subject = read["subject"].as_str().unwrap();
        if kind.is_about_member() {
            assert!(kind != MailKind::Welcome || text.contains("https://live.example.com/"), "{text}");
        } else {
            assert!(subject.ends_with("Piano recital, part 2; the \\ 2nd"), "{subject}");
            let (start, end) = match letter.language {
                Language::English => (
                    "Sunday, 22 November 2026, 19:00 (UTC+09:00)",
                    "Monday, 23 November 2026, 00:30 (UTC+09:00)",
                ),
                Language::Japanese => {
                    ("2026年11月22日(日) 19:00 (UTC+09:00)", "2026年11月23日(月) 00:30 (UTC+09:00)")
                }
            };
            assert!(text.contains(start) && text.contains(end), "{text}");
        }
        let has_entry = letter.program.is_some()
            && !matches!(
                kind,
                MailKind::ReservationId
                    | MailKind::ReconfirmReminder
                    | MailKind::CardNeeded
                    | MailKind::Settled
                    | MailKind::Refunded
            );
        assert_eq!(!read["calendar"].is_null(), has_entry, "{kind:?}");
        let parts = if has_entry { json!(["text/plain", "text/calendar"]) } else { json!(["text/plain"]) };
        assert_eq!(read["parts"], parts);
        let whole = if has_entry { "multipart/alternative" } else { "text/plain" };
        assert_eq!(read["type"], whole);
    }
}

#[test]
fn calendars_can_update_and_cancel_the_entry_by_themselves() {
    let letters = all_letters();
    let Some(read) = read_all(&letters) else { return };
    for (letter, read) in letters.iter().zip(&read).filter(|(_, read)| !read["calendar"].is_null()) {
        let entry = &read["calendar"];
        let is_over = letter.request.kind == MailKind::Cancelled;
        let is_uninvited = is_over && letter.program.as_ref().unwrap().state == State::Confirmed;
        let method = if is_over { "CANCEL" } else { "REQUEST" };
        let status = match (is_over, is_uninvited) {
            (_, true) => "",
            (true, false) => "CANCELLED",
            (false, false) => "CONFIRMED",
        };
        assert_eq!((&entry["method"], &entry["type_method"]), (&json!(method), &json!(method)));
        assert_eq!(entry["status"], status);
        assert_eq!(entry["version"], "2.0");
        assert_eq!(entry["uid"], "reservation-4711@live.example.com");
        assert_eq!(entry["sequence"], 5);
        assert_eq!(entry["stamp"], "2026-11-20T03:04:05+00:00");
        assert_eq!(entry["start"], "2026-11-22T10:00:00+00:00");
        assert_eq!(entry["end"], "2026-11-22T15:30:00+00:00");
        assert_eq!(entry["summary"], "Piano recital, part 2; the \\ 2nd");
        assert_eq!(entry["description"], "ピアノの夕べ\n\nFirst line, with comma; and more\nSecond line");
        assert_eq!(entry["organizer"], "mailto:slots@live.example.com");
        assert_eq!(entry["organizer_name"], "Example Live, Tokyo");
        assert_eq!(entry["attendee"], format!("mailto:{}", letter.request.to));
        assert_eq!(entry["url"], "rtsp://live.example.com:554/channel1");
        assert_eq!(entry["errors"], json!([]));
    }
}

#[test]
fn secrets_reach_only_those_who_need_them() {
    let letters = all_letters();
    let Some(read) = read_all(&letters) else { return };
    for (letter, read) in letters.iter().zip(&read) {
        let kind = letter.request.kind;
        let text = read["text"].as_str().unwrap();
        let needs_password = matches!(kind, MailKind::Invitation | MailKind::Changed);
        assert_eq!(text.contains(PASSWORD), needs_password, "{kind:?}: {text}");
        assert!(!read["subject"].as_str().unwrap().contains(PASSWORD));
        assert!(!read["calendar"].to_string().contains(PASSWORD), "{kind:?}");
        let id = program(MailKind::ReservationId).reservation_id.unwrap();
        assert_eq!(read.to_string().contains(id.expose()), kind == MailKind::ReservationId, "{kind:?}");
    }
}

#[test]
fn hostile_texts_stay_texts_to_an_independent_reader() {
    let texts = hostile();
    let letters: Vec<_> = texts
        .iter()
        .flat_map(|text| BOTH.map(|language| with_text(MailKind::Changed, language, text)))
        .chain(texts.iter().map(|text| with_text(MailKind::Confirmed, Language::English, text)))
        .collect();
    let Some(read) = read_all(&letters) else { return };
    for (letter, read) in letters.iter().zip(&read) {
        let title = shown(&letter.program.as_ref().unwrap().title);
        let in_header = shown_in_header(&letter.program.as_ref().unwrap().title);
        assert_eq!(read["names"], json!(names(letter)), "{title}");
        // lettre writes a full stop in a name as it is: the old form of a phrase, which readers take (RFC 5322 §4.1).
        let defects =
            read["defects"].as_array().unwrap().iter().filter(|defect| **defect != "period in 'phrase'");
        assert_eq!(defects.count(), 0, "{title}: {read:#}");
        let subject = read["subject"].as_str().unwrap();
        // A subject of 600 characters or more is cut.
        let is_cut = subject.chars().count() >= 600;
        assert!(subject.ends_with(&in_header) || is_cut, "{subject:?}\n{title:?}");
        assert!(read["longest_line"].as_u64().unwrap() <= 998, "{read:#}");
        assert_eq!(read["is_ascii"], true);
        assert_eq!(read["parts"], json!(["text/plain", "text/calendar"]));
        if !letter.request.is_to_friend() {
            // A name of more than 200 characters is cut.
            let name: String = in_header.chars().take(200).collect();
            assert_eq!(read["to"][0], if title == "-" { "" } else { name.trim() });
        }
        assert_eq!(read["to"][1], letter.request.to.as_str());
        let text = read["text"].as_str().unwrap();
        assert!(text.contains(&title), "{text}");
        let entry = &read["calendar"];
        assert_eq!(entry["errors"], json!([]));
        assert_eq!(entry["uid"], "reservation-4711@live.example.com");
        assert_eq!(entry["summary"].as_str().unwrap(), if title == "-" { "" } else { &title });
    }
}

#[test]
fn every_address_that_is_accepted_is_read_back() {
    let addresses = addresses();
    let letters: Vec<_> = addresses
        .iter()
        .map(|to| {
            let mut letter = letter(MailKind::Invitation, Language::English);
            letter.request.to = to.parse().unwrap();
            letter
        })
        .collect();
    let Some(read) = read_all(&letters) else { return };
    for (to, read) in addresses.iter().zip(&read) {
        assert_eq!(read["to"][1], *to);
    }
    assert_eq!(
        read[1]["calendar"]["attendee"],
        "mailto:!%23$%25%26'*+%2F%3D%3F%5E_%60%7B%7C%7D~.-@example.com"
    );
}
