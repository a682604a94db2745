//! What mails say, read back by other people's readers.

mod mail_support;

use std::fs;

use mail_support::{PASSWORD, letter, now, program, python, read_back, settings};
use proptest::prelude::*;
use serde_json::{Value, json};
use slotcast_core::{
    time::WallTime,
    words::{OpenLevel, Window},
};
use slotcast_reservation::{
    domain::{
        effects::MailKind,
        reservation::{CancelledBy, ProgramPassword, Settlement, State},
        words::{Amount, Language},
    },
    mail::{Letter, MailError, render},
};

const BOTH: [Language; 2] = [Language::English, Language::Japanese];

fn all_letters() -> Vec<Letter> {
    let mut letters: Vec<_> =
        MailKind::ALL.into_iter().flat_map(|kind| BOTH.map(|language| letter(kind, language))).collect();
    for language in BOTH {
        let mut changed = |kind, change: &dyn Fn(&mut Letter)| {
            let mut letter = letter(kind, language);
            change(&mut letter);
            letters.push(letter);
        };
        changed(MailKind::Extended, &|letter| to_friend(letter));
        changed(MailKind::Cancelled, &|letter| to_friend(letter));
        changed(MailKind::Cancelled, &|letter| {
            to_friend(letter);
            letter.program.as_mut().unwrap().state = State::Confirmed;
        });
        changed(MailKind::Refunded, &|letter| {
            letter.program.as_mut().unwrap().given_back.as_mut().unwrap().is_to_card = false;
        });
        changed(MailKind::Settled, &|letter| {
            letter.program.as_mut().unwrap().state = State::Finished(Settlement::Waived);
        });
    }
    letters
}

fn to_friend(letter: &mut Letter) {
    letter.is_to_member = false;
    letter.request.to = "friend+tag@example.net".parse().unwrap();
}

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
        let to_name = if letter.is_to_member { "山田 太郎" } else { "" };
        assert_eq!(read["to"], json!([to_name, letter.request.to.as_str()]));
        assert_eq!(read["date"], "2026-11-20T03:04:05+00:00");
        assert_eq!(read["message_id"], format!("<{}@live.example.com>", letter.request.key));
        assert_eq!(read["auto_submitted"], "auto-generated");
        assert_eq!(read["language"], letter.language.tag());
        assert_eq!(read["charset"], "utf-8");
        assert_eq!(read["is_ascii"], true);
        assert!(read["longest_line"].as_u64().unwrap() <= 78, "{read:#}");
        assert!(!text.contains(['{', '}', '\0']), "{text}");
        assert!(text.contains("山田 太郎") && text.contains("Example Live, \"Tokyo\""), "{text}");
        let subject = read["subject"].as_str().unwrap();
        if kind == MailKind::Welcome {
            assert!(text.contains("https://live.example.com/"), "{text}");
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

/// The text of one letter, without Python: what is checked is what is said, not how it is encoded.
fn entries_and_text(letter: &Letter) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mail = String::from_utf8(render(letter, &settings(), now()).unwrap().formatted()).unwrap();
    let mut said = String::new();
    for part in mail.split("\r\n\r\n").skip(1) {
        let letters: String = part.lines().take_while(|line| !line.starts_with("--")).collect();
        let bytes = STANDARD.decode(letters.trim()).unwrap_or_default();
        said.push_str(&String::from_utf8(bytes).unwrap());
    }
    assert!(!said.is_empty(), "{mail}");
    said
}

#[test]
fn a_public_program_has_no_password_and_a_secret_one_a_private_entry() {
    let mut letter = letter(MailKind::Invitation, Language::Japanese);
    letter.program.as_mut().unwrap().open_level = OpenLevel::Public;
    let said = entries_and_text(&letter);
    assert!(!said.contains(PASSWORD) && !said.contains("パスワード:") && !said.contains("CLASS"), "{said}");
    letter.program.as_mut().unwrap().open_level = OpenLevel::Secret;
    let said = entries_and_text(&letter);
    assert!(said.contains(&format!("パスワード: {PASSWORD}")) && said.contains("CLASS:PRIVATE"), "{said}");
}

