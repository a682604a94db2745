//! Letters of every kind to a member and a friend.

use std::time::Duration;

use jiff::tz::TimeZone;
use lettre::Message;
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Seats, Window},
};
use slotcast_reservation::{
    domain::{
        effects::{MailKind, MailRequest, Whom},
        reservation::{CancelledBy, ProgramPassword, Settlement, State},
        words::{Amount, Language, MemberNumber, ReservationNumber},
    },
    mail::{GivenBack, Letter, MailSettings, MailedCode, Program, SmtpSettings, render},
    vault::Vault,
};

pub const PASSWORD: &str = "open-sesame-42";

pub fn now() -> WallTime {
    "2026-11-20T03:04:05Z".parse().unwrap()
}

pub fn settings() -> MailSettings {
    MailSettings {
        from: "slots@live.example.com".parse().unwrap(),
        provider: "Example Live, \"Tokyo\"".to_owned(),
        public_url: "https://live.example.com/".to_owned(),
        zone: TimeZone::get("Asia/Tokyo").unwrap(),
    }
}

pub fn program(kind: MailKind) -> Program {
    let number = ReservationNumber(4_711);
    Program {
        number,
        channel: ChannelNumber(1),
        channel_name: "channel1".parse().unwrap(),
        window: Window::new("2026-11-22T10:00:00Z".parse().unwrap(), "2026-11-22T15:30:00Z".parse().unwrap())
            .unwrap(),
        ended_early: None,
        title: "Piano recital, part 2; the \\ 2nd".to_owned(),
        genre: "Music".to_owned(),
        outline: "ピアノの夕べ".to_owned(),
        details: "First line, with comma; and more\nSecond line".to_owned(),
        open_level: OpenLevel::Password,
        seats: Seats::new(1_000).unwrap(),
        password: Some(ProgramPassword(PASSWORD.to_owned())),
        state: match kind {
            MailKind::ReservationId | MailKind::ReconfirmReminder => State::Registered,
            MailKind::Cancelled => State::Cancelled(CancelledBy::Member),
            MailKind::Settled | MailKind::Refunded => State::Finished(Settlement::Charged),
            _ => State::Confirmed,
        },
        was_confirmed: !matches!(kind, MailKind::ReservationId | MailKind::ReconfirmReminder),
        is_waived: false,
        card_until: "2026-11-22T04:00:00Z".parse().unwrap(),
        is_reissued: false,
        reconfirm_until: "2026-11-22T04:00:00Z".parse().unwrap(),
        reservation_id: (kind == MailKind::ReservationId)
            .then(|| Vault::new(&[7; 32]).reservation_id(number, 1)),
        total: Amount::new(12_000).unwrap(),
        currency: "JPY".parse().unwrap(),
        viewers_peak: Some(1_234),
        given_back: (kind == MailKind::Refunded)
            .then(|| GivenBack { amount: Amount::new(3_000).unwrap(), is_to_card: true }),
        watch_url: "rtsp://live.example.com:554/channel1".to_owned(),
    }
}

/// A letter of `kind` to the member, or to a friend where that kind goes to friends only.
pub fn letter(kind: MailKind, language: Language) -> Letter {
    let is_to_member = !matches!(kind, MailKind::Invitation | MailKind::Changed);
    let to = if is_to_member { "taro@example.com" } else { "friend+tag@example.net" };
    let name = kind.name().replace('_', "-");
    let key = match kind {
        kind if kind.is_about_member() => format!("{name}-99"),
        _ => format!("{name}-4711-3"),
    };
    Letter {
        request: MailRequest {
            whom: if is_to_member { Whom::Member } else { Whom::Friend },
            key,
            kind,
            to: to.parse().unwrap(),
            member: MemberNumber(99),
            reservation: (!kind.is_about_member()).then_some(ReservationNumber(4_711)),
            calendar_sequence: 5,
            changes: match kind {
                MailKind::Changed => vec!["Title: A → B".to_owned(), "Genre: C → D".to_owned()],
                MailKind::EmailChanged => vec!["taro@example.org".to_owned()],
                _ => Vec::new(),
            },
        },
        name: "山田 太郎".to_owned(),
        language,
        stop_url: (!is_to_member).then(|| "https://live.example.com/api/v1/mail-stops/x.y".to_owned()),
        program: (!kind.is_about_member()).then(|| program(kind)),
        code: kind.proof().map(|proof| MailedCode {
            code: Vault::new(&[7; 32]).proof_code(proof, MemberNumber(99), 3),
            until: "2026-11-20T03:34:05Z".parse().unwrap(),
        }),
    }
}

/// Both of the mails' languages.
pub const BOTH: [Language; 2] = [Language::English, Language::Japanese];

/// Letters of every kind in both languages, and the variants that differ by more than a word.
pub fn all_letters() -> Vec<Letter> {
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
    letter.request.whom = Whom::Friend;
    letter.stop_url = Some("https://live.example.com/api/v1/mail-stops/x.y".to_owned());
    letter.request.to = "friend+tag@example.net".parse().unwrap();
}

/// Texts that somebody might try.
pub fn hostile() -> Vec<String> {
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
pub fn shown(text: &str) -> String {
    let is_mark = |c: &char| matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let shown: String = text
        .chars()
        .take(600)
        .filter(|c| !is_mark(c))
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    let words: Vec<_> = shown.split(' ').filter(|word| !word.is_empty()).collect();
    match words.join(" ").trim() {
        "" => "-".to_owned(),
        shown => shown.to_owned(),
    }
}

/// The same in a header, where nothing may look like an encoded word (RFC 2047).
pub fn shown_in_header(text: &str) -> String {
    shown(text).replace("=?", "= ?")
}

/// A letter that holds `text` wherever a member may write.
pub fn with_text(kind: MailKind, language: Language, text: &str) -> Letter {
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

/// The names of the header fields of a letter's mail, sorted.
pub fn names(letter: &Letter) -> Vec<&'static str> {
    let mut names = NAMES.to_vec();
    if letter.request.is_to_friend() {
        names.extend(["List-Unsubscribe", "List-Unsubscribe-Post"]);
    }
    names.sort_unstable();
    names
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

/// A letter of `kind` to `to` as it is sent, and its key.
pub fn message_to(to: &str, kind: MailKind) -> (Message, String) {
    let mut letter = letter(kind, Language::Japanese);
    letter.request.to = to.parse().unwrap();
    (render(&letter, &settings(), now()).unwrap(), letter.request.key)
}

pub fn smtp_settings(server: String) -> SmtpSettings {
    SmtpSettings { server, user: None, password: None, timeout: Duration::from_secs(10) }
}

/// Addresses at the edges of what is accepted.
pub fn addresses() -> Vec<String> {
    let long = format!(
        "{}@{}.example.com",
        "l".repeat(64),
        ["d".repeat(60), "e".repeat(60), "f".repeat(50)].join(".")
    );
    ["root@localhost", "!#$%&'*+/=?^_`{|}~.-@example.com", "a.b+c@1.2.example.co.jp", "a@b.1", &long]
        .map(str::to_owned)
        .to_vec()
}
