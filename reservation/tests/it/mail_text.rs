//! What mails say, and that no text becomes anything else in them.

use proptest::prelude::*;
use slotcast_core::{
    time::WallTime,
    words::{OpenLevel, Window},
};
use slotcast_reservation::{
    domain::{
        effects::{MailKind, Whom},
        reservation::{CancelledBy, ProgramPassword, State},
        words::{Amount, Language},
    },
    mail::{Letter, MailError, render},
};
use slotcast_reservation_testing::letters::{
    self, PASSWORD, addresses, all_letters, letter, names, now, settings, shown, with_text,
};

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
    for to in addresses() {
        let mut letter = letter(MailKind::Invitation, Language::English);
        letter.request.to = to.parse().unwrap();
        let mut settings = settings();
        settings.from = to.parse().unwrap();
        render(&letter, &settings, now()).unwrap();
    }
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

/// The subject as a reader shows it: unfolded, encoded words decoded, spaces between those dropped (RFC 2047 §6.2).
fn subject_of(mail: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let head = mail.split("\r\n\r\n").next().unwrap();
    let field = head.split_once("\r\nSubject: ").unwrap().1.replace("\r\n ", " ");
    let mut subject = String::new();
    let mut was_encoded = true;
    for word in field.lines().next().unwrap().split(' ') {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|word| word.strip_suffix("?="));
        if !(subject.is_empty() || was_encoded && encoded.is_some()) {
            subject.push(' ');
        }
        was_encoded = encoded.is_some();
        match encoded {
            Some(letters) => subject += &String::from_utf8(STANDARD.decode(letters).unwrap()).unwrap(),
            None => subject += word,
        }
    }
    subject
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
        let mut names = names(&letter);
        if !mail.contains("multipart/alternative") {
            names.push("Content-Transfer-Encoding");
            names.sort_unstable();
        }
        prop_assert_eq!(names_of(&mail), names);
        prop_assert!(mail.bytes().all(|b| matches!(b, b'\r' | b'\n' | b' '..=b'~')));
        prop_assert!(mail.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        if !kind.is_about_member() {
            let subject = subject_of(&mail);
            prop_assert!(subject.contains(&one_line(&text).replace("=?", "= ?")), "{:?} {:?}", subject, text);
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
        letter.request.whom = if flags[1] { Whom::Friend } else { Whom::Member };
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
                program.window = letters::program(kind).window;
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