#[test]
fn a_cancellation_says_why_and_what_it_costs() {
    let said = |by, was_confirmed| {
        let mut letter = letter(MailKind::Cancelled, Language::Japanese);
        let program = letter.program.as_mut().unwrap();
        (program.state, program.was_confirmed) = (State::Cancelled(by), was_confirmed);
        entries_and_text(&letter)
    };
    let owed = said(CancelledBy::Member, true);
    assert!(owed.contains("12,000円 を申し受けます") && owed.contains("METHOD:CANCEL"), "{owed}");
    let early = said(CancelledBy::Member, false);
    assert!(early.contains("料金は発生いたしません") && !early.contains("METHOD"), "{early}");
    let operator = said(CancelledBy::Operator, true);
    assert!(operator.contains("弊社の都合") && operator.contains("料金は発生いたしません"), "{operator}");
    assert!(said(CancelledBy::NotReconfirmed, false).contains("再確認をいただけなかった"));
}

#[test]
fn a_special_program_asks_for_no_reconfirmation_and_no_money() {
    let mut letter = letter(MailKind::ReservationId, Language::Japanese);
    let program = letter.program.as_mut().unwrap();
    (program.state, program.total) = (State::Confirmed, Amount::ZERO);
    let said = entries_and_text(&letter);
    assert!(!said.contains("再確認をお願い") && !said.contains("料金合計"), "{said}");
}

#[test]
fn the_same_letter_twice_is_the_same_mail() {
    for letter in all_letters() {
        let first = render(&letter, &settings(), now()).unwrap().formatted();
        assert_eq!(first, render(&letter, &settings(), now()).unwrap().formatted());
        let later = now().saturating_add(std::time::Duration::from_secs(3_600));
        let later = String::from_utf8(render(&letter, &settings(), later).unwrap().formatted()).unwrap();
        let id = format!("<{}@live.example.com>", letter.request.key);
        assert!(later.contains(&id) && String::from_utf8(first).unwrap().contains(&id));
    }
}

#[test]
fn every_address_that_is_accepted_can_be_written_to() {
    let long = format!(
        "{}@{}.example.com",
        "l".repeat(64),
        ["d".repeat(60), "e".repeat(60), "f".repeat(50)].join(".")
    );
    let mut letters = Vec::new();
    let addresses =
        ["root@localhost", "!#$%&'*+/=?^_`{|}~.-@example.com", "a.b+c@1.2.example.co.jp", "a@b.1", &long];
    for to in addresses {
        let mut letter = letter(MailKind::Invitation, Language::English);
        letter.request.to = to.parse().unwrap();
        let mut settings = settings();
        settings.from = to.parse().unwrap();
        render(&letter, &settings, now()).unwrap();
        letters.push(letter);
    }
    let Some(read) = read_all(&letters) else { return };
    for (to, read) in addresses.iter().zip(&read) {
        assert_eq!(read["to"][1], *to);
    }
    assert_eq!(
        read[1]["calendar"]["attendee"],
        "mailto:!%23$%25%26'*+%2F%3D%3F%5E_%60%7B%7C%7D~.-@example.com"
    );
}

#[test]
fn what_cannot_be_rendered_says_why() {
    let refused = |change: &dyn Fn(&mut Letter)| {
        let mut letter = letter(MailKind::ReservationId, Language::English);
        change(&mut letter);
        render(&letter, &settings(), now()).unwrap_err()
    };
    assert_eq!(refused(&|letter| letter.program = None), MailError::Missing("a reservation"));
    let without_id = refused(&|letter| letter.program.as_mut().unwrap().reservation_id = None);
    assert_eq!(without_id, MailError::Missing("a reservation ID"));
    assert!(matches!(refused(&|letter| letter.request.kind = MailKind::Settled), MailError::Missing(_)));
    let no_refund = refused(&|letter| letter.request.kind = MailKind::Refunded);
    assert_eq!(no_refund, MailError::Missing("a refund"));
    for key in ["", "../x", "A", "a\r\nBcc: x@y.z", ".hidden", &"a".repeat(201)] {
        assert_eq!(refused(&|letter| key.clone_into(&mut letter.request.key)), MailError::Key);
    }
    let far = |letter: &mut Letter| {
        let window = Window::new(WallTime::from_micros(i64::MIN), WallTime::from_micros(i64::MAX));
        letter.program.as_mut().unwrap().window = window.unwrap();
    };
    assert_eq!(refused(&far), MailError::Time);
}

