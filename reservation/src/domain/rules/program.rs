//! What is broadcast: what may be written, what may be changed, and who is told.

use slotcast_core::{time::WallTime, words::OpenLevel};

use super::{
    Rules,
    mails::{changed_lines, friend_mail, is_same, others},
};
use crate::domain::{
    effects::{Effects, MailKind},
    member::Member,
    refusal::{Command, FieldProblem, Refusal},
    reservation::{ProgramDetails, Reservation, State},
    words::{Email, is_one_line, is_visible},
};

/// Refuses a program of which something is wrong, with all of it.
pub fn check_program(program: &ProgramDetails, friends_max: usize) -> Result<(), Refusal> {
    let wrong = program_problems(program, friends_max);
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::Invalid(wrong)) }
}

/// Checks every item and gives all that is wrong.
pub fn program_problems(program: &ProgramDetails, friends_max: usize) -> Vec<FieldProblem> {
    let mut wrong = Vec::new();
    let mut text = |field, text: &str, least: usize, most: usize| {
        let length = text.chars().count();
        let right = (least..=most).contains(&length) && is_one_line(text) && (least == 0 || is_visible(text));
        if !right {
            let (english, japanese) =
                (format!("{least} to {most} characters on one line"), format!("{least}~{most}文字、1行"));
            wrong.push(FieldProblem::new(field, english, japanese));
        }
    };
    text("program.title", &program.title, 1, 80);
    text("program.genre", &program.genre, 0, 40);
    text("program.outline", &program.outline, 0, 20);
    let details = program.details.replace("\r\n", " ").replace('\n', " ");
    text("program.details", &details, 0, 200);
    match (program.open_level, &program.password) {
        (OpenLevel::Public, None) => {}
        (OpenLevel::Public, Some(_)) => {
            let (english, japanese) = ("no password, since the program is public", "公開番組のため、空欄");
            wrong.push(FieldProblem::new("program.password", english, japanese));
        }
        (_, password) => {
            let right = password.as_ref().is_some_and(|password| {
                (1..=64).contains(&password.0.len()) && password.0.bytes().all(|b| b.is_ascii_graphic())
            });
            if !right {
                let english = "1 to 64 letters, digits or signs of ASCII, without spaces";
                wrong.push(FieldProblem::new(
                    "program.password",
                    english,
                    "空白を含まないASCII文字で1~64文字",
                ));
            }
        }
    }
    let mut friends: Vec<_> = program.friends.iter().map(|email| email.as_str().to_lowercase()).collect();
    friends.sort();
    friends.dedup();
    if program.friends.len() > friends_max || friends.len() < program.friends.len() {
        let english = format!("at most {friends_max} addresses, each once");
        wrong.push(FieldProblem::new("program.friends", english, format!("{friends_max}件まで、重複なし")));
    }
    wrong
}

/// Replaces what is broadcast. Friends are mailed what changed once they were invited; new friends are invited, those
/// who are not friends any more are told that it will not be.
pub fn change(
    member: &Member,
    reservation: &Reservation,
    program: ProgramDetails,
    rules: &Rules,
    now: WallTime,
) -> Result<Effects, Refusal> {
    let is_open =
        matches!(reservation.state, State::Held | State::Registered | State::Confirmed | State::OnAir);
    if !is_open || reservation.window.end() <= now {
        return Err(reservation.refuses(Command::Change));
    }
    // As many as were booked may stay, whatever the rule is by now.
    check_program(&program, rules.friends_max.max(reservation.program.friends.len()))?;
    let lines = changed_lines(&reservation.program, &program, member.language);
    let was_invited = reservation.state.is_accounted();
    let mut after = Reservation { program, ..reservation.next() };
    if !was_invited {
        return Ok(Effects::of(after));
    }
    after.calendar_sequence = after.calendar_sequence.saturating_add(1);
    let (old, new) = (&reservation.program.friends, &after.program.friends);
    let has = |list: &[Email], friend: &Email| list.iter().any(|known| is_same(known, friend));
    let mut mails = Vec::new();
    for friend in others(new, member) {
        if !has(old, friend) {
            mails.push(friend_mail(MailKind::Invitation, friend, &after, &[]));
        } else if !lines.is_empty() {
            mails.push(friend_mail(MailKind::Changed, friend, &after, &lines));
        }
    }
    let gone = others(old, member).filter(|friend| !has(new, friend));
    mails.extend(gone.map(|friend| friend_mail(MailKind::Cancelled, friend, &after, &[])));
    Ok(Effects { mails, ..Effects::of(after) })
}