/// Texts that somebody might try.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "plain",
        "a\r\nBcc: victim@example.org\r\n\r\nbody",
        "a\nX-Evil: 1",
        "a\rX-Evil: 1",
        "=?utf-8?B?QmNjOiB2aWN0aW1AZXhhbXBsZS5vcmc=?=",
        "=?utf-8?Q?=0D=0ABcc:_victim@example.org?=",
        "ends like one =?utf-8?q?",
        "nul\0nul",
        "\u{202e}txt.exe\u{2069}",
        "👩‍🚀👩‍🚀 four bytes 𠮷野家",
        "{password} {reservation_id} {nothing}",
        "END:VEVENT\r\nEND:VCALENDAR\r\nBEGIN:VCALENDAR",
        "\"quoted\" <victim@example.org>, \\ (comment)",
        "a;b,c:d\\n\\N\\;e",
        "\u{85}\u{2028}\u{2029}\u{feff}",
        "--=_boundary\r\n.\r\nQUIT",
        "   ",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    let long = ["x", "漢", "👩‍🚀", "a ", "é", "\\", "=?", "1234567 "];
    texts.extend(long.map(|text| text.repeat(1_800 / text.chars().count())));
    texts
}

/// What a reader should see of it on one line.
fn shown(text: &str) -> String {
    let is_mark = |c: &char| matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let shown: String = text
        .chars()
        .take(2_000)
        .filter(|c| !is_mark(c))
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    let words: Vec<_> = shown.split(' ').filter(|word| !word.is_empty()).collect();
    match words.join(" ").trim() {
        "" => "-".to_owned(),
        shown => shown.to_owned(),
    }
}

fn with_text(kind: MailKind, language: Language, text: &str) -> Letter {
    let mut letter = letter(kind, language);
    text.clone_into(&mut letter.name);
    letter.request.changes = vec![text.to_owned()];
    if let Some(program) = &mut letter.program {
        for field in [&mut program.title, &mut program.genre, &mut program.outline, &mut program.details] {
            text.clone_into(field);
        }
    }
    letter
}

const NAMES: [&str; 9] = [
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
];

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
        assert_eq!(read["names"], json!(NAMES), "{title}");
        assert_eq!(read["defects"], json!([]), "{title}");
        let subject = read["subject"].as_str().unwrap();
        assert!(subject.ends_with(&title), "{subject:?}\n{title:?}");
        assert!(read["longest_line"].as_u64().unwrap() <= 78, "{read:#}");
        assert_eq!(read["is_ascii"], true);
        assert_eq!(read["parts"], json!(["text/plain", "text/calendar"]));
        if letter.is_to_member {
            assert_eq!(read["to"][0], if title == "-" { "" } else { &title });
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

/// Splits a mail as RFC 5322 says, and nothing more.
fn names_of(mail: &str) -> Vec<String> {
    let head = mail.split("\r\n\r\n").next().unwrap();
    let mut names: Vec<String> = head
        .split("\r\n")
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_once(':').unwrap().0.to_owned())
        .collect();
    names.sort();
    names
}

/// Decodes a field of base 64 words or plain text.
fn subject_of(mail: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let head = mail.split("\r\n\r\n").next().unwrap();
    let field = head.split_once("\r\nSubject: ").unwrap().1;
    let mut lines = vec![];
    for line in field.split("\r\n") {
        if !lines.is_empty() && !line.starts_with(' ') {
            break;
        }
        lines.push(line.trim_start());
    }
    if !lines[0].starts_with("=?") {
        return lines.concat();
    }
    let decode = |word: &str| {
        let word = word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
        String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
    };
    lines.into_iter().map(decode).collect()
}

fn any_text() -> impl Strategy<Value = String> {
    let nasty = proptest::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\0",
        "=?",
        "?=",
        "=?utf-8?B?",
        "Bcc: a@b.c",
        "\u{202e}",
        "👩‍🚀",
        "{",
        "}",
        "{password}",
        " ",
        "\"",
        "\\",
        ";",
        ",",
        ":",
        "END:VEVENT",
        "漢字",
        ".",
    ]);
    proptest::collection::vec(
        prop_oneof![nasty.prop_map(str::to_owned), ".{0,12}", any::<char>().prop_map(String::from)],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_becomes_a_header(text in any_text(), kind in proptest::sample::select(MailKind::ALL.to_vec()), is_english: bool) {
        let language = if is_english { Language::English } else { Language::Japanese };
        let letter = with_text(kind, language, &text);
        let mut settings = settings();
        settings.provider.clone_from(&text);
        let mail = String::from_utf8(render(&letter, &settings, now()).unwrap().formatted()).unwrap();
        let mut names: Vec<_> = NAMES.to_vec();
        if !mail.contains("multipart/alternative") {
            names.insert(3, "Content-Transfer-Encoding");
            names.sort_unstable();
        }
        prop_assert_eq!(names_of(&mail), names);
        prop_assert!(mail.bytes().all(|b| matches!(b, b'\r' | b'\n' | b' '..=b'~')));
        prop_assert!(mail.split("\r\n").all(|line| line.len() <= 78 && !line.contains(['\r', '\n'])));
        if kind != MailKind::Welcome {
            let subject = subject_of(&mail);
            prop_assert!(subject.contains(&one_line(&text)), "{:?} {:?}", subject, text);
        }
    }

    #[test]
    fn rendering_never_panics(
        texts in proptest::collection::vec(any_text(), 8),
        numbers in proptest::collection::vec(any::<i64>(), 5),
        state in proptest::sample::select(State::ALL.to_vec()),
        kind in proptest::sample::select(MailKind::ALL.to_vec()),
        flags in any::<[bool; 5]>(),
        sequence: u32,
    ) {
        let language = if flags[0] { Language::English } else { Language::Japanese };
        let mut letter = with_text(kind, language, &texts[0]);
        letter.is_to_member = flags[1];
        letter.request.changes = texts.clone();
        letter.request.calendar_sequence = sequence;
        if flags[2] {
            letter.request.key.clone_from(&texts[1]);
        }
        if let Some(program) = &mut letter.program {
            program.details.clone_from(&texts[2]);
            program.watch_url.clone_from(&texts[3]);
            program.password = Some(ProgramPassword(texts[4].clone()));
            (program.state, program.was_confirmed) = (state, flags[3]);
            program.total = Amount::new(numbers[0].rem_euclid(Amount::MAX)).unwrap();
            let (start, end) = (numbers[1].min(numbers[2]), numbers[1].max(numbers[2]).saturating_add(1));
            if let Ok(window) = Window::new(WallTime::from_micros(start), WallTime::from_micros(end)) {
                program.window = window;
            }
            if flags[4] {
                program.window = mail_support::program(kind).window;
            }
            program.reconfirm_until = WallTime::from_micros(numbers[3]);
        }
        let mut settings = settings();
        settings.public_url.clone_from(&texts[5]);
        settings.provider.clone_from(&texts[6]);
        let _ = render(&letter, &settings, WallTime::from_micros(numbers[4])).map(|message| message.formatted());
    }
}

/// As the mail shows it; direction marks of any kind go.
fn one_line(text: &str) -> String {
    let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
    shown(&text.replace(marks, ""))
}
